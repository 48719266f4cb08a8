// SPDX-License-Identifier: GPL-2.0

//! Who gets the engine next: requests, fair turns, completion.
//!
//! Each context has a *lane*: its requests, first in, first out. The turns go round the lanes that
//! have something to do, a piece each. A piece is one transfer, or the two of a copy, between which
//! no other lane comes, led by a scrub of the device memory where it shows another user's bytes.
//!
//! A request is a value that is moved: [`Entry`] of a [`Job`] → waiting in its lane → [`Running`] →
//! done in its lane → taken by whoever waits for it. What nobody waits for any more goes to the
//! orphans, which are dropped where one may sleep: nothing is allocated or freed in here, and
//! everything that an interrupt handler calls is O(1).
//!
//! No hardware and no bindings: also compiled and tested on the host.

mod lanes;

pub(crate) use lanes::LaneId;

use crate::{
    device_memory::{
        Access,
        Contents,
        User, //
    },
    kernel_ext::fifo::{
        Entry,
        Fifo, //
    },
    slab::Room,
    transfer::{
        DeviceRange,
        Direction,
        Transfer, //
    }, //
};
use kernel::prelude::*;
use lanes::{
    Lane,
    Lanes, //
};

/// What the queue needs to know of a request.
pub(crate) trait Request {
    /// Who asked for it.
    fn user(&self) -> User;

    /// The next piece of it; [`None`] if nothing is left to do.
    fn piece(&self) -> Option<Piece>;

    /// Takes note that `bytes` more are done, and returns whether that is all.
    fn advance(&mut self, bytes: u64) -> bool;
}

/// How a lane's waiters are told that one of its requests is done, or that all is over.
///
/// Called with the queue's lock held, also by an interrupt handler.
pub(crate) trait Wake {
    /// Wakes those who wait for a request of this lane; they look for themselves.
    fn wake(&self);
}

/// What one lane does on the engine before the next lane has its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// One transfer.
    One(Transfer),
    /// Two transfers: from one bus address to the device memory, and on to another.
    Copy {
        /// Bus address to read.
        from: u64,
        /// Bus address to write.
        to: u64,
        /// The part of the device memory that the bytes go through.
        through: DeviceRange,
    },
}

impl Piece {
    fn access(self) -> Access {
        match self {
            Self::One(transfer) => Access::Transfer(transfer.direction, transfer.device),
            Self::Copy { through, .. } => Access::PassThrough(through),
        }
    }

    fn bytes(self) -> u64 {
        match self {
            Self::One(transfer) => transfer.device.length(),
            Self::Copy { through, .. } => through.length(),
        }
    }
}

/// Which transfer of a piece the engine is at. Each is followed by the next one that the piece has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Scrub,
    First,
    Second,
}

/// Names a request within its queue, for whoever waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

/// A request in the queue.
pub(crate) struct Job<R> {
    request: R,
    ticket: Ticket,
    outcome: Result,
}

impl<R> Job<R> {
    /// Makes a job of a request; may sleep.
    pub(crate) fn new(request: R) -> Result<Entry<Self>> {
        Entry::new(Self {
            request,
            ticket: Ticket(0),
            outcome: Ok(()),
        })
    }

    /// The request.
    pub(crate) fn request(&self) -> &R {
        &self.request
    }

    /// How it ended.
    pub(crate) fn outcome(&self) -> Result {
        self.outcome
    }
}

/// What has become of a request.
pub(crate) enum Status<R> {
    /// It is waiting or running.
    Pending,
    /// It has ended; here it is.
    Done(Entry<Job<R>>),
    /// It has failed for whoever waits for it, but the engine still has it.
    Failed(Error),
}

/// What a request was doing when whoever waited for it gave up.
pub(crate) enum GivenUp<R> {
    /// The engine had not begun with it.
    Waiting(Entry<Job<R>>),
    /// The engine had begun with it, or still has it; it stays with the engine until that is over.
    Begun,
    /// It had just ended.
    Done(Entry<Job<R>>),
}

/// The request that the engine is at work on.
struct Running<R> {
    job: Entry<Job<R>>,
    /// Whoever waits for it; [`None`] if nobody does.
    lane: Option<LaneId>,
    piece: Piece,
    step: Step,
    /// Whether the engine has the transfer of `step`, or is to be given it.
    started: bool,
    /// The transfer should have ended long ago.
    overdue: bool,
}

/// Who gets the engine next.
///
/// # Invariants
///
/// While `running` is there and `started`, the engine has that transfer, or has ended it unnoticed.
pub(crate) struct Queue<R, W> {
    lanes: Lanes<R, W>,
    running: Option<Running<R>>,
    orphans: Fifo<Job<R>>,
    contents: Contents,
    last_ticket: u64,
    /// Why nothing new is taken, if so.
    closed: Option<Error>,
    /// Bus address of zeros, as many as there is device memory.
    zeros: u64,
}

impl<R: Request, W: Wake> Queue<R, W> {
    /// A queue with no lanes, closed with `ENODEV` until [`open`](Self::open).
    pub(crate) fn new() -> Self {
        // INVARIANT: no lanes, and nothing running.
        Self {
            lanes: Lanes::new(),
            running: None,
            orphans: Fifo::new(),
            contents: Contents::Mixed,
            last_ticket: 0,
            closed: Some(ENODEV),
            zeros: 0,
        }
    }

    /// Opens the queue. The device memory was just scrubbed, from the `zeros` at this bus address.
    pub(crate) fn open(&mut self, zeros: u64) {
        self.zeros = zeros;
        self.contents = Contents::Zeros;
        self.closed = None;
    }

    /// How much room must be made by [`grow`](Self::grow) before the next lane; [`None`] if none.
    pub(crate) fn wants(&self) -> Option<usize> {
        self.lanes.wants()
    }

    /// Makes room for more lanes. What is returned is to be dropped where one may sleep.
    pub(crate) fn grow(&mut self, room: Room<Lane<R, W>>) -> Room<Lane<R, W>> {
        self.lanes.grow(room)
    }

    /// Adds a lane, or gives the waker back if there is no room.
    pub(crate) fn add_lane(&mut self, waker: W) -> Result<LaneId, W> {
        self.lanes.add(waker)
    }

    /// Removes a lane. What it had is returned, to be dropped where one may sleep; what the engine
    /// is at work on becomes an orphan.
    pub(crate) fn remove_lane(&mut self, lane: LaneId) -> Option<Lane<R, W>> {
        if let Some(running) = &mut self.running {
            running.lane.take_if(|of| *of == lane);
        }
        self.lanes.remove(lane)
    }

    /// Puts a request at the end of a lane, and returns the ticket to wait with.
    ///
    /// # Errors
    ///
    /// `EIO` if the engine is stuck with an earlier request, or the reason for which the queue is
    /// closed. The request is given back, to be dropped where one may sleep.
    pub(crate) fn submit(
        &mut self,
        lane: LaneId,
        mut job: Entry<Job<R>>,
    ) -> Result<Ticket, (Error, Entry<Job<R>>)> {
        if let Some(error) = self.refuses() {
            return Err((error, job));
        }
        if !self.lanes.has(lane) {
            return Err((ENODEV, job));
        }
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        job.ticket = ticket;
        let served = self.running.as_ref().and_then(|running| running.lane);
        self.lanes.wait_last(lane, job, served);
        Ok(ticket)
    }

    /// Why nothing new is taken, if so.
    fn refuses(&self) -> Option<Error> {
        let stuck = self.running.as_ref().is_some_and(|running| running.overdue);
        self.closed.or(stuck.then_some(EIO))
    }

    /// The transfer to start now, if there is one. From then on the engine has it.
    pub(crate) fn start(&mut self) -> Option<Transfer> {
        if self.running.is_none() {
            self.running = self.begin();
        }
        let running = self.running.as_mut().filter(|running| !running.started)?;
        running.started = true;
        Some(match (running.step, running.piece) {
            (Step::Scrub, _) => Transfer {
                direction: Direction::ToDevice,
                address: self.zeros,
                device: DeviceRange::WHOLE,
            },
            (_, Piece::One(transfer)) => transfer,
            (Step::First, Piece::Copy { from, through, .. }) => Transfer {
                direction: Direction::ToDevice,
                address: from,
                device: through,
            },
            (Step::Second, Piece::Copy { to, through, .. }) => Transfer {
                direction: Direction::FromDevice,
                address: to,
                device: through,
            },
        })
    }

    /// Takes the first request of the lane whose turn it is.
    fn begin(&mut self) -> Option<Running<R>> {
        let (lane, job) = self.lanes.take_next()?;
        let user = job.request.user();
        // A request is never empty: one with nothing left to do is not put back.
        let piece = job.request.piece()?;
        let step = if self.contents.needs_scrub(user, piece.access()) {
            Step::Scrub
        } else {
            Step::First
        };
        self.contents = self.contents.after(user, piece.access());
        Some(Running {
            job,
            lane: Some(lane),
            piece,
            step,
            started: false,
            overdue: false,
        })
    }

    /// Whether the engine has a transfer whose end has not been noticed.
    pub(crate) fn is_busy(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.started)
    }

    /// Takes note that the engine's transfer has ended.
    pub(crate) fn finish(&mut self) {
        let Some(mut running) = self.running.take_if(|running| running.started) else {
            return;
        };
        if running.overdue {
            // It was given up as failed; what it did to the device memory is unknown.
            self.contents = Contents::Mixed;
            return self.end(running, Err(ETIMEDOUT));
        }
        let next = match (running.step, running.piece) {
            (Step::Scrub, _) => Step::First,
            (Step::First, Piece::Copy { .. }) => Step::Second,
            _ => return self.piece_done(running),
        };
        if running.lane.is_some() && self.closed.is_none() {
            running.step = next;
            running.started = false;
            self.running = Some(running);
        } else {
            if running.step == Step::Scrub {
                self.contents = Contents::Zeros;
            }
            self.end(running, Err(self.closed.unwrap_or(ECANCELED)));
        }
    }

    fn piece_done(&mut self, mut running: Running<R>) {
        let all = running.job.request.advance(running.piece.bytes());
        if all || running.lane.is_none() {
            return self.end(running, Ok(()));
        }
        if let Some(error) = self.closed {
            return self.end(running, Err(error));
        }
        // The next piece has its turn after one of each other lane.
        if let Some(lane) = running.lane {
            self.lanes.wait_first(lane, running.job);
        }
    }

    /// Hands a request back to whoever waits for it.
    fn end(&mut self, mut running: Running<R>, outcome: Result) {
        running.job.outcome = outcome;
        let nobodys = match running.lane {
            Some(lane) => self.lanes.done(lane, running.job),
            None => Err(running.job),
        };
        if let Err(job) = nobodys {
            self.orphans.push_back(job);
        }
    }

    /// Looks for the end of a request, for whoever has its ticket.
    pub(crate) fn status(&mut self, lane: LaneId, ticket: Ticket) -> Status<R> {
        if let Some(job) = self.lanes.take_done(lane, ticket) {
            return Status::Done(job);
        }
        let Some(running) = self.running.as_mut().filter(|r| r.job.ticket == ticket) else {
            return Status::Pending;
        };
        match self.closed.or(running.overdue.then_some(ETIMEDOUT)) {
            Some(error) => {
                running.lane = None;
                Status::Failed(error)
            }
            None => Status::Pending,
        }
    }

    /// Gives up waiting for a request.
    pub(crate) fn give_up(&mut self, lane: LaneId, ticket: Ticket) -> GivenUp<R> {
        if let Some(job) = self.lanes.take_done(lane, ticket) {
            return GivenUp::Done(job);
        }
        if let Some(running) = self.running.as_mut().filter(|r| r.job.ticket == ticket) {
            running.lane = None;
            return GivenUp::Begun;
        }
        match self.lanes.take_waiting(lane, ticket) {
            Some(job) => GivenUp::Waiting(job),
            None => GivenUp::Begun,
        }
    }

    /// Takes note that the engine's transfer should have ended long ago: whoever waits for it, or
    /// for a request behind it, is told. The request itself stays with the engine. Returns whether
    /// that is news.
    ///
    /// Off the hot path: looks at each lane.
    pub(crate) fn overdue(&mut self) -> bool {
        let running = self.running.as_mut();
        match running.filter(|running| running.started && !running.overdue) {
            Some(running) => {
                running.overdue = true;
                self.lanes.fail_waiting(EIO);
                true
            }
            None => false,
        }
    }

    /// Takes nothing new from now on, and fails all that has not started, with `error`.
    ///
    /// Off the hot path: looks at each lane.
    pub(crate) fn close(&mut self, error: Error) {
        self.closed = Some(error);
        self.lanes.fail_waiting(error);
    }

    /// Takes the requests that nobody waits for any more and that have ended, to be dropped where
    /// one may sleep.
    pub(crate) fn take_orphans(&mut self) -> Fifo<Job<R>> {
        core::mem::replace(&mut self.orphans, Fifo::new())
    }

    /// Whether there are [orphans](Self::take_orphans).
    pub(crate) fn has_orphans(&self) -> bool {
        !self.orphans.is_empty()
    }

    /// Takes the request that the engine is at work on. For teardown, when nothing is started any
    /// more.
    pub(crate) fn take_running(&mut self) -> Option<Entry<Job<R>>> {
        self.running.take().map(|running| running.job)
    }
}
