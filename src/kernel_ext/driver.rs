// SPDX-License-Identifier: GPL-2.0

//! The driver core: PCI devices, interrupts, work items, log messages and tracepoints.

pub(crate) mod attach;
pub(crate) mod dma_mask;
pub(crate) mod pci;
mod pci_driver;
pub(crate) mod ratelimit;
pub(crate) mod trace;
pub(crate) mod work;
