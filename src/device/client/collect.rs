// SPDX-License-Identifier: GPL-2.0

//! Waiting for completions, and collecting them.

use super::Client;
use crate::{
    device::{
        engine_queue::QueueState,
        types::{
            deliver,
            Job, //
        }, //
    },
    kernel_ext::{
        collections::fifo::Fifo,
        sync::{
            signal::Pending,
            wait::Woken, //
        }, //
    },
    uapi, //
};
use kernel::prelude::*;

/// Returns the completion of a request, as a program gets it.
pub(crate) fn completion(cookie: u64, bytes: u64, outcome: Result) -> uapi::rdma_completion {
    uapi::rdma_completion {
        cookie,
        bytes,
        status: outcome.err().map_or(0, Error::to_errno),
        reserved: 0,
    }
}

/// The event that has ended the wait before enough requests are completed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum WaitEnd {
    /// No such event.
    Waiting,
    /// The deadline has passed.
    TimedOut,
    /// A signal is delivered.
    Signal,
    /// Another event has interrupted the sleep, after which the call is restarted.
    Restart,
}

impl Client {
    /// Sleeps until `min` requests are completed, the device is gone and no requests are left, the
    /// time is `until` ([`None`]: no deadline), or a signal is delivered. Takes up to `max`
    /// completions, which the caller [delivers](Self::finish_collect).
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if completions are written to a ring; [`ENODEV`] if the device is gone and no
    /// requests are left. [`ERESTARTSYS`] if a signal is delivered and no request is completed, and
    /// after an event that is no signal. A restarted call waits for the same `until`.
    pub(crate) fn collect(&self, min: usize, max: usize, until: Option<u64>) -> Result<Fifo<Job>> {
        let mut ended = WaitEnd::Waiting;
        loop {
            if let Some(taken) = self.take(min, max, ended)? {
                return Ok(taken);
            }
            ended = self.sleep(min, until, false);
        }
    }

    /// Sleeps until `min` requests may be completed. Returns the event that has ended the sleep
    /// early. `for_ring`: the completions are written to a ring. Otherwise the thread does not
    /// sleep if there is a ring: it would not be woken.
    #[inline]
    pub(super) fn sleep(&self, min: usize, until: Option<u64>, for_ring: bool) -> WaitEnd {
        let state = self.engine_queue.state.lock();
        if state.queue.collectable(self.lane).is_none() != for_ring
            || self.is_enough(&state, min, WaitEnd::Waiting) != Ok(false)
        {
            return WaitEnd::Waiting;
        }
        match self.wait_queues.collectors.sleep_for(state, min, until) {
            Woken::Changed => WaitEnd::Waiting,
            Woken::TimedOut => WaitEnd::TimedOut,
            Woken::Interrupted if Pending::now() == Pending::Signal => WaitEnd::Signal,
            Woken::Interrupted => WaitEnd::Restart,
        }
    }

    /// Returns whether a thread that waits for `min` completions can stop waiting.
    #[inline(always)]
    pub(super) fn is_enough(&self, state: &QueueState, min: usize, ended: WaitEnd) -> Result<bool> {
        let lane = state.queue.state(self.lane);
        let over = lane.closed && lane.outstanding == 0;
        match (lane.completed, ended) {
            (0, _) if over => Err(ENODEV),
            (0, WaitEnd::Signal) => Err(ERESTARTSYS),
            (completed, _) if completed >= min || over => Ok(true),
            (_, WaitEnd::Waiting) => Ok(false),
            (_, WaitEnd::TimedOut | WaitEnd::Signal) => Ok(true),
            (_, WaitEnd::Restart) => Err(ERESTARTSYS),
        }
    }

    /// Takes up to `max` completions, a few at a time under the queue's lock. Returns [`None`] if
    /// the thread must continue waiting.
    fn take(&self, min: usize, max: usize, ended: WaitEnd) -> Result<Option<Fifo<Job>>> {
        let _one_at_a_time = self.collect.lock();
        let mut taken = Fifo::new();
        let mut state = self.engine_queue.state.lock();
        let enough = self.is_enough(&state, min, ended);
        let left = loop {
            if enough == Ok(true) {
                taken.append(&mut state.queue.collect(self.lane, max - taken.len()));
            }
            // If there is a ring, nothing was taken: it is created only if nothing is collected.
            let left = state.queue.collectable(self.lane).ok_or(EINVAL)?;
            drop(state);
            if enough != Ok(true) || left == 0 || taken.len() >= max {
                break left;
            }
            // The lock was released between two steps, so that other threads can take it.
            state = self.engine_queue.state.lock();
        };
        if left > 0 {
            // Completions are left: there may be enough for other threads.
            self.wait_queues.collectors.wake_satisfied(left);
        }
        enough.map(|enough| enough.then_some(taken))
    }

    /// Finishes the delivery of completions: releases the room of the `delivered` ones, whose jobs
    /// are blank, and puts the `undelivered` ones back into the lane.
    pub(crate) fn finish_collect(&self, delivered: Fifo<Job>, undelivered: Fifo<Job>) {
        let count = delivered.len();
        self.jobs.put(delivered);
        let mut state = self.engine_queue.state.lock();
        let put_back = if undelivered.is_empty() {
            None
        } else {
            state.queue.put_back(self.lane, undelivered)
        };
        let released = state.queue.free_room(self.lane, count);
        drop(state);
        deliver(put_back);
        deliver(released);
    }
}
