// SPDX-License-Identifier: GPL-2.0

//! Coherent buffers, their handles, what holds them and to whom they are charged.

pub(crate) mod buffer;
pub(crate) mod handle;
pub(crate) mod hold;
pub(crate) mod quota;
