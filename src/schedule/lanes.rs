// SPDX-License-Identifier: GPL-2.0

//! The lanes, their users, and the order of turns: round the users, and within a user round the
//! user's lanes.

use super::{
    circular_list::{
        CircularList,
        Listed,
        Neighbours, //
    },
    job::{
        DeferredOf,
        Job,
        QueueTypes,
        Tag,
        WaiterId, //
    },
    lane::{
        Lane,
        LaneId,
        Next,
        RunState,
        UserId, //
    },
    scan::Cancellation, //
};
use crate::kernel_ext::collections::{
    fifo::{
        Entry,
        Fifo, //
    },
    id_map::{
        IdMap,
        IdMapGrowth, //
    }, //
};
use kernel::prelude::*;

/// The effects of a completion.
pub(super) struct Completed<T: QueueTypes> {
    /// The waiter of the request, to be woken.
    pub(super) waiter: Option<T::Waiter>,
    /// The number of requests that failed because they are linked to it.
    pub(super) links: usize,
}

/// A user with lanes.
pub(crate) struct LaneUser {
    /// The lanes of the user that wait for a turn.
    turns: CircularList,
    /// The neighbours among the users who wait for a turn.
    neighbours: Option<Neighbours>,
}

impl Listed for LaneUser {
    fn neighbours(&mut self) -> &mut Option<Neighbours> {
        &mut self.neighbours
    }
}

/// A lane, and its neighbours in a list.
pub(crate) struct LaneEntry<T: QueueTypes> {
    lane: KBox<Lane<T>>,
    user: UserId,
    /// The list that the lane is in.
    state: RunState,
    /// The neighbours in this list.
    neighbours: Option<Neighbours>,
}

impl<T: QueueTypes> Listed for LaneEntry<T> {
    fn neighbours(&mut self) -> &mut Option<Neighbours> {
        &mut self.neighbours
    }
}

/// The lanes of all clients of one engine.
///
/// # Invariants
///
/// `turns` is a list of the users who have a [runnable](RunState::Runnable) lane, and each of these
/// has a list of those lanes. `cancelled` is a list of the lanes whose first request is
/// [cancelled](RunState::Cancelled).
pub(super) struct Lanes<T: QueueTypes> {
    lanes: IdMap<LaneEntry<T>>,
    users: IdMap<LaneUser>,
    turns: CircularList,
    cancelled: CircularList,
}

/// A position in a walk through all lanes.
#[derive(Default)]
pub(crate) struct LaneCursor {
    /// The number of the next lane.
    number: usize,
    /// A lane that has completions without a notice.
    pub(super) unnotified: Option<LaneId>,
}

/// Requests of a lane that have failed in one step.
pub(super) struct FailedBatch<T: QueueTypes> {
    pub(super) lane: LaneId,
    /// Their number.
    pub(super) failed: usize,
    /// The waiter of one of them, to be woken.
    pub(super) waiter: Option<T::Waiter>,
}

/// Memory for more lanes and users. [`Lanes::grow`] exchanges it for the old memory.
pub(crate) struct Growth<T: QueueTypes> {
    lanes: Option<IdMapGrowth<LaneEntry<T>>>,
    users: Option<IdMapGrowth<LaneUser>>,
}

/// The size of a [`Growth`].
#[derive(Clone, Copy)]
pub(crate) struct GrowRequest {
    /// The number of lanes to allocate memory for; [`None`] if there is room.
    lanes: Option<usize>,
    /// The number of users, likewise.
    users: Option<usize>,
}

impl<T: QueueTypes> Growth<T> {
    /// Allocates the memory. Sleeps.
    pub(crate) fn new(request: GrowRequest) -> Result<Self> {
        Ok(Self {
            lanes: request.lanes.map(IdMapGrowth::new).transpose()?,
            users: request.users.map(IdMapGrowth::new).transpose()?,
        })
    }
}

impl<T: QueueTypes> Lanes<T> {
    /// Creates a value without lanes.
    pub(super) const fn new() -> Self {
        // INVARIANT: no lanes.
        Self {
            lanes: IdMap::new(),
            users: IdMap::new(),
            turns: CircularList::new(),
            cancelled: CircularList::new(),
        }
    }

    /// Returns what to allocate before the next user or lane is added; [`None`] if there is room.
    pub(super) fn grow_request(&self) -> Option<GrowRequest> {
        let (lanes, users) = (self.lanes.grow_request(), self.users.grow_request());
        (lanes.is_some() || users.is_some()).then_some(GrowRequest { lanes, users })
    }

    /// Makes room. The caller frees the result in process context.
    pub(super) fn grow(&mut self, growth: Growth<T>) -> Growth<T> {
        Growth {
            lanes: growth.lanes.map(|room| self.lanes.grow(room)),
            users: growth.users.map(|room| self.users.grow(room)),
        }
    }

    /// Adds a user; [`None`] if there is no room.
    pub(super) fn add_user(&mut self) -> Option<UserId> {
        let user = LaneUser {
            turns: CircularList::new(),
            neighbours: None,
        };
        self.users.insert(user).ok().map(UserId)
    }

    /// Removes a user who has no lanes.
    pub(super) fn remove_user(&mut self, user: UserId) {
        self.users.remove(user.0);
    }

    /// Adds a lane of a user, or gives it back if there is no room.
    pub(super) fn add(
        &mut self,
        user: UserId,
        lane: KBox<Lane<T>>,
    ) -> Result<LaneId, KBox<Lane<T>>> {
        let entry = LaneEntry {
            lane,
            user,
            state: RunState::Idle,
            neighbours: None,
        };
        self.lanes
            .insert(entry)
            .map(LaneId)
            .map_err(|entry| entry.lane)
    }

    /// Removes a lane with its requests.
    pub(super) fn remove(&mut self, id: LaneId) -> Option<KBox<Lane<T>>> {
        self.move_to(id, RunState::Idle, None);
        Some(self.lanes.remove(id.0)?.lane)
    }

    /// Returns the number of lanes.
    pub(super) fn len(&self) -> usize {
        self.lanes.len()
    }

    pub(super) fn get(&self, id: LaneId) -> Option<&Lane<T>> {
        Some(&*self.lanes.get(id.0)?.lane)
    }

    /// Returns a lane. Changes of its waiting requests need [`requeue`](Self::requeue).
    pub(super) fn get_mut(&mut self, id: LaneId) -> Option<&mut Lane<T>> {
        Some(&mut *self.lanes.get_mut(id.0)?.lane)
    }

    /// Puts requests at the end of a lane, which will have completions for this number of them. The
    /// engine is serving `served`.
    pub(super) fn push_last(
        &mut self,
        id: LaneId,
        jobs: &mut Fifo<Job<T>>,
        completions: usize,
        served: Option<LaneId>,
    ) {
        if let Some(lane) = self.get_mut(id) {
            lane.accept(completions);
            lane.push_last(jobs);
            self.requeue(id, served);
        }
    }

    /// Puts the request with this tag, which the engine has had, at the head of its lane.
    pub(super) fn push_first(&mut self, id: LaneId, tag: Tag, job: Entry<Job<T>>) {
        if let Some(lane) = self.get_mut(id) {
            lane.stop_continuing(tag);
            lane.push_first(job);
            self.requeue(id, None);
        }
    }

    /// Takes the next request of the lane whose turn it is. The next turn is that of another user,
    /// and this user's next turn that of another lane, if there are any. The lane is
    /// [requeued](Self::requeue) at the end of its turn.
    pub(super) fn take_next(&mut self) -> Option<(LaneId, Next<T>)> {
        loop {
            let user = self.users.get_mut(self.turns.next()?)?;
            let id = LaneId(user.turns.next()?);
            user.turns.rotate(&mut self.lanes);
            self.turns.rotate(&mut self.users);
            if let Some(next) = self.get_mut(id)?.next() {
                return Some((id, next));
            }
            // Its first request is being cancelled. The scan requeues the lane.
            self.move_to(id, RunState::Idle, None);
        }
    }

    /// Takes a request that waits.
    pub(super) fn take_waiting(&mut self, id: LaneId, waiter: WaiterId) -> Option<Entry<Job<T>>> {
        let job = self.get_mut(id)?.take(waiter);
        self.requeue(id, None);
        job
    }

    /// Completes the request with this tag, which the engine has had, or returns it if there is no
    /// such lane. Requests that are linked to a failed one fail, too.
    pub(super) fn complete(
        &mut self,
        id: LaneId,
        tag: Tag,
        job: Entry<Job<T>>,
        deferred: &mut Fifo<DeferredOf<T>>,
    ) -> Result<Completed<T>, Entry<Job<T>>> {
        let Some(lane) = self.get_mut(id) else {
            return Err(job);
        };
        lane.in_flight -= 1;
        let failed = job.outcome.is_err();
        if failed {
            // It may have failed before all of it was issued.
            lane.stop_continuing(tag);
            // The first request that waits is linked to the last one that has begun. A cancelled
            // request may end before that one.
            if lane.in_flight == 0 {
                lane.fail_next_link();
            }
        }
        let waiter = lane.complete(job, deferred);
        // If this has failed all of them, the lane stays in its list, and keeps its position. After
        // a request with a waiter, the lane gets no notice: the caller of
        // `Queue::complete_cancelled` fails them.
        let links = if failed && waiter.is_none() {
            lane.complete_cancelled(deferred)
        } else {
            0
        };
        if failed || lane.begins_with_link() {
            self.requeue(id, None);
        }
        Ok(Completed { waiter, links })
    }

    /// Records that the request with this tag, which the engine has, continues in another turn.
    pub(super) fn continue_later(&mut self, id: LaneId, tag: Tag) {
        if let Some(lane) = self.get_mut(id) {
            lane.continues = Some(tag);
        }
    }

    /// Gives the request with this tag no other turn, and puts its lane into the list for its
    /// state.
    pub(super) fn stop_continuing(&mut self, id: LaneId, tag: Tag) {
        if let Some(lane) = self.get_mut(id) {
            lane.stop_continuing(tag);
            self.requeue(id, None);
        }
    }

    /// Separates the request with this tag, which the engine has, from its lane.
    pub(super) fn detach(&mut self, id: LaneId, tag: Tag) {
        if let Some(lane) = self.get_mut(id) {
            lane.in_flight -= 1;
            lane.stop_continuing(tag);
            self.requeue(id, None);
        }
    }

    /// Returns a lane whose first request is cancelled.
    pub(super) fn first_cancelled(&self) -> Option<LaneId> {
        self.cancelled.next().map(LaneId)
    }

    /// Completes up to [`Lane::STEP`] requests that are cancelled, and returns their number.
    pub(super) fn complete_cancelled(
        &mut self,
        id: LaneId,
        deferred: &mut Fifo<DeferredOf<T>>,
    ) -> usize {
        let Some(lane) = self.get_mut(id) else {
            return 0;
        };
        let completed = lane.complete_cancelled(deferred);
        self.requeue(id, None);
        completed
    }

    /// Fails some of the requests that wait in the lane at the cursor with `error`; [`None`] if
    /// there is no lane. The cursor moves on when none are left.
    pub(super) fn fail_batch(
        &mut self,
        cursor: &mut LaneCursor,
        error: Error,
        deferred: &mut Fifo<DeferredOf<T>>,
    ) -> Option<FailedBatch<T>> {
        let id = LaneId(cursor.number);
        let Some(lane) = self.get_mut(id) else {
            cursor.number += 1;
            return None;
        };
        let before = lane.waiting();
        let (more, waiter) = lane.fail_batch(error, deferred);
        let failed = before - lane.waiting();
        if !more {
            cursor.number += 1;
        }
        self.requeue(id, None);
        Some(FailedBatch {
            lane: id,
            failed,
            waiter,
        })
    }

    /// Returns whether the cursor is behind the last lane.
    pub(super) fn is_end(&self, cursor: &LaneCursor) -> bool {
        cursor.number >= self.lanes.end()
    }

    /// Adds the number of requests that wait in up to [`Lane::STEP`] lanes to `waiting`; returns
    /// whether there are more lanes.
    pub(super) fn count_some(&self, cursor: &mut LaneCursor, waiting: &mut usize) -> bool {
        let end = self.lanes.end().min(cursor.number + Lane::<T>::STEP);
        *waiting += (cursor.number..end)
            .filter_map(|lane| Some(self.get(LaneId(lane))?.state().waiting))
            .sum::<usize>();
        cursor.number = end;
        !self.is_end(cursor)
    }

    /// Continues a scan for requests to cancel. Returns whether there may be more; the number of
    /// requests that are completed, which includes those linked to one that had failed before; and
    /// a waiter to be woken.
    pub(super) fn cancel_step(
        &mut self,
        id: LaneId,
        scan: &mut Cancellation,
        deferred: &mut Fifo<DeferredOf<T>>,
    ) -> (bool, usize, Option<T::Waiter>) {
        let Some(lane) = self.get_mut(id) else {
            return (false, 0, None);
        };
        let before = lane.waiting();
        let (more, waiter) = lane.cancel_step(scan, deferred);
        let completed = before - lane.waiting();
        // Between two steps, the lane keeps its position, even if its first request cannot be
        // taken.
        if more && !self.has_turns(id) {
            self.requeue(id, None);
        }
        (more, completed, waiter)
    }

    /// Returns whether the engine has taken a request that a scan of the lane was to cancel.
    pub(super) fn has_in_flight(&self, id: LaneId) -> bool {
        let scan = self.get(id).and_then(|lane| lane.scan.as_ref());
        scan.is_some_and(|scan| scan.was_in_flight)
    }

    /// Ends a scan, unless there are requests to be scanned again. Returns whether there are.
    pub(super) fn end_scan(&mut self, id: LaneId, scan: &mut Cancellation) -> bool {
        let Some(lane) = self.get_mut(id) else {
            return false;
        };
        let again = lane.end_scan(scan);
        self.requeue(id, None);
        again
    }

    /// Returns whether a lane is in a list of lanes that get turns.
    fn has_turns(&self, id: LaneId) -> bool {
        let entry = self.lanes.get(id.0);
        entry.is_some_and(|entry| entry.state == RunState::Runnable)
    }

    /// Puts a lane into the list that it belongs to.
    pub(super) fn requeue(&mut self, id: LaneId, served: Option<LaneId>) {
        let Some(entry) = self.lanes.get(id.0) else {
            return;
        };
        let state = entry.lane.run_state();
        if state != entry.state {
            self.move_to(id, state, served);
        }
    }

    /// Moves a lane to the end of its list. If the engine executes requests of the lane `served`,
    /// that one was rotated to the end for its turn; the other lane is put before it, so that it
    /// does not wait for one more turn of it. The same applies to the user of the lane.
    fn move_to(&mut self, id: LaneId, state: RunState, served: Option<LaneId>) {
        let Some(entry) = self.lanes.get_mut(id.0) else {
            return;
        };
        let before = core::mem::replace(&mut entry.state, state);
        let user = entry.user;
        if before == state {
            return;
        }
        match before {
            RunState::Idle => {}
            RunState::Runnable => self.leave_turns(id, user),
            RunState::Cancelled => self.cancelled.leave(&mut self.lanes, id.0),
        }
        match state {
            RunState::Idle => {}
            RunState::Runnable => self.join_turns(id, user, served),
            RunState::Cancelled => self.cancelled.join(&mut self.lanes, id.0, None),
        }
    }

    fn join_turns(&mut self, id: LaneId, user_id: UserId, served: Option<LaneId>) {
        let served = served.and_then(|served| Some((served, self.lanes.get(served.0)?)));
        let served_user = served.as_ref().map(|(_, entry)| entry.user.0);
        let sibling = served
            .filter(|(_, entry)| entry.user == user_id && entry.state == RunState::Runnable)
            .map(|(served, _)| served.0);
        let Some(user) = self.users.get_mut(user_id.0) else {
            return;
        };
        let first = user.turns.next().is_none();
        user.turns.join(&mut self.lanes, id.0, sibling);
        if first {
            self.turns.join(&mut self.users, user_id.0, served_user);
        }
    }

    fn leave_turns(&mut self, id: LaneId, user_id: UserId) {
        let Some(user) = self.users.get_mut(user_id.0) else {
            return;
        };
        user.turns.leave(&mut self.lanes, id.0);
        if user.turns.next().is_none() {
            self.turns.leave(&mut self.users, user_id.0);
        }
    }
}
