// SPDX-License-Identifier: GPL-2.0

//! CANCEL: a scan of the requests of a lane, in steps between which the queue's lock is dropped.
//!
//! The engine continues between two steps: it can take requests that are not scanned yet, and
//! return requests to the lane. At the end, the request whose transfers are partly issued is
//! cancelled, if the engine can be aborted, and requests that were returned are scanned, too.
//!
//! No hardware and no bindings: also compiled and tested on the host.

use super::{
    flight::Active,
    job::{
        Change,
        DeferredOf,
        QueueTypes, //
    },
    lane::{
        Lane,
        LaneId, //
    },
    queue::{
        Notice,
        Queue,
        Step, //
    },
    scan::{
        Cancellation,
        LaneScan, //
    }, //
};
use crate::kernel_ext::collections::fifo::Fifo;
use kernel::prelude::*;

impl<T: QueueTypes> Lane<T> {
    /// Begins a scan of the requests that wait now. `is_in_flight`: the engine has one of those to
    /// cancel. `cancels_in_flight`: those of which bytes are complete can be cancelled.
    fn begin_cancel(
        &mut self,
        cookie: Option<u64>,
        is_in_flight: bool,
        cancels_in_flight: bool,
    ) -> Cancellation {
        self.unscan();
        self.scan = Some(LaneScan {
            cookie,
            left: self.unscanned.len(),
            returned: 0,
            was_in_flight: is_in_flight,
            cancels_links: false,
        });
        Cancellation {
            cookie,
            cancels_in_flight,
            cancelled: 0,
            unnotified: false,
            was_in_flight: false,
        }
    }

    /// Moves the requests of `scanned` to `unscanned`.
    fn unscan(&mut self) {
        let mut waiting = core::mem::replace(&mut self.unscanned, Fifo::new());
        self.scanned.append(&mut waiting);
        core::mem::swap(&mut self.scanned, &mut self.unscanned);
    }

    /// Continues a scan, for up to [`STEP`](Self::STEP) requests, and stops after one with a
    /// waiter, which is returned to be woken. Returns whether there may be more. A lane has one
    /// scan at a time.
    pub(super) fn cancel_step(
        &mut self,
        scan: &mut Cancellation,
        deferred: &mut Fifo<DeferredOf<T>>,
    ) -> (bool, Option<T::Waiter>) {
        let lane_scan = self.scan.as_ref();
        let mut cancels_links = lane_scan.is_some_and(|scan| scan.cancels_links);
        for _ in 0..Self::STEP {
            let left = self.scan.as_ref().is_some_and(|scan| scan.left > 0);
            let job = left.then(|| self.pop_unscanned()).flatten();
            let Some(mut job) = job else {
                return (false, None);
            };
            let wanted = job.matches(scan.cookie);
            let keeps = scan.cannot_cancel(&job);
            scan.was_in_flight |= wanted && keeps;
            let cancels = wanted && !keeps;
            cancels_links = cancels || (cancels_links && job.linked);
            if !job.is_cancelled() && !cancels {
                self.scanned.push_back(job);
                continue;
            }
            // One that was cancelled before has been counted.
            let counts = cancels_links && !job.was_counted();
            // The engine may take the next request before the scan continues.
            if let Some(next) = self.unscanned.front_mut() {
                next.fail_link();
            }
            job.end(Err(ECANCELED));
            let waiter = self.complete(job, deferred);
            scan.cancelled += usize::from(counts);
            if waiter.is_some() {
                self.pause_scan(cancels_links);
                return (true, waiter);
            }
            scan.unnotified = true;
        }
        self.pause_scan(cancels_links);
        (true, None)
    }

    /// Records the state of a scan between two steps.
    fn pause_scan(&mut self, cancels_links: bool) {
        if let Some(scan) = &mut self.scan {
            scan.cancels_links = cancels_links;
        }
    }

    /// Ends a scan of which no requests are left, unless the engine has returned requests: these
    /// are to be scanned, too. Returns whether there are any.
    pub(super) fn end_scan(&mut self, scan: &mut Cancellation) -> bool {
        let Some(mut lane_scan) = self.scan.take() else {
            return false;
        };
        if lane_scan.returned == 0 {
            scan.was_in_flight |= lane_scan.was_in_flight;
            return false;
        }
        self.unscan();
        lane_scan.left = core::mem::take(&mut lane_scan.returned);
        lane_scan.cancels_links = false;
        self.scan = Some(lane_scan);
        true
    }
}

impl<T: QueueTypes> Queue<T> {
    /// Begins to cancel the requests of a lane with this cookie ([`None`]: all requests).
    /// `cancels_in_flight`: also one that the engine has begun, if transfers of it are still to be
    /// issued. It is completed when those that the engine has have ended.
    pub(crate) fn begin_cancel(
        &mut self,
        lane: LaneId,
        cookie: Option<u64>,
        cancels_in_flight: bool,
    ) -> Option<Cancellation> {
        let cancelled = cancels_in_flight && self.cancel_in_flight(lane, cookie);
        self.stats.counters.cancelled += u64::from(cancelled);
        let is_in_flight = self.flight.find(|active| active.matches(lane, cookie));
        let is_in_flight = !cancelled && is_in_flight.is_some();
        let lane = self.lanes.get_mut(lane)?;
        let mut scan = lane.begin_cancel(cookie, is_in_flight, cancels_in_flight);
        scan.cancelled += usize::from(cancelled);
        Some(scan)
    }

    /// Cancels the request of a lane of which transfers are still to be issued, if it has this
    /// cookie, and is not that of a command that has begun. There is at most one, because the
    /// requests of a lane are executed in order. Returns whether the engine has transfers of it: it
    /// is completed when these have ended. Otherwise it waits in its lane again, where the scan
    /// cancels it.
    fn cancel_in_flight(&mut self, lane: LaneId, cookie: Option<u64>) -> bool {
        let wanted = |active: &Active<T>| {
            active.matches(lane, cookie)
                && active.is_partly_issued()
                && (!active.waited_for() || active.is_untouched())
        };
        let Some(tag) = self.flight.find(wanted) else {
            return false;
        };
        self.stop_turn(tag);
        self.lanes.stop_continuing(lane, tag);
        match self.flight.get_mut(tag) {
            Some(active) if active.slots > 0 => {
                active.cancelled = true;
                true
            }
            _ => {
                self.return_to_lane(tag);
                false
            }
        }
    }

    /// Continues to cancel.
    pub(crate) fn cancel_step(&mut self, lane: LaneId, scan: &mut Cancellation) -> Step<T> {
        let cancelled = scan.cancelled;
        let (more, completed, waiter) =
            self.lanes
                .cancel_step(lane, scan, &mut self.deferred.memory);
        // CAST: a small number.
        self.stats.counters.completed += completed as u64;
        let more = more || self.end_scan(lane, scan);
        // CAST: a small number.
        self.stats.counters.cancelled += (scan.cancelled - cancelled) as u64;
        let notice = match waiter {
            // A later step makes the notice of the completions.
            Some(waiter) => Some(Notice::Waiter(waiter)),
            None if core::mem::take(&mut scan.unnotified) => self.notice(lane, Change::Completed),
            None => None,
        };
        Step { more, notice }
    }

    /// Ends a scan, unless requests were returned during it. Cancels one that the engine has begun.
    fn end_scan(&mut self, lane: LaneId, scan: &mut Cancellation) -> bool {
        if scan.cancels_in_flight
            && self.lanes.has_in_flight(lane)
            && self.cancel_in_flight(lane, scan.cookie)
        {
            scan.cancelled += 1;
        }
        self.lanes.end_scan(lane, scan)
    }
}
