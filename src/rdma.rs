// SPDX-License-Identifier: GPL-2.0

//! DMA buffers and a DMA engine for userspace.
//!
//! A character device, `/dev/rdmaN`, provides programs with coherent DMA buffers and with the DMA
//! engine of a PCI device (QEMU's `edu`, Intel I/OAT). The buffers are mapped into the process;
//! program and device share the memory.
//!
//! Each module imports only from modules below it, in this order: [`driver`], which creates the
//! others and is imported by this file only; [`file`](mod@file); [`device`]; [`memory`] and
//! [`schedule`]; [`engines`]; [`uapi`]; [`kernel_ext`], which contains all `unsafe` code. They also
//! use what `module!` makes in this file. `tests/documents/architecture.py` checks this order, and
//! that no trait below is missing.
//!
//! A module calls one above it only by a closure that it is given, or by a trait that the latter
//! implements. [`kernel_ext`] calls the driver (`NodeDriver`), the files of the node (`File`,
//! `Commands`, `Mappable`, `Exportable`, `DebugFiles`) and the bound device (`BoundDevice`,
//! `Work`). [`engines`] calls the memory of a request (`Backing`). [`schedule`] calls the owner of a
//! lane, its ring and the waiter of a request (`LaneOwner`, `RingMemory`, `RequestWaiter`), which
//! `QueueTypes` names.
//!
//! The interrupt handler is `interrupt` in `device/engine/reap.rs`. It calls [`engines`] and
//! [`schedule`], and wakes the waiting threads.

#![deny(unsafe_code)]

mod device;
mod driver;
mod engines;
mod file;
#[allow(unsafe_code, reason = "Only this module needs it.")]
mod kernel_ext;
mod memory;
mod schedule;
mod uapi;

use kernel::prelude::*;

module! {
    type: RdmaModule,
    name: "rdma",
    authors: ["the rdma authors"],
    description: "DMA buffers and a DMA engine for userspace (QEMU edu, Intel I/OAT)",
    license: "GPL",
    imports_ns: ["DMA_BUF"],
    params: {
        dma_bits: u32 {
            default: crate::engines::edu::DEFAULT_DMA_BITS,
            description: "Width of the bus addresses of edu, in bits (its dma_mask property): 28",
        },
        context_mib: u32 {
            default: 1024,
            description: "Limit of the buffers of an open file, in MiB: 1024",
        },
        device_mib: u32 {
            default: 4096,
            description: "Limit of the buffers of a device, in MiB: 4096",
        },
        interrupt_delay_us: u32 {
            default: 0,
            description: "Delay of interrupts in microseconds, if the device (I/OAT) has it, so that several are raised as one: 0",
        },
        msi: bool {
            default: true,
            description: "Use a message-signalled interrupt if available: y",
        },
    },
}

/// The state of the module.
#[pin_data]
struct RdmaModule {
    #[pin]
    module: kernel_ext::driver::attach::Module<driver::RdmaDriver>,
}

impl kernel::InPlaceModule for RdmaModule {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _: { driver::check_parameters()? },
            module <- kernel_ext::driver::attach::Module::new(module),
        })
    }
}
