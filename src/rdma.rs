// SPDX-License-Identifier: GPL-2.0

//! DMA buffers and a DMA engine for userspace.
//!
//! A character device, `/dev/rdmaN`, gives programs coherent DMA buffers, drives the DMA engine of
//! a PCI device (QEMU's `edu`), and maps the buffers into the program, which so works on the same
//! bytes as the device.
//!
//! Files import from the rooms below their own, in this order: [`driver`], which builds the rest and
//! which nothing else imports; [`file`]; [`device`]; [`memory`] and [`schedule`]; [`engines`];
//! [`uapi`]; [`kernel_ext`], in which all `unsafe` is. `tests/documents/architecture.py` checks that.
//!
//! The interrupt runs from [`device`] to [`engines`] and [`schedule`], and wakes those who wait.

#![deny(unsafe_code)]

mod device;
mod driver;
mod engines;
mod file;
#[allow(unsafe_code, reason = "All of it is here.")]
mod kernel_ext;
mod memory;
mod schedule;
mod uapi;

use kernel::prelude::*;

module! {
    type: RdmaModule,
    name: "rdma",
    authors: ["the rdma authors"],
    description: "DMA buffers and a DMA engine for userspace (QEMU edu)",
    license: "GPL",
    params: {
        dma_bits: u32 {
            default: crate::engines::edu::DEFAULT_DMA_BITS,
            description: "Bits of a bus address that the device keeps (its dma_mask property): 28",
        },
        context_mib: u32 {
            default: 1024,
            description: "MiB of buffers that one open file may have: 1024",
        },
        device_mib: u32 {
            default: 4096,
            description: "MiB of buffers that there may be of one device: 4096",
        },
        msi: bool {
            default: true,
            description: "Use a message-signalled interrupt where there is one: y",
        },
    },
}

/// The module.
#[pin_data]
struct RdmaModule {
    #[pin]
    module: kernel_ext::driver::attach::Module<driver::Edu>,
}

impl kernel::InPlaceModule for RdmaModule {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _: { driver::check_parameters()? },
            module <- kernel_ext::driver::attach::Module::new(module),
        })
    }
}
