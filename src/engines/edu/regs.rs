// SPDX-License-Identifier: GPL-2.0

//! The registers of `edu`, in BAR 0. Source: QEMU, `docs/specs/edu.rst`, "MMIO area spec".
//!
//! Little-endian. Below 0x80 only accesses of 4 bytes work; from 0x80 on, of 4 or 8.

use kernel::io::register;

/// Size of BAR 0 in bytes.
pub(super) const BAR_SIZE: usize = 0x10_0000;

/// The lowest byte of the identification register.
pub(super) const MAGIC: u32 = 0xed;

/// The address of the device memory in the DMA registers.
pub(super) const DEVICE_MEMORY: u64 = 0x4_0000;

register! {
    /// Identification; read-only.
    pub(super) IDENTIFICATION(u32) @ 0x00 {
        /// Major version.
        31:24 major;
        /// Minor version.
        23:16 minor;
        /// [`MAGIC`].
        7:0 magic;
    }

    /// Liveness: reads back the bitwise inverse of what was written.
    pub(super) LIVENESS(u32) @ 0x04 {
        31:0 value;
    }

    /// The causes of the interrupt; read-only. All ones: the device is gone.
    pub(super) INTERRUPT_STATUS(u32) @ 0x24 {
        31:0 causes;
    }

    /// Clears these causes, and with INTx lowers the line when none is left; write-only.
    pub(super) INTERRUPT_ACKNOWLEDGE(u32) @ 0x64 {
        31:0 causes;
    }

    /// The source of the next transfer: a bus address, or one in [`DEVICE_MEMORY`].
    pub(super) DMA_SOURCE(u64) @ 0x80 {
        63:0 address;
    }

    /// The destination of the next transfer: a bus address, or one in [`DEVICE_MEMORY`].
    pub(super) DMA_DESTINATION(u64) @ 0x88 {
        63:0 address;
    }

    /// The length of the next transfer in bytes.
    pub(super) DMA_COUNT(u64) @ 0x90 {
        63:0 bytes;
    }

    /// The engine. While a transfer runs, writes to all DMA registers are ignored.
    pub(super) DMA_COMMAND(u64) @ 0x98 {
        /// Unused; 0, or all ones if the device is gone.
        63:3 unused;
        /// Raise an interrupt when done.
        2:2 interrupt => bool;
        /// From device memory to RAM, rather than to device memory.
        1:1 from_device => bool;
        /// Write: start a transfer. Read: a transfer runs.
        0:0 run => bool;
    }
}
