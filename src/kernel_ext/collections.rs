// SPDX-License-Identifier: GPL-2.0

//! Containers that allocate nothing under a lock.

pub(crate) mod fifo;
pub(crate) mod slab;
