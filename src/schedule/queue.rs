// SPDX-License-Identifier: GPL-2.0

//! The queue of one engine: requests, lanes, completions.
//!
//! Each context has a *lane*: its requests, first in, first out. Turns go round the users who have
//! requests, and within a user round the user's lanes (`lanes.rs`). In a turn, a lane's requests
//! are divided into transfers up to a quantum of cost (`turns.rs`). Transfers are in the slots of
//! the engine until they end (`flight.rs`).
//!
//! A [`Job`] is owned by one place at a time: its lane while it waits, [`Flight`] while the engine
//! has transfers of it, then the lane's list of completions, or the thread that waits for it. A
//! completion holds no memory. Jobs without an owner, and memory that a completed request was the
//! last to hold, go to [`Deferred`], and are freed in process context.
//!
//! A function that is called under the queue's lock is one step: it allocates and frees nothing,
//! handles at most [`Lane::STEP`] requests, and returns at most one [`Notice`], which is delivered
//! after the lock is dropped. The interrupt handler runs such steps. These functions take longer,
//! and it does not run them: an [abandoned wait](Queue::abandon_wait) searches its lane, with as
//! many requests as it accepts and threads wait in it; [growing](Queue::grow) moves all lanes;
//! recovery, [cancelling](Queue::begin_cancel) and [removing a lane](Queue::remove_lane) search the
//! slots. A transfer that fails returns the requests of all slots to their lanes, in the work item
//! or in the thread that quiesces the engine. While the queue is stuck, the end of a request
//! searches the slots, too, also in the interrupt handler.
//!
//! The functions of [`Queue`] are in four files: those for lanes here; those for the engine, which
//! begin and end transfers, in `turns.rs`; those that cancel requests in `cancel.rs`; those for
//! failures, suspend and teardown in `recovery.rs`.
//!
//! No hardware and no bindings: also compiled and tested on the host.

use super::{
    completion_ring::LANE_DEPTH,
    flight::Flight,
    job::{
        Change,
        DeferredOf,
        Job,
        LaneOwner,
        QueueTypes,
        Tag,
        WaiterId, //
    },
    lane::{
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

/// If this number of requests or more wait in a lane, none with a waiter is accepted. Those of
/// SUBMIT come in addition.
const MAX_WAITING: usize = 2 * LANE_DEPTH;

/// To be delivered when the queue's lock is dropped.
#[must_use]
pub(crate) enum Notice<T: QueueTypes> {
    /// To the owner of a lane.
    Lane(<T::Owner as LaneOwner<T>>::Notice),
    /// To the waiter of a request that is answered.
    Waiter(T::Waiter),
}

/// The recipient of the [notice](Queue::notice_of) of the end of a transfer.
#[must_use]
pub(crate) enum Recipient<T: QueueTypes> {
    /// There is none: no request has ended, or it had no owner.
    None,
    /// The owner of this lane: a request of it is completed.
    Lane(LaneId),
    /// This waiter, whose request is answered.
    Waiter(T::Waiter),
}

/// The result of a step.
#[must_use]
pub(crate) struct Step<T: QueueTypes> {
    /// Whether another step is needed.
    pub(crate) more: bool,
    /// To be delivered when the lock is dropped.
    pub(crate) notice: Option<Notice<T>>,
}

/// Values that must be dropped in process context.
pub(crate) struct Deferred<T: QueueTypes> {
    /// Jobs without an owner.
    jobs: Fifo<Job<T>>,
    /// Memory of completed requests.
    pub(super) memory: Fifo<DeferredOf<T>>,
}

impl<T: QueueTypes> Deferred<T> {
    const fn new() -> Self {
        Self {
            jobs: Fifo::new(),
            memory: Fifo::new(),
        }
    }

    /// Returns whether there is nothing to drop.
    pub(crate) fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.memory.is_empty()
    }
}

/// The state of a request whose waiter stops waiting for it.
pub(crate) enum AbandonedWait<T: QueueTypes> {
    /// It waits in its lane: it was not started, or is between two pieces.
    Waiting(Entry<Job<T>>),
    /// The engine has it, and keeps it until its transfers have ended.
    InFlight,
    /// The answer is there: the request has ended or failed.
    Ended,
}

/// The queue of one engine.
pub(crate) struct Queue<T: QueueTypes> {
    pub(super) lanes: Lanes<T>,
    pub(super) flight: Flight<T>,
    /// The turn that the next transfer belongs to; [`None`] between two turns.
    pub(super) turn: Option<Turn>,
    /// [`None`] before the queue is [opened](Self::open).
    pub(super) plan: Option<T::Plan>,
    pub(super) deferred: Deferred<T>,
    /// The number in the last [`WaiterId`].
    last_waiter: u64,
    /// No requests are accepted: the device is gone, or was shut down.
    pub(super) closed: bool,
    /// No transfer is started.
    pub(super) paused: bool,
    /// A transfer does not end, or the engine does not stop.
    pub(super) stuck: bool,
    /// Statistics.
    pub(crate) stats: Stats,
}

/// The turn of a lane.
#[derive(Clone, Copy)]
pub(super) struct Turn {
    pub(super) lane: LaneId,
    /// The request that is being divided.
    pub(super) tag: Tag,
    /// The cost that is left.
    pub(super) quantum: u64,
}

impl<T: QueueTypes> Queue<T> {
    /// Creates a closed queue without lanes.
    pub(crate) fn new() -> Self {
        Self {
            lanes: Lanes::new(),
            flight: Flight::none(),
            turn: None,
            plan: None,
            deferred: Deferred::new(),
            last_waiter: 0,
            closed: true,
            paused: false,
            stuck: false,
            stats: Stats::new(),
        }
    }

    /// Accepts requests from now on. `plan` divides them for the slots of `flight`.
    pub(crate) fn open(&mut self, plan: T::Plan, flight: Flight<T>) {
        self.plan = Some(plan);
        self.flight = flight;
        self.closed = false;
    }

    /// Returns what to allocate for [`grow`](Self::grow) before the next user or lane is added;
    /// [`None`] if there is room.
    pub(crate) fn grow_request(&self) -> Option<GrowRequest> {
        self.lanes.grow_request()
    }

    /// Makes room for users and lanes. The caller frees the result in process context.
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

    /// Adds a lane of a user, or returns it if there is no room.
    pub(crate) fn add_lane(
        &mut self,
        user: UserId,
        lane: KBox<Lane<T>>,
    ) -> Result<LaneId, KBox<Lane<T>>> {
        self.lanes.add(user, lane)
    }

    /// Removes a lane with all requests that wait in it, which the caller drops in process context.
    /// Requests that the engine has stay there, and are dropped when they have ended.
    pub(crate) fn remove_lane(&mut self, lane: LaneId) -> Option<KBox<Lane<T>>> {
        while let Some(tag) = self.flight.find(|active| active.lane == Some(lane)) {
            if let Some(job) = self.abandon(tag) {
                self.defer_drop(job);
            }
        }
        self.lanes.remove(lane)
    }

    /// Returns the number of lanes.
    pub(crate) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Returns the owner of a lane.
    pub(crate) fn owner_mut(&mut self, lane: LaneId) -> Option<&mut T::Owner> {
        Some(&mut self.lanes.get_mut(lane)?.owner)
    }

    /// Returns the state of a lane.
    #[inline]
    pub(crate) fn state(&self, lane: LaneId) -> LaneState {
        let mut state = self.lanes.get(lane).map(Lane::state).unwrap_or_default();
        state.closed = self.closed;
        state
    }

    /// Reserves room for at most `max` requests in a lane, and returns for how many.
    pub(crate) fn reserve(&mut self, lane: LaneId, max: usize) -> usize {
        let lane = self.lanes.get_mut(lane);
        lane.map_or(0, |lane| lane.reserve(max))
    }

    /// Releases the room of completions that were delivered.
    pub(crate) fn free_room(&mut self, lane: LaneId, room: usize) -> Option<Notice<T>> {
        let was_full = self.lanes.get_mut(lane)?.free_room(room);
        self.notice_of_room(lane, was_full)
    }

    /// Releases room that was reserved, and not used by [`submit`](Self::submit).
    pub(crate) fn free_reserved(&mut self, lane: LaneId, room: usize) -> Option<Notice<T>> {
        let was_full = self.lanes.get_mut(lane)?.free_reserved(room);
        self.notice_of_room(lane, was_full)
    }

    fn notice_of_room(&self, lane: LaneId, was_full: bool) -> Option<Notice<T>> {
        if was_full || self.closed {
            self.notice(lane, Change::Room)
        } else {
            None
        }
    }

    /// Writes the completions of a lane to a ring in `memory`, which is [new](super::RING_START),
    /// from now on.
    ///
    /// # Errors
    ///
    /// `EEXIST` if the lane has a ring; `EBUSY` if it has requests or completions; `ENODEV` if
    /// there is no such lane. The memory is returned, to be freed in process context.
    pub(crate) fn set_ring(
        &mut self,
        lane: LaneId,
        memory: T::Ring,
    ) -> Result<(), (Error, T::Ring)> {
        match self.lanes.get_mut(lane) {
            Some(lane) => lane.set_ring(memory),
            None => Err((ENODEV, memory)),
        }
    }

    /// Returns the number of completions to [collect](Self::collect); [`None`] if they are written
    /// to a ring.
    pub(crate) fn collectable(&self, lane: LaneId) -> Option<usize> {
        self.lanes.get(lane).map_or(Some(0), Lane::collectable)
    }

    /// Frees the room of the completions that the program has collected from the ring of the lane,
    /// if it has one.
    pub(crate) fn free_collected(&mut self, lane: LaneId) -> Option<Notice<T>> {
        let made_room = self.lanes.get_mut(lane)?.free_collected();
        made_room.then(|| self.notice(lane, Change::Room)).flatten()
    }

    /// Takes jobs that are blank, because their completions were written to the ring of the lane.
    pub(crate) fn take_blank(&mut self, lane: LaneId) -> Fifo<Job<T>> {
        let lane = self.lanes.get_mut(lane);
        lane.map_or(Fifo::new(), Lane::take_blank)
    }

    /// Makes the notice for the end of a transfer.
    pub(crate) fn notice_of(&self, recipient: Recipient<T>) -> Option<Notice<T>> {
        match recipient {
            Recipient::None => None,
            Recipient::Lane(lane) => self.notice(lane, Change::Completed),
            Recipient::Waiter(waiter) => Some(Notice::Waiter(waiter)),
        }
    }

    /// Returns whether one [notice](Self::notice_of) suffices for `recipient` and for that of the
    /// end of the oldest transfer: both are the same lane.
    pub(crate) fn shares_notice_with_next(&self, recipient: &Recipient<T>) -> bool {
        match recipient {
            Recipient::None => !self.flight.is_idle(),
            Recipient::Lane(lane) => self.flight.oldest_is_of(*lane),
            Recipient::Waiter(_) => false,
        }
    }

    /// Makes the notice of a change; [`None`] if the lane was removed, because then no thread
    /// waits.
    pub(super) fn notice(&self, lane: LaneId, change: Change) -> Option<Notice<T>> {
        // No more completions will come: also threads that wait for more than there are must wake.
        let change = if self.closed { Change::Closed } else { change };
        Some(Notice::Lane(self.lanes.get(lane)?.notice(change)))
    }

    /// Puts requests, for which room was reserved, at the end of a lane, and leaves the list empty.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the queue is closed; `EIO` if the engine is stuck. The list is left as it is, to
    /// be dropped in process context.
    pub(crate) fn submit(&mut self, lane: LaneId, jobs: &mut Fifo<Job<T>>) -> Result {
        let count = jobs.len();
        self.push_last(lane, jobs, count)
    }

    /// Puts requests at the end of a lane, which will have completions for this number of them.
    fn push_last(&mut self, lane: LaneId, jobs: &mut Fifo<Job<T>>, completions: usize) -> Result {
        if let Some(error) = self.refuses() {
            return Err(error);
        }
        let served = self.turn.map(|turn| turn.lane);
        let served = served.or_else(|| self.flight.newest_lane());
        self.lanes.push_last(lane, jobs, completions, served);
        Ok(())
    }

    /// Puts a request with a waiter at the end of a lane, and leaves the list empty. Room
    /// that is reserved for it stays so. Returns the id for [`abandon_wait`](Self::abandon_wait).
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit); `ENOMEM` if [`MAX_WAITING`] requests wait in the lane.
    pub(crate) fn submit_waited(
        &mut self,
        lane: LaneId,
        jobs: &mut Fifo<Job<T>>,
    ) -> Result<WaiterId> {
        // Removing a request from its lane searches the lane.
        let waiting = self.lanes.get(lane).map_or(0, Lane::waiting);
        if waiting >= MAX_WAITING {
            return Err(ENOMEM);
        }
        let id = WaiterId(self.last_waiter + 1);
        if let Some(job) = jobs.front_mut() {
            job.waiter_id = id;
        }
        self.push_last(lane, jobs, 0)?;
        self.last_waiter = id.0;
        Ok(id)
    }

    /// Returns the error for new requests, if none are accepted.
    pub(crate) fn refuses(&self) -> Option<Error> {
        if self.closed {
            Some(ENODEV)
        } else {
            self.stuck.then_some(EIO)
        }
    }

    /// Takes completions from a lane: all, or a few if there are more than `max`. The caller
    /// [frees](Self::free_room) their room after delivery.
    pub(crate) fn collect(&mut self, lane: LaneId, max: usize) -> Fifo<Job<T>> {
        let lane = self.lanes.get_mut(lane);
        lane.map_or(Fifo::new(), |lane| lane.collect(max))
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

    /// Detaches a request from its waiter, which stops waiting.
    pub(crate) fn abandon_wait(&mut self, lane: LaneId, id: WaiterId) -> AbandonedWait<T> {
        if let Some(tag) = self.flight.find(|active| active.has_waiter_id(id)) {
            if self.flight.is_abandoned(tag) {
                return AbandonedWait::Ended;
            }
            return match self.abandon(tag) {
                Some(job) => AbandonedWait::Waiting(job),
                None => AbandonedWait::InFlight,
            };
        }
        match self.lanes.take_waiting(lane, id) {
            Some(job) => AbandonedWait::Waiting(job),
            None => AbandonedWait::Ended,
        }
    }

    /// Returns whether [`complete_cancelled`](Self::complete_cancelled) is needed.
    pub(crate) fn has_cancelled(&self) -> bool {
        self.lanes.first_cancelled().is_some()
    }

    /// Completes some of the requests that are cancelled: those linked to one that has failed, and
    /// those that were cancelled after they had begun.
    pub(crate) fn complete_cancelled(&mut self) -> Step<T> {
        let Some(lane) = self.lanes.first_cancelled() else {
            return Step {
                more: false,
                notice: None,
            };
        };
        let completed = self
            .lanes
            .complete_cancelled(lane, &mut self.deferred.memory);
        // CAST: a small number.
        self.stats.counters.completed += completed as u64;
        Step {
            more: completed > 0 && self.has_cancelled(),
            notice: (completed > 0)
                .then(|| self.notice(lane, Change::Completed))
                .flatten(),
        }
    }

    /// Fails some of the requests that wait in the lanes, if no requests are accepted.
    pub(crate) fn fail_batch(&mut self, cursor: &mut LaneCursor) -> Step<T> {
        if let Some(lane) = cursor.unnotified.take() {
            return Step {
                more: true,
                notice: self.notice(lane, Change::Completed),
            };
        }
        let batch = self.refuses().and_then(|error| {
            self.lanes
                .fail_batch(cursor, error, &mut self.deferred.memory)
        });
        let notice = batch.and_then(|batch| {
            // CAST: a small number.
            self.stats.counters.completed += batch.failed as u64;
            if let Some(waiter) = batch.waiter {
                // The next step makes the notice of the completions.
                cursor.unnotified = (batch.failed > 1).then_some(batch.lane);
                return Some(Notice::Waiter(waiter));
            }
            // Threads that wait for more completions than will come must also wake.
            (batch.failed > 0 || self.closed)
                .then(|| self.notice(batch.lane, Change::Completed))
                .flatten()
        });
        Step {
            more: cursor.unnotified.is_some()
                || (self.refuses().is_some() && !self.lanes.is_end(cursor)),
            notice,
        }
    }

    /// Adds the number of requests that wait in some of the lanes to `waiting`, and returns whether
    /// there are more lanes.
    pub(crate) fn count_some(&self, cursor: &mut LaneCursor, waiting: &mut usize) -> bool {
        self.lanes.count_some(cursor, waiting)
    }

    /// Takes what the caller drops in process context.
    pub(crate) fn take_deferred(&mut self) -> Deferred<T> {
        core::mem::replace(&mut self.deferred, Deferred::new())
    }

    /// Returns whether there is anything to [drop](Self::take_deferred) in process context.
    pub(crate) fn has_deferred(&self) -> bool {
        !self.deferred.is_empty()
    }

    /// Defers the drop of a job without an owner to process context.
    pub(super) fn defer_drop(&mut self, job: Entry<Job<T>>) {
        self.deferred.jobs.push_back(job);
    }
}
