// SPDX-License-Identifier: GPL-2.0

//! Who gets the engine next: requests, fair turns, completion.
//!
//! Each context has a *lane*: its requests, first in, first out. Turns go round the users who have
//! something to do, and within a user round the user's lanes, a piece each. A piece is one transfer,
//! or the two of a copy, between which no other lane comes, led by a scrub of the device memory
//! where it shows another user's bytes.
//!
//! A request is a value that is moved: [`Entry`] of a [`Job`] → waiting in its lane → [`Running`] →
//! to the thread that waits for it, or completed in its lane → collected. Jobs without an owner go to
//! `orphans`, and are freed in process context.
//!
//! What is called under the queue's lock is one step: it allocates and frees nothing, deals with
//! [`Lane::STEP`] requests at most, and returns at most one [`Notice`], to be delivered when the lock
//! is dropped. The interrupt handler's is such a step. (The exception is
//! [`give_up`](Queue::give_up), which looks for a request among those of its lane.)
//!
//! No hardware and no bindings: also compiled and tested on the host.

use super::{
    flight::Flight,
    job::{
        Change,
        Job,
        Owner,
        QueueTypes,
        SyncId, //
    },
    lane::{
        CancelScan,
        Lane,
        LaneId,
        LaneState,
        UserId, //
    },
    lanes::{
        GrowRequest,
        Growth,
        LaneCursor,
        Lanes, //
    },
    stats::Stats, //
};
use crate::kernel_ext::collections::fifo::{
    Entry,
    Fifo, //
};
use kernel::prelude::*;

/// To be delivered when the queue's lock is dropped.
#[must_use]
pub(crate) enum Notice<T: QueueTypes> {
    /// To the owner of a lane.
    Owner(<T::Owner as Owner<T>>::Notice),
    /// To a thread whose request is answered.
    Caller(T::Caller),
}

/// What a step has left to do.
#[must_use]
pub(crate) struct Step<T: QueueTypes> {
    /// There may be more to do.
    pub(crate) more: bool,
    /// To be delivered when the lock is dropped.
    pub(crate) notice: Option<Notice<T>>,
}

/// What a request was doing when the thread that waited for it stopped waiting.
pub(crate) enum GivenUp<T: QueueTypes> {
    /// The engine had not begun with it, or is between two pieces of it.
    Waiting(Entry<Job<T>>),
    /// The engine has it; it stays with the engine until that is over.
    Begun,
    /// It had just ended: the answer is there.
    Ended,
}

/// Who gets the engine next.
pub(crate) struct Queue<T: QueueTypes> {
    pub(super) lanes: Lanes<T>,
    pub(super) flight: Flight<T>,
    pub(super) turn: Option<Turn>,
    pub(super) plan: Option<T::Plan>,
    orphans: Fifo<Job<T>>,
    last_sync: u64,
    /// Why nothing new is taken, if so.
    pub(super) closed: Option<Error>,
    /// Nothing is started.
    pub(super) paused: bool,
    /// A transfer is overdue.
    pub(super) stuck: bool,
    /// What has happened.
    pub(crate) stats: Stats,
}

/// The turn of a lane, whose request is being cut.
#[derive(Clone, Copy)]
pub(super) struct Turn {
    pub(super) lane: LaneId,
    /// The number of its request.
    pub(super) active: usize,
    /// What is left of the quantum.
    pub(super) quantum: u64,
}

impl<T: QueueTypes> Queue<T> {
    /// A queue that is closed, and has no lanes.
    pub(crate) fn new() -> Self {
        Self {
            lanes: Lanes::new(),
            flight: Flight::none(),
            turn: None,
            plan: None,
            orphans: Fifo::new(),
            last_sync: 0,
            closed: Some(ENODEV),
            paused: false,
            stuck: false,
            stats: Stats::new(),
        }
    }

    /// Takes requests from now on, which `plan` cuts for the slots of `flight`.
    pub(crate) fn open(&mut self, plan: T::Plan, flight: Flight<T>) {
        self.plan = Some(plan);
        self.flight = flight;
        self.closed = None;
    }

    /// What must be allocated for [`grow`](Self::grow) before the next user or lane; [`None`] if
    /// nothing.
    pub(crate) fn grow_request(&self) -> Option<GrowRequest> {
        self.lanes.grow_request()
    }

    /// Makes room for more users and lanes. What is returned is to be freed in process context.
    pub(crate) fn grow(&mut self, growth: Growth<T>) -> Growth<T> {
        self.lanes.grow(growth)
    }

    /// Adds a user; [`None`] if there is no room.
    pub(crate) fn add_user(&mut self) -> Option<UserId> {
        self.lanes.add_user()
    }

    /// Removes a user who has no lanes.
    pub(crate) fn remove_user(&mut self, user: UserId) {
        self.lanes.remove_user(user);
    }

    /// Adds a lane of a user, or gives it back if there is no room.
    pub(crate) fn add_lane(
        &mut self,
        user: UserId,
        lane: KBox<Lane<T>>,
    ) -> Result<LaneId, KBox<Lane<T>>> {
        self.lanes.add(user, lane)
    }

    /// Removes a lane. What is returned, with all that waits in it, is to be dropped in process
    /// context; what the engine has becomes an orphan.
    pub(crate) fn remove_lane(&mut self, lane: LaneId) -> Option<KBox<Lane<T>>> {
        while let Some(number) = self.flight.find(|active| active.lane == Some(lane)) {
            self.abandon(number);
        }
        self.lanes.remove(lane)
    }

    /// How many lanes there are.
    pub(crate) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// The owner of a lane that there is.
    pub(crate) fn owner_mut(&mut self, lane: LaneId) -> Option<&mut T::Owner> {
        Some(&mut self.lanes.get_mut(lane)?.owner)
    }

    /// What a lane has.
    pub(crate) fn state(&self, lane: LaneId) -> LaneState {
        let mut state = self.lanes.get(lane).map(Lane::state).unwrap_or_default();
        state.closed = self.closed.is_some();
        state
    }

    /// Sets aside room for at most so many requests in a lane, and returns for how many.
    pub(crate) fn reserve(&mut self, lane: LaneId, most: usize) -> usize {
        self.lanes.get_mut(lane).map_or(0, |at| at.reserve(most))
    }

    /// Gives back room that was set aside and not used, or whose completions are delivered.
    pub(crate) fn release(&mut self, lane: LaneId, room: usize) -> Option<Notice<T>> {
        let was_full = self.lanes.get_mut(lane)?.release(room);
        if was_full || self.closed.is_some() {
            self.notice(lane, Change::Room)
        } else {
            None
        }
    }

    pub(super) fn notice(&self, lane: LaneId, change: Change) -> Option<Notice<T>> {
        // The last completion may be one too few for those who wait: no more will come.
        let change = if self.closed.is_some() {
            Change::Closed
        } else {
            change
        };
        Some(Notice::Owner(self.lanes.get(lane)?.notice(change)))
    }

    /// Puts requests, for which room was set aside, at the end of a lane, and leaves the list
    /// empty.
    ///
    /// # Errors
    ///
    /// `EIO` if the engine is stuck with an earlier request, or the reason for which the queue is
    /// closed. The list is left as it is, to be dropped in process context.
    pub(crate) fn submit(&mut self, lane: LaneId, jobs: &mut Fifo<Job<T>>) -> Result {
        if let Some(error) = self.refuses() {
            return Err(error);
        }
        let served = self.turn.map(|turn| turn.lane);
        let served = served.or_else(|| self.flight.newest_lane());
        self.lanes.push_last(lane, jobs, served);
        Ok(())
    }

    /// Puts a request that a thread waits for at the end of a lane, and leaves the list empty.
    /// Returns the id to [give it up](Self::give_up) with.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit).
    pub(crate) fn submit_sync(&mut self, lane: LaneId, jobs: &mut Fifo<Job<T>>) -> Result<SyncId> {
        let id = SyncId(self.last_sync + 1);
        if let Some(job) = jobs.front_mut() {
            job.sync = id;
        }
        self.submit(lane, jobs)?;
        self.last_sync = id.0;
        Ok(id)
    }

    /// Why nothing new is taken, if so.
    pub(crate) fn refuses(&self) -> Option<Error> {
        self.closed.or(self.stuck.then_some(EIO))
    }

    /// Takes completions out of a lane: all, or a few if there are more than `most`. Their room is
    /// to be [given back](Self::release) when they are delivered.
    pub(crate) fn collect(&mut self, lane: LaneId, most: usize) -> Fifo<Job<T>> {
        let at = self.lanes.get_mut(lane);
        at.map_or(Fifo::new(), |at| at.collect(most))
    }

    /// Puts completions back that could not be delivered, before all others.
    pub(crate) fn put_back(
        &mut self,
        lane: LaneId,
        completions: Fifo<Job<T>>,
    ) -> Option<Notice<T>> {
        self.lanes.get_mut(lane)?.put_back(completions);
        self.notice(lane, Change::PutBack)
    }

    /// Takes a request from the thread that waits for it, which stops waiting.
    pub(crate) fn give_up(&mut self, lane: LaneId, id: SyncId) -> GivenUp<T> {
        if let Some(number) = self.flight.find(|active| active.is(id)) {
            self.abandon(number);
            return GivenUp::Begun;
        }
        match self.lanes.take_waiting(lane, id) {
            Some(job) => GivenUp::Waiting(job),
            None => GivenUp::Ended,
        }
    }

    /// Begins to cancel the requests of a lane that have this cookie ([`None`]: all).
    pub(crate) fn cancel(&mut self, lane: LaneId, cookie: Option<u64>) -> Option<CancelScan> {
        let begun = self.flight.find(|active| active.matches(lane, cookie));
        Some(self.lanes.get_mut(lane)?.cancel(cookie, begun.is_some()))
    }

    /// Continues to cancel.
    pub(crate) fn cancel_step(&mut self, lane: LaneId, scan: &mut CancelScan) -> Step<T> {
        let before = scan.cancelled;
        let more = self.lanes.cancel_step(lane, scan);
        // CAST: small numbers.
        self.stats.counters.cancelled += (scan.cancelled - before) as u64;
        let notice = if scan.cancelled > before {
            self.notice(lane, Change::Completed)
        } else {
            None
        };
        Step { more, notice }
    }

    /// Whether there are requests that are linked to one that has failed, and are to be
    /// [failed](Self::fail_links), too.
    pub(crate) fn has_failing(&self) -> bool {
        self.lanes.failing().is_some()
    }

    /// Fails some of the requests that are linked to one that has failed.
    pub(crate) fn fail_links(&mut self) -> Step<T> {
        let Some(lane) = self.lanes.failing() else {
            return Step {
                more: false,
                notice: None,
            };
        };
        self.lanes.fail_links(lane);
        Step {
            more: self.has_failing(),
            notice: self.notice(lane, Change::Completed),
        }
    }

    /// Fails some of the requests that wait in any lane, if none is accepted now.
    pub(crate) fn fail_batch(&mut self, cursor: &mut LaneCursor) -> Step<T> {
        if let Some(caller) = self.fail_caller() {
            return Step {
                more: true,
                notice: Some(Notice::Caller(caller)),
            };
        }
        let failed = self
            .refuses()
            .and_then(|error| self.lanes.fail_batch(cursor, error));
        let notice = match failed {
            Some((_, _, Some(caller))) => Some(Notice::Caller(caller)),
            Some((lane, completed, None)) if completed || self.closed.is_some() => {
                self.notice(lane, Change::Completed)
            }
            _ => None,
        };
        Step {
            more: self.refuses().is_some() && !self.lanes.is_end(cursor),
            notice,
        }
    }

    /// Adds what waits in some of the lanes to `waiting`, and returns whether there may be more.
    pub(crate) fn count_some(&self, cursor: &mut LaneCursor, waiting: &mut usize) -> bool {
        self.lanes.count_some(cursor, waiting)
    }

    /// Takes the requests without an owner that have ended, to be dropped in process context.
    pub(crate) fn take_orphans(&mut self) -> Fifo<Job<T>> {
        core::mem::replace(&mut self.orphans, Fifo::new())
    }

    /// Whether there are [orphans](Self::take_orphans).
    pub(crate) fn has_orphans(&self) -> bool {
        !self.orphans.is_empty()
    }

    /// Puts a request without an owner where it waits to be dropped in process context.
    pub(super) fn add_orphan(&mut self, job: Entry<Job<T>>) {
        self.orphans.push_back(job);
    }
}
