// SPDX-License-Identifier: GPL-2.0

//! A request in the queue, and the traits of its parts.

use super::completion_ring::RingMemory;
use crate::{
    engines::plan::{
        Plan,
        SchedulableRequest, //
    },
    kernel_ext::collections::fifo::{
        Entry,
        Fifo, //
    }, //
};
use kernel::prelude::*;

/// The types of a queue.
pub(crate) trait QueueTypes: Sized {
    /// A request.
    type Request: SchedulableRequest;
    /// Divides requests into transfers.
    type Plan: Plan<Self::Request>;
    /// The owner of a lane.
    type Owner: LaneOwner<Self>;
    /// A thread or a command that waits for one request.
    type Waiter: RequestWaiter<Self>;
    /// The memory of a completion ring.
    type Ring: RingMemory;
}

/// The plan of a queue.
pub(crate) type PlanOf<T> = <T as QueueTypes>::Plan;

/// Memory of requests that can be freed in process context only.
pub(crate) type DeferredOf<T> = <<T as QueueTypes>::Request as SchedulableRequest>::Deferred;

/// The position within a piece of a request.
pub(super) type StageOf<T> = <PlanOf<T> as Plan<<T as QueueTypes>::Request>>::Stage;

/// A change of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Requests are completed.
    Completed,
    /// Completions that could not be delivered were put back.
    PutBack,
    /// A full lane has room for requests.
    Room,
    /// The queue is closed: fewer completions will come, or none.
    Closed,
}

/// The owner of a lane. Its functions are called under the queue's lock, also in interrupt
/// handlers.
pub(crate) trait LaneOwner<T: QueueTypes> {
    /// What is delivered after the lock is dropped.
    type Notice;

    /// Records that a request of the lane is completed.
    fn completed(&self, job: &Job<T>);

    /// Makes the notice of a change of the lane, which has `completed` completions.
    fn notice(&self, change: Change, completed: usize) -> Self::Notice;
}

/// A thread or a command that waits for one request.
pub(crate) trait RequestWaiter<T: QueueTypes> {
    /// Returns whether it is a thread. The end of its request raises an interrupt, and it cannot be
    /// cancelled: the thread can stop waiting.
    fn is_thread(&self) -> bool;

    /// Stores the result of the request. Called under the queue's lock, also in interrupt handlers;
    /// the waiter is woken after the lock is dropped.
    fn answer(&self, answer: Answer<T>);
}

/// The result of a request for its waiter.
pub(crate) enum Answer<T: QueueTypes> {
    /// It has ended.
    Ended(Entry<Job<T>>),
    /// It has failed, but the engine still has it.
    Failed(Error),
}

impl<T: QueueTypes> Answer<T> {
    /// Returns the outcome of the request, and its job, which is blank, if the engine does not have
    /// it.
    pub(crate) fn into_outcome(self) -> (Result, Option<Entry<Job<T>>>) {
        match self {
            Self::Ended(mut job) => {
                let outcome = job.outcome();
                job.clear();
                (outcome, Some(job))
            }
            Self::Failed(error) => (Err(error), None),
        }
    }
}

/// Identifies a request with a waiter, within its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WaiterId(pub(super) u64);

impl WaiterId {
    /// The id of requests without a waiter.
    const NONE: Self = Self(0);
}

/// The tag of a request that the engine has, as of a request of the block layer (blk-mq). Another
/// request gets it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag(pub(super) usize);

/// Whether a request is not started any more, but completed with `ECANCELED`. A job with a waiter
/// is never in this state: it is not linked, and CANCEL does not cancel it after it has begun.
// One byte, because clearing a second one for each completion takes time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Cancelled(u8);

impl Cancelled {
    /// It can be started.
    pub(super) const NONE: Self = Self(0);
    /// The request that it is linked to has failed.
    const LINK: Self = Self(1);
    /// It was cancelled after it had begun, and was counted.
    pub(super) const COUNTED: Self = Self(2);

    /// Adds a reason.
    pub(super) fn add(&mut self, reason: Self) {
        self.0 |= reason.0;
    }
}

/// A request in the queue.
pub(crate) struct Job<T: QueueTypes> {
    /// [`None`] in a blank job, and in the completion of a request that the engine still has.
    pub(super) request: Option<T::Request>,
    /// The thread or command that waits for this request; [`None`] for a request of SUBMIT, whose
    /// completion WAIT collects.
    pub(super) waiter: Option<T::Waiter>,
    /// [`WaiterId::NONE`] without a waiter.
    pub(super) waiter_id: WaiterId,
    /// The number by which the program identifies the request.
    pub(super) cookie: u64,
    /// Starts only if the request before it has succeeded.
    pub(super) linked: bool,
    pub(super) cancelled: Cancelled,
    /// `ECANCELED` until the job has run.
    pub(super) outcome: Result,
    /// Bytes that are complete.
    pub(super) bytes: u64,
    /// The time of submission, in nanoseconds.
    submitted_at: u64,
}

impl<T: QueueTypes> Job<T> {
    /// A job without a request.
    const BLANK: Self = Self {
        request: None,
        waiter: None,
        waiter_id: WaiterId::NONE,
        cookie: 0,
        linked: false,
        cancelled: Cancelled::NONE,
        outcome: Err(ECANCELED),
        bytes: 0,
        submitted_at: 0,
    };

    /// Allocates a blank job. Sleeps.
    pub(crate) fn blank() -> Result<Entry<Self>> {
        Entry::new(Self::BLANK)
    }

    /// Makes the job blank, and drops its request, which may free buffers. May sleep.
    pub(crate) fn clear(&mut self) {
        // Each field, because copying a blank job takes longer.
        self.request = None;
        self.waiter = None;
        self.waiter_id = WaiterId::NONE;
        self.cookie = 0;
        self.linked = false;
        self.cancelled = Cancelled::NONE;
        self.outcome = Err(ECANCELED);
        self.bytes = 0;
        self.submitted_at = 0;
    }

    /// Fills a blank job with a request that is submitted at the time `now`, in nanoseconds, and
    /// may be linked to the one before it.
    pub(crate) fn fill(&mut self, request: T::Request, cookie: u64, linked: bool, now: u64) {
        self.request = Some(request);
        self.cookie = cookie;
        self.linked = linked;
        self.submitted_at = now;
    }

    /// Fills a blank job with a request that `waiter` waits for, from the time `now` in
    /// nanoseconds.
    pub(crate) fn fill_waited(
        &mut self,
        request: T::Request,
        cookie: u64,
        waiter: T::Waiter,
        now: u64,
    ) {
        self.fill(request, cookie, false, now);
        self.waiter = Some(waiter);
    }

    /// Fills a blank job with the completion of `other`, which the engine still has.
    pub(super) fn fill_completion(&mut self, other: &Self, outcome: Result) {
        self.cookie = other.cookie;
        self.bytes = other.bytes;
        self.submitted_at = other.submitted_at;
        self.outcome = outcome;
    }

    /// Returns the request; [`None`] in a blank job, and in the completion of a request that the
    /// engine still has.
    pub(crate) fn request(&self) -> Option<&T::Request> {
        self.request.as_ref()
    }

    /// Returns the number by which the program identifies the request.
    pub(crate) fn cookie(&self) -> u64 {
        self.cookie
    }

    /// Returns the result; `ECANCELED` until the job has run.
    pub(crate) fn outcome(&self) -> Result {
        self.outcome
    }

    /// Returns the number of bytes that are complete.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns whether any of its bytes are complete.
    pub(crate) fn has_progress(&self) -> bool {
        self.bytes > 0
    }

    /// Returns the time at which it was submitted, in nanoseconds.
    pub(crate) fn submitted_at(&self) -> u64 {
        self.submitted_at
    }

    /// Returns for how long it has been in the queue at the time `now`, both in nanoseconds.
    pub(crate) fn age(&self, now: u64) -> u64 {
        now.saturating_sub(self.submitted_at)
    }

    /// Returns whether it can be cancelled, and has this cookie ([`None`]: any cookie).
    pub(super) fn matches(&self, cookie: Option<u64>) -> bool {
        let waiter = self.waiter.as_ref();
        !waiter.is_some_and(RequestWaiter::is_thread)
            && cookie.is_none_or(|cookie| cookie == self.cookie)
    }

    /// Returns whether it is completed with `ECANCELED`, and not started.
    #[inline]
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled != Cancelled::NONE
    }

    /// Returns whether it was cancelled after it had begun, and was counted.
    #[inline]
    pub(super) fn was_counted(&self) -> bool {
        self.cancelled.0 & Cancelled::COUNTED.0 != 0
    }

    /// Records that the request before it has failed.
    #[inline]
    pub(super) fn fail_link(&mut self) {
        // CAST: `LINK`, or 0.
        self.cancelled
            .add(Cancelled(u8::from(self.linked) * Cancelled::LINK.0));
    }

    /// Stores its result.
    pub(super) fn end(&mut self, outcome: Result) {
        self.outcome = outcome;
        if let Some(request) = &mut self.request {
            request.ended();
        }
    }

    /// Releases the memory of its request. See [`SchedulableRequest::release`].
    pub(super) fn release(&mut self, deferred: &mut Fifo<DeferredOf<T>>) {
        if let Some(request) = &mut self.request {
            request.release(deferred);
        }
    }
}
