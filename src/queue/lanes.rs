// SPDX-License-Identifier: GPL-2.0

//! The lanes, and the ring of turns that goes round those in which something waits.

use super::{
    lane::{
        Lane,
        Search, //
    },
    Job,
    Owner,
    Ticket,
    Types, //
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

/// A lane's neighbours in the ring of turns.
#[derive(Clone, Copy)]
pub(super) struct Turn {
    before: LaneId,
    after: LaneId,
}

/// All lanes.
///
/// # Invariants
///
/// `next_turn` is in a ring, linked by `turn`, of the lanes in which a request waits; a lane whose
/// requests were failed may be in it until its turn comes.
pub(super) struct Lanes<T: Types> {
    lanes: Slab<KBox<Lane<T>>>,
    next_turn: Option<LaneId>,
}

/// Where a walk through all lanes has come to.
#[derive(Default)]
pub(crate) struct Walk(usize);

impl<T: Types> Lanes<T> {
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
    pub(super) fn grow(&mut self, room: Room<KBox<Lane<T>>>) -> Room<KBox<Lane<T>>> {
        self.lanes.grow(room)
    }

    /// Adds a lane, or gives it back if there is no room.
    pub(super) fn add(&mut self, lane: KBox<Lane<T>>) -> Result<LaneId, KBox<Lane<T>>> {
        self.lanes.insert(lane).map(LaneId)
    }

    /// Removes a lane, with all that it has.
    pub(super) fn remove(&mut self, lane: LaneId) -> Option<KBox<Lane<T>>> {
        self.leave_ring(lane);
        self.lanes.remove(lane.0)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.lanes.len()
    }

    pub(super) fn get(&self, lane: LaneId) -> Option<&Lane<T>> {
        Some(&**self.lanes.get(lane.0)?)
    }

    /// A lane, to change what does not wait in it.
    pub(super) fn get_mut(&mut self, lane: LaneId) -> Option<&mut Lane<T>> {
        Some(&mut **self.lanes.get_mut(lane.0)?)
    }

    /// Has requests wait in a lane that there is, as its last ones. The engine is serving `served`.
    pub(super) fn wait_last(
        &mut self,
        lane: LaneId,
        jobs: &mut Fifo<Job<T>>,
        served: Option<LaneId>,
    ) {
        if let Some(at) = self.lanes.get_mut(lane.0) {
            at.push_last(jobs);
            self.join_ring(lane, served);
        }
    }

    /// Has a request wait in a lane that there is, as its first one. The lane has had its turn.
    pub(super) fn wait_first(&mut self, lane: LaneId, job: Entry<Job<T>>) {
        if let Some(at) = self.lanes.get_mut(lane.0) {
            at.push_first(job);
            self.join_ring(lane, None);
        }
    }

    /// Takes the first request of the lane whose turn it is; the next turn is that of the next
    /// lane.
    pub(super) fn take_next(&mut self) -> Option<(LaneId, Entry<Job<T>>)> {
        while let Some(id) = self.next_turn {
            let lane = self.lanes.get_mut(id.0)?;
            let job = lane.next();
            // With nothing for the engine now, it comes again when there is.
            let waits = job.is_some() && !lane.is_idle();
            if let Some(turn) = lane.turn.filter(|_| waits) {
                self.next_turn = Some(turn.after);
            } else {
                self.leave_ring(id);
            }
            if let Some(job) = job {
                return Some((id, job));
            }
        }
        None
    }

    /// Takes a request that waits.
    pub(super) fn take_waiting(&mut self, lane: LaneId, ticket: Ticket) -> Option<Entry<Job<T>>> {
        let job = self.lanes.get_mut(lane.0)?.take(ticket);
        self.leave_ring_if_idle(lane);
        job
    }

    /// Hands a request that has ended to whoever waits for it, or back if there is no such lane.
    /// What is linked to one that has not succeeded will not start.
    pub(super) fn complete(
        &mut self,
        lane: LaneId,
        job: Entry<Job<T>>,
    ) -> Result<(), Entry<Job<T>>> {
        let Some(at) = self.lanes.get_mut(lane.0) else {
            return Err(job);
        };
        if job.outcome.is_err() {
            at.doom_next();
        }
        at.complete(job);
        Ok(())
    }

    /// Fails what waits, a few requests of one lane, and returns whether there may be more. Tells
    /// the owner of each lane that it goes by.
    pub(super) fn fail_some(&mut self, walk: &mut Walk, error: Error) -> bool {
        if let Some(lane) = self.lanes.get_mut(walk.0) {
            if lane.fail_some(error) {
                return true;
            }
            lane.owner.changed();
            self.leave_ring(LaneId(walk.0));
        }
        walk.0 += 1;
        walk.0 < self.lanes.end()
    }

    /// Adds what waits in a few lanes to `waiting`, and returns whether there may be more.
    pub(super) fn count_some(&self, walk: &mut Walk, waiting: &mut usize) -> bool {
        let end = self.lanes.end().min(walk.0 + Lane::<T>::STEP);
        *waiting += (walk.0..end)
            .filter_map(|lane| Some(self.lanes.get(lane)?.load().waiting))
            .sum::<usize>();
        walk.0 = end;
        walk.0 < self.lanes.end()
    }

    /// Goes on with a search for requests to cancel, and returns whether there may be more.
    pub(super) fn search_some(&mut self, lane: LaneId, search: &mut Search) -> bool {
        let more = match self.lanes.get_mut(lane.0) {
            Some(at) => at.search_some(search),
            None => false,
        };
        if self.get(lane).is_some_and(Lane::is_idle) {
            self.leave_ring(lane);
        } else {
            self.join_ring(lane, None);
        }
        more
    }

    fn leave_ring_if_idle(&mut self, lane: LaneId) {
        if self.get(lane).is_some_and(Lane::is_idle) {
            self.leave_ring(lane);
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
