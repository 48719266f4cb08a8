// SPDX-License-Identifier: GPL-2.0

//! Who gets the engine next: requests, fair turns, completion.
//!
//! Each context has a *lane*: its requests, first in, first out. The turns go round the lanes that
//! have something to do, a piece each. A piece is one transfer, or the two of a copy, between which
//! no other lane comes, led by a scrub of the device memory where it shows another user's bytes.
//!
//! A request is a value that is moved: [`Entry`] of a [`Job`] → waiting in its lane → [`Running`] →
//! to whoever waits for it, or completed in its lane → collected. What nobody waits for any more
//! goes to the orphans, which are dropped where one may sleep: nothing is allocated or freed in
//! here, and everything that an interrupt handler calls is O(1).
//!
//! No hardware and no bindings: also compiled and tested on the host.

mod job;
mod lane;
mod lanes;
mod power;
mod running;

pub(crate) use job::{
    Job,
    Ticket, //
};
pub(crate) use lane::{
    Lane,
    Load,
    Search,
    DEPTH, //
};
pub(crate) use lanes::{
    LaneId,
    Walk, //
};

pub(crate) use running::{
    Piece,
    Running, //
};

use crate::{
    device_memory::{
        Contents,
        User, //
    },
    kernel_ext::fifo::{
        Entry,
        Fifo, //
    },
    slab::Room,
    stats::Stats,
    transfer::Transfer, //
};
use kernel::prelude::*;
use lanes::Lanes;
use running::Step;

/// What goes through a queue, and to whom.
pub(crate) trait Types: Sized {
    /// A request.
    type Request: Request;
    /// Whoever has a lane.
    type Owner: Owner<Self>;
    /// Whoever waits for one request.
    type Caller: Caller<Self>;
}

/// What the queue needs to know of a request.
pub(crate) trait Request {
    /// Who asked for it.
    fn user(&self) -> User;

    /// The next piece of it; [`None`] if nothing is left to do.
    fn piece(&self) -> Option<Piece>;

    /// Takes note that `bytes` more are done, and returns whether that is all.
    fn advance(&mut self, bytes: u64) -> bool;

    /// Takes note that it is over. Its memory is held on, to be let go where one may sleep.
    fn ended(&mut self);
}

/// How whoever has a lane is told of it. Called with the queue's lock held, also by an interrupt
/// handler.
pub(crate) trait Owner<T: Types> {
    /// One more completion can be collected.
    fn completed(&self, job: &Job<T>);

    /// Something else has changed: those who wait look for themselves.
    fn changed(&self);
}

/// How whoever waits for one request is told of its end. Called with the queue's lock held, also by
/// an interrupt handler.
pub(crate) trait Caller<T: Types> {
    /// The request has ended.
    fn answer(self, answer: Answer<T>);
}

/// How a request has ended for whoever waits for it.
pub(crate) enum Answer<T: Types> {
    /// It has ended; here it is.
    Ended(Entry<Job<T>>),
    /// It has failed, but the engine still has it.
    Failed(Error),
}

/// What a request was doing when whoever waited for it gave up.
pub(crate) enum GivenUp<T: Types> {
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
pub(crate) struct Queue<T: Types> {
    lanes: Lanes<T>,
    running: Option<Running<T>>,
    orphans: Fifo<Job<T>>,
    contents: Contents,
    last_ticket: u64,
    /// Why nothing new is taken, if so.
    closed: Option<Error>,
    /// Nothing is started.
    paused: bool,
    /// Bus address of zeros, as many as there is device memory.
    zeros: u64,
    /// What has happened.
    pub(crate) stats: Stats,
}

impl<T: Types> Queue<T> {
    /// A queue that is closed, and has no lanes.
    pub(crate) fn new() -> Self {
        Self {
            lanes: Lanes::new(),
            running: None,
            orphans: Fifo::new(),
            contents: Contents::Mixed,
            last_ticket: 0,
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

    /// How much room must be made by [`grow`](Self::grow) before the next lane; [`None`] if none.
    pub(crate) fn wants(&self) -> Option<usize> {
        self.lanes.wants()
    }

    /// Makes room for more lanes. What is returned is to be dropped where one may sleep.
    pub(crate) fn grow(&mut self, room: Room<KBox<Lane<T>>>) -> Room<KBox<Lane<T>>> {
        self.lanes.grow(room)
    }

    /// Adds a lane, or gives it back if there is no room.
    pub(crate) fn add_lane(&mut self, lane: KBox<Lane<T>>) -> Result<LaneId, KBox<Lane<T>>> {
        self.lanes.add(lane)
    }

    /// Removes a lane. What is returned, with all that waits in it, is to be dropped where one may
    /// sleep; what the engine has becomes an orphan.
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
    pub(crate) fn load(&self, lane: LaneId) -> Load {
        let mut load = self.lanes.get(lane).map(Lane::load).unwrap_or_default();
        load.closed = self.closed.is_some();
        let running = self.running.as_ref();
        load.running = running
            .is_some_and(|running| running.lane == Some(lane))
            .into();
        load
    }

    /// Sets aside room for at most so many requests in a lane, and returns for how many.
    pub(crate) fn reserve(&mut self, lane: LaneId, most: usize) -> usize {
        self.lanes.get_mut(lane).map_or(0, |at| at.reserve(most))
    }

    /// Gives back room: what was set aside and not used, or is delivered.
    pub(crate) fn release(&mut self, lane: LaneId, room: usize) {
        if let Some(at) = self.lanes.get_mut(lane) {
            at.release(room);
            // Who waits for the last completion may have counted on this one.
            if self.closed.is_some() {
                at.owner.changed();
            }
        }
    }

    /// Puts requests, for which room was set aside, at the end of a lane, and leaves the list
    /// empty.
    ///
    /// # Errors
    ///
    /// `EIO` if the engine is stuck with an earlier request, or the reason for which the queue is
    /// closed. The list is left as it is, to be dropped where one may sleep.
    pub(crate) fn submit(&mut self, lane: LaneId, jobs: &mut Fifo<Job<T>>) -> Result {
        if let Some(error) = self.refuses() {
            return Err(error);
        }
        let served = self.running.as_ref().and_then(|running| running.lane);
        self.lanes.wait_last(lane, jobs, served);
        Ok(())
    }

    /// Puts a request that somebody waits for at the end of a lane, and leaves the list empty.
    /// Returns the ticket to [give it up](Self::give_up) with.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit).
    pub(crate) fn call(&mut self, lane: LaneId, jobs: &mut Fifo<Job<T>>) -> Result<Ticket> {
        let ticket = Ticket(self.last_ticket + 1);
        if let Some(job) = jobs.front_mut() {
            job.ticket = ticket;
        }
        self.submit(lane, jobs)?;
        self.last_ticket = ticket.0;
        Ok(ticket)
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
            step: self.first_step(user, piece),
            started: false,
            overdue: false,
        })
    }

    /// Whether the engine has a transfer whose end has not been noticed.
    pub(crate) fn is_busy(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.started)
    }

    /// Takes note that the engine's transfer has ended, at the time `now` in nanoseconds.
    pub(crate) fn finish(&mut self, now: u64) {
        let Some(mut running) = self.running.take_if(|running| running.started) else {
            return;
        };
        self.stats.counters.transfers += 1;
        self.stats.counters.bytes += running.transfer(self.zeros).device.length();
        if running.overdue {
            // It was given up as failed; what it did to the device memory is unknown.
            self.contents = Contents::Mixed;
            return self.end(running, Err(ETIMEDOUT), now);
        }
        let next = match (running.step, running.piece) {
            (Step::Scrub, _) => Step::First,
            (Step::First, Piece::Copy { .. }) => Step::Second,
            _ => return self.piece_done(running, now),
        };
        if running.lane.is_some() && self.closed.is_none() {
            running.step = next;
            running.started = false;
            self.running = Some(running);
        } else {
            if running.step == Step::Scrub {
                self.contents = Contents::Zeros;
            }
            self.end(running, Err(self.closed.unwrap_or(ECANCELED)), now);
        }
    }

    fn piece_done(&mut self, mut running: Running<T>, now: u64) {
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
        if let Some(lane) = running.lane {
            self.lanes.wait_first(lane, running.job);
        }
    }

    /// Hands a request to whoever waits for it.
    fn end(&mut self, mut running: Running<T>, outcome: Result, now: u64) {
        running.job.end(outcome);
        self.stats.counters.completed += 1;
        self.stats.latency.record(running.job.age(now));
        let nobodys = match running.lane {
            Some(lane) => self.lanes.complete(lane, running.job),
            None => Err(running.job),
        };
        if let Err(job) = nobodys {
            self.orphans.push_back(job);
        }
    }

    /// Takes completions out of a lane: all, or a few if there are more than `most`. Their room is
    /// to be [given back](Self::release) when they are delivered.
    pub(crate) fn collect(&mut self, lane: LaneId, most: usize) -> Fifo<Job<T>> {
        let at = self.lanes.get_mut(lane);
        at.map_or(Fifo::new(), |at| at.collect(most))
    }

    /// Puts completions back that could not be delivered, before all others.
    pub(crate) fn put_back(&mut self, lane: LaneId, completions: Fifo<Job<T>>) {
        if let Some(at) = self.lanes.get_mut(lane) {
            at.put_back(completions);
        }
    }

    /// Gives up waiting for a request.
    pub(crate) fn give_up(&mut self, lane: LaneId, ticket: Ticket) -> GivenUp<T> {
        if let Some(running) = self.running.as_mut().filter(|r| r.job.ticket == ticket) {
            running.lane = None;
            // The caller is here: it is not the last one to hold it that goes.
            drop(running.job.caller.take());
            self.stats.counters.quarantined += 1;
            return GivenUp::Begun;
        }
        match self.lanes.take_waiting(lane, ticket) {
            Some(job) => GivenUp::Waiting(job),
            None => GivenUp::Ended,
        }
    }

    /// Begins to cancel those requests of a lane that are called `cookie` ([`None`]: all).
    pub(crate) fn search(&mut self, lane: LaneId, cookie: Option<u64>) -> Option<Search> {
        Some(self.lanes.get_mut(lane)?.search(cookie))
    }

    /// Goes on cancelling, a few requests, and returns whether there may be more.
    pub(crate) fn search_some(&mut self, lane: LaneId, search: &mut Search) -> bool {
        let before = search.cancelled;
        let more = self.lanes.search_some(lane, search);
        let running = self.running.as_ref();
        search.begun |= running.is_some_and(|running| running.is_called(lane, search.cookie));
        // CAST: small numbers.
        self.stats.counters.cancelled += (search.cancelled - before) as u64;
        more
    }

    /// Takes note that the engine's transfer should have ended long ago. Whoever waits for it is
    /// told, if need be with `stand_in`; the request itself stays with the engine. All others are
    /// [failed](Self::fail_some) from now on. Returns whether that is so, and news.
    pub(crate) fn overdue(&mut self, stand_in: &mut Option<Entry<Job<T>>>) -> bool {
        let running = self.running.as_mut();
        let Some(running) = running.filter(|running| running.started && !running.overdue) else {
            return false;
        };
        let collected = running.lane.is_some() && running.job.caller.is_none();
        if collected && stand_in.is_none() {
            return false;
        }
        running.overdue = true;
        let Some(lane) = running.lane.take() else {
            return true;
        };
        self.stats.counters.quarantined += 1;
        if let Some(caller) = running.job.caller.take() {
            caller.answer(Answer::Failed(ETIMEDOUT));
        } else if let Some(mut completion) = stand_in.take() {
            completion.stand_for(&running.job, Err(ETIMEDOUT));
            *stand_in = self.lanes.complete(lane, completion).err();
        }
        true
    }

    /// Takes nothing new from now on. What waits is to be [failed](Self::fail_some).
    pub(crate) fn close(&mut self, error: Error) {
        self.closed = Some(error);
        if let Some(running) = &mut self.running {
            if let Some(caller) = running.job.caller.take() {
                running.lane = None;
                self.stats.counters.quarantined += 1;
                caller.answer(Answer::Failed(error));
            }
        }
    }

    /// Fails a few of the requests that wait in any lane, if none is taken now; returns whether
    /// there may be more.
    pub(crate) fn fail_some(&mut self, walk: &mut Walk) -> bool {
        match self.refuses() {
            Some(error) => self.lanes.fail_some(walk, error),
            None => false,
        }
    }

    /// Adds what waits in a few of the lanes to `waiting`, and returns whether there may be more.
    pub(crate) fn count_some(&self, walk: &mut Walk, waiting: &mut usize) -> bool {
        self.lanes.count_some(walk, waiting)
    }

    /// Takes the requests that nobody waits for any more and that have ended, to be dropped where
    /// one may sleep.
    pub(crate) fn take_orphans(&mut self) -> Fifo<Job<T>> {
        core::mem::replace(&mut self.orphans, Fifo::new())
    }

    /// Whether there are [orphans](Self::take_orphans).
    pub(crate) fn has_orphans(&self) -> bool {
        !self.orphans.is_empty()
    }

    /// Takes the request that the engine is at work on, to be given to [`abort`](Self::abort). For
    /// teardown, when nothing is started any more.
    pub(crate) fn take_running(&mut self) -> Option<Running<T>> {
        self.running.take()
    }

    /// Ends a request that was taken from the engine, at the time `now` in nanoseconds.
    pub(crate) fn abort(&mut self, running: Running<T>, now: u64) {
        let error = self.closed.unwrap_or(ECANCELED);
        self.end(running, Err(error), now);
    }
}
