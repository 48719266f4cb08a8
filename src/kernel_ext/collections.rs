// SPDX-License-Identifier: GPL-2.0

//! Containers that do not allocate under a lock.

pub(crate) mod fifo;
pub(crate) mod id_map;
