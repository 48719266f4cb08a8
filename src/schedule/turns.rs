// SPDX-License-Identifier: GPL-2.0

//! Turns: which transfer is issued next, and what happens to a request when a transfer ends.

use super::{
    flight::{
        Issue,
        Posted,
        Taken, //
    },
    job::{
        Cancelled,
        QueueTypes,
        RequestWaiter,
        Tag, //
    },
    lane::Next,
    queue::{
        Queue,
        Recipient,
        Turn, //
    }, //
};
use crate::engines::plan::Plan;
use kernel::prelude::*;

impl<T: QueueTypes> Queue<T> {
    /// Issues the next transfer, which the caller posts; [`None`] if there is none or no free slot.
    #[inline]
    pub(crate) fn issue(&mut self) -> Option<Issue<T>> {
        if self.flight.is_full() || self.paused || self.stuck || self.closed {
            return None;
        }
        self.issue_next()
    }

    fn issue_next(&mut self) -> Option<Issue<T>> {
        loop {
            let turn = match self.turn {
                Some(turn) => turn,
                None => self.begin_turn()?,
            };
            match self.cut(turn) {
                Some(issue) => return Some(issue),
                None => self.end_turn(),
            }
        }
    }

    /// Begins the turn of the next lane.
    fn begin_turn(&mut self) -> Option<Turn> {
        let quantum = self.plan.as_ref()?.quantum();
        let (lane, next) = self.lanes.take_next()?;
        let tag = match next {
            Next::Continue(tag) => tag,
            Next::Begin(job) => self.flight.add(job, lane)?,
        };
        let turn = Turn { lane, tag, quantum };
        self.turn = Some(turn);
        Some(turn)
    }

    /// Issues the next transfer of a turn; [`None`] if there is none.
    fn cut(&mut self, turn: Turn) -> Option<Issue<T>> {
        let active = self.flight.get_mut(turn.tag)?;
        let job = active.job.as_ref()?;
        let request = job.request.as_ref()?;
        let plan = self.plan.as_mut()?;
        let cut = plan.cut(request, active.issued, &mut active.stage, turn.quantum)?;
        active.issued += cut.completes;
        let is_last = cut.ends_piece && active.issued >= active.length;
        let is_thread = job.waiter.as_ref().is_some_and(RequestWaiter::is_thread);
        let slot = self.flight.post(Posted {
            tag: turn.tag,
            moves: cut.moves,
            completes: cut.completes,
        })?;
        let quantum = turn.quantum.saturating_sub(cut.cost);
        let continues = if !cut.ends_piece {
            // The other transfers of a piece follow without regard to their cost.
            true
        } else if quantum == 0 {
            false
        } else {
            !is_last || self.begin_next(turn)
        };
        match &mut self.turn {
            Some(turn) if continues => turn.quantum = quantum,
            _ => self.end_turn_after(turn, is_last),
        }
        // One interrupt for a batch: at the end of the last request that its turn contains. A
        // thread that waits for one request is not made to wait for the others.
        let interrupt = is_last && (is_thread || self.turn.is_none());
        Some(Issue {
            slot,
            transfer: cut.transfer,
            ends_request: is_last,
            interrupt,
        })
    }

    /// Continues a turn with the next request of its lane, if there is one.
    fn begin_next(&mut self, turn: Turn) -> bool {
        let next = self.lanes.get_mut(turn.lane).and_then(|lane| lane.next());
        // Never `Next::Continue`, which the turn has taken.
        let Some(Next::Begin(job)) = next else {
            return false;
        };
        // Does not fail: each request before this one uses a slot (`Flight`).
        let tag = self.flight.add(job, turn.lane);
        if let (Some(turn), Some(tag)) = (&mut self.turn, tag) {
            turn.tag = tag;
        }
        true
    }

    fn end_turn_after(&mut self, turn: Turn, is_last: bool) {
        if !is_last {
            self.lanes.continue_later(turn.lane, turn.tag);
        }
        self.end_turn();
    }

    /// Ends the turn, if there is one. Its lane goes to the list that its state needs.
    pub(super) fn end_turn(&mut self) {
        if let Some(turn) = self.turn.take() {
            self.lanes.requeue(turn.lane, None);
        }
    }

    /// Ends the turn, and returns its request to its lane if the engine has no transfer of it.
    pub(super) fn return_turn(&mut self) {
        let turn = self.turn;
        self.end_turn();
        if let Some(turn) = turn {
            self.return_unposted(turn.tag);
        }
    }

    /// Returns whether the engine has a transfer.
    pub(crate) fn is_busy(&self) -> bool {
        !self.flight.is_idle()
    }

    /// Returns the slot of the transfer that ends next.
    pub(crate) fn oldest_slot(&self) -> Option<usize> {
        self.flight.oldest()
    }

    /// Handles the end of the oldest transfer at the time `now`, in nanoseconds. The transfer has
    /// moved all of its bytes if `transferred` is `Ok`. After an error, the engine executes none of
    /// the later transfers; they are issued again.
    pub(crate) fn finish(&mut self, transferred: Result, now: u64) -> Recipient<T> {
        let Some(posted) = self.flight.reap() else {
            return Recipient::None;
        };
        let tag = posted.tag;
        if transferred.is_ok() {
            self.stats.counters.transfers += 1;
            self.stats.counters.bytes += posted.moves;
        }
        if transferred.is_err() {
            self.return_all_but(Some(tag));
            return self.end(tag, transferred, now);
        }
        let Some(active) = self.flight.get_mut(tag) else {
            return Recipient::None;
        };
        if active.timed_out {
            return self.finish_timed_out(tag, now);
        }
        let Some(job) = active.job.as_mut() else {
            return Recipient::None;
        };
        job.bytes += posted.completes;
        if active.slots > 0 {
            return Recipient::None;
        }
        let is_whole = job.bytes >= active.length;
        if active.lane.is_none() || is_whole {
            return self.end(tag, Ok(()), now);
        }
        if self.closed {
            return self.end(tag, Err(ENODEV), now);
        }
        if active.cancelled {
            return self.end(tag, Err(ECANCELED), now);
        }
        self.return_to_lane(tag);
        Recipient::None
    }

    /// Handles the end of a transfer of an overdue request. The engine continues with the others.
    fn finish_timed_out(&mut self, tag: Tag, now: u64) -> Recipient<T> {
        // Its late effects on the device are unknown.
        if let Some(plan) = &mut self.plan {
            plan.invalidate();
        }
        let active = self.flight.get_mut(tag);
        if active.is_some_and(|active| active.slots == 0) {
            self.end(tag, Err(ETIMEDOUT), now)
        } else {
            Recipient::None
        }
    }

    /// Returns a request that uses no slot to its lane, unless its turn continues. One that is
    /// cancelled is completed by [`complete_cancelled`](Self::complete_cancelled).
    pub(super) fn return_to_lane(&mut self, tag: Tag) {
        if self.turn.is_some_and(|turn| turn.tag == tag) {
            return;
        }
        let cancelled = self.flight.is_cancelled(tag);
        let Some(Taken { mut job, lane, .. }) = self.flight.remove(tag) else {
            return;
        };
        if cancelled {
            job.cancelled.add(Cancelled::COUNTED);
        }
        match lane {
            Some(lane) => self.lanes.push_first(lane, tag, job),
            None => self.defer_drop(job),
        }
    }

    /// Takes all transfers out of the slots, and returns their requests to their lanes, except that
    /// with this tag.
    pub(super) fn return_all_but(&mut self, tag: Option<Tag>) {
        if let Some(plan) = &mut self.plan {
            plan.invalidate();
        }
        if self.flight.is_idle() {
            return;
        }
        // In reverse order, because each is put at the head of its lane.
        let mut newest = self.turn.map(|turn| turn.tag);
        self.end_turn();
        loop {
            if let Some(newest) = newest.filter(|newest| Some(*newest) != tag) {
                self.return_unposted(newest);
            }
            newest = self.flight.unpost();
            if newest.is_none() {
                return;
            }
        }
    }

    /// Returns the request with this tag to its lane, to be issued again, if it uses no slot.
    fn return_unposted(&mut self, tag: Tag) {
        let active = self.flight.get_mut(tag);
        if let Some(active) = active.filter(|active| active.slots == 0) {
            active.rewind();
            self.return_to_lane(tag);
        }
    }

    /// Takes the request with this tag from the engine, and completes it.
    fn end(&mut self, tag: Tag, outcome: Result, now: u64) -> Recipient<T> {
        let Some(taken) = self.flight.remove(tag) else {
            return Recipient::None;
        };
        let is_in_turn = self.turn.is_some_and(|turn| turn.tag == tag);
        self.stuck = self.stuck && self.flight.find(|active| active.timed_out).is_some();
        let recipient = self.complete(taken, outcome, now);
        if is_in_turn {
            self.end_turn();
        }
        recipient
    }

    /// Completes a request that was taken from the engine.
    pub(super) fn complete(&mut self, taken: Taken<T>, outcome: Result, now: u64) -> Recipient<T> {
        let Taken { mut job, tag, lane } = taken;
        job.end(outcome);
        self.stats.latency.record(job.age(now));
        self.stats.counters.completed += 1;
        let Some(lane) = lane else {
            self.defer_drop(job);
            return Recipient::None;
        };
        let deferred = &mut self.deferred.memory;
        match self.lanes.complete(lane, tag, job, deferred) {
            Ok(completed) => {
                // CAST: a small number.
                self.stats.counters.completed += completed.links as u64;
                completed
                    .waiter
                    .map_or(Recipient::Lane(lane), Recipient::Waiter)
            }
            Err(job) => {
                self.defer_drop(job);
                Recipient::None
            }
        }
    }
}
