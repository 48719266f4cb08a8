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
    job::{
        Answer,
        Caller,
        Change,
        Job,
        Owner,
        QueueTypes,
        Request,
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
    running::{
        Piece,
        Running,
        Stage, //
    },
    stats::Stats, //
};
use crate::{
    engines::{
        device_memory::Contents,
        transfer::Transfer, //
    },
    kernel_ext::collections::fifo::{
        Entry,
        Fifo, //
    }, //
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
///
/// # Invariants
///
/// While `running` is there and `started`, the engine has that transfer, or has ended it unnoticed.
pub(crate) struct Queue<T: QueueTypes> {
    lanes: Lanes<T>,
    pub(super) running: Option<Running<T>>,
    orphans: Fifo<Job<T>>,
    pub(super) contents: Contents,
    last_sync: u64,
    /// Why nothing new is taken, if so.
    closed: Option<Error>,
    /// Nothing is started.
    pub(super) paused: bool,
    /// Bus address of zeros, as many as there is device memory.
    zeros: u64,
    /// What has happened.
    pub(crate) stats: Stats,
}

impl<T: QueueTypes> Queue<T> {
    /// A queue that is closed, and has no lanes.
    pub(crate) fn new() -> Self {
        Self {
            lanes: Lanes::new(),
            running: None,
            orphans: Fifo::new(),
            contents: Contents::Mixed,
            last_sync: 0,
            closed: Some(ENODEV),
            paused: false,
            zeros: 0,
            stats: Stats::new(),
        }
    }

    /// Takes requests from now on. The device memory is all zeros, and so is that at bus address
    /// `zeros`, as many bytes.
    pub(crate) fn open(&mut self, zeros: u64) {
        self.closed = None;
        self.zeros = zeros;
        self.contents = Contents::Zeros;
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
        let running = self.running.as_mut();
        if let Some(running) = running.filter(|running| running.lane == Some(lane)) {
            running.lane = None;
            self.stats.counters.quarantined += 1;
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
        let running = self.running.as_ref();
        state.running = running
            .is_some_and(|running| running.lane == Some(lane))
            .into();
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

    fn notice(&self, lane: LaneId, change: Change) -> Option<Notice<T>> {
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
        let served = self.running.as_ref().and_then(|running| running.lane);
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
        let stuck = self.running.as_ref().is_some_and(|running| running.overdue);
        self.closed.or(stuck.then_some(EIO))
    }

    /// The transfer to start now, if there is one. From then on the engine has it.
    pub(crate) fn start(&mut self) -> Option<Transfer> {
        if self.paused || self.closed.is_some() {
            return None;
        }
        if self.running.is_none() {
            self.running = self.begin();
        }
        let running = self.running.as_mut().filter(|running| !running.started)?;
        running.started = true;
        Some(running.transfer(self.zeros))
    }

    /// Takes the first request of the lane whose turn it is.
    fn begin(&mut self) -> Option<Running<T>> {
        let (lane, job) = self.lanes.take_next()?;
        // What waits has a request, and that is never empty: one with nothing left to do is not
        // put back.
        let request = job.request()?;
        let (user, piece) = (request.user(), request.piece()?);
        Some(Running {
            job,
            lane: Some(lane),
            piece,
            stage: self.first_stage(user, piece),
            started: false,
            overdue: false,
        })
    }

    /// Whether the engine has a transfer whose end has not been noticed.
    pub(crate) fn is_busy(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.started)
    }

    /// Records that the engine's transfer has ended, at the time `now` in nanoseconds. It has moved
    /// all of its bytes, unless `transferred` is an error.
    pub(crate) fn finish(&mut self, transferred: Result, now: u64) -> Option<Notice<T>> {
        let mut running = self.running.take_if(|running| running.started)?;
        if transferred.is_ok() {
            self.stats.counters.transfers += 1;
            self.stats.counters.bytes += running.transfer(self.zeros).device.length();
        }
        if running.overdue || transferred.is_err() {
            // What it did to the device memory is unknown.
            self.contents = Contents::Mixed;
            return self.end(running, transferred.and(Err(ETIMEDOUT)), now);
        }
        let next = match (running.stage, running.piece) {
            (Stage::Scrub, _) => Stage::First,
            (Stage::First, Piece::Copy { .. }) => Stage::Second,
            _ => return self.piece_done(running, now),
        };
        if running.lane.is_some() && self.closed.is_none() {
            running.stage = next;
            running.started = false;
            self.running = Some(running);
            return None;
        }
        if running.stage == Stage::Scrub {
            self.contents = Contents::Zeros;
        }
        self.end(running, Err(self.closed.unwrap_or(ECANCELED)), now)
    }

    fn piece_done(&mut self, mut running: Running<T>, now: u64) -> Option<Notice<T>> {
        let bytes = running.piece.bytes();
        running.job.bytes += bytes;
        let request = running.job.request.as_mut();
        if request.is_none_or(|request| request.advance(bytes)) || running.lane.is_none() {
            return self.end(running, Ok(()), now);
        }
        if let Some(error) = self.closed {
            return self.end(running, Err(error), now);
        }
        // The next piece has its turn after one of each other lane.
        self.lanes.push_first(running.lane?, running.job);
        None
    }

    /// Completes a request.
    fn end(&mut self, mut running: Running<T>, outcome: Result, now: u64) -> Option<Notice<T>> {
        running.job.end(outcome);
        self.stats.counters.completed += 1;
        self.stats.latency.record(running.job.age(now));
        let Some(lane) = running.lane else {
            self.orphans.push_back(running.job);
            return None;
        };
        match self.lanes.complete(lane, running.job) {
            Ok(Some(caller)) => Some(Notice::Caller(caller)),
            Ok(None) => self.notice(lane, Change::Completed),
            Err(job) => {
                self.orphans.push_back(job);
                None
            }
        }
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
        if let Some(running) = self.running.as_mut().filter(|r| r.job.sync == id) {
            running.lane = None;
            // The thread has a reference of its own: this frees nothing.
            drop(running.job.caller.take());
            self.stats.counters.quarantined += 1;
            return GivenUp::Begun;
        }
        match self.lanes.take_waiting(lane, id) {
            Some(job) => GivenUp::Waiting(job),
            None => GivenUp::Ended,
        }
    }

    /// Begins to cancel the requests of a lane that have this cookie ([`None`]: all).
    pub(crate) fn cancel(&mut self, lane: LaneId, cookie: Option<u64>) -> Option<CancelScan> {
        let running = self.running.as_ref();
        let begun = running.is_some_and(|running| running.matches(lane, cookie));
        Some(self.lanes.get_mut(lane)?.cancel(cookie, begun))
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

    /// Completes the running request with `ETIMEDOUT`, if need be by `completion`; the request itself
    /// stays with the engine. All others are to be [failed](Self::fail_batch) from now on. Returns
    /// [`None`] if that has been done before, or there is nothing to complete it by.
    pub(crate) fn time_out(
        &mut self,
        completion: &mut Option<Entry<Job<T>>>,
    ) -> Option<Option<Notice<T>>> {
        let running = self.running.as_mut();
        let running = running.filter(|running| running.started && !running.overdue)?;
        let collected = running.lane.is_some() && running.job.caller.is_none();
        if collected && completion.is_none() {
            return None;
        }
        running.overdue = true;
        let Some(lane) = running.lane.take() else {
            return Some(None);
        };
        self.stats.counters.quarantined += 1;
        if let Some(caller) = running.job.caller.take() {
            caller.answer(Answer::Failed(ETIMEDOUT));
            return Some(Some(Notice::Caller(caller)));
        }
        if let Some(mut completed) = completion.take() {
            completed.complete_for(&running.job, Err(ETIMEDOUT));
            *completion = self.lanes.complete(lane, completed).err();
        }
        Some(self.notice(lane, Change::Completed))
    }

    /// Accepts nothing new from now on. What waits is to be [failed](Self::fail_batch).
    pub(crate) fn close(&mut self, error: Error) -> Option<Notice<T>> {
        self.closed = Some(error);
        let running = self.running.as_mut()?;
        let caller = running.job.caller.take()?;
        running.lane = None;
        self.stats.counters.quarantined += 1;
        caller.answer(Answer::Failed(error));
        Some(Notice::Caller(caller))
    }

    /// Fails some of the requests that wait in any lane, if none is accepted now.
    pub(crate) fn fail_batch(&mut self, cursor: &mut LaneCursor) -> Step<T> {
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

    /// Takes the request that the engine has, to be given to [`abort`](Self::abort). For teardown,
    /// when nothing is started any more.
    pub(crate) fn take_running(&mut self) -> Option<Running<T>> {
        self.running.take()
    }

    /// Ends a request that was taken from the engine, at the time `now` in nanoseconds.
    pub(crate) fn abort(&mut self, running: Running<T>, now: u64) -> Option<Notice<T>> {
        let error = self.closed.unwrap_or(ECANCELED);
        self.end(running, Err(error), now)
    }
}
