// SPDX-License-Identifier: GPL-2.0
//! The registers in BAR 0: where they are, and what their bits mean.
//!
//! Names without their prefix are those of the Linux kernel, in `drivers/dma/ioat/registers.h` (`IOAT_CHANCNT_OFFSET` is [`CHANCNT`]).
//! "E7 v2" is Intel's *Xeon Processor E7-2800/4800/8800 v2 Product Family, Datasheet Volume Two*, which describes an engine of version 3.2.
//! Of some registers nothing says what the device needs. A strict device (`strict=on`) needs all that the kernel's driver does:
//!
//! - [`intrctrl::MASTER`] for MSI-X vectors, too: `init.c`, `ioat_dma_setup_interrupts` sets it in all modes. The kernel's VFIO selftest,
//!   `lib/drivers/ioat/ioat.c`, does not.
//! - [`CHAINADDR`] and [`CHANCMP`] are written in two halves; a write of 64 bits changes nothing. `init.c`, `ioat_alloc_chan_resources`:
//!   "doing 2 32bit writes to mmio since 1 64b write doesn't work"; `dma.h`, `ioat_set_chainaddr`. DPDK writes 64 bits.
//! - The address in [`CHANSTS`] is kept when the channel is reset, and means nothing then: `dma.c`, `ioat_get_current_completion` believes only
//!   what is written to [`CHANCMP`].
//! - A Broadwell-DE loses the first entry of its MSI-X table when a channel is reset: `entry.rs`.
//! - A write of [`CHANCTRL`] is posted: it arrives some milliseconds later, or with the next access to the device. Until then, a descriptor that ends
//!   raises no interrupt, also later: E7 v2, CHANCTRL, "Interrupt Disable". `dma.c`, `ioat_timer_event` finds these descriptors.
//! - While a descriptor is executed, the source of the next one is read, unless the first one has a fence: `include/linux/dmaengine.h`,
//!   `DMA_PREP_FENCE`; `hw.h`, `fence`.
//! - [`CHANERR`] is 0 at a reset, or it is never done: `dma.c`, `ioat_reset_hw` clears it before.
//!
//! What software expects of a register is cited as file and function of the kernel, or of DPDK.

/// Size of the BAR: 16 KiB. The MSI-X table is in it, at [`MSIX_TABLE`].
pub const BAR_SIZE: usize = 0x4000;

/// Where the MSI-X table is, and the pending bits. `dma.c`, `ioat_reset_hw` saves and restores them here on version 3.3.
pub const MSIX_TABLE: u32 = 0x1000;
/// The pending bits of MSI-X.
pub const MSIX_PENDING: u32 = 0x1800;
/// Distance of both from these offsets in a device where other registers are there: `entry.rs`.
pub const MSIX_MOVED: u32 = 0x1000;

// --- Of the device

/// Number of channels, 8 bits, read-only.
pub const CHANCNT: usize = 0x00;
/// Largest transfer of a descriptor, as a power of two; 8 bits, read-only. `init.c`, `ioat_enumerate_channels` takes bits 0 to 4.
pub const XFERCAP: usize = 0x01;
/// Interrupt control, 8 bits; its bits are in [`intrctrl`].
pub const INTRCTRL: usize = 0x03;
/// Attention: a bit for each channel with an interrupt; 32 bits, cleared when it is read. `dma.c`, `ioat_dma_do_interrupt`.
pub const ATTNSTATUS: usize = 0x04;
/// Version of the engine, 8 bits: 0x32 is 3.2.
pub const VERSION: usize = 0x08;
/// Interrupt delay, 16 bits: bits 0 to 13 are microseconds, bit 15 says that it is supported. `dma.c`, `__ioat_cleanup` writes it.
pub const INTRDELAY: usize = 0x0c;
/// What the engine can do, 32 bits, read-only; the bits are in [`capability`].
pub const DMACAPABILITY: usize = 0x10;
/// Where the registers of the device end, and those of channel 0 begin; each channel has as much.
pub const CHANNEL_SIZE: usize = 0x80;

/// Bits of [`INTRCTRL`].
pub mod intrctrl {
    /// Interrupts are enabled; those of MSI-X vectors always are, unless the device is strict. Cleared when the register is read: `dma.c`,
    /// `ioat_dma_do_interrupt` writes back what it read.
    pub const MASTER: u8 = 0x01;
    /// A channel has an interrupt.
    pub const STATUS: u8 = 0x02;
    /// A channel has an interrupt, and interrupts are enabled.
    pub const ASSERTED: u8 = 0x04;
    /// Each channel has an MSI-X vector of its own. `init.c`, `ioat_dma_setup_interrupts`.
    pub const VECTORS: u8 = 0x08;
}

/// Bits of [`INTRDELAY`].
pub mod intrdelay {
    /// The delay, in microseconds.
    pub const MICROSECONDS: u16 = 0x3fff;
    /// The register exists.
    pub const SUPPORTED: u16 = 0x8000;
}

/// Bits of [`DMACAPABILITY`].
pub mod capability {
    /// Descriptors may cross pages.
    pub const PAGE_BREAK: u32 = 0x01;
    /// Block fill.
    pub const FILL: u32 = 0x40;
}

// --- Of a channel, from its beginning

/// Channel control, 16 bits; its bits are in [`chanctrl`]. E7 v2, 14.5.12.
pub const CHANCTRL: usize = 0x00;
/// Which versions the channel is compatible with, 16 bits, read-only.
pub const DMA_COMP: usize = 0x02;
/// Command, 8 bits; the commands are in [`chancmd`].
pub const CHANCMD: usize = 0x04;
/// Number of descriptors that were ever appended to the chain, 16 bits, which wraps around. Writing it makes the channel look: the doorbell.
/// `dma.c`, `__ioat_issue_pending`.
pub const DMACOUNT: usize = 0x06;
/// Status, 64 bits, read-only: the address of the last descriptor that was completed, and in bits 0 to 2 a [`State`].
pub const CHANSTS: usize = 0x08;
/// Address of the first descriptor, 64 bits, which may be written in two halves: `dma.h`, `ioat_set_chainaddr`.
pub const CHAINADDR: usize = 0x10;
/// Where the channel writes its status when a descriptor asks for it, 64 bits.
pub const CHANCMP: usize = 0x18;
/// Address of the descriptor in execution, 64 bits, read-only.
pub const CDAR: usize = 0x20;
/// Errors, 32 bits, cleared by writing ones; the bits are in [`chanerr`].
pub const CHANERR: usize = 0x28;
/// Errors that cause no interrupt, 32 bits. `init.c`, `ioat_intr_quirk`.
pub const CHANERR_MASK: usize = 0x2c;

/// Bits of [`CHANCTRL`]: E7 v2, 14.5.12.
pub mod chanctrl {
    /// Reads as 1 after an interrupt, and no more interrupts are sent; writing 1 clears it. The kernel calls it "rearm": `dma.c`,
    /// `ioat_cleanup_event`.
    pub const INTERRUPT_DISABLED: u16 = 0x0001;
    /// An error writes the completion.
    pub const ERROR_COMPLETION: u16 = 0x0004;
    /// An error causes an interrupt.
    pub const ERROR_INTERRUPT: u16 = 0x0010;
    /// Reads as 0 the first time, and as 1 from then on, until it is written with 0: the channel has an owner.
    pub const IN_USE: u16 = 0x0100;
    /// Bits that keep what is written: those above, "abort on any error" and two that concern the cache.
    pub const STORED: u16 = 0x023c;
}

/// Commands: values of [`CHANCMD`], one bit each.
pub mod chancmd {
    /// Stop behind the descriptor in execution.
    pub const SUSPEND: u8 = 0x04;
    /// Stop at once.
    pub const ABORT: u8 = 0x08;
    /// Continue after [`SUSPEND`].
    pub const RESUME: u8 = 0x10;
    /// Stop at once and forget everything. Reads as 1 until it is done: `dma.h`, `ioat_reset_pending`.
    pub const RESET: u8 = 0x20;
}

/// Bits of [`CHANERR`]; `dma.c`, `chanerr_str` names them.
pub mod chanerr {
    /// The source's address is impossible.
    pub const SOURCE_ADDRESS: u32 = 0x0001;
    /// The destination's address is impossible.
    pub const DESTINATION_ADDRESS: u32 = 0x0002;
    /// The next descriptor could not be read.
    pub const NEXT_ADDRESS: u32 = 0x0004;
    /// The address of the next descriptor is no multiple of 64.
    pub const NEXT_ALIGNMENT: u32 = 0x0008;
    /// `CHAINADDR` is no multiple of 64, or was written while the channel was active.
    pub const CHAIN_ADDRESS: u32 = 0x0010;
    /// More than one command at a time.
    pub const COMMAND: u32 = 0x0020;
    /// The source could not be read.
    pub const READ: u32 = 0x0100;
    /// The destination could not be written.
    pub const WRITE: u32 = 0x0200;
    /// An operation that the channel does not have.
    pub const CONTROL: u32 = 0x0400;
    /// The size is 0, or more than the channel can.
    pub const LENGTH: u32 = 0x0800;
    /// The completion could not be written.
    pub const COMPLETION_ADDRESS: u32 = 0x1000;
}

/// What a channel does: bits 0 to 2 of [`CHANSTS`]. [`State::Armed`] is missing in the kernel's header; DPDK has it,
/// `drivers/dma/ioat/ioat_hw_defs.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Descriptors are being executed.
    Active = 0,
    /// All descriptors have been executed.
    Idle = 1,
    /// Stopped by [`chancmd::SUSPEND`].
    Suspended = 2,
    /// Stopped by an error, an abort or a reset.
    Halted = 3,
    /// There is a chain, and no descriptor of it was announced yet.
    Armed = 4,
}

/// What is in PCI configuration space, beyond the standard.
pub mod config {
    /// Errors of all channels, 32 bits, cleared by writing ones. Only before version 3.3: `dma.c`, `ioat_reset_hw`.
    pub const CHANERR_INT: usize = 0x180;
    /// Which of them are masked, 32 bits.
    pub const CHANERRMASK_INT: usize = 0x184;
}
