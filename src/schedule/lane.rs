// SPDX-License-Identifier: GPL-2.0

//! One lane: requests that wait, and completions.

use super::{
    completion_ring::{
        CompletionRing,
        LANE_DEPTH, //
    },
    job::{
        Answer,
        Change,
        DeferredOf,
        Job,
        LaneOwner,
        QueueTypes,
        RequestWaiter,
        Tag,
        WaiterId, //
    },
    scan::LaneScan, //
};
use crate::kernel_ext::collections::fifo::{
    Entry,
    Fifo, //
};
use kernel::prelude::*;

/// The number of a lane in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LaneId(pub(super) usize);

/// The number of a user with lanes in the queue. It is not a uid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UserId(pub(super) usize);

/// Whether a lane gets turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunState {
    /// It has no request that can be started or fail.
    Idle,
    /// Its first request can be started.
    Runnable,
    /// Its first request is cancelled, and is to be completed.
    Cancelled,
}

/// The requests of one context.
pub(crate) struct Lane<T: QueueTypes> {
    /// `scanned` and `unscanned` together are the requests that wait, in this order. A scan for
    /// requests to cancel takes requests from `unscanned`, and moves those that are not cancelled
    /// to `scanned`.
    pub(super) scanned: Fifo<Job<T>>,
    pub(super) unscanned: Fifo<Job<T>>,
    /// Completions that are not collected, the oldest first.
    completed: Fifo<Job<T>>,
    /// The ring that completions are written to, instead of being appended to `completed`.
    ring: Option<CompletionRing<T::Ring>>,
    /// The jobs of completions in the ring, which are blank.
    blank: Fifo<Job<T>>,
    /// The scan of `unscanned`, if one is in progress.
    pub(super) scan: Option<LaneScan>,
    /// Requests that are accepted, and whose completions are not collected.
    accepted: usize,
    /// Room without a completion to come: for requests that are not submitted yet, and of commands
    /// that have not ended.
    reserved: usize,
    /// Requests that the engine has.
    pub(super) in_flight: usize,
    /// The request of this lane that continues in its next turn.
    pub(super) continues: Option<Tag>,
    pub(super) owner: T::Owner,
}

/// The state of a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LaneState {
    /// Requests that wait.
    pub(crate) waiting: usize,
    /// Requests that the engine has.
    pub(crate) in_flight: usize,
    /// Completions that are not collected.
    pub(crate) completed: usize,
    /// Completions that will come or are being delivered.
    pub(crate) outstanding: usize,
    /// Room without a completion to come: for requests that are not submitted yet, and of commands
    /// that have not ended.
    pub(crate) reserved: usize,
    /// Room for requests.
    pub(crate) room: usize,
    /// No requests are accepted.
    pub(crate) closed: bool,
}

/// The next request of a lane.
pub(super) enum Next<T: QueueTypes> {
    /// A request that the engine has continues.
    Continue(Tag),
    /// Another request begins.
    Begin(Entry<Job<T>>),
}

impl<T: QueueTypes> Lane<T> {
    /// The number of requests that a step handles.
    pub(super) const STEP: usize = 32;

    /// Creates an empty lane.
    pub(crate) fn new(owner: T::Owner) -> Self {
        Self {
            scanned: Fifo::new(),
            unscanned: Fifo::new(),
            completed: Fifo::new(),
            ring: None,
            blank: Fifo::new(),
            scan: None,
            accepted: 0,
            reserved: 0,
            in_flight: 0,
            continues: None,
            owner,
        }
    }

    #[inline]
    pub(super) fn state(&self) -> LaneState {
        let (completed, held) = match &self.ring {
            Some(ring) => ring.counts(),
            None => (self.completed.len(), self.completed.len()),
        };
        let outstanding = self.accepted - held;
        LaneState {
            waiting: self.waiting(),
            in_flight: self.in_flight,
            completed,
            outstanding,
            reserved: self.reserved,
            room: LANE_DEPTH.saturating_sub(outstanding + completed + self.reserved),
            closed: false,
        }
    }

    /// Returns the number of requests that wait.
    #[inline]
    pub(super) fn waiting(&self) -> usize {
        self.scanned.len() + self.unscanned.len()
    }

    /// Returns the number of completions that are not collected.
    #[inline]
    fn uncollected(&self) -> usize {
        match &self.ring {
            Some(ring) => ring.counts().0,
            None => self.completed.len(),
        }
    }

    /// Writes completions to a ring in `memory`, which is [new](super::RING_START), from now on.
    ///
    /// # Errors
    ///
    /// `EEXIST` if the lane has a ring; `EBUSY` if it has requests or completions. The memory is
    /// returned, to be freed in process context.
    pub(super) fn set_ring(&mut self, memory: T::Ring) -> Result<(), (Error, T::Ring)> {
        if self.ring.is_some() {
            return Err((EEXIST, memory));
        }
        if self.taken() > 0 {
            return Err((EBUSY, memory));
        }
        self.ring = Some(CompletionRing::new(memory));
        Ok(())
    }

    /// Returns the number of completions to [collect](Self::collect); [`None`] if they are written
    /// to a ring.
    pub(super) fn collectable(&self) -> Option<usize> {
        self.ring.is_none().then_some(self.completed.len())
    }

    /// Frees the room of the completions that the program has collected from the ring. Returns
    /// whether the lane was full and has room now.
    pub(super) fn free_collected(&mut self) -> bool {
        let freed = self.ring.as_mut().map_or(0, CompletionRing::free_collected);
        self.free_room(freed)
    }

    /// Takes the blank jobs of completions in the ring.
    pub(super) fn take_blank(&mut self) -> Fifo<Job<T>> {
        core::mem::replace(&mut self.blank, Fifo::new())
    }

    /// Returns whether the lane is to get turns.
    pub(super) fn run_state(&self) -> RunState {
        if self.continues.is_some() {
            return RunState::Runnable;
        }
        match self.front() {
            None => RunState::Idle,
            Some(front) if !front.is_cancelled() && self.waits_for_link(front) => RunState::Idle,
            Some(front) if !front.is_cancelled() => RunState::Runnable,
            // The scan fails it, or requeues the lane at its end.
            Some(_) if self.scan.is_some() => RunState::Idle,
            Some(_) => RunState::Cancelled,
        }
    }

    /// Returns whether the first request, `front`, is linked to one that the engine has.
    fn waits_for_link(&self, front: &Job<T>) -> bool {
        front.linked && self.in_flight > 0
    }

    /// Makes the notice of a change.
    pub(super) fn notice(&self, change: Change) -> <T::Owner as LaneOwner<T>>::Notice {
        self.owner.notice(change, self.uncollected())
    }

    /// Reserves room for at most `max` requests, and returns for how many.
    pub(super) fn reserve(&mut self, max: usize) -> usize {
        let granted = max.min(LANE_DEPTH.saturating_sub(self.taken()));
        self.reserved += granted;
        granted
    }

    /// Returns the room that is taken, as a number of requests.
    fn taken(&self) -> usize {
        self.accepted + self.reserved
    }

    /// Accepts requests, for which room was reserved: their completions will come.
    pub(super) fn accept(&mut self, requests: usize) {
        self.reserved -= requests;
        self.accepted += requests;
    }

    /// Releases room that was reserved. Returns whether the lane was full.
    pub(super) fn free_reserved(&mut self, room: usize) -> bool {
        let was_full = self.taken() >= LANE_DEPTH;
        self.reserved = self.reserved.saturating_sub(room);
        was_full && room > 0
    }

    /// Releases the room of completions that are collected. Returns whether the lane was full.
    pub(super) fn free_room(&mut self, room: usize) -> bool {
        let was_full = self.taken() >= LANE_DEPTH;
        self.accepted = self.accepted.saturating_sub(room);
        was_full && room > 0
    }

    pub(super) fn push_last(&mut self, jobs: &mut Fifo<Job<T>>) {
        self.unscanned.append(jobs);
    }

    /// Gives the request with this tag no other turn.
    pub(super) fn stop_continuing(&mut self, tag: Tag) {
        self.continues.take_if(|continues| *continues == tag);
    }

    /// Takes a request back from the engine.
    pub(super) fn push_first(&mut self, job: Entry<Job<T>>) {
        self.in_flight -= 1;
        if let Some(scan) = &mut self.scan {
            scan.add_returned();
        }
        self.scanned.push_front(job);
    }

    /// Returns whether the first request is linked to the one before it.
    pub(super) fn begins_with_link(&self) -> bool {
        self.front().is_some_and(|front| front.linked)
    }

    fn pop(&mut self) -> Option<Entry<Job<T>>> {
        if let Some(job) = self.scanned.pop_front() {
            if let Some(scan) = &mut self.scan {
                scan.remove_returned();
            }
            return Some(job);
        }
        if let Some(scan) = &mut self.scan {
            scan.keep_links();
        }
        self.pop_unscanned()
    }

    #[inline]
    pub(super) fn pop_unscanned(&mut self) -> Option<Entry<Job<T>>> {
        if let Some(scan) = &mut self.scan {
            scan.skip();
        }
        self.unscanned.pop_front()
    }

    fn front(&self) -> Option<&Job<T>> {
        self.scanned.front().or_else(|| self.unscanned.front())
    }

    fn front_mut(&mut self) -> Option<&mut Job<T>> {
        match self.scanned.front_mut() {
            Some(front) => Some(front),
            None => self.unscanned.front_mut(),
        }
    }

    /// Takes the next request, if one can be started or continued.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Next<T>> {
        if let Some(tag) = self.continues.take() {
            return Some(Next::Continue(tag));
        }
        let front = self.front()?;
        if front.is_cancelled() || self.waits_for_link(front) {
            return None;
        }
        let job = self.pop()?;
        if let Some(scan) = &mut self.scan {
            scan.begin(&job);
        }
        self.in_flight += 1;
        Some(Next::Begin(job))
    }

    /// Records that the request before the first one has failed.
    pub(super) fn fail_next_link(&mut self) {
        if let Some(next) = self.front_mut() {
            next.fail_link();
        }
    }

    /// Completes up to [`STEP`](Self::STEP) requests that are cancelled, and returns their number.
    pub(super) fn complete_cancelled(&mut self, deferred: &mut Fifo<DeferredOf<T>>) -> usize {
        for completed in 0..Self::STEP {
            if self.run_state() != RunState::Cancelled {
                return completed;
            }
            if let Some(mut job) = self.pop() {
                self.fail_next_link();
                job.end(Err(ECANCELED));
                let waiter = self.complete(job, deferred);
                debug_assert!(waiter.is_none(), "of a job whose link has failed");
            }
        }
        Self::STEP
    }

    /// Takes a request that waits. Searches all of them.
    pub(super) fn take(&mut self, id: WaiterId) -> Option<Entry<Job<T>>> {
        let mut position = 0;
        let job = self.scanned.take(|job| {
            position += 1;
            job.waiter_id == id
        });
        if let Some(job) = job {
            if let Some(scan) = &mut self.scan {
                scan.remove_returned_at(position);
            }
            return Some(job);
        }
        let mut position = 0;
        let job = self.unscanned.take(|job| {
            position += 1;
            job.waiter_id == id
        });
        if let (Some(scan), Some(_)) = (&mut self.scan, &job) {
            scan.skip_at(position);
        }
        job
    }

    /// Completes a request: writes it to the ring or appends it to the completions, or answers its
    /// waiter, which is returned to be woken. Releases its memory, unless a thread waits for it.
    // Inlined into the loops that complete many requests.
    #[inline(always)]
    #[must_use]
    pub(super) fn complete(
        &mut self,
        mut job: Entry<Job<T>>,
        deferred: &mut Fifo<DeferredOf<T>>,
    ) -> Option<T::Waiter> {
        if let Some(waiter) = job.waiter.take() {
            // A thread drops the memory itself, soon. A command is answered when its task calls
            // the kernel, which may be never.
            if !waiter.is_thread() {
                job.release(deferred);
            }
            waiter.answer(Answer::Ended(job));
            return Some(waiter);
        }
        self.owner.completed(&job);
        if self.ring.is_some() {
            self.complete_in_ring(job, deferred);
            return None;
        }
        job.release(deferred);
        self.completed.push_back(job);
        None
    }

    // Cold, so that lanes without a ring do not pay for it.
    #[cold]
    fn complete_in_ring(&mut self, mut job: Entry<Job<T>>, deferred: &mut Fifo<DeferredOf<T>>) {
        job.release(deferred);
        if let Some(ring) = &mut self.ring {
            ring.push(job.cookie(), job.bytes(), job.outcome());
        }
        // It holds no memory any more.
        job.clear();
        self.blank.push_back(job);
    }

    /// Takes completions: all, or a few if there are more than `max`. The caller
    /// [frees](Self::free_room) their room after delivery.
    pub(super) fn collect(&mut self, max: usize) -> Fifo<Job<T>> {
        if self.completed.len() <= max {
            core::mem::replace(&mut self.completed, Fifo::new())
        } else {
            self.completed.take_front(max.min(Self::STEP))
        }
    }

    /// Puts completions that could not be delivered back before all others.
    pub(super) fn put_back(&mut self, mut taken: Fifo<Job<T>>) {
        taken.append(&mut self.completed);
        self.completed = taken;
    }

    /// Fails up to [`STEP`](Self::STEP) requests that wait, and stops after one with a waiter,
    /// which is returned to be woken. Returns whether there may be more.
    pub(super) fn fail_batch(
        &mut self,
        error: Error,
        deferred: &mut Fifo<DeferredOf<T>>,
    ) -> (bool, Option<T::Waiter>) {
        for _ in 0..Self::STEP {
            let Some(mut job) = self.pop() else {
                return (false, None);
            };
            job.end(Err(error));
            let waiter = self.complete(job, deferred);
            if waiter.is_some() {
                return (true, waiter);
            }
        }
        (true, None)
    }
}
