// SPDX-License-Identifier: GPL-2.0

//! The completion ring of a context: completions in memory that the program maps.

use super::{
    collect::{
        completion,
        WaitEnd, //
    },
    Client, //
};
use crate::{
    device::types::{
        deliver,
        Job, //
    },
    kernel_ext::{
        collections::fifo::Fifo,
        gfp::GFP_ACCOUNT_MAYFAIL,
        mm::shared_ring::SharedRing, //
    },
    schedule::{
        self,
        RingMemory, //
    },
    uapi, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

static_assert!(SharedRing::ENTRIES == schedule::LANE_DEPTH);
static_assert!(size_of::<uapi::rdma_completion>() <= SharedRing::ENTRY_SIZE);
static_assert!(cfg!(target_endian = "little"));

impl RingMemory for Arc<SharedRing> {
    fn head(&self) -> u32 {
        SharedRing::head(self)
    }

    fn write(&self, index: usize, cookie: u64, bytes: u64, outcome: Result) {
        let completion = completion(cookie, bytes, outcome);
        // CAST: The status has the bits of an unsigned number, and `reserved` is 0.
        let status = u64::from(completion.status as u32);
        SharedRing::write(self, index, [completion.cookie, completion.bytes, status]);
    }

    fn publish(&self, tail: u32) {
        self.set_tail(tail);
    }
}

impl Client {
    /// Returns the completion ring, if there is one.
    pub(crate) fn ring(&self) -> Option<&SharedRing> {
        self.ring.as_ref().map(|ring| &**ring)
    }

    /// Creates the completion ring. Calls `report` to write its properties to user memory. If this
    /// fails, no ring is created.
    ///
    /// # Errors
    ///
    /// [`EEXIST`] if there is one; [`EBUSY`] if requests or completions are left; [`ENODEV`] if the
    /// device is gone; [`ENOMEM`]; the error of `report`.
    pub(crate) fn create_ring(&self, report: impl FnOnce() -> Result) -> Result {
        self.device.info()?;
        if self.ring().is_some() {
            report()?;
            return Err(EEXIST);
        }
        // Tested again below. This is for the properties, which are not written if it fails.
        let lane = self.state();
        if lane.outstanding + lane.completed + lane.reserved > 0 {
            return Err(EBUSY);
        }
        let ring = Arc::new(SharedRing::new(schedule::RING_START)?, GFP_ACCOUNT_MAYFAIL)?;
        report()?;
        let mut state = self.engine_queue.state.lock();
        let set = state.queue.set_ring(self.lane, ring.clone());
        drop(state);
        // Not under the lock, because a memory that was not accepted is freed.
        set.map_err(|(error, _)| error)?;
        // The lane accepts one ring only, so that this is the first.
        self.ring.populate(ring);
        // Threads that wait to collect without a ring must not wait any longer.
        self.wait_queues.collectors.wake_all();
        Ok(())
    }

    /// Frees the room of the completions that the program has collected from the ring.
    // Cold, so that contexts without a ring do not pay for it.
    #[cold]
    pub(super) fn free_collected(&self) {
        let made_room = self
            .engine_queue
            .state
            .lock()
            .queue
            .free_collected(self.lane);
        deliver(made_room);
    }

    /// Takes the blank jobs of all completions that were written to the ring, and others up to
    /// `max` in total.
    #[cold]
    pub(super) fn take_blank(&self, max: usize) -> Fifo<Job> {
        let mut blank = self.engine_queue.state.lock().queue.take_blank(self.lane);
        if let Some(more) = max.checked_sub(blank.len()) {
            blank.append(&mut self.jobs.take(more));
        }
        blank
    }

    /// Sleeps until `min` completions are in the ring, or as [`collect`](Self::collect). Returns
    /// the number of completions in the ring.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if there is no ring; otherwise as [`collect`](Self::collect).
    #[cold]
    pub(crate) fn wait_for_ring(&self, min: usize, until: Option<u64>) -> Result<usize> {
        if self.ring().is_none() {
            return Err(EINVAL);
        }
        let mut ended = WaitEnd::Waiting;
        loop {
            let mut state = self.engine_queue.state.lock();
            let enough = self.is_enough(&state, min, ended);
            let completed = state.queue.state(self.lane).completed;
            let made_room = state.queue.free_collected(self.lane);
            drop(state);
            deliver(made_room);
            if completed > 0 {
                // This call collects none of them, and the program may have collected some since it
                // was woken: there may be enough for other threads.
                self.wait_queues.collectors.wake_satisfied(completed);
            }
            if enough? {
                return Ok(completed);
            }
            ended = self.sleep(min, until, true);
        }
    }
}
