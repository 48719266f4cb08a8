// SPDX-License-Identifier: GPL-2.0

//! The register values that an injected fault simulates; see [`inject`](super::inject).

use crate::{
    engines::engine::Progress,
    kernel_ext::sync::clock, //
};
use kernel::sync::atomic::{
    Acquire,
    Atomic,
    Relaxed,
    Release, //
};

/// The simulated state of the device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shows {
    Itself = 0,
    Hung = 1,
    AllOnes = 2,
}

/// The injected faults of a device.
pub(super) struct Faults {
    /// What the registers show from `since` on: one of [`Shows`].
    shows: Atomic<u32>,
    /// The time at which the fault begins, in nanoseconds.
    since: Atomic<u64>,
    /// The number of interrupts that are still to be lost.
    pub(super) lose: Atomic<u32>,
}

impl Faults {
    /// Creates a value without faults.
    pub(super) const fn new() -> Self {
        Self {
            shows: Atomic::new(Shows::Itself as u32),
            since: Atomic::new(0),
            lose: Atomic::new(0),
        }
    }

    pub(super) fn show(&self, what: Shows, after_ms: u32) {
        let since = clock::now() + u64::from(after_ms) * clock::NSEC_PER_MSEC;
        self.since.store(since, Relaxed);
        // Release: a reader of `shows` also reads this value of `since`.
        self.shows.store(what as u32, Release);
    }

    pub(super) fn shows(&self, what: Shows) -> bool {
        let stored = self.shows.load(Acquire);
        let begun = stored != Shows::Itself as u32 && clock::now() >= self.since.load(Relaxed);
        what as u32 == if begun { stored } else { Shows::Itself as u32 }
    }

    /// Returns the simulated progress of the transfer; [`None`] without a fault.
    pub(super) fn progress(&self) -> Option<Progress> {
        if self.is_gone() {
            Some(Progress::Gone)
        } else {
            self.shows(Shows::Hung).then_some(Progress::Running)
        }
    }

    /// Returns whether the device is simulated to be gone.
    pub(super) fn is_gone(&self) -> bool {
        self.shows(Shows::AllOnes)
    }

    /// Returns whether the interrupt that was raised is to be lost.
    pub(super) fn loses_interrupt(&self) -> bool {
        if !self.shows(Shows::Itself) {
            return true;
        }
        let mut left = self.lose.load(Relaxed);
        while left > 0 {
            match self.lose.cmpxchg(left, left - 1, Relaxed) {
                Ok(_) => return true,
                Err(now) => left = now,
            }
        }
        false
    }
}
