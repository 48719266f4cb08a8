// SPDX-License-Identifier: GPL-2.0

//! The client of a context: its lane in the queue of an engine.

pub(super) mod collect;
pub(super) mod command;
mod completion_ring;
mod job_cache;
mod membership;
pub(super) mod reservation;
mod transfer;

use super::{
    engine_queue::EngineQueue,
    notices::{
        LaneWaitQueues,
        Notifier, //
    },
    trace_ids::TraceIds,
    Device, //
};
use crate::{
    engines::request::Uid,
    kernel_ext::{
        fs::{
            eventfd::EventFd,
            poll::PollQueue, //
        },
        gfp::GFP_ACCOUNT_MAYFAIL,
        mm::shared_ring::SharedRing, //
    },
    schedule::{
        self,
        Cancellation,
        LaneId,
        LaneState,
        UserId, //
    }, //
};
use job_cache::JobCache;
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        new_mutex,
        Arc,
        Mutex,
        SetOnce, //
    },
    task::Kuid, //
};
use membership::Membership;

/// The number of contexts that have been created.
static CONTEXTS: Atomic<u64> = Atomic::new(0);

/// The client of a context. It has a lane in the queue of one of the engines. Dropping it removes
/// the lane: waiting requests are dropped, and requests that the engine has begun are abandoned.
#[pin_data(PinnedDrop)]
pub(crate) struct Client {
    device: Arc<Device>,
    /// The queue of the engine that serves the context.
    engine_queue: Arc<EngineQueue>,
    /// The lane in this queue.
    lane: LaneId,
    trace_ids: TraceIds,
    /// The threads in WAIT and `poll`. The lane's owner shares them.
    wait_queues: Arc<LaneWaitQueues>,
    /// Blank jobs for the next requests.
    #[pin]
    jobs: JobCache,
    /// Held during a scan for requests to cancel.
    #[pin]
    cancel: Mutex<()>,
    /// Held while completions are collected.
    #[pin]
    collect: Mutex<()>,
    /// The ring of the lane, for mappings.
    ring: SetOnce<Arc<SharedRing>>,
    // Dropped after the lane is removed from the queue.
    user: Membership,
}

impl Client {
    /// Creates a client with an empty lane.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(device: Arc<Device>) -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(move || {
            let wait_queues = LaneWaitQueues::new()?;
            let trace_ids = TraceIds {
                device: device.number(),
                context: CONTEXTS.fetch_add(1, Relaxed) + 1,
            };
            let engine_queue = device.next_engine_queue()?;
            let user = Membership::new(&engine_queue, Self::uid().0)?;
            let lane = Self::add(&engine_queue, user.id(), trace_ids, &wait_queues)?;
            Ok(try_pin_init!(Self {
                engine_queue,
                device,
                lane,
                trace_ids,
                wait_queues,
                jobs <- JobCache::new(),
                cancel <- new_mutex!((), "rdma::Client::cancel"),
                collect <- new_mutex!((), "rdma::Client::collect"),
                ring: SetOnce::new(),
                user,
            }))
        })
    }

    fn add(
        engine_queue: &EngineQueue,
        user: UserId,
        trace_ids: TraceIds,
        wait_queues: &Arc<LaneWaitQueues>,
    ) -> Result<LaneId> {
        let owner = Notifier {
            trace_ids,
            wait_queues: wait_queues.clone(),
            eventfd: None,
        };
        let mut lane = KBox::new(schedule::Lane::new(owner), GFP_ACCOUNT_MAYFAIL)?;
        loop {
            let added = engine_queue.state.lock().queue.add_lane(user, lane);
            match added {
                Ok(id) => return Ok(id),
                Err(back) => lane = back,
            }
            // The queue grows without the lock, so that another thread may use the new entry.
            engine_queue.grow()?;
        }
    }

    /// Returns the number of the context. Numbers are not reused.
    pub(crate) fn context_number(&self) -> u64 {
        self.trace_ids.context
    }

    /// Returns the threads that poll the context.
    pub(crate) fn poll_queue(&self) -> &PollQueue {
        &self.wait_queues.pollers
    }

    /// Returns the state of the lane.
    pub(crate) fn state(&self) -> LaneState {
        self.engine_queue.state.lock().queue.state(self.lane)
    }

    /// Returns the effective uid of the caller, as the user of a request.
    fn uid() -> Uid {
        Uid(Kuid::current_euid().into_raw().val)
    }

    /// Cancels the requests with this cookie ([`None`]: all requests) that the engine has not
    /// begun, and the requests that are linked to them. Returns the number of cancelled requests.
    /// With `RDMA_CAP_ABORT`, also one of which the engine has not begun all transfers.
    ///
    /// # Errors
    ///
    /// If a cookie is given and no request was cancelled: [`EALREADY`] if the engine has begun a
    /// request with it, otherwise [`ENOENT`].
    pub(crate) fn cancel(&self, cookie: Option<u64>) -> Result<usize> {
        let _one_at_a_time = self.cancel.lock();
        let cancels_in_flight = self.device.cancels_in_flight();
        let scan =
            self.engine_queue
                .state
                .lock()
                .queue
                .begin_cancel(self.lane, cookie, cancels_in_flight);
        let mut scan: Cancellation = scan.ok_or(ENODEV)?;
        self.engine_queue
            .in_steps(|queue| queue.cancel_step(self.lane, &mut scan));
        if cancels_in_flight {
            // A request that was cancelled after it had begun may have returned to its lane, where
            // this completes it.
            self.engine_queue
                .in_steps(|queue| queue.complete_cancelled());
        }
        // The engine may be idle, because it found no request during the scan.
        let _ = self
            .device
            .enter(&self.engine_queue, |engine| engine.start_next());
        match scan.cancelled {
            0 if cookie.is_some() && scan.was_in_flight => Err(EALREADY),
            0 if cookie.is_some() => Err(ENOENT),
            cancelled => Ok(cancelled),
        }
    }

    /// Sets the eventfd that is signalled when requests are completed.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the device is gone; [`ENOMEM`].
    pub(crate) fn set_eventfd(&self, eventfd: Option<EventFd>) -> Result {
        self.device.info()?;
        let eventfd = eventfd
            .map(|eventfd| Arc::new(eventfd, GFP_ACCOUNT_MAYFAIL))
            .transpose()?;
        let mut state = self.engine_queue.state.lock();
        let owner = state.queue.owner_mut(self.lane);
        let old = owner.map(|owner| core::mem::replace(&mut owner.eventfd, eventfd));
        drop(state);
        // Not under the lock, because the eventfd may be freed.
        drop(old);
        Ok(())
    }
}

#[pinned_drop]
#[allow(unsafe_code, reason = "required by the macro of the crate")]
impl PinnedDrop for Client {
    fn drop(self: Pin<&mut Self>) {
        let left = self.engine_queue.state.lock().queue.remove_lane(self.lane);
        drop(left);
    }
}
