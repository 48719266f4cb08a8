// SPDX-License-Identifier: GPL-2.0

//! The lanes, each with what waits in it and what is done, and the ring of turns that goes round
//! those in which something waits.

use super::{
    Job,
    Ticket,
    Wake, //
};
use crate::{
    kernel_ext::fifo::{
        Entry,
        Fifo, //
    },
    slab::{
        Room,
        Slab, //
    }, //
};
use kernel::prelude::*;

/// A lane's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LaneId(usize);

/// The requests of one context.
pub(crate) struct Lane<R, W> {
    waiting: Fifo<Job<R>>,
    done: Fifo<Job<R>>,
    waker: W,
    /// The neighbours in the ring of turns, while something waits.
    turn: Option<Turn>,
}

#[derive(Clone, Copy)]
struct Turn {
    before: LaneId,
    after: LaneId,
}

/// All lanes.
///
/// # Invariants
///
/// `next_turn` is in a ring, linked by `turn`, of exactly the lanes in which a request waits.
pub(super) struct Lanes<R, W> {
    lanes: Slab<Lane<R, W>>,
    next_turn: Option<LaneId>,
}

impl<R, W: Wake> Lanes<R, W> {
    /// None.
    pub(super) const fn new() -> Self {
        // INVARIANT: no lanes.
        Self {
            lanes: Slab::new(),
            next_turn: None,
        }
    }

    /// How much room must be made by [`grow`](Self::grow) before the next lane; [`None`] if none.
    pub(super) fn wants(&self) -> Option<usize> {
        self.lanes.wants()
    }

    /// Makes room for more lanes. What is returned is to be dropped where one may sleep.
    pub(super) fn grow(&mut self, room: Room<Lane<R, W>>) -> Room<Lane<R, W>> {
        self.lanes.grow(room)
    }

    /// Adds a lane, or gives the waker back if there is no room.
    pub(super) fn add(&mut self, waker: W) -> Result<LaneId, W> {
        self.lanes
            .insert(Lane {
                waiting: Fifo::new(),
                done: Fifo::new(),
                waker,
                turn: None,
            })
            .map(LaneId)
            .map_err(|lane| lane.waker)
    }

    /// Removes a lane, with all that it has.
    pub(super) fn remove(&mut self, lane: LaneId) -> Option<Lane<R, W>> {
        self.leave_ring(lane);
        self.lanes.remove(lane.0)
    }

    /// Whether there is such a lane.
    pub(super) fn has(&self, lane: LaneId) -> bool {
        self.lanes.get(lane.0).is_some()
    }

    /// Has a request wait in a lane that there is, as its last one. The engine is serving `served`.
    pub(super) fn wait_last(&mut self, lane: LaneId, job: Entry<Job<R>>, served: Option<LaneId>) {
        if let Some(at) = self.lanes.get_mut(lane.0) {
            at.waiting.push_back(job);
            self.join_ring(lane, served);
        }
    }

    /// Has a request wait in a lane that there is, as its first one. The lane has had its turn.
    pub(super) fn wait_first(&mut self, lane: LaneId, job: Entry<Job<R>>) {
        if let Some(at) = self.lanes.get_mut(lane.0) {
            at.waiting.push_front(job);
            self.join_ring(lane, None);
        }
    }

    /// Takes the first request of the lane whose turn it is; the next turn is that of the next
    /// lane.
    pub(super) fn take_next(&mut self) -> Option<(LaneId, Entry<Job<R>>)> {
        let id = self.next_turn?;
        let lane = self.lanes.get_mut(id.0)?;
        let job = lane.waiting.pop_front()?;
        if let Some(turn) = lane.turn.filter(|_| !lane.waiting.is_empty()) {
            self.next_turn = Some(turn.after);
        } else {
            self.leave_ring(id);
        }
        Some((id, job))
    }

    /// Takes a request that waits.
    pub(super) fn take_waiting(&mut self, lane: LaneId, ticket: Ticket) -> Option<Entry<Job<R>>> {
        let at = self.lanes.get_mut(lane.0)?;
        let job = at.waiting.take(|job| job.ticket == ticket);
        if at.waiting.is_empty() {
            self.leave_ring(lane);
        }
        job
    }

    /// Takes a request that is done.
    pub(super) fn take_done(&mut self, lane: LaneId, ticket: Ticket) -> Option<Entry<Job<R>>> {
        let done = &mut self.lanes.get_mut(lane.0)?.done;
        done.take(|job| job.ticket == ticket)
    }

    /// Hands a request that is done to those who wait for it, or back if there is no such lane.
    pub(super) fn done(&mut self, lane: LaneId, job: Entry<Job<R>>) -> Result<(), Entry<Job<R>>> {
        let Some(at) = self.lanes.get_mut(lane.0) else {
            return Err(job);
        };
        at.done.push_back(job);
        at.waker.wake();
        Ok(())
    }

    /// Fails all that waits in any lane, and wakes everyone.
    pub(super) fn fail_waiting(&mut self, error: Error) {
        // INVARIANT: no request waits in any lane after this, and no lane is in the ring.
        self.next_turn = None;
        for lane in self.lanes.values_mut() {
            lane.turn = None;
            while let Some(mut job) = lane.waiting.pop_front() {
                job.outcome = Err(error);
                lane.done.push_back(job);
            }
            lane.waker.wake();
        }
    }

    /// Puts a lane into the ring of turns, unless it is in it, as the last one of those that wait:
    /// the lane that is being served has had its turn, and comes after it.
    fn join_ring(&mut self, lane: LaneId, served: Option<LaneId>) {
        if self.turn_of(lane).is_some() {
            return;
        }
        let served = served.filter(|served| self.turn_of(*served).is_some());
        let after = served.or(self.next_turn).unwrap_or(lane);
        let before = self.turn_of(after).map_or(lane, |turn| turn.before);
        // INVARIANT: the ring goes from `before` through the lane to `after`, which were
        // neighbours, or from the lane to itself.
        self.link(before, lane);
        self.link_back(after, lane);
        if let Some(at) = self.lanes.get_mut(lane.0) {
            at.turn = Some(Turn { before, after });
        }
        if self.next_turn.is_none() || self.next_turn == served {
            self.next_turn = Some(lane);
        }
    }

    /// Takes a lane out of the ring of turns, if it is in it.
    fn leave_ring(&mut self, lane: LaneId) {
        let Some(turn) = self.lanes.get_mut(lane.0).and_then(|at| at.turn.take()) else {
            return;
        };
        // INVARIANT: the ring is closed behind the lane.
        self.link(turn.before, turn.after);
        self.link_back(turn.after, turn.before);
        if self.next_turn == Some(lane) {
            self.next_turn = (turn.after != lane).then_some(turn.after);
        }
    }

    fn turn_of(&self, lane: LaneId) -> Option<Turn> {
        self.lanes.get(lane.0)?.turn
    }

    fn link(&mut self, lane: LaneId, after: LaneId) {
        if let Some(turn) = self.lanes.get_mut(lane.0).and_then(|at| at.turn.as_mut()) {
            turn.after = after;
        }
    }

    fn link_back(&mut self, lane: LaneId, before: LaneId) {
        if let Some(turn) = self.lanes.get_mut(lane.0).and_then(|at| at.turn.as_mut()) {
            turn.before = before;
        }
    }
}
