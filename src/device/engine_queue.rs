// SPDX-License-Identifier: GPL-2.0

//! The queue that an engine works on, and the state that the engine and its users share.
//!
//! It exists for as long as the [`Device`](super::Device). The engine, which exists while the
//! device is bound, refers to its queue, and not to the device.

use super::{
    failure::Failure,
    types::{
        deliver,
        DeviceTypes,
        Queue, //
    },
    users::Users, //
};
use crate::{
    kernel_ext::sync::clock,
    memory::pool::Pool,
    schedule::{
        AbandonedWait,
        Growth,
        LaneCursor,
        LaneId,
        Step,
        UserId,
        WaiterId, //
    }, //
};
use kernel::{
    prelude::*,
    sync::{
        new_mutex,
        new_spinlock_irq,
        Arc,
        Mutex,
        SpinLockIrq, //
    }, //
};

/// The queue, and the state of its engine that the queue's lock protects.
pub(super) struct QueueState {
    /// Closed while no engine is bound.
    pub(super) queue: Queue,
    /// When the oldest transfer became the oldest, in nanoseconds: when it was posted to an idle
    /// engine, when the one before it ended, or when a restart of the engine has failed.
    pub(super) oldest_since: u64,
    /// The time at which the watchdog's timer expires, in nanoseconds; [`None`] if it is not armed.
    pub(super) checked_at: Option<u64>,
    /// The ends of transfers are not handled, and the engine is not restarted: it was stopped for
    /// an unbind or a shutdown, or the device is being reset, after which `reap_after_reset`
    /// handles them.
    pub(super) stopped: bool,
    /// The engine did not stop for an unbind, and may still access memory.
    pub(super) must_leak: bool,
    /// The interrupt handler has left ends of transfers to the work item.
    pub(super) unreaped: bool,
    /// Why the engine must be restarted; [`None`] if it need not be.
    pub(super) failure: Option<Failure>,
}

impl QueueState {
    /// Creates a queue that is closed with [`ENODEV`].
    pub(super) fn new() -> Self {
        Self {
            queue: Queue::new(),
            oldest_since: clock::now(),
            checked_at: None,
            stopped: false,
            must_leak: false,
            unreaped: false,
            failure: None,
        }
    }

    /// Returns the slot of the transfer that ends next, unless the engine was stopped or must be
    /// restarted.
    pub(super) fn oldest_slot(&self) -> Option<usize> {
        let slot = self.queue.oldest_slot();
        slot.filter(|_| !self.stopped && self.failure.is_none())
    }

    /// Returns whether the engine must be restarted, and was not stopped.
    pub(super) fn must_restart(&self) -> bool {
        self.failure.is_some() && !self.stopped
    }

    /// Returns whether the engine cannot be used because a restart has failed, and has no transfer
    /// whose end could change that.
    pub(super) fn is_stuck_and_idle(&self) -> bool {
        let must_wait = self.stopped || self.failure.is_some() || self.queue.is_closed();
        self.queue.is_stuck() && !self.queue.is_busy() && !must_wait
    }

    /// Returns for how long the oldest transfer has been the oldest, or the engine has been [stuck
    /// and idle](Self::is_stuck_and_idle), in milliseconds. [`None`] if the engine can be used and
    /// is idle, was stopped or must be restarted.
    pub(super) fn oldest_age_ms(&self, now: u64) -> Option<u32> {
        if self.oldest_slot().is_none() && !self.is_stuck_and_idle() {
            return None;
        }
        let age_ms = now.saturating_sub(self.oldest_since) / clock::NSEC_PER_MSEC;
        Some(u32::try_from(age_ms).unwrap_or(u32::MAX))
    }
}

/// A queue with its lock.
#[pin_data]
pub(crate) struct EngineQueue {
    /// The number of the device's node.
    number: u32,
    /// The index of the engine in those of the device.
    index: usize,
    /// The users with an open file that is served by the engine.
    #[pin]
    pub(super) users: Users,
    /// The queue. The interrupt handler takes this lock. Closed while the device is not bound.
    #[pin]
    pub(super) state: SpinLockIrq<QueueState>,
    /// Held while the engine is stopped or restarted. `state` is taken under it.
    #[pin]
    pub(super) restarting: Mutex<()>,
    /// The state that the buffers of the device share.
    pool: Arc<Pool>,
}

impl EngineQueue {
    /// Creates a queue that is closed.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(super) fn new(number: u32, index: usize, pool: Arc<Pool>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                number,
                index,
                users <- Users::new(),
                state <- new_spinlock_irq!(QueueState::new(), "rdma::EngineQueue::state"),
                restarting <- new_mutex!((), "rdma::EngineQueue::restarting"),
                pool,
            }),
            GFP_KERNEL,
        )
    }

    /// Returns the number of the device's node.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Returns the index of the engine in those of the device.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// Returns the state that the buffers of the device share.
    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Grows the queue, so that a user and a lane can be added.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(super) fn grow(&self) -> Result {
        let request = self.state.lock().queue.grow_request();
        if let Some(request) = request {
            let growth = Growth::<DeviceTypes>::new(request)?;
            let old = self.state.lock().queue.grow(growth);
            drop(old);
        }
        Ok(())
    }

    /// Adds a user to the queue; [`None`] if it must [grow](Self::grow) before.
    pub(super) fn add_user(&self) -> Option<UserId> {
        self.state.lock().queue.add_user()
    }

    /// Detaches a request of a lane from its waiter, which stops waiting.
    pub(super) fn abandon_wait(&self, lane: LaneId, id: WaiterId) -> AbandonedWait<DeviceTypes> {
        self.state.lock().queue.abandon_wait(lane, id)
    }

    /// Closes the queue: waiting and new requests fail with [`ENODEV`].
    pub(super) fn close(&self) {
        self.state.lock().queue.close();
        self.fail_waiting();
    }

    /// Aborts the requests that the engine has begun. The engine must not access their memory any
    /// more.
    pub(super) fn fail_active(&self) {
        self.in_steps(|queue| queue.fail_one_active(clock::now()));
    }

    /// Fails the waiting requests, if the queue is closed or the engine is stuck.
    pub(super) fn fail_waiting(&self) {
        let mut cursor = LaneCursor::default();
        self.in_steps(|queue| queue.fail_batch(&mut cursor));
    }

    /// Answers the waiters whose requests the engine does not end, if the queue is closed.
    pub(super) fn fail_waiters_in_flight(&self) {
        self.in_steps(Queue::fail_waiter_in_flight);
    }

    /// Drops what was deferred to process context, which may free buffers.
    pub(super) fn drop_deferred(&self) {
        // The lock is released before the drop.
        let deferred = self.state.lock().queue.take_deferred();
        drop(deferred);
    }

    /// Completes the requests that are cancelled.
    pub(super) fn complete_cancelled(&self) {
        self.in_steps(Queue::complete_cancelled);
    }

    /// Repeats `step` until nothing is left to do. The queue's lock is released after each step.
    pub(super) fn in_steps(&self, mut step: impl FnMut(&mut Queue) -> Step<DeviceTypes>) {
        loop {
            let done = step(&mut self.state.lock().queue);
            deliver(done.notice);
            if !done.more {
                return;
            }
        }
    }
}
