// SPDX-License-Identifier: GPL-2.0

//! Buffers, their handles, what holds them, to whom they are charged, and the pool of a
//! device from which they come.

pub(crate) mod buffer;
mod charge;
pub(crate) mod handle;
pub(crate) mod hold;
pub(crate) mod pages;
pub(crate) mod pool;
pub(crate) mod quota;
mod registry;
