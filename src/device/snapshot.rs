// SPDX-License-Identifier: GPL-2.0

//! What there is to know of a device at one moment.

use super::Device;
use crate::{
    kernel_ext::sync::clock,
    schedule::{
        LaneCursor,
        Stats, //
    }, //
};
use kernel::prelude::*;

/// What the engine is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// It has nothing to do.
    Idle,
    /// It has been at work on a transfer for so many milliseconds.
    Busy(u64),
    /// It has not ended a transfer for so many milliseconds, and takes no other.
    Stuck(u64),
    /// The device is gone.
    Gone,
}

/// What there is to know of a device, at one moment. Numbers only.
pub(crate) struct Snapshot {
    /// What the engine is at.
    pub(crate) activity: Activity,
    /// Open files.
    pub(crate) contexts: usize,
    /// What has happened.
    pub(crate) stats: Stats,
}

impl Device {
    /// What is so now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let now = clock::now();
        let work = self.channel.work.lock();
        let busy_ms = now.saturating_sub(work.since) / clock::NSEC_PER_MSEC;
        Snapshot {
            activity: match work.queue.refuses() {
                Some(ENODEV) => Activity::Gone,
                Some(_) => Activity::Stuck(busy_ms),
                None if work.queue.is_busy() => Activity::Busy(busy_ms),
                None => Activity::Idle,
            },
            contexts: work.queue.lanes(),
            stats: work.queue.stats,
        }
    }

    /// How many requests wait for the engine. Not of one moment: the lanes are counted a few at a
    /// time.
    pub(crate) fn waiting(&self) -> usize {
        let (mut cursor, mut waiting) = (LaneCursor::default(), 0);
        while self
            .channel
            .work
            .lock()
            .queue
            .count_some(&mut cursor, &mut waiting)
        {}
        waiting
    }
}
