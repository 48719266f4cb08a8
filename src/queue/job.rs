// SPDX-License-Identifier: GPL-2.0

//! A request on its way through the queue.

use super::{
    Request,
    Types, //
};
use crate::kernel_ext::fifo::Entry;
use kernel::prelude::*;

/// Names a request that somebody waits for, within its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(pub(super) u64);

/// A request on its way through the queue.
pub(crate) struct Job<T: Types> {
    /// [`None`] in one that stands for a request which the engine still has.
    pub(super) request: Option<T::Request>,
    /// Whoever waits for this request; [`None`] if it is submitted, to be collected.
    pub(super) caller: Option<T::Caller>,
    pub(super) ticket: Ticket,
    pub(super) cookie: u64,
    /// It starts only if the one before it has succeeded.
    pub(super) linked: bool,
    /// The one that it is linked to has not succeeded.
    pub(super) doomed: bool,
    /// What it is if it never starts, from the beginning.
    pub(super) outcome: Result,
    pub(super) bytes: u64,
    submitted: u64,
}

impl<T: Types> Job<T> {
    /// A request that is submitted at the time `now`, in nanoseconds; may sleep. `linked`: to the
    /// one before it.
    pub(crate) fn submitted(
        request: T::Request,
        cookie: u64,
        linked: bool,
        now: u64,
    ) -> Result<Entry<Self>> {
        Entry::new(Self {
            request: Some(request),
            caller: None,
            ticket: Ticket(0),
            cookie,
            linked,
            doomed: false,
            outcome: Err(ECANCELED),
            bytes: 0,
            submitted: now,
        })
    }

    /// A request that `caller` waits for from the time `now` on, in nanoseconds; may sleep.
    pub(crate) fn called(request: T::Request, caller: T::Caller, now: u64) -> Result<Entry<Self>> {
        let mut job = Self::submitted(request, 0, false, now)?;
        job.caller = Some(caller);
        Ok(job)
    }

    /// Room for the completion of a request that the engine does not give back; may sleep.
    pub(crate) fn stand_in() -> Result<Entry<Self>> {
        Entry::new(Self {
            request: None,
            caller: None,
            ticket: Ticket(0),
            cookie: 0,
            linked: false,
            doomed: false,
            outcome: Ok(()),
            bytes: 0,
            submitted: 0,
        })
    }

    /// Makes a stand-in the completion of `other`.
    pub(super) fn stand_for(&mut self, other: &Self, outcome: Result) {
        self.cookie = other.cookie;
        self.bytes = other.bytes;
        self.submitted = other.submitted;
        self.outcome = outcome;
    }

    /// The request.
    pub(crate) fn request(&self) -> Option<&T::Request> {
        self.request.as_ref()
    }

    /// What its submitter calls it.
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

    /// Whether it can be collected, and is called `cookie` ([`None`]: whatever it is called).
    pub(super) fn is_called(&self, cookie: Option<u64>) -> bool {
        self.caller.is_none() && cookie.is_none_or(|cookie| cookie == self.cookie)
    }

    /// Takes note of how it has ended.
    pub(super) fn end(&mut self, outcome: Result) {
        self.outcome = outcome;
        if let Some(request) = &mut self.request {
            request.ended();
        }
    }
}
