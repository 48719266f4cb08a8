// SPDX-License-Identifier: GPL-2.0

//! What an engine is asked to do, and the engines that there are.

pub(crate) mod device_memory;
pub(crate) mod edu;
pub(crate) mod request;
pub(crate) mod transfer;
