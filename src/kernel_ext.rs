// SPDX-License-Identifier: GPL-2.0

//! Safe abstractions that the `kernel` crate of 7.3 does not have.
//!
//! This module contains all `unsafe` code and all uses of `bindings` of the driver.

pub(crate) mod collections;
mod device;
pub(crate) mod dma_buf;
pub(crate) mod driver;
pub(crate) mod fs;
pub(crate) mod gfp;
pub(crate) mod mm;
pub(crate) mod sync;
