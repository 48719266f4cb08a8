// SPDX-License-Identifier: GPL-2.0

//! Waiting for completions, and collecting them.

use super::Client;
use crate::{
    device::queue::{
        deliver,
        Job,
        Work, //
    },
    kernel_ext::{
        collections::fifo::Fifo,
        sync::{
            signal::Pending,
            wait::Woken, //
        }, //
    }, //
};
use kernel::prelude::*;

/// What has ended the wait for completions, other than enough of them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// Nothing.
    NotYet,
    /// The deadline.
    ByTime,
    /// A signal with a handler.
    BySignal,
    /// An event that is no signal, after which the call is restarted.
    ToRestart,
}

impl Client {
    /// Sleeps until there are `min` completions, no more will come, the time is `until` ([`None`]:
    /// never), or a signal is delivered. Takes up to `most` of them, which the caller
    /// [delivers](Self::deliver).
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if there are none, and no more will come. [`ERESTARTSYS`] if there are none and a
    /// signal is delivered, and after an event that is no signal: a call that is restarted waits for
    /// the same `until`.
    pub(crate) fn collect(&self, min: usize, most: usize, until: Option<u64>) -> Result<Fifo<Job>> {
        let mut ended = Ended::NotYet;
        loop {
            if let Some(taken) = self.take(min, most, ended)? {
                return Ok(taken);
            }
            ended = self.sleep(min, until);
        }
    }

    /// Sleeps until there may be `min` completions, and returns what else has ended the sleep.
    fn sleep(&self, min: usize, until: Option<u64>) -> Ended {
        let work = self.channel.work.lock();
        if self.is_enough(&work, min, Ended::NotYet) != Ok(false) {
            return Ended::NotYet;
        }
        match self.waiters.collectors.sleep_for(work, min, until) {
            Woken::Changed => Ended::NotYet,
            Woken::TimedOut => Ended::ByTime,
            Woken::Interrupted if Pending::now() == Pending::Signal => Ended::BySignal,
            Woken::Interrupted => Ended::ToRestart,
        }
    }

    /// Whether a thread that wants `min` completions has waited long enough.
    fn is_enough(&self, work: &Work, min: usize, ended: Ended) -> Result<bool> {
        let lane = work.queue.state(self.id);
        let over = lane.closed && lane.outstanding == 0;
        match (lane.completed, ended) {
            (0, _) if over => Err(ENODEV),
            (0, Ended::BySignal) => Err(ERESTARTSYS),
            (completed, _) if completed >= min || over => Ok(true),
            (_, Ended::NotYet) => Ok(false),
            (_, Ended::ByTime | Ended::BySignal) => Ok(true),
            (_, Ended::ToRestart) => Err(ERESTARTSYS),
        }
    }

    /// Takes up to `most` completions, a few each time that it holds the queue's lock. Returns [`None`]
    /// if there are not enough yet.
    fn take(&self, min: usize, most: usize, ended: Ended) -> Result<Option<Fifo<Job>>> {
        let _one_at_a_time = self.collect.lock();
        let mut taken = Fifo::new();
        let mut enough = Ok(true);
        let mut left = most;
        while left > 0 && enough == Ok(true) && taken.len() < most {
            let mut work = self.channel.work.lock();
            if taken.is_empty() {
                enough = self.is_enough(&work, min, ended);
            }
            if enough == Ok(true) {
                taken.append(&mut work.queue.collect(self.id, most - taken.len()));
            }
            left = work.queue.state(self.id).completed;
        }
        if left > 0 {
            // This thread has taken fewer than it was woken for: there may be enough for others.
            self.waiters.collectors.wake_satisfied(left);
        }
        enough.map(|enough| enough.then_some(taken))
    }

    /// Ends the delivery of completions: releases the room of the `delivered` ones, whose jobs are
    /// blank, and puts back the `others`, which could not be delivered.
    pub(crate) fn deliver(&self, delivered: Fifo<Job>, others: Fifo<Job>) {
        let (count, kept) = (delivered.len(), others.len());
        self.jobs.put(delivered);
        let mut work = self.channel.work.lock();
        let put_back = if kept > 0 {
            work.queue.put_back(self.id, others)
        } else {
            None
        };
        let released = work.queue.release(self.id, count);
        drop(work);
        deliver(put_back);
        deliver(released);
    }
}
