// SPDX-License-Identifier: GPL-2.0

//! Abandoned and overdue requests, and an engine that is paused, closed or gone.

use super::{
    flight::{
        Active,
        Taken, //
    },
    job::{
        Answer,
        Change,
        Job,
        QueueTypes,
        RequestWaiter,
        Tag, //
    },
    queue::{
        Notice,
        Queue,
        Step, //
    }, //
};
use crate::{
    engines::plan::Plan,
    kernel_ext::collections::fifo::Entry, //
};
use kernel::prelude::*;

impl<T: QueueTypes> Queue<T> {
    /// Separates the request with this tag from its owner. Returns it if the engine has no transfer
    /// of it. Otherwise the engine keeps it until its transfers have ended.
    pub(super) fn abandon(&mut self, tag: Tag) -> Option<Entry<Job<T>>> {
        // This frees nothing: the system call or the command that waits has a reference of its own,
        // and keeps the file open, so that its lane is not removed before.
        drop(self.detach(tag));
        if self.flight.get_mut(tag)?.slots == 0 {
            return self.flight.remove(tag).map(|taken| taken.job);
        }
        self.stats.counters.quarantined += 1;
        None
    }

    /// Separates the request with this tag from its lane and its waiter, and returns the latter.
    fn detach(&mut self, tag: Tag) -> Option<T::Waiter> {
        self.stop_turn(tag);
        let active = self.flight.get_mut(tag)?;
        let waiter = active.job.as_mut().and_then(|job| job.waiter.take());
        if let Some(lane) = active.lane.take() {
            self.lanes.detach(lane, tag);
        }
        waiter
    }

    /// Ends the turn, if it is that of the request with this tag.
    pub(super) fn stop_turn(&mut self, tag: Tag) {
        if self.turn.is_some_and(|turn| turn.tag == tag) {
            self.end_turn();
        }
    }

    /// Completes one of the engine's requests with `ETIMEDOUT`; if the queue is closed, its waiter
    /// gets the reason for that. The engine keeps the job of the request, so that the completion is
    /// written to a blank job, `completion`. From now on, all requests that wait are
    /// [failed](Self::fail_batch). No more steps are needed if all have been completed, or if there
    /// is no blank job.
    pub(crate) fn time_out(&mut self, completion: &mut Option<Entry<Job<T>>>) -> Step<T> {
        let tag = self.find_to_time_out(completion.is_some());
        Step {
            more: tag.is_some(),
            notice: tag.and_then(|tag| self.time_out_active(tag, completion)),
        }
    }

    /// Returns the tag of a request that the engine does not end, and that was not timed out.
    /// `has_completion`: it can be one that needs a completion.
    fn find_to_time_out(&self, has_completion: bool) -> Option<Tag> {
        let is_running = |active: &Active<T>| active.slots > 0 && !active.timed_out;
        let tag = self.flight.find(is_running)?;
        let is_collected = |active: &Active<T>| active.lane.is_some() && !active.waited_for();
        (has_completion || !self.flight.get(tag).is_some_and(is_collected)).then_some(tag)
    }

    fn time_out_active(
        &mut self,
        tag: Tag,
        completion: &mut Option<Entry<Job<T>>>,
    ) -> Option<Notice<T>> {
        self.set_stuck();
        let active = self.flight.get_mut(tag)?;
        active.timed_out = true;
        if active.lane.is_some() && active.waited_for() {
            return self.fail_waiter(tag, ETIMEDOUT).map(Notice::Waiter);
        }
        let job = active.job.as_mut()?;
        let lane = active.lane.take()?;
        self.stats.counters.quarantined += 1;
        if let Some(mut completed) = completion.take() {
            completed.fill_completion(job, Err(ETIMEDOUT));
            self.stop_turn(tag);
            let deferred = &mut self.deferred.memory;
            match self.lanes.complete(lane, tag, completed, deferred) {
                // CAST: a small number.
                Ok(completed) => self.stats.counters.completed += completed.links as u64,
                Err(job) => *completion = Some(job),
            }
        }
        self.notice(lane, Change::Completed)
    }

    /// Separates a request from its lane, and answers its waiter with an error: `ENODEV` if the
    /// queue is closed, otherwise this one. Returns the waiter.
    fn fail_waiter(&mut self, tag: Tag, error: Error) -> Option<T::Waiter> {
        let waiter = self.detach(tag)?;
        self.stats.counters.quarantined += 1;
        waiter.answer(Answer::Failed(if self.closed { ENODEV } else { error }));
        Some(waiter)
    }

    /// Issues no more transfers, because the engine does not stop. The caller [times
    /// out](Self::time_out) the requests that it has.
    pub(crate) fn set_stuck(&mut self) {
        self.stuck = true;
        self.return_turn();
    }

    /// Returns whether a transfer does not end, or the engine does not stop.
    pub(crate) fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// Accepts no more requests, because the device is gone or was shut down. The caller
    /// [fails](Self::fail_batch) those that wait. Transfers that the engine has can still
    /// [end](Self::finish); until then, the engine may access their memory, so that their waiters
    /// wait, too.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.return_turn();
    }

    /// Returns whether the queue was [closed](Self::close).
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Answers one of the waiters whose requests the engine has, if the queue is closed. For
    /// requests that are never aborted, although the engine may not end them.
    pub(crate) fn fail_waiter_in_flight(&mut self) -> Step<T> {
        let tag = self.flight.find(|active| active.waited_for());
        let waiter = tag
            .filter(|_| self.closed)
            .and_then(|tag| self.fail_waiter(tag, ENODEV));
        Step {
            more: waiter.is_some(),
            notice: waiter.map(Notice::Waiter),
        }
    }

    /// Takes one of the requests that the engine has had, for [`fail_taken`](Self::fail_taken). For
    /// teardown: no transfer is started or ends after this.
    pub(crate) fn take_active(&mut self) -> Option<Taken<T>> {
        self.turn = None;
        while self.flight.unpost().is_some() {}
        let tag = self.flight.find(|_| true)?;
        self.flight.remove(tag)
    }

    /// Ends a request that was taken from the engine, at the time `now` in nanoseconds.
    pub(crate) fn fail_taken(&mut self, taken: Taken<T>, now: u64) -> Option<Notice<T>> {
        let recipient = self.complete(taken, Err(ENODEV), now);
        self.notice_of(recipient)
    }

    /// Takes and aborts one of the requests that the engine has had.
    pub(crate) fn fail_one_active(&mut self, now: u64) -> Step<T> {
        let taken = self.take_active();
        Step {
            more: taken.is_some(),
            notice: taken.and_then(|taken| self.fail_taken(taken, now)),
        }
    }

    /// Starts no more transfers. Requests are accepted, and wait; transfers that the engine has can
    /// still [end](Self::finish).
    pub(crate) fn pause(&mut self) {
        self.paused = true;
    }

    /// Continues after [`pause`](Self::pause).
    pub(crate) fn unpause(&mut self) {
        self.paused = false;
    }

    /// Returns whether the queue is [paused](Self::pause).
    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Issues all transfers again that the engine has not ended. It was reset: none of them is
    /// executed any more.
    pub(crate) fn issue_again(&mut self) {
        self.return_all_but(None);
        self.stuck = false;
    }

    /// Records that the effects of earlier transfers on the device are lost. A piece that has not
    /// ended is issued again. The engine must have no transfer that can still succeed.
    pub(crate) fn invalidate(&mut self) {
        if let Some(plan) = &mut self.plan {
            plan.invalidate();
        }
        let turn = self.turn;
        let active = turn.and_then(|turn| self.flight.get_mut(turn.tag));
        if let Some(active) = active {
            active.rewind();
        }
    }
}
