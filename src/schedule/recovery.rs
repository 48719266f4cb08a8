// SPDX-License-Identifier: GPL-2.0

//! Requests that are abandoned by their owner, overdue, or with an engine that is paused or gone.

use super::{
    flight::Taken,
    job::{
        Answer,
        Caller,
        Change,
        Job,
        QueueTypes, //
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
    /// Takes the owner from a request that the engine has, by its number. It stays with the engine
    /// until its transfers have ended.
    pub(super) fn abandon(&mut self, number: usize) {
        self.stop_turn(number);
        let Some(active) = self.flight.get_mut(number) else {
            return;
        };
        // The thread has a reference of its own: this frees nothing.
        drop(active.job.as_mut().and_then(|job| job.caller.take()));
        let (lane, slots) = (active.lane.take(), active.slots);
        self.stats.counters.quarantined += 1;
        if let Some(lane) = lane {
            self.lanes.detach(lane, number);
        }
        if slots == 0 {
            if let Some(taken) = self.flight.remove(number) {
                self.add_orphan(taken.job);
            }
        }
    }

    /// Has a request, by its number, issued no further.
    fn stop_turn(&mut self, number: usize) {
        if self.turn.is_some_and(|turn| turn.active == number) {
            self.end_turn();
        }
    }

    /// Completes one of the requests that the engine has with `ETIMEDOUT`, if need be by `completion`;
    /// the request itself stays with the engine. All others are to be
    /// [failed](Self::fail_batch) from now on. Returns [`None`] if that has been done with all, or there
    /// is nothing to complete it by.
    pub(crate) fn time_out(
        &mut self,
        completion: &mut Option<Entry<Job<T>>>,
    ) -> Option<Option<Notice<T>>> {
        let number = self
            .flight
            .find(|active| active.slots > 0 && !active.overdue)?;
        let active = self.flight.get_mut(number)?;
        let job = active.job.as_mut()?;
        let is_collected = active.lane.is_some() && job.caller.is_none();
        if is_collected && completion.is_none() {
            return None;
        }
        active.overdue = true;
        self.stuck = true;
        let Some(lane) = active.lane.take() else {
            return Some(None);
        };
        self.stats.counters.quarantined += 1;
        if let Some(caller) = job.caller.take() {
            caller.answer(Answer::Failed(ETIMEDOUT));
            self.stop_turn(number);
            self.lanes.detach(lane, number);
            return Some(Some(Notice::Caller(caller)));
        }
        if let Some(mut completed) = completion.take() {
            completed.complete_for(job, Err(ETIMEDOUT));
            self.stop_turn(number);
            self.lanes.stop_continuing(lane, number);
            *completion = self.lanes.complete(lane, completed).err();
        }
        Some(self.notice(lane, Change::Completed))
    }

    /// Accepts nothing new from now on. What waits is to be [failed](Self::fail_batch), and what the
    /// engine has can [end](Self::finish).
    pub(crate) fn close(&mut self, error: Error) {
        self.closed = Some(error);
    }

    /// Answers one of the threads that wait for what the engine has, if the queue is closed.
    pub(super) fn fail_caller(&mut self) -> Option<T::Caller> {
        let error = self.closed?;
        let number = self.flight.find(|active| active.waited_for())?;
        self.stop_turn(number);
        let active = self.flight.get_mut(number)?;
        let caller = active.job.as_mut()?.caller.take()?;
        caller.answer(Answer::Failed(error));
        let lane = active.lane.take();
        self.stats.counters.quarantined += 1;
        if let Some(lane) = lane {
            self.lanes.detach(lane, number);
        }
        Some(caller)
    }

    /// Takes one of the requests that the engine has, to be given to [`abort`](Self::abort). For
    /// teardown: nothing is started any more, and none of the transfers will end.
    pub(crate) fn take_active(&mut self) -> Option<Taken<T>> {
        self.turn = None;
        while self.flight.unpost().is_some() {}
        let number = self.flight.find(|_| true)?;
        self.flight.remove(number)
    }

    /// Ends a request that was taken from the engine, at the time `now` in nanoseconds.
    pub(crate) fn abort(&mut self, taken: Taken<T>, now: u64) -> Option<Notice<T>> {
        let error = self.closed.unwrap_or(ECANCELED);
        self.complete(taken, Err(error), now)
    }

    /// Aborts one of the requests that the engine has had, at the time `now` in nanoseconds.
    pub(crate) fn abort_one(&mut self, now: u64) -> Step<T> {
        let taken = self.take_active();
        Step {
            more: taken.is_some(),
            notice: taken.and_then(|taken| self.abort(taken, now)),
        }
    }

    /// Starts nothing any more. What is taken waits; what the engine has can [end](Self::finish).
    pub(crate) fn pause(&mut self) {
        self.paused = true;
    }

    /// Goes on from where it was when it was [paused](Self::pause).
    pub(crate) fn resume(&mut self) {
        self.paused = false;
    }

    /// Records that the engine has lost what its transfers have done to the device. A piece that has
    /// not ended is begun anew. The engine has no transfer.
    pub(crate) fn invalidate(&mut self) {
        if let Some(plan) = &mut self.plan {
            plan.invalidate();
        }
        let turn = self.turn;
        let active = turn.and_then(|turn| self.flight.get_mut(turn.active));
        if let Some(active) = active {
            active.restart();
        }
    }
}
