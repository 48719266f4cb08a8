// SPDX-License-Identifier: GPL-2.0

//! The interface of a DMA engine, and its guarantees.

use super::transfer::Transfer;
use kernel::prelude::*;

/// The properties of an engine.
#[derive(Clone, Copy)]
pub(crate) struct EngineInfo {
    /// Size of the device memory in bytes; 0 if the device has none.
    pub(crate) device_memory_size: u64,
    /// Size of the largest transfer in bytes.
    pub(crate) max_transfer_size: u64,
    /// Number of slots, at least 1.
    pub(crate) depth: usize,
    /// No transfers are posted while those in the slots have this many bytes or more. It limits how
    /// long other users wait.
    pub(crate) in_flight_byte_limit: u64,
    /// The engine can be [stopped](DmaEngine::abort).
    pub(crate) can_abort: bool,
    /// The engine reports transfers that have failed, those without Bus Master included.
    pub(crate) reports_errors: bool,
    /// Time in milliseconds after which the watchdog checks a transfer, because its interrupt may
    /// have been lost.
    pub(crate) late_ms: u32,
    /// Time in milliseconds after which a transfer that does not end has failed.
    pub(crate) timeout_ms: u32,
    /// Time in milliseconds that the engine takes to stop and to restart at most.
    pub(crate) stop_ms: u32,
    /// The hardware's version, as major and minor.
    pub(crate) version: (u8, u8),
}

/// How an engine is used.
#[derive(Clone, Copy)]
pub(crate) struct EngineConfig {
    /// The interrupt is a vector of MSI-X, which belongs to this engine.
    pub(crate) has_vector: bool,
    /// The time in microseconds by which interrupts are delayed, if the device has this.
    pub(crate) interrupt_delay_us: u16,
}

/// How a transfer is posted.
#[derive(Clone, Copy)]
pub(crate) struct PostFlags {
    /// The device raises an interrupt at its end. If false, it may raise one nevertheless.
    pub(crate) interrupt: bool,
    /// No later transfer reads memory before this one has written it.
    pub(crate) fence: bool,
}

/// The progress of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It has not ended.
    Running,
    /// It has ended. After an error, the engine does none of the later transfers until it is
    /// restarted.
    Ended(Result),
    /// The device is gone.
    Gone,
}

/// A DMA engine.
///
/// Transfers are executed, and end, in the order in which they are posted. A transfer accesses
/// memory only between [`post`](Self::post) and its end. It may begin before
/// [`kick`](Self::kick), and begins some time after it at the latest.
///
/// [`wait_idle`](Self::wait_idle), [`suspend_transfers`](Self::suspend_transfers),
/// [`abort`](Self::abort) and [`restart`](Self::restart) sleep. All other functions can be called
/// in an interrupt handler.
///
/// [`acknowledge`](Self::acknowledge), [`disable_interrupts`](Self::disable_interrupts),
/// [`info`](Self::info), [`responds`](Self::responds), `wait_idle` and
/// [`leak_memory`](Self::leak_memory) can be called at the same time as other functions. All others
/// are called one at a time.
pub(crate) trait DmaEngine {
    /// Returns what the scheduler, the watchdog and INFO need to know about the engine. It never
    /// changes.
    fn info(&self) -> EngineInfo;

    /// Returns whether the device responds with its identification. A device that no longer decodes
    /// its registers reads as all ones or as zeros.
    fn responds(&self) -> bool;

    /// Puts a transfer into a free slot. Slots are used in turn.
    fn post(&self, slot: usize, transfer: Transfer, flags: PostFlags);

    /// Starts the transfers that were posted.
    fn kick(&self);

    /// Acknowledges the interrupt, and returns whether this device had raised it.
    ///
    /// An MSI is a message and not a level: call [`progress`](Self::progress) after this, not
    /// before.
    fn acknowledge(&self) -> bool;

    /// Returns whether the transfer in this slot was posted with
    /// [`interrupt`](PostFlags::interrupt).
    fn raises_interrupt(&self, slot: usize) -> bool;

    /// Makes the device raise the next interrupt, after the message of the last one may have been
    /// lost.
    fn rearm(&self) {}

    /// Returns the progress of the oldest transfer, which is in this slot.
    fn progress(&self, slot: usize) -> Progress;

    /// Returns the same as [`progress`](Self::progress), but also detects the end or the failure of
    /// a transfer that the device has not reported. If the transfer has not ended by this, its end
    /// raises an interrupt, because the device has received what [`acknowledge`](Self::acknowledge)
    /// has written before.
    fn examine(&self, slot: usize) -> Progress {
        self.progress(slot)
    }

    /// Waits until the engine executes no transfer, for at most `timeout_ms` milliseconds. It may
    /// not have begun one that was posted.
    ///
    /// # Errors
    ///
    /// [`ETIMEDOUT`] if it still executes one, [`ENODEV`] if the device is gone.
    fn wait_idle(&self, timeout_ms: u32) -> Result;

    /// Ends the transfer that the engine executes, and begins no other, if the engine can be
    /// suspended. Waits for this, but not for a transfer that does not end.
    fn suspend_transfers(&self) {}

    /// Stops all transfers. None of them accesses memory after this.
    ///
    /// # Errors
    ///
    /// [`EOPNOTSUPP`] if the engine cannot be stopped, [`EIO`] if it does not stop.
    fn abort(&self) -> Result;

    /// Prepares an engine for new transfers, after one has failed or has been
    /// [stopped](Self::abort), or after the device has lost its state. Stops all transfers.
    ///
    /// # Errors
    ///
    /// [`EIO`] if the engine does not stop. It must not be used.
    fn restart(&self) -> Result;

    /// Disables the interrupts of the device, which its engines share, before it is unbound or shut
    /// down. An interrupt that is pending is acknowledged. A handler that runs at the same time may
    /// enable them again; [`restart`](Self::restart) does so.
    fn disable_interrupts(&self) {}

    /// Leaks the memory of the engine, because the device may still access it.
    fn leak_memory(&self);
}
