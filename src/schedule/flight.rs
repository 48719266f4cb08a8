// SPDX-License-Identifier: GPL-2.0

//! The transfers in the slots of the engine, and their requests.

use super::{
    job::{
        Job,
        PlanOf,
        QueueTypes,
        StageOf,
        Tag,
        WaiterId, //
    },
    lane::LaneId, //
};
use crate::{
    engines::plan::{
        Plan,
        SchedulableRequest, //
    },
    kernel_ext::collections::fifo::Entry, //
};
use kernel::prelude::*;

/// A request that was started: it has transfers in slots, or its next transfer is being issued.
pub(super) struct Active<T: QueueTypes> {
    /// [`None`]: this entry is vacant.
    pub(super) job: Option<Entry<Job<T>>>,
    /// Its lane; [`None`] if its owner has abandoned it.
    pub(super) lane: Option<LaneId>,
    /// Length in bytes.
    pub(super) length: u64,
    /// Bytes for which transfers were issued.
    pub(super) issued: u64,
    pub(super) stage: StageOf<T>,
    /// Number of slots that it uses.
    pub(super) slots: usize,
    /// It was timed out.
    pub(super) timed_out: bool,
    /// It is cancelled: no more transfers of it are issued.
    pub(super) cancelled: bool,
    /// While it is vacant, the next vacant entry.
    next_vacant: usize,
}

impl<T: QueueTypes> Active<T> {
    /// Returns whether CANCEL may address it: a request of SUBMIT or of a command, of this lane,
    /// with this cookie ([`None`]: any cookie).
    pub(super) fn matches(&self, lane: LaneId, cookie: Option<u64>) -> bool {
        let job = self.job.as_ref();
        self.lane == Some(lane) && job.is_some_and(|job| job.matches(cookie))
    }

    /// Returns whether transfers of it are still to be issued.
    pub(super) fn is_partly_issued(&self) -> bool {
        !self.cancelled && self.issued < self.length
    }

    /// Returns whether it has this id.
    pub(super) fn has_waiter_id(&self, id: WaiterId) -> bool {
        self.job.as_ref().is_some_and(|job| job.waiter_id == id)
    }

    /// Returns whether the engine has not begun it.
    pub(super) fn is_untouched(&self) -> bool {
        self.slots == 0 && !self.job.as_ref().is_some_and(|job| job.has_progress())
    }

    /// Returns whether it has a waiter.
    pub(super) fn waited_for(&self) -> bool {
        self.job.as_ref().is_some_and(|job| job.waiter.is_some())
    }

    /// Issues all bytes that are not complete again.
    pub(super) fn rewind(&mut self) {
        self.issued = self.job.as_ref().map_or(0, |job| job.bytes);
        self.stage = Default::default();
    }
}

/// A request that was taken from the engine.
pub(crate) struct Taken<T: QueueTypes> {
    pub(super) job: Entry<Job<T>>,
    /// The tag that it had, which the next request gets.
    pub(super) tag: Tag,
    /// Its lane; [`None`] if its owner has abandoned it.
    pub(super) lane: Option<LaneId>,
}

impl<T: QueueTypes> Taken<T> {
    /// Returns the request, whose memory the engine may still access.
    pub(crate) fn request(&self) -> Option<&T::Request> {
        self.job.request()
    }
}

/// A transfer that was posted, in a slot.
pub(super) struct Posted {
    /// Its request.
    pub(super) tag: Tag,
    /// Bytes that it moves.
    pub(super) moves: u64,
    /// Bytes of the request that are complete when it has ended.
    pub(super) completes: u64,
}

/// The transfers that the engine has, and their requests.
///
/// # Invariants
///
/// `used` slots are in use, from `oldest` on, modulo their number, and `in_flight_bytes` is the sum
/// of their sizes. `active` has one entry more than there are slots: each request uses a slot,
/// except the one that is being divided. `vacant` begins a chain of the vacant entries.
pub(crate) struct Flight<T: QueueTypes> {
    /// The requests, by tag.
    active: KVec<Active<T>>,
    slots: KVec<Option<Posted>>,
    oldest: usize,
    used: usize,
    /// Bytes that the transfers in the slots move.
    in_flight_bytes: u64,
    /// Bytes at which no more transfers are accepted.
    in_flight_byte_limit: u64,
    vacant: usize,
}

impl<T: QueueTypes> Flight<T> {
    /// Creates a value without slots, which accepts no transfers.
    pub(super) const fn none() -> Self {
        // INVARIANT: no slots.
        Self {
            active: KVec::new(),
            slots: KVec::new(),
            oldest: 0,
            used: 0,
            in_flight_bytes: 0,
            in_flight_byte_limit: 0,
            vacant: 0,
        }
    }

    /// Creates `depth` slots, which accept transfers until they move `in_flight_byte_limit` bytes.
    /// Sleeps.
    pub(crate) fn new(depth: usize, in_flight_byte_limit: u64) -> Result<Self> {
        let mut flight = Self::none();
        flight.in_flight_byte_limit = in_flight_byte_limit;
        for _ in 0..depth {
            flight.slots.push(None, GFP_KERNEL)?;
        }
        for number in 0..depth + 1 {
            let vacant = Active {
                job: None,
                lane: None,
                length: 0,
                issued: 0,
                stage: Default::default(),
                slots: 0,
                timed_out: false,
                cancelled: false,
                next_vacant: number + 1,
            };
            flight.active.push(vacant, GFP_KERNEL)?;
        }
        // INVARIANT: none is used, and the chain goes through all of them.
        Ok(flight)
    }

    /// Returns whether the engine has no transfer.
    pub(super) fn is_idle(&self) -> bool {
        self.used == 0
    }

    /// Returns whether no more transfers are accepted.
    pub(super) fn is_full(&self) -> bool {
        self.used == self.slots.len() || self.in_flight_bytes >= self.in_flight_byte_limit
    }

    /// Adds a request whose transfers are to be issued; returns its tag.
    pub(super) fn add(&mut self, job: Entry<Job<T>>, lane: LaneId) -> Option<Tag> {
        let tag = Tag(self.vacant);
        let active = self.active.get_mut(tag.0)?;
        // INVARIANT: the chain continues behind the one that is taken now.
        self.vacant = active.next_vacant;
        active.length = job.request.as_ref().map_or(0, SchedulableRequest::length);
        active.issued = job.bytes;
        active.job = Some(job);
        active.lane = Some(lane);
        Some(tag)
    }

    pub(super) fn get(&self, tag: Tag) -> Option<&Active<T>> {
        self.active.get(tag.0)
    }

    pub(super) fn get_mut(&mut self, tag: Tag) -> Option<&mut Active<T>> {
        self.active.get_mut(tag.0)
    }

    /// Returns whether the request with this tag has no owner.
    pub(super) fn is_abandoned(&self, tag: Tag) -> bool {
        let active = self.get(tag);
        active.is_none_or(|active| active.lane.is_none())
    }

    /// Returns whether the request with this tag is cancelled.
    pub(super) fn is_cancelled(&self, tag: Tag) -> bool {
        let active = self.get(tag);
        active.is_some_and(|active| active.cancelled)
    }

    /// Removes a request that uses no slot.
    pub(super) fn remove(&mut self, tag: Tag) -> Option<Taken<T>> {
        let active = self.active.get_mut(tag.0)?;
        let job = active.job.take()?;
        let lane = active.lane.take();
        active.stage = Default::default();
        active.timed_out = false;
        active.cancelled = false;
        // INVARIANT: the chain begins with the one that is vacant now.
        active.next_vacant = self.vacant;
        self.vacant = tag.0;
        Some(Taken { job, tag, lane })
    }

    /// Returns the tag of the first request for which `wanted` is true.
    pub(super) fn find(&self, wanted: impl Fn(&Active<T>) -> bool) -> Option<Tag> {
        let mut all = self.active.iter();
        let found = all.position(|active| active.job.is_some() && wanted(active));
        found.map(Tag)
    }

    /// Puts a transfer into the next slot; returns its number.
    pub(super) fn post(&mut self, posted: Posted) -> Option<usize> {
        if self.is_full() {
            return None;
        }
        self.get_mut(posted.tag)?.slots += 1;
        let mut number = self.oldest + self.used;
        if number >= self.slots.len() {
            number -= self.slots.len();
        }
        let moves = posted.moves;
        *self.slots.get_mut(number)? = Some(posted);
        // INVARIANT: the slot behind the last one is used now.
        self.used += 1;
        self.in_flight_bytes += moves;
        Some(number)
    }

    /// Returns the slot of the transfer that ends next.
    pub(super) fn oldest(&self) -> Option<usize> {
        (self.used > 0).then_some(self.oldest)
    }

    /// Returns the slot of the transfer that was posted last.
    fn newest(&self) -> Option<usize> {
        Some((self.oldest + self.used.checked_sub(1)?) % self.slots.len())
    }

    /// Returns whether the transfer that ends next is one of this lane, without a waiter.
    pub(super) fn oldest_is_of(&self, lane: LaneId) -> bool {
        let posted = self.slots.get(self.oldest).and_then(Option::as_ref);
        let active = posted.and_then(|posted| self.get(posted.tag));
        active.is_some_and(|active| active.lane == Some(lane) && !active.waited_for())
    }

    /// Returns the lane of the transfer that was posted last, if it has not ended.
    pub(super) fn newest_lane(&self) -> Option<LaneId> {
        let newest = self.newest()?;
        self.get(self.slots.get(newest)?.as_ref()?.tag)?.lane
    }

    /// Removes the transfer that ends next.
    pub(super) fn reap(&mut self) -> Option<Posted> {
        let posted = self.slots.get_mut(self.oldest)?.take()?;
        // INVARIANT: the first slot in use is vacant now.
        self.used -= 1;
        self.in_flight_bytes -= posted.moves;
        self.oldest += 1;
        if self.oldest == self.slots.len() {
            self.oldest = 0;
        }
        self.get_mut(posted.tag)?.slots -= 1;
        Some(posted)
    }

    /// Removes the transfer that was posted last; returns the tag of its request.
    pub(super) fn unpost(&mut self) -> Option<Tag> {
        let newest = self.newest()?;
        let posted = self.slots.get_mut(newest)?.take()?;
        // INVARIANT: the last slot in use is vacant now.
        self.used -= 1;
        self.in_flight_bytes -= posted.moves;
        self.get_mut(posted.tag)?.slots -= 1;
        Some(posted.tag)
    }
}

/// A transfer to post.
pub(crate) struct Issue<T: QueueTypes> {
    /// The slot to post it in.
    pub(crate) slot: usize,
    pub(crate) transfer: <PlanOf<T> as Plan<T::Request>>::Transfer,
    /// Whether it is the last one of its request.
    pub(crate) ends_request: bool,
    /// Whether its end must raise an interrupt.
    pub(crate) interrupt: bool,
}
