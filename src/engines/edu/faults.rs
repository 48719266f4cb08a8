// SPDX-License-Identifier: GPL-2.0

//! What a device that seems faulty shows of itself; see [`inject`](super::inject).

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

/// What the device shows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shows {
    Itself = 0,
    Hung = 1,
    AllOnes = 2,
}

/// The faults that a device has now.
pub(super) struct Faults {
    shows: Atomic<u32>,
    /// When it begins to show that, in nanoseconds.
    since: Atomic<u64>,
    /// Interrupts that are still to get lost.
    pub(super) lose: Atomic<u32>,
}

impl Faults {
    /// None.
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
        // Whoever sees what it shows sees since when, too.
        self.shows.store(what as u32, Release);
    }

    pub(super) fn shows(&self, what: Shows) -> bool {
        let stored = self.shows.load(Acquire);
        let begun = stored != Shows::Itself as u32 && clock::now() >= self.since.load(Relaxed);
        what as u32 == if begun { stored } else { Shows::Itself as u32 }
    }

    /// What seems to have become of the transfer; [`None`]: what has.
    pub(super) fn progress(&self) -> Option<Progress> {
        if self.is_gone() {
            Some(Progress::Gone)
        } else {
            self.shows(Shows::Hung).then_some(Progress::Running)
        }
    }

    /// Whether the device does not seem to be there.
    pub(super) fn is_gone(&self) -> bool {
        self.shows(Shows::AllOnes)
    }

    /// Whether the interrupt that has come is one that the driver does not get.
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
