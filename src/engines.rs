// SPDX-License-Identifier: GPL-2.0

//! What an engine is, what it is asked to do, and the engines that there are.
//!
//! To add an engine: a folder beside `edu`, and a variant of [`Model`] and [`Hardware`].

pub(crate) mod edu;
pub(crate) mod plan;
pub(crate) mod request;
pub(crate) mod transfer;

use crate::kernel_ext::mm::coherent::Memory;
use edu::Edu;
use kernel::{
    device::Bound,
    pci,
    prelude::*, //
};
use transfer::Transfer;

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

/// The kinds of devices.
#[derive(Clone, Copy)]
pub(crate) enum Model {
    /// QEMU's `edu`.
    Edu,
}

impl Model {
    /// How it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Edu => "edu",
        }
    }
}

/// What cuts requests for the engine of a device.
pub(crate) type HardwarePlan = edu::plan::Plan;

/// The engine of a device that the driver is bound to.
pub(crate) enum Hardware<'bound> {
    /// QEMU's `edu`.
    Edu(Edu<'bound>),
}

impl<'bound> Hardware<'bound> {
    /// Maps the device and makes sure that it is one, and alive.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if it is not; says why in the log.
    pub(crate) fn new(model: Model, pdev: &'bound pci::Device<Bound>) -> Result<Self> {
        match model {
            Model::Edu => Edu::new(pdev).map(Self::Edu),
        }
    }

    /// Makes a device that is idle and a bus master ready for requests: its memory, if it has any, is
    /// filled from `zeros`, as many bytes. Returns what cuts requests for it. Sleeps.
    ///
    /// # Errors
    ///
    /// [`ETIMEDOUT`] if the transfer does not end, [`ENODEV`] if the device is gone.
    pub(crate) fn prepare(&self, zeros: &Memory<'_>) -> Result<HardwarePlan> {
        match self {
            Self::Edu(edu) => edu.scrub(zeros.address()),
        }
    }
}

impl DmaEngine for Hardware<'_> {
    fn abilities(&self) -> Abilities {
        match self {
            Self::Edu(edu) => edu.abilities(),
        }
    }

    fn responds(&self) -> bool {
        match self {
            Self::Edu(edu) => edu.responds(),
        }
    }

    fn post(&self, slot: usize, transfer: Transfer, interrupt: bool) {
        match self {
            Self::Edu(edu) => edu.post(slot, transfer, interrupt),
        }
    }

    fn kick(&self) {
        match self {
            Self::Edu(edu) => edu.kick(),
        }
    }

    fn acknowledge(&self) -> bool {
        match self {
            Self::Edu(edu) => edu.acknowledge(),
        }
    }

    fn progress(&self, slot: usize) -> Progress {
        match self {
            Self::Edu(edu) => edu.progress(slot),
        }
    }

    fn wait_idle(&self, most_ms: u32) -> Result {
        match self {
            Self::Edu(edu) => edu.wait_idle(most_ms),
        }
    }

    fn abort(&self) -> Result {
        match self {
            Self::Edu(edu) => edu.abort(),
        }
    }

    fn restart(&self) {
        match self {
            Self::Edu(edu) => edu.restart(),
        }
    }
}

#[cfg(CONFIG_FAULT_INJECTION)]
impl Hardware<'_> {
    /// Has the device seem faulty.
    pub(crate) fn inject(&self, command: &str) -> Result {
        match self {
            Self::Edu(edu) => edu.inject(command),
        }
    }
}
