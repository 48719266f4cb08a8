// SPDX-License-Identifier: GPL-2.0

//! The lanes, their users, and the order of turns: round the users, and within a user round the
//! user's lanes.

use super::{
    circular_list::{
        CircularList,
        Link,
        Linked, //
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
    scan::CancelScan, //
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
    link: Option<Link>,
}

impl Linked for LaneUser {
    fn link(&mut self) -> &mut Option<Link> {
        &mut self.link
    }
}

/// A lane, and its neighbours in a list.
pub(crate) struct LaneEntry<T: QueueTypes> {
    lane: KBox<Lane<T>>,
    user: UserId,
    state: RunState,
    link: Option<Link>,
}

impl<T: QueueTypes> Linked for LaneEntry<T> {
    fn link(&mut self) -> &mut Option<Link> {
        &mut self.link
    }
}

/// The lanes of all clients of one engine.
///
/// # Invariants
///
/// `turns` is a list of the users who have a [runnable](RunState::Runnable) lane, and each of these
/// has a list of those lanes. `failing` is a list of the [failing](RunState::Failing) lanes.
pub(super) struct Lanes<T: QueueTypes> {
    lanes: IdMap<LaneEntry<T>>,
    users: IdMap<LaneUser>,
    turns: CircularList,
    failing: CircularList,
}

/// A position in a walk through all lanes.
#[derive(Default)]
pub(crate) struct LaneCursor {
    number: usize,
    /// A lane that has completions without a notice.
    pub(super) unnotified: Option<LaneId>,
}

/// Memory for more lanes and users. [`Lanes::grow`] exchanges it for the old memory.
pub(crate) struct Growth<T: QueueTypes> {
    lanes: Option<IdMapGrowth<LaneEntry<T>>>,
    users: Option<IdMapGrowth<LaneUser>>,
}

/// The size of a [`Growth`].
#[derive(Clone, Copy)]
pub(crate) struct GrowRequest {
    lanes: Option<usize>,
    users: Option<usize>,
}

impl<T: QueueTypes> Growth<T> {
    /// Allocates. Sleeps.
    pub(crate) fn new(request: GrowRequest) -> Result<Self> {
        Ok(Self {
            lanes: request.lanes.map(IdMapGrowth::new).transpose()?,
            users: request.users.map(IdMapGrowth::new).transpose()?,
        })
    }
}

impl<T: QueueTypes> Lanes<T> {
    /// No lanes.
    pub(super) const fn new() -> Self {
        // INVARIANT: no lanes.
        Self {
            lanes: IdMap::new(),
            users: IdMap::new(),
            turns: CircularList::new(),
            failing: CircularList::new(),
        }
    }

    /// What to allocate before the next user or lane is added; [`None`] if there is room.
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
            link: None,
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
            link: None,
        };
        self.lanes
            .insert(entry)
            .map(LaneId)
            .map_err(|entry| entry.lane)
    }

    /// Removes a lane with its requests.
    pub(super) fn remove(&mut self, lane: LaneId) -> Option<KBox<Lane<T>>> {
        self.move_to(lane, RunState::Idle, None);
        Some(self.lanes.remove(lane.0)?.lane)
    }

    /// The number of lanes.
    pub(super) fn len(&self) -> usize {
        self.lanes.len()
    }

    pub(super) fn get(&self, lane: LaneId) -> Option<&Lane<T>> {
        Some(&*self.lanes.get(lane.0)?.lane)
    }

    /// A lane. Changes of its waiting requests need [`requeue`](Self::requeue).
    pub(super) fn get_mut(&mut self, lane: LaneId) -> Option<&mut Lane<T>> {
        Some(&mut *self.lanes.get_mut(lane.0)?.lane)
    }

    /// Puts requests at the end of a lane, which will have completions for this number of them. The
    /// engine is serving `served`.
    pub(super) fn push_last(
        &mut self,
        lane: LaneId,
        jobs: &mut Fifo<Job<T>>,
        completions: usize,
        served: Option<LaneId>,
    ) {
        if let Some(at) = self.get_mut(lane) {
            at.accept(completions);
            at.push_last(jobs);
            self.requeue(lane, served);
        }
    }

    /// Puts the request with this tag, which the engine has had, at the head of its lane.
    pub(super) fn push_first(&mut self, lane: LaneId, tag: Tag, job: Entry<Job<T>>) {
        if let Some(at) = self.get_mut(lane) {
            at.stop_continuing(tag);
            at.push_first(job);
            self.requeue(lane, None);
        }
    }

    /// Takes the next request of the lane whose turn it is. The next turn is that of another user,
    /// and this user's next turn that of another lane, if there are any. The lane is
    /// [requeued](Self::requeue) at the end of its turn.
    pub(super) fn take_next(&mut self) -> Option<(LaneId, Next<T>)> {
        loop {
            let user = self.users.get_mut(self.turns.next()?)?;
            let lane = LaneId(user.turns.next()?);
            user.turns.rotate(&mut self.lanes);
            self.turns.rotate(&mut self.users);
            if let Some(next) = self.get_mut(lane)?.next() {
                return Some((lane, next));
            }
            // Its first request is being cancelled. The scan requeues the lane.
            self.move_to(lane, RunState::Idle, None);
        }
    }

    /// Takes a request that waits.
    pub(super) fn take_waiting(&mut self, lane: LaneId, id: WaiterId) -> Option<Entry<Job<T>>> {
        let job = self.get_mut(lane)?.take(id);
        self.requeue(lane, None);
        job
    }

    /// Completes the request with this tag, which the engine has had, or returns it if there is no
    /// such lane. Requests that are linked to a failed one fail, too.
    pub(super) fn complete(
        &mut self,
        lane: LaneId,
        tag: Tag,
        job: Entry<Job<T>>,
        deferred: &mut Fifo<DeferredOf<T>>,
    ) -> Result<Completed<T>, Entry<Job<T>>> {
        let Some(at) = self.get_mut(lane) else {
            return Err(job);
        };
        at.in_flight -= 1;
        let failed = job.outcome.is_err();
        if failed {
            // It may have failed before all of it was issued.
            at.stop_continuing(tag);
            // The first request that waits is linked to the last one that has begun. A cancelled
            // request may end before that one.
            if at.in_flight == 0 {
                at.fail_next_link();
            }
        }
        let waiter = at.complete(job, deferred);
        // If this has failed all of them, the lane stays in its list, and keeps its position. After
        // a request with a waiter, the lane gets no notice: the caller of `Queue::fail_links` fails
        // them.
        let links = if failed && waiter.is_none() {
            at.fail_links(deferred)
        } else {
            0
        };
        if failed || at.begins_with_link() {
            self.requeue(lane, None);
        }
        Ok(Completed { waiter, links })
    }

    /// Records that the request with this tag, which the engine has, continues in another turn.
    pub(super) fn continue_later(&mut self, lane: LaneId, tag: Tag) {
        if let Some(at) = self.get_mut(lane) {
            at.continues = Some(tag);
        }
    }

    /// Gives the request with this tag no other turn, and puts its lane into the list for its
    /// state.
    pub(super) fn stop_continuing(&mut self, lane: LaneId, tag: Tag) {
        if let Some(at) = self.get_mut(lane) {
            at.stop_continuing(tag);
            self.requeue(lane, None);
        }
    }

    /// Separates the request with this tag, which the engine has, from its lane.
    pub(super) fn detach(&mut self, lane: LaneId, tag: Tag) {
        if let Some(at) = self.get_mut(lane) {
            at.in_flight -= 1;
            at.stop_continuing(tag);
            self.requeue(lane, None);
        }
    }

    /// A lane whose first requests are linked to a failed one.
    pub(super) fn failing(&self) -> Option<LaneId> {
        self.failing.next().map(LaneId)
    }

    /// Fails up to [`Lane::STEP`] requests that are linked to a failed one, and returns their
    /// number.
    pub(super) fn fail_links(&mut self, lane: LaneId, deferred: &mut Fifo<DeferredOf<T>>) -> usize {
        let Some(at) = self.get_mut(lane) else {
            return 0;
        };
        let failed = at.fail_links(deferred);
        self.requeue(lane, None);
        failed
    }

    /// Fails some of the requests that wait in the lane at the cursor with `error`. The cursor
    /// moves on when none are left. Returns the lane, if there is one, the number of requests that
    /// failed, and a waiter to be woken.
    pub(super) fn fail_batch(
        &mut self,
        cursor: &mut LaneCursor,
        error: Error,
        deferred: &mut Fifo<DeferredOf<T>>,
    ) -> Option<(LaneId, usize, Option<T::Waiter>)> {
        let lane = LaneId(cursor.number);
        let Some(at) = self.get_mut(lane) else {
            cursor.number += 1;
            return None;
        };
        let before = at.waiting();
        let (more, waiter) = at.fail_batch(error, deferred);
        let failed = before - at.waiting();
        if !more {
            cursor.number += 1;
        }
        self.requeue(lane, None);
        Some((lane, failed, waiter))
    }

    /// Whether the cursor is behind the last lane.
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
        lane: LaneId,
        scan: &mut CancelScan,
        deferred: &mut Fifo<DeferredOf<T>>,
    ) -> (bool, usize, Option<T::Waiter>) {
        let Some(at) = self.get_mut(lane) else {
            return (false, 0, None);
        };
        let before = at.waiting();
        let (more, waiter) = at.cancel_step(scan, deferred);
        let completed = before - at.waiting();
        // Between two steps, the lane keeps its position, even if its first request cannot be
        // taken.
        if more && !self.has_turns(lane) {
            self.requeue(lane, None);
        }
        (more, completed, waiter)
    }

    /// Whether the engine has taken a request that a scan of the lane was to cancel.
    pub(super) fn has_in_flight(&self, lane: LaneId) -> bool {
        let scan = self.get(lane).and_then(|at| at.scan.as_ref());
        scan.is_some_and(|scan| scan.was_in_flight)
    }

    /// Ends a scan, unless there are requests to be scanned again. Returns whether there are.
    pub(super) fn end_scan(&mut self, lane: LaneId, scan: &mut CancelScan) -> bool {
        let Some(at) = self.get_mut(lane) else {
            return false;
        };
        let again = at.end_scan(scan);
        self.requeue(lane, None);
        again
    }

    /// Returns whether a lane is in a list of lanes that get turns.
    fn has_turns(&self, lane: LaneId) -> bool {
        let entry = self.lanes.get(lane.0);
        entry.is_some_and(|entry| entry.state == RunState::Runnable)
    }

    /// Puts a lane into the list that it belongs to.
    pub(super) fn requeue(&mut self, lane: LaneId, served: Option<LaneId>) {
        let Some(entry) = self.lanes.get(lane.0) else {
            return;
        };
        let state = entry.lane.run_state();
        if state != entry.state {
            self.move_to(lane, state, served);
        }
    }

    /// Moves a lane to the end of its list. If the engine executes requests of the lane `served`,
    /// that one was rotated to the end for its turn; the other lane is put before it, so that it
    /// does not wait for one more turn of it. The same applies to the user of the lane.
    fn move_to(&mut self, lane: LaneId, state: RunState, served: Option<LaneId>) {
        let Some(entry) = self.lanes.get_mut(lane.0) else {
            return;
        };
        let before = core::mem::replace(&mut entry.state, state);
        let user = entry.user;
        if before == state {
            return;
        }
        match before {
            RunState::Idle => {}
            RunState::Runnable => self.leave_turns(lane, user),
            RunState::Failing => self.failing.leave(&mut self.lanes, lane.0),
        }
        match state {
            RunState::Idle => {}
            RunState::Runnable => self.join_turns(lane, user, served),
            RunState::Failing => self.failing.join(&mut self.lanes, lane.0, None),
        }
    }

    fn join_turns(&mut self, lane: LaneId, user: UserId, served: Option<LaneId>) {
        let served = served.and_then(|served| Some((served, self.lanes.get(served.0)?)));
        let served_user = served.as_ref().map(|(_, entry)| entry.user.0);
        let sibling = served
            .filter(|(_, entry)| entry.user == user && entry.state == RunState::Runnable)
            .map(|(served, _)| served.0);
        let Some(of) = self.users.get_mut(user.0) else {
            return;
        };
        let first = of.turns.next().is_none();
        of.turns.join(&mut self.lanes, lane.0, sibling);
        if first {
            self.turns.join(&mut self.users, user.0, served_user);
        }
    }

    fn leave_turns(&mut self, lane: LaneId, user: UserId) {
        let Some(of) = self.users.get_mut(user.0) else {
            return;
        };
        of.turns.leave(&mut self.lanes, lane.0);
        if of.turns.next().is_none() {
            self.turns.leave(&mut self.users, user.0);
        }
    }
}
