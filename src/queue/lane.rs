// SPDX-License-Identifier: GPL-2.0

//! One lane: what waits in it, and what is completed.

use super::{
    lanes::Turn,
    Answer,
    Caller,
    Job,
    Owner,
    Ticket,
    Types, //
};
use crate::kernel_ext::{
    fifo::{
        Entry,
        Fifo, //
    }, //
};
use kernel::prelude::*;

/// Requests that a lane accepts before completions must be collected. `RDMA_QUEUE_DEPTH`
pub(crate) const DEPTH: usize = 1024;

/// The requests of one context.
pub(crate) struct Lane<T: Types> {
    /// What waits is in here, and behind it what is in `waiting`. A search that cancels goes
    /// through `waiting` a few requests at a time, and puts here what stays.
    searched: Fifo<Job<T>>,
    waiting: Fifo<Job<T>>,
    completed: Fifo<Job<T>>,
    /// While somebody searches `waiting`: how many are still to be looked at.
    unsearched: Option<usize>,
    /// Accepted and not yet collected.
    pending: usize,
    pub(super) owner: T::Owner,
    /// The neighbours in the ring of turns, while something waits.
    pub(super) turn: Option<Turn>,
}

/// What a lane has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// Requests that wait for the engine.
    pub(crate) waiting: usize,
    /// Requests that the engine has: 0 or 1.
    pub(crate) running: usize,
    /// Completions that wait to be collected.
    pub(crate) completed: usize,
    /// Completions that are still to come or being delivered, and room set aside for more.
    pub(crate) outstanding: usize,
    /// Requests that there is room for.
    pub(crate) room: usize,
    /// Nothing is taken any more.
    pub(crate) closed: bool,
}

/// A search for requests to cancel, a few at a time.
pub(crate) struct Search {
    /// What they are called; [`None`]: all.
    pub(super) cookie: Option<u64>,
    /// How many were cancelled.
    pub(crate) cancelled: usize,
    /// One of them cannot be, for the engine has begun with it.
    pub(crate) begun: bool,
}

impl<T: Types> Lane<T> {
    /// Requests that are dealt with while the lock is held.
    pub(super) const STEP: usize = 32;

    /// A lane with nothing in it.
    pub(crate) fn new(owner: T::Owner) -> Self {
        Self {
            searched: Fifo::new(),
            waiting: Fifo::new(),
            completed: Fifo::new(),
            unsearched: None,
            pending: 0,
            owner,
            turn: None,
        }
    }

    pub(super) fn load(&self) -> Load {
        Load {
            waiting: self.searched.len() + self.waiting.len(),
            running: 0,
            completed: self.completed.len(),
            outstanding: self.pending - self.completed.len(),
            room: DEPTH.saturating_sub(self.pending),
            closed: false,
        }
    }

    /// Whether nothing waits.
    pub(super) fn is_idle(&self) -> bool {
        self.searched.is_empty() && self.waiting.is_empty()
    }

    /// Sets aside room for at most so many requests, and returns for how many.
    pub(super) fn reserve(&mut self, most: usize) -> usize {
        let granted = most.min(DEPTH.saturating_sub(self.pending));
        self.pending += granted;
        granted
    }

    /// Gives back room: what was set aside, or is delivered.
    pub(super) fn release(&mut self, room: usize) {
        let was_full = self.pending >= DEPTH;
        self.pending = self.pending.saturating_sub(room);
        // Somebody may be waiting for room.
        if was_full && room > 0 {
            self.owner.changed();
        }
    }

    pub(super) fn push_last(&mut self, jobs: &mut Fifo<Job<T>>) {
        self.waiting.append(jobs);
    }

    pub(super) fn push_first(&mut self, job: Entry<Job<T>>) {
        self.searched.push_front(job);
    }

    fn pop(&mut self) -> Option<Entry<Job<T>>> {
        let job = self.searched.pop_front();
        job.or_else(|| self.pop_unsearched())
    }

    fn pop_unsearched(&mut self) -> Option<Entry<Job<T>>> {
        if let Some(left) = &mut self.unsearched {
            *left = left.saturating_sub(1);
        }
        self.waiting.pop_front()
    }

    fn front_mut(&mut self) -> Option<&mut Job<T>> {
        match self.searched.front_mut() {
            Some(front) => Some(front),
            None => self.waiting.front_mut(),
        }
    }

    /// Takes what is to be done first. What is linked to one that has not succeeded is completed
    /// instead; but what is being cancelled is left to whoever does that.
    pub(super) fn next(&mut self) -> Option<Entry<Job<T>>> {
        if self.unsearched.is_some() && self.front_mut().is_some_and(|front| front.doomed) {
            return None;
        }
        while let Some(mut job) = self.pop() {
            if !job.doomed {
                return Some(job);
            }
            self.doom_next();
            job.end(Err(ECANCELED));
            self.complete(job);
        }
        None
    }

    /// The request before the next one has not succeeded.
    pub(super) fn doom_next(&mut self) {
        if let Some(next) = self.front_mut() {
            next.doomed = next.linked;
        }
    }

    /// Takes a request that waits. Looks at all of them.
    pub(super) fn take(&mut self, ticket: Ticket) -> Option<Entry<Job<T>>> {
        let take_from = |list: &mut Fifo<Job<T>>| list.take(|job| job.ticket == ticket);
        take_from(&mut self.searched).or_else(|| take_from(&mut self.waiting))
    }

    /// Hands a request that has ended to whoever waits for it.
    pub(super) fn complete(&mut self, mut job: Entry<Job<T>>) {
        if let Some(caller) = job.caller.take() {
            return caller.answer(Answer::Ended(job));
        }
        self.owner.completed(&job);
        self.completed.push_back(job);
    }

    /// Takes completions out: all, or a few if there are more than `most`. Their room is to be
    /// [given back](Self::release) when they are delivered.
    pub(super) fn collect(&mut self, most: usize) -> Fifo<Job<T>> {
        if self.completed.len() <= most {
            core::mem::replace(&mut self.completed, Fifo::new())
        } else {
            self.completed.take_front(most.min(Self::STEP))
        }
    }

    /// Puts back completions that could not be delivered, before all others.
    pub(super) fn put_back(&mut self, mut taken: Fifo<Job<T>>) {
        taken.append(&mut self.completed);
        self.completed = taken;
        self.owner.changed();
    }

    /// Fails a few of the requests that wait, and returns whether there may be more.
    pub(super) fn fail_some(&mut self, error: Error) -> bool {
        for _ in 0..Self::STEP {
            let Some(mut job) = self.pop() else {
                return false;
            };
            job.end(Err(error));
            self.complete(job);
        }
        true
    }

    /// Begins a search among what waits now.
    pub(super) fn search(&mut self, cookie: Option<u64>) -> Search {
        let mut waiting = core::mem::replace(&mut self.waiting, Fifo::new());
        self.searched.append(&mut waiting);
        core::mem::swap(&mut self.searched, &mut self.waiting);
        self.unsearched = Some(self.waiting.len());
        Search {
            cookie,
            cancelled: 0,
            begun: false,
        }
    }

    /// Goes on with a search, for a few requests, and returns whether there may be more. Each lane
    /// has one search at a time.
    pub(super) fn search_some(&mut self, search: &mut Search) -> bool {
        for _ in 0..Self::STEP {
            let job = match self.unsearched {
                None | Some(0) => None,
                Some(_) => self.pop_unsearched(),
            };
            let Some(mut job) = job else {
                self.unsearched = None;
                return false;
            };
            let wanted = job.is_called(search.cookie);
            if wanted && job.is_begun() {
                search.begun = true;
            }
            if !job.doomed && (!wanted || job.is_begun()) {
                self.searched.push_back(job);
                continue;
            }
            // The engine may come before the search goes on.
            if let Some(next) = self.waiting.front_mut() {
                next.doomed = next.linked;
            }
            job.end(Err(ECANCELED));
            self.complete(job);
            search.cancelled += 1;
        }
        true
    }
}
