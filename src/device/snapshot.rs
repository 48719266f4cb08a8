// SPDX-License-Identifier: GPL-2.0

//! A snapshot of the state of a device, for debugfs.

use super::{
    engine_queue::{
        EngineQueue,
        QueueState, //
    },
    Device, //
};
use crate::{
    kernel_ext::sync::clock,
    schedule::{
        LaneCursor,
        Stats, //
    }, //
};
use kernel::prelude::*;

/// The activity of an engine, in ascending order of importance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Activity {
    /// The engine has no transfer.
    Idle,
    /// The engine has been executing a transfer for this number of milliseconds.
    Busy(u64),
    /// The engine has not ended a transfer for this number of milliseconds, and accepts no other.
    Stuck(u64),
    /// The device is gone.
    Gone,
}

/// A snapshot of the state of a device. The part of each engine is consistent.
pub(crate) struct Snapshot {
    /// The most important activity of an engine, in the order of [`Activity`].
    pub(crate) activity: Activity,
    /// The number of open files.
    pub(crate) contexts: usize,
    /// The counters and latencies.
    pub(crate) stats: Stats,
}

impl EngineQueue {
    fn activity(state: &QueueState, now: u64) -> Activity {
        let busy_ms = state.oldest_age_ms(now).unwrap_or(0).into();
        match state.queue.refuses() {
            Some(ENODEV) => Activity::Gone,
            Some(_) => Activity::Stuck(busy_ms),
            None if state.queue.is_busy() => Activity::Busy(busy_ms),
            None => Activity::Idle,
        }
    }

    fn count_waiting(&self, waiting: &mut usize) {
        let mut cursor = LaneCursor::default();
        while self.state.lock().queue.count_some(&mut cursor, waiting) {}
    }
}

impl Device {
    /// Takes a snapshot.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot {
            activity: Activity::Idle,
            contexts: 0,
            stats: Stats::new(),
        };
        let now = clock::now();
        for engine_queue in self.engine_queues() {
            let state = engine_queue.state.lock();
            snapshot.activity = snapshot.activity.max(EngineQueue::activity(&state, now));
            snapshot.contexts += state.queue.lanes();
            snapshot.stats.add(&state.queue.stats);
        }
        snapshot
    }

    /// Returns the number of requests that wait for an engine. The number is approximate, because
    /// the queue's lock is released while the lanes are counted.
    pub(crate) fn waiting(&self) -> usize {
        let mut waiting = 0;
        for engine_queue in self.engine_queues() {
            engine_queue.count_waiting(&mut waiting);
        }
        waiting
    }
}
