// SPDX-License-Identifier: GPL-2.0

//! The registers of an I/OAT device, in BAR 0: those of the device, and those of each channel.
//!
//! Little-endian. Source: Linux, `drivers/dma/ioat/registers.h`.

use kernel::io::register;

/// The largest number of channels of a device that the driver uses. The 8 channels of a Xeon are 8
/// devices with one channel each, by their names in the PCI ID database (`pci.ids`).
pub(super) const CHANNELS: usize = 8;

/// Size of the registers of a channel in bytes.
const CHANNEL_SIZE: usize = 0x80;

/// Size of the part of BAR 0 that the driver uses, in bytes: up to [`struct@VECTOR_PENDING`].
pub(super) const BAR_SIZE: usize = 0x1808;

/// The offset of the channels' errors in PCI configuration space, before version 3.3. Source:
/// Linux, `drivers/dma/ioat/registers.h`, `IOAT_PCI_CHANERR_INT_OFFSET`.
pub(super) const CONFIG_CHANNEL_ERROR: usize = 0x180;

/// Values of the field `state` of [`CHANNEL_STATUS`].
pub(super) mod state {
    /// Descriptors are being executed.
    pub(crate) const ACTIVE: u64 = 0;
    /// The channel has stopped after an error or a reset.
    pub(crate) const HALTED: u64 = 3;
}

register! {
    /// The number of channels; read-only.
    pub(super) CHANNEL_COUNT(u8) @ 0x00 {
        7:0 channels;
    }

    /// The largest transfer, as a power of two; read-only.
    pub(super) TRANSFER_CAPACITY(u8) @ 0x01 {
        4:0 log2;
    }

    /// Interrupt control of the device. Reading it clears `enable`.
    pub(super) INTERRUPT_CONTROL(u8) @ 0x03 {
        /// Each channel raises its MSI-X vector.
        3:3 msix => bool;
        /// The line is raised; read-only.
        2:2 raised => bool;
        /// A channel has an interrupt; read-only.
        1:1 pending => bool;
        /// Interrupts of the channels raise the line or the vectors.
        0:0 enable => bool;
    }

    /// The channels that have an interrupt; cleared by reading.
    pub(super) ATTENTION(u32) @ 0x04 {
        31:0 channels;
    }

    /// The time in microseconds by which interrupts are delayed, so that several are raised as one.
    pub(super) INTERRUPT_DELAY(u16) @ 0x0c {
        /// The device has this register.
        15:15 supported => bool;
        13:0 microseconds;
    }

    /// What the device can do; read-only.
    pub(super) CAPABILITIES(u32) @ 0x10 {
        /// Descriptors are prefetched.
        23:23 prefetch => bool;
    }

    /// The version; read-only.
    pub(super) VERSION(u8) @ 0x08 {
        /// Major version.
        7:4 major;
        /// Minor version.
        3:0 minor;
    }

    /// Control of the channel.
    pub(super) CHANNEL_CONTROL(u16)[CHANNELS, stride = CHANNEL_SIZE] @ 0x80 {
        /// The channel is used.
        8:8 in_use => bool;
        /// An error raises an interrupt.
        4:4 error_interrupt => bool;
        /// Any error halts the channel.
        3:3 halt_on_error => bool;
        /// An error is written to the completion address.
        2:2 error_completion => bool;
        /// The next interrupt is raised. Cleared by the device when it raises it.
        0:0 arm => bool;
    }

    /// Commands for the channel. `reset` reads as set until the reset is done.
    pub(super) CHANNEL_COMMAND(u8)[CHANNELS, stride = CHANNEL_SIZE] @ 0x84 {
        /// Resets the channel.
        5:5 reset => bool;
        /// Suspends the channel after the current descriptor.
        2:2 suspend => bool;
    }

    /// The number of descriptors from the chain address on that are to be executed, modulo 2^16.
    pub(super) DESCRIPTOR_COUNT(u16)[CHANNELS, stride = CHANNEL_SIZE] @ 0x86 {
        15:0 descriptors;
    }

    /// The status of the channel; read-only. The device writes the same to the completion address.
    pub(super) CHANNEL_STATUS(u64)[CHANNELS, stride = CHANNEL_SIZE] @ 0x88 {
        /// The address of the descriptor that was completed last, divided by 64.
        63:6 completed;
        /// See [`state`].
        2:0 state;
    }

    /// The bus address of the first descriptor: the lower half, which is written first. A write of
    /// both halves at once does not work. Source: Linux, `drivers/dma/ioat/init.c`,
    /// `ioat_alloc_chan_resources`.
    pub(super) CHAIN_ADDRESS_LOW(u32)[CHANNELS, stride = CHANNEL_SIZE] @ 0x90 {
        31:0 address;
    }

    /// The upper half of the bus address of the first descriptor.
    pub(super) CHAIN_ADDRESS_HIGH(u32)[CHANNELS, stride = CHANNEL_SIZE] @ 0x94 {
        31:0 address;
    }

    /// The bus address that the status is written to: the lower half, which is written first.
    pub(super) COMPLETION_ADDRESS_LOW(u32)[CHANNELS, stride = CHANNEL_SIZE] @ 0x98 {
        31:0 address;
    }

    /// The upper half of the bus address that the status is written to.
    pub(super) COMPLETION_ADDRESS_HIGH(u32)[CHANNELS, stride = CHANNEL_SIZE] @ 0x9c {
        31:0 address;
    }

    /// The errors of the channel; a bit is cleared by writing it.
    pub(super) CHANNEL_ERROR(u32)[CHANNELS, stride = CHANNEL_SIZE] @ 0xa8 {
        31:0 errors;
    }

    /// The errors that are not reported.
    pub(super) CHANNEL_ERROR_MASK(u32)[CHANNELS, stride = CHANNEL_SIZE] @ 0xac {
        31:0 errors;
    }

    /// Control of the prefetch of descriptors. Source: Linux, `drivers/dma/ioat/dma.c`,
    /// `ioat_alloc_ring`.
    pub(super) PREFETCH_CONTROL(u16)[CHANNELS, stride = CHANNEL_SIZE] @ 0x136 {
        15:0 control;
    }

    /// The address in the first entry of the MSI-X table. Source: Linux, `drivers/dma/ioat/dma.c`,
    /// `ioat_reset_hw`.
    pub(super) VECTOR_ADDRESS(u64) @ 0x1000 {
        63:0 address;
    }

    /// The data and the mask of the first entry of the MSI-X table.
    pub(super) VECTOR_DATA(u64) @ 0x1008 {
        63:0 data;
    }

    /// The pending bits of MSI-X.
    pub(super) VECTOR_PENDING(u64) @ 0x1800 {
        63:0 pending;
    }
}
