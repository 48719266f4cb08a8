// SPDX-License-Identifier: GPL-2.0

//! Counters and a histogram of latencies since the device was bound.
//!
//! Protected by the queue's lock, so that a copy is a consistent snapshot.
//!
//! No hardware and no bindings: also compiled and tested on the host.

/// Numbers of events since the device was bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Transfers that have succeeded.
    pub(crate) transfers: u64,
    /// Bytes that they moved.
    pub(crate) bytes: u64,
    /// Interrupts that the device has raised.
    pub(crate) interrupts: u64,
    /// Interrupts at which no transfer had ended.
    pub(crate) spurious_interrupts: u64,
    /// Times that the watchdog has found a transfer that had ended without an interrupt, or has
    /// stopped one.
    pub(crate) watchdog_recoveries: u64,
    /// Requests that the engine kept after they were abandoned or timed out.
    pub(crate) quarantined: u64,
    /// Requests that were cancelled.
    pub(crate) cancelled: u64,
    /// Requests that have ended, with any result.
    pub(crate) completed: u64,
}

impl Counters {
    /// Adds those of another engine.
    fn add(&mut self, other: &Self) {
        self.transfers += other.transfers;
        self.bytes += other.bytes;
        self.interrupts += other.interrupts;
        self.spurious_interrupts += other.spurious_interrupts;
        self.watchdog_recoveries += other.watchdog_recoveries;
        self.quarantined += other.quarantined;
        self.cancelled += other.cancelled;
        self.completed += other.completed;
    }

    /// Returns all counters with their names.
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

/// A histogram of durations. Bucket `n` counts durations from `2^n` to less than `2^(n+1)`
/// nanoseconds; bucket 0 also counts 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Histogram {
    buckets: [u64; Self::BUCKETS],
}

impl Histogram {
    // CAST: 64.
    const BUCKETS: usize = u64::BITS as usize;

    /// Creates an empty histogram.
    pub(crate) const fn new() -> Self {
        Self {
            buckets: [0; Self::BUCKETS],
        }
    }

    /// Adds a duration in nanoseconds.
    pub(crate) fn record(&mut self, nanoseconds: u64) {
        // CAST: less than 64.
        let bucket = nanoseconds.max(1).ilog2() as usize;
        self.buckets[bucket] += 1;
    }

    /// Adds that of another engine.
    fn add(&mut self, other: &Self) {
        for (bucket, count) in self.buckets.iter_mut().zip(&other.buckets) {
            *bucket += count;
        }
    }

    /// Returns the lower bound in nanoseconds and the count of each bucket that is not empty.
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

/// Statistics that the queue's lock protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stats {
    /// Numbers of events since the device was bound.
    pub(crate) counters: Counters,
    /// Time from submission to the end of a request.
    pub(crate) latency: Histogram,
}

impl Stats {
    /// Creates statistics that are all 0.
    pub(crate) fn new() -> Self {
        Self {
            counters: Counters::default(),
            latency: Histogram::new(),
        }
    }

    /// Adds those of another engine.
    pub(crate) fn add(&mut self, other: &Self) {
        self.counters.add(&other.counters);
        self.latency.add(&other.latency);
    }
}
