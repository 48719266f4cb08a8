// SPDX-License-Identifier: GPL-2.0

//! The interface of a DMA engine, and its guarantees.

use super::transfer::Transfer;
use kernel::prelude::*;

/// The properties of an engine.
#[derive(Clone, Copy)]
pub(crate) struct Abilities {
    /// Size of the device memory in bytes; 0 if the device has none.
    pub(crate) memory: u64,
    /// Size of the largest transfer in bytes.
    pub(crate) largest: u64,
    /// Number of slots, at least 1.
    pub(crate) depth: usize,
    /// Time in milliseconds after which the watchdog checks a transfer, because its interrupt may have
    /// been lost.
    pub(crate) late_ms: u32,
    /// Time in milliseconds after which a transfer that does not end has failed.
    pub(crate) overdue_ms: u32,
    /// The hardware's version, as major and minor.
    pub(crate) version: (u8, u8),
}

/// The progress of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It has not ended.
    Running,
    /// It has ended. After an error, the engine does none of the later transfers.
    Ended(Result),
    /// The device is gone.
    Gone,
}

/// A DMA engine.
///
/// Transfers are done, and end, in the order in which they are posted. A transfer accesses memory only
/// between [`kick`](Self::kick) and its end; an engine may also begin when it is posted. All functions
/// that do not sleep can be called in an interrupt handler. [`post`](Self::post), [`kick`](Self::kick),
/// [`progress`](Self::progress) and [`abort`](Self::abort) are called under a lock.
pub(crate) trait DmaEngine {
    /// Its properties.
    fn abilities(&self) -> Abilities;

    /// Whether the device responds with its identification. A device that no longer decodes its
    /// registers reads as all ones or as zeros.
    fn responds(&self) -> bool;

    /// Puts a transfer into a free slot. Slots are used in turn. At its end the device raises an
    /// interrupt if `interrupt` is set; it may raise one otherwise.
    fn post(&self, slot: usize, transfer: Transfer, interrupt: bool);

    /// Starts the transfers that were posted.
    fn kick(&self);

    /// Acknowledges the interrupt, and returns whether this device had raised it.
    ///
    /// An MSI is a message and not a level: call [`progress`](Self::progress) after this, not before.
    fn acknowledge(&self) -> bool;

    /// The progress of the oldest transfer, which is in this slot.
    fn progress(&self, slot: usize) -> Progress;

    /// Sleeps until the engine has no transfer, for at most `most_ms` milliseconds.
    ///
    /// # Errors
    ///
    /// [`ETIMEDOUT`] if it still has a transfer, [`ENODEV`] if the device is gone.
    fn wait_idle(&self, most_ms: u32) -> Result;

    /// Stops all transfers. None of them accesses memory after this.
    ///
    /// # Errors
    ///
    /// [`EOPNOTSUPP`] if the engine cannot be stopped, [`EIO`] if it does not stop.
    fn abort(&self) -> Result;

    /// Prepares an engine for new transfers after one has failed or all were stopped.
    fn restart(&self);
}
