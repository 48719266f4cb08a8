// SPDX-License-Identifier: GPL-2.0

//! CANCEL: a scan of the requests of a lane, in steps between which the queue's lock is dropped.
//!
//! The engine goes on between two steps: it can take requests that are not scanned yet, and return
//! requests to the lane. At the end of the scan, one of which transfers are still to be issued is
//! cancelled if the engine allows it, and those that were returned are scanned, too.
//!
//! No hardware and no bindings: also compiled and tested on the host.

use super::{
    flight::Active,
    job::{
        Change,
        DeferredOf,
        Job,
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
    }, //
};
use crate::kernel_ext::collections::fifo::Fifo;
use kernel::prelude::*;

/// What a scan cancels, and its result.
pub(crate) struct CancelScan {
    /// The cookie of the requests; [`None`]: all requests.
    pub(super) cookie: Option<u64>,
    /// Requests that have begun can be cancelled.
    pub(super) cancels_begun: bool,
    /// The number of cancelled requests.
    pub(crate) cancelled: usize,
    /// The lane has completions without a notice.
    pub(super) unnotified: bool,
    /// One of the requests was started, and cannot be cancelled.
    pub(crate) begun: bool,
}

impl CancelScan {
    /// Whether a request that waits is cancelled. One that was cancelled before is not, and neither is
    /// a command that has begun.
    fn cancels<T: QueueTypes>(&self, job: &Job<T>) -> bool {
        let may_cancel = !job.is_begun() || (self.cancels_begun && job.waiter.is_none());
        may_cancel && !job.cancelled && job.matches(self.cookie)
    }
}

/// The state of a scan in its lane.
pub(super) struct Scan {
    cookie: Option<u64>,
    /// Requests that are not scanned yet.
    left: usize,
    /// Requests that the engine has returned during the scan. They are the first ones of `scanned`.
    returned: usize,
    /// The requests that are scanned are those that were returned.
    again: bool,
    /// A request that was to be cancelled was started.
    begun: bool,
    /// The request before the next one was cancelled, and with it those that are linked to it.
    cancels_links: bool,
}

impl Scan {
    /// Records that the first request of `waiting` is taken, which is not scanned.
    pub(super) fn skip(&mut self) {
        self.left = self.left.saturating_sub(1);
    }

    /// Records that the request at this position of `waiting`, from 1 on, is taken.
    pub(super) fn skip_at(&mut self, position: usize) {
        self.left -= usize::from(position <= self.left);
    }

    /// Records that the links of the request before the next one are not cancelled with it.
    pub(super) fn keep_links(&mut self) {
        self.cancels_links = false;
    }

    /// Records that the engine returns a request to the lane.
    pub(super) fn add_returned(&mut self) {
        self.returned += 1;
    }

    /// Records that the first request of `scanned` is taken.
    pub(super) fn remove_returned(&mut self) {
        self.returned = self.returned.saturating_sub(1);
    }

    /// Records that the engine takes a request.
    pub(super) fn begin<T: QueueTypes>(&mut self, job: &Job<T>) {
        self.begun |= job.matches(self.cookie);
    }
}

impl<T: QueueTypes> Lane<T> {
    /// Begins a scan of the requests that wait now. `begun`: the engine has one of those to cancel.
    /// `cancels_begun`: those of which bytes are complete can be cancelled.
    fn cancel(&mut self, cookie: Option<u64>, begun: bool, cancels_begun: bool) -> CancelScan {
        self.unscan();
        self.scan = Some(Scan {
            cookie,
            left: self.waiting.len(),
            returned: 0,
            again: false,
            begun,
            cancels_links: false,
        });
        CancelScan {
            cookie,
            cancels_begun,
            cancelled: 0,
            unnotified: false,
            begun: false,
        }
    }

    /// Moves the requests of `scanned` to `waiting`.
    fn unscan(&mut self) {
        let mut waiting = core::mem::replace(&mut self.waiting, Fifo::new());
        self.scanned.append(&mut waiting);
        core::mem::swap(&mut self.scanned, &mut self.waiting);
    }

    /// Continues a scan, for up to [`STEP`](Self::STEP) requests, and stops after one with a waiter,
    /// which is returned to be woken. Returns whether there may be more. A lane has one scan at a
    /// time.
    pub(super) fn cancel_step(
        &mut self,
        scan: &mut CancelScan,
        deferred: &mut Fifo<DeferredOf<T>>,
    ) -> (bool, Option<T::Waiter>) {
        let own = self.scan.as_ref();
        let mut cancels_links = own.is_some_and(|own| own.cancels_links);
        let again = own.is_some_and(|own| own.again);
        let mut waiter = None;
        let mut left = Self::STEP;
        while left > 0 && waiter.is_none() {
            let more = self.scan.as_ref().is_some_and(|scan| scan.left > 0);
            let job = more.then(|| self.pop_unscanned()).flatten();
            let Some(mut job) = job else {
                return (false, None);
            };
            left -= 1;
            let cancels = scan.cancels(&job);
            scan.begun |= !cancels && job.matches(scan.cookie);
            cancels_links = cancels || (cancels_links && job.linked);
            if !job.link_failed && !cancels {
                self.scanned.push_back(job);
                continue;
            }
            // The engine may take the next request before the scan continues.
            if let Some(next) = self.waiting.front_mut() {
                next.link_failed |= next.linked;
            }
            job.end(Err(ECANCELED));
            waiter = self.complete(job, deferred);
            scan.cancelled += usize::from(cancels_links);
            scan.unnotified |= waiter.is_none();
            if let Some(own) = self.scan.as_mut().filter(|_| again && cancels) {
                // It was started, and is cancelled.
                own.begun = false;
            }
        }
        if let Some(own) = &mut self.scan {
            own.cancels_links = cancels_links;
        }
        (true, waiter)
    }

    /// Ends a scan of which no requests are left, unless the engine has returned requests: these are
    /// to be scanned, too. Returns whether there are any.
    fn end_scan(&mut self, scan: &mut CancelScan) -> bool {
        let Some(mut own) = self.scan.take() else {
            return false;
        };
        if own.returned == 0 {
            scan.begun |= own.begun;
            return false;
        }
        self.unscan();
        own.left = core::mem::take(&mut own.returned);
        own.again = true;
        own.cancels_links = false;
        self.scan = Some(own);
        true
    }
}

impl<T: QueueTypes> Queue<T> {
    /// Begins to cancel the requests of a lane with this cookie ([`None`]: all requests).
    /// `cancels_begun`: also one that the engine has begun, if transfers of it are still to be
    /// issued. It is completed when those that the engine has have ended.
    pub(crate) fn cancel(
        &mut self,
        lane: LaneId,
        cookie: Option<u64>,
        cancels_begun: bool,
    ) -> Option<CancelScan> {
        let cancelled = cancels_begun && self.cancel_begun(lane, cookie);
        self.stats.counters.cancelled += u64::from(cancelled);
        let begun = self.flight.find(|active| active.matches(lane, cookie));
        let begun = !cancelled && begun.is_some();
        let at = self.lanes.get_mut(lane)?;
        let mut scan = at.cancel(cookie, begun, cancels_begun);
        scan.cancelled += usize::from(cancelled);
        Some(scan)
    }

    /// Cancels the request of a lane of which transfers are still to be issued, if it has this cookie
    /// and it has no waiter. There is at most one, because the requests of a lane are executed
    /// in order. Returns whether the engine has transfers of it, after which it is completed.
    /// Otherwise it waits in its lane again, where the scan cancels it.
    fn cancel_begun(&mut self, lane: LaneId, cookie: Option<u64>) -> bool {
        let wanted = |active: &Active<T>| {
            active.matches(lane, cookie) && active.is_partly_issued() && !active.waited_for()
        };
        let Some(number) = self.flight.find(wanted) else {
            return false;
        };
        self.stop_turn(number);
        self.lanes.stop_continuing(lane, number);
        match self.flight.get_mut(number) {
            Some(active) if active.slots > 0 => {
                active.cancelled = true;
                true
            }
            _ => {
                self.return_to_lane(number);
                false
            }
        }
    }

    /// Continues to cancel.
    pub(crate) fn cancel_step(&mut self, lane: LaneId, scan: &mut CancelScan) -> Step<T> {
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
    fn end_scan(&mut self, lane: LaneId, scan: &mut CancelScan) -> bool {
        let own = self.lanes.get(lane).and_then(|at| at.scan.as_ref());
        let begun = own.is_some_and(|own| own.begun);
        if begun && scan.cancels_begun && self.cancel_begun(lane, scan.cookie) {
            scan.cancelled += 1;
            let own = self.lanes.get_mut(lane).and_then(|at| at.scan.as_mut());
            if let Some(own) = own {
                own.begun = false;
            }
        }
        let again = self.lanes.get_mut(lane).is_some_and(|at| at.end_scan(scan));
        self.lanes.requeue(lane, None);
        again
    }
}
