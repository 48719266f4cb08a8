// SPDX-License-Identifier: GPL-2.0

//! A snapshot of the state of a device, for debugfs.

use super::Device;
use crate::{
    kernel_ext::sync::clock,
    schedule::{
        LaneCursor,
        Stats, //
    }, //
};
use kernel::prelude::*;

/// The activity of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// A consistent snapshot of the state of a device.
pub(crate) struct Snapshot {
    /// The activity of the engine.
    pub(crate) activity: Activity,
    /// The number of open files.
    pub(crate) contexts: usize,
    /// The counters and latencies.
    pub(crate) stats: Stats,
}

impl Device {
    /// Takes a snapshot.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let now = clock::now();
        let state = self.channel.state.lock();
        let busy_ms = now.saturating_sub(state.since) / clock::NSEC_PER_MSEC;
        Snapshot {
            activity: match state.queue.refuses() {
                Some(ENODEV) => Activity::Gone,
                Some(_) => Activity::Stuck(busy_ms),
                None if state.queue.is_busy() => Activity::Busy(busy_ms),
                None => Activity::Idle,
            },
            contexts: state.queue.lanes(),
            stats: state.queue.stats,
        }
    }

    /// Returns the number of requests that wait for the engine. The number is approximate, because
    /// the queue's lock is released while the lanes are counted.
    pub(crate) fn waiting(&self) -> usize {
        let (mut cursor, mut waiting) = (LaneCursor::default(), 0);
        while self
            .channel
            .state
            .lock()
            .queue
            .count_some(&mut cursor, &mut waiting)
        {}
        waiting
    }
}
