// SPDX-License-Identifier: GPL-2.0

//! Safe wrappers for what the `kernel` crate of 7.3 lacks.
//!
//! All of the driver's `unsafe` and `bindings::` is in here; what is above needs none.

pub(crate) mod collections;
pub(crate) mod driver;
pub(crate) mod fs;
pub(crate) mod mm;
pub(crate) mod sync;
