// SPDX-License-Identifier: GPL-2.0

//! Safe wrappers for what the `kernel` crate of 7.3 lacks.
//!
//! All of the driver's `unsafe` and `bindings::` is in here; what is above needs none.

pub(crate) mod abi;
pub(crate) mod attach;
pub(crate) mod chrdev;
pub(crate) mod clock;
pub(crate) mod coherent;
pub(crate) mod debugfs;
pub(crate) mod eventfd;
pub(crate) mod fifo;
pub(crate) mod guard;
pub(crate) mod mapping;
pub(crate) mod memlock;
pub(crate) mod pci;
mod pci_driver;
pub(crate) mod poll;
pub(crate) mod ratelimit;
pub(crate) mod reach;
mod runs;
pub(crate) mod signal;
pub(crate) mod trace;
pub(crate) mod vma;
pub(crate) mod wait;
pub(crate) mod work;
