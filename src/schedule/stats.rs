// SPDX-License-Identifier: GPL-2.0

//! What has happened on a device since it was bound: counters, and how long requests take.
//!
//! All but the page faults is changed under the queue's lock, and so is plain numbers: counting is
//! an addition, and a copy of it all is true of one moment.
//!
//! No hardware and no bindings: also compiled and tested on the host.

use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// What has happened, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Transfers that the engine has ended.
    pub(crate) transfers: u64,
    /// Bytes that they moved.
    pub(crate) bytes: u64,
    /// Interrupts that the device had raised.
    pub(crate) interrupts: u64,
    /// Of these, the ones at which no transfer had ended.
    pub(crate) spurious_interrupts: u64,
    /// Transfers whose end only the watchdog noticed.
    pub(crate) watchdog_recoveries: u64,
    /// Requests that stayed with the engine after whoever waited for them had left.
    pub(crate) quarantined: u64,
    /// Requests that were taken back before they were begun with.
    pub(crate) cancelled: u64,
    /// Requests that were done, whatever came of them.
    pub(crate) completed: u64,
}

impl Counters {
    /// All of them, with their names.
    pub(crate) fn named(&self) -> [(&'static str, u64); 8] {
        [
            ("transfers", self.transfers),
            ("bytes", self.bytes),
            ("interrupts", self.interrupts),
            ("spurious_interrupts", self.spurious_interrupts),
            ("watchdog_recoveries", self.watchdog_recoveries),
            ("quarantined", self.quarantined),
            ("cancelled", self.cancelled),
            ("completed", self.completed),
        ]
    }
}

/// How often something took how long, in classes that double: bucket `n` counts what took at least
/// `2^n` nanoseconds and less than twice that. The first one also counts what took none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Histogram {
    buckets: [u64; Self::BUCKETS],
}

impl Histogram {
    // CAST: 64.
    const BUCKETS: usize = u64::BITS as usize;

    /// One in which nothing is counted yet.
    pub(crate) const fn new() -> Self {
        Self {
            buckets: [0; Self::BUCKETS],
        }
    }

    /// Counts something that took so many nanoseconds.
    pub(crate) fn record(&mut self, nanoseconds: u64) {
        // CAST: less than 64.
        let bucket = nanoseconds.max(1).ilog2() as usize;
        self.buckets[bucket] += 1;
    }

    /// The buckets in which something is: from how many nanoseconds on, and how often.
    pub(crate) fn non_empty(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let buckets = self.buckets.iter().enumerate();
        buckets
            .filter(|(_, count)| **count > 0)
            .map(|(bucket, count)| {
                let from = if bucket == 0 { 0 } else { 1 << bucket };
                (from, *count)
            })
    }
}

/// What happens under the queue's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stats {
    /// In numbers.
    pub(crate) counters: Counters,
    /// From when a request is submitted until it is done.
    pub(crate) latency: Histogram,
}

impl Stats {
    /// Nothing has happened yet.
    pub(crate) fn new() -> Self {
        Self {
            counters: Counters::default(),
            latency: Histogram::new(),
        }
    }
}

/// Counts page faults, which take no lock of ours.
pub(crate) struct PageFaults(Atomic<u64>);

impl PageFaults {
    /// None yet.
    pub(crate) const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// Counts one.
    pub(crate) fn count(&self) {
        self.0.add(1, Relaxed);
    }

    /// How many there were.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
