// SPDX-License-Identifier: GPL-2.0

//! A request on its way through the queue, and what the queue asks of what it is made of.

use crate::{
    engines::plan::{
        Payload,
        Plan, //
    },
    kernel_ext::collections::fifo::Entry, //
};
use kernel::prelude::*;

/// What goes through a queue, and to whom.
pub(crate) trait QueueTypes: Sized {
    /// A request.
    type Request: Payload;
    /// What cuts requests into transfers.
    type Plan: Plan<Self::Request>;
    /// The owner of a lane.
    type Owner: Owner<Self>;
    /// A thread that waits for one request.
    type Caller: Caller<Self>;
}

/// What cuts the requests of `T`.
pub(crate) type PlanOf<T> = <T as QueueTypes>::Plan;

/// Where in a piece of a request of `T` the next transfer is.
pub(super) type StageOf<T> = <PlanOf<T> as Plan<<T as QueueTypes>::Request>>::Stage;

/// What has changed in a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Requests are completed.
    Completed,
    /// Completions that could not be delivered can be collected again.
    PutBack,
    /// There is room for requests again.
    Room,
    /// The queue is closed: fewer completions are to come, or none.
    Closed,
}

/// The owner of a lane. Called under the queue's lock, also by an interrupt handler.
pub(crate) trait Owner<T: QueueTypes> {
    /// What is to be done when the lock is dropped.
    type Notice;

    /// A request of the lane is completed.
    fn completed(&self, job: &Job<T>);

    /// Says what is to be done about a change of the lane, which now has so many completions.
    fn notice(&self, change: Change, completed: usize) -> Self::Notice;
}

/// A thread that waits for one request.
pub(crate) trait Caller<T: QueueTypes> {
    /// The request has ended. Called under the queue's lock, also by an interrupt handler; the
    /// thread is woken when the lock is dropped.
    fn answer(&self, answer: Answer<T>);
}

/// How a request has ended for the thread that waits for it.
pub(crate) enum Answer<T: QueueTypes> {
    /// It has ended; here it is.
    Ended(Entry<Job<T>>),
    /// It has failed, but the engine still has it.
    Failed(Error),
}

/// The number of a request that a thread waits for, within its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SyncId(pub(super) u64);

impl SyncId {
    /// That of requests which no thread waits for.
    const NONE: Self = Self(0);
}

/// A request on its way through the queue.
pub(crate) struct Job<T: QueueTypes> {
    /// [`None`] in one that is blank, and in the completion of a request that the engine still has.
    pub(super) request: Option<T::Request>,
    /// The thread that waits for this request; [`None`] if it is submitted, to be collected.
    pub(super) caller: Option<T::Caller>,
    pub(super) sync: SyncId,
    pub(super) cookie: u64,
    /// It starts only if the one before it has succeeded.
    pub(super) linked: bool,
    /// The one that it is linked to has failed.
    pub(super) link_failed: bool,
    /// Result. `ECANCELED` until the job has run.
    pub(super) outcome: Result,
    pub(super) bytes: u64,
    submitted: u64,
}

impl<T: QueueTypes> Job<T> {
    /// One without a request.
    const BLANK: Self = Self {
        request: None,
        caller: None,
        sync: SyncId::NONE,
        cookie: 0,
        linked: false,
        link_failed: false,
        outcome: Err(ECANCELED),
        bytes: 0,
        submitted: 0,
    };

    /// Room for one; may sleep.
    pub(crate) fn blank() -> Result<Entry<Self>> {
        Entry::new(Self::BLANK)
    }

    /// Makes it blank again, and drops what it holds; may sleep.
    pub(crate) fn clear(&mut self) {
        *self = Self::BLANK;
    }

    /// Makes a blank one a request that is submitted at the time `now`, in nanoseconds. `linked`:
    /// to the one before it.
    pub(crate) fn submit(&mut self, request: T::Request, cookie: u64, linked: bool, now: u64) {
        self.request = Some(request);
        self.cookie = cookie;
        self.linked = linked;
        self.submitted = now;
    }

    /// Makes a blank one a request that `caller` waits for from the time `now` on, in nanoseconds.
    pub(crate) fn submit_sync(&mut self, request: T::Request, caller: T::Caller, now: u64) {
        self.submit(request, 0, false, now);
        self.caller = Some(caller);
    }

    /// Makes a blank one the completion of `other`, which the engine still has.
    pub(super) fn complete_for(&mut self, other: &Self, outcome: Result) {
        self.cookie = other.cookie;
        self.bytes = other.bytes;
        self.submitted = other.submitted;
        self.outcome = outcome;
    }

    /// The request.
    pub(crate) fn request(&self) -> Option<&T::Request> {
        self.request.as_ref()
    }

    /// Its cookie.
    pub(crate) fn cookie(&self) -> u64 {
        self.cookie
    }

    /// How it ended.
    pub(crate) fn outcome(&self) -> Result {
        self.outcome
    }

    /// Bytes that have arrived.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the engine has begun with it.
    pub(crate) fn is_begun(&self) -> bool {
        self.bytes > 0
    }

    /// When it was submitted, in nanoseconds.
    pub(crate) fn submitted_at(&self) -> u64 {
        self.submitted
    }

    /// For how long it has been in the queue, in nanoseconds.
    pub(crate) fn age(&self, now: u64) -> u64 {
        now.saturating_sub(self.submitted)
    }

    /// Whether it can be collected, and has this cookie ([`None`]: any).
    pub(super) fn matches(&self, cookie: Option<u64>) -> bool {
        self.caller.is_none() && cookie.is_none_or(|cookie| cookie == self.cookie)
    }

    /// Records how it has ended.
    pub(super) fn end(&mut self, outcome: Result) {
        self.outcome = outcome;
        if let Some(request) = &mut self.request {
            request.ended();
        }
    }
}
