// SPDX-License-Identifier: GPL-2.0

//! What an engine is, and what it guarantees.

use super::transfer::Transfer;
use kernel::prelude::*;

/// What an engine can do.
#[derive(Clone, Copy)]
pub(crate) struct Abilities {
    /// Bytes of memory that the device has.
    pub(crate) memory: u64,
    /// Bytes that it moves in one transfer, at most.
    pub(crate) largest: u64,
    /// Transfers that it can be given at a time, at least 1.
    pub(crate) depth: usize,
    /// After which time a transfer is late, in milliseconds: its interrupt may have been lost.
    pub(crate) late_ms: u32,
    /// After which time a transfer that does not end has failed, in milliseconds.
    pub(crate) overdue_ms: u32,
    /// The hardware's version, as major and minor.
    pub(crate) version: (u8, u8),
}

/// What has become of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The engine is at work on it.
    Running,
    /// It has ended. With an error, the engine does none of those behind it.
    Ended(Result),
    /// The device is gone, and so is what it was doing.
    Gone,
}

/// A DMA engine.
///
/// The engine does transfers in the order in which they are posted, and they end in that order. No
/// transfer reaches memory before [`kick`](Self::kick), or after it has ended. All functions but those
/// that say so can be called in an interrupt handler. [`post`](Self::post), [`kick`](Self::kick),
/// [`progress`](Self::progress) and [`abort`](Self::abort) are called under a lock.
pub(crate) trait DmaEngine {
    /// What it can do.
    fn abilities(&self) -> Abilities;

    /// Whether the device answers as itself: one that does not decode its registers any more reads as
    /// all ones or as zeros.
    fn responds(&self) -> bool;

    /// Puts a transfer into a slot that has none; the slots are used one after the other. At its end,
    /// the device interrupts if `interrupt` is set, and may do so if it is not.
    fn post(&self, slot: usize, transfer: Transfer, interrupt: bool);

    /// Has the engine begin with what was posted.
    fn kick(&self);

    /// Acknowledges what raised the interrupt, and returns whether this device had raised one.
    ///
    /// MSI is a message, not a level: [`progress`](Self::progress) is to be read after this.
    fn acknowledge(&self) -> bool;

    /// What has become of the transfer in a slot, the oldest one.
    fn progress(&self, slot: usize) -> Progress;

    /// Sleeps until the engine has no transfer any more, for at most so many milliseconds.
    ///
    /// # Errors
    ///
    /// [`ETIMEDOUT`] if it still has one, [`ENODEV`] if the device is gone.
    fn wait_idle(&self, most_ms: u32) -> Result;

    /// Takes all transfers from the engine; none of them reaches memory after this.
    ///
    /// # Errors
    ///
    /// [`EOPNOTSUPP`] if the engine cannot do that, [`EIO`] if it does not stop.
    fn abort(&self) -> Result;

    /// Makes an engine that has no transfer, as after one that has failed, ready for others.
    fn restart(&self);
}
