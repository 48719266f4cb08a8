// SPDX-License-Identifier: GPL-2.0

//! The engine of a bound device: posts the transfers of the queue to the hardware.

mod power;
mod reap;
mod restart;
mod teardown;
mod watchdog;

use super::{
    engine_queue::{
        EngineQueue,
        QueueState, //
    },
    types::{
        DeviceTypes,
        Job, //
    }, //
};
use crate::{
    engines::{
        engine::{
            DmaEngine,
            EngineInfo,
            PostFlags, //
        },
        transfer::{
            Direction,
            Transfer, //
        },
        AnyEngine,
        AnyPlan, //
    },
    kernel_ext::{
        collections::fifo::Fifo,
        driver::{
            pci::EnabledDevice,
            ratelimit::Ratelimit,
            trace,
            work::{
                WithWork,
                Work, //
            }, //
        },
        sync::clock, //
    },
    memory::pool::Pool,
    schedule::{
        Flight,
        Issue,
        LaneId,
        WaiterId, //
    },
    uapi, //
};
use kernel::{
    device::{
        self,
        Bound, //
    },
    pci::IrqType,
    prelude::*,
    sync::Arc, //
};

/// An engine of a bound device, which executes the requests of a queue.
pub(crate) struct BoundEngine<'bound> {
    // Dropped before `enabled`: the BAR is unmapped, then the device is disabled.
    hardware: AnyEngine<'bound>,
    enabled: Arc<EnabledDevice<'bound>>,
    /// What [`DmaEngine::info`] has returned. It never changes.
    info: EngineInfo,
    /// The device, for the log.
    dev: &'bound device::Device<Bound>,
    /// The queue that the engine works on. It outlives the engine.
    engine_queue: Arc<EngineQueue>,
    irq_type: IrqType,
    /// Limits the messages about lost interrupts, and about Bus Master that is off.
    lost_interrupt: Ratelimit,
}

impl<'bound> BoundEngine<'bound> {
    /// Creates the engine of a device that was [prepared](AnyEngine::prepare), and opens the queue.
    /// `plan` divides the requests into transfers.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(
        dev: &'bound device::Device<Bound>,
        (hardware, plan): (AnyEngine<'bound>, AnyPlan),
        enabled: Arc<EnabledDevice<'bound>>,
        engine_queue: Arc<EngineQueue>,
        irq_type: IrqType,
    ) -> Result<Self> {
        let engine = Self {
            info: hardware.info(),
            hardware,
            enabled,
            dev,
            engine_queue,
            irq_type,
            lost_interrupt: Ratelimit::new(),
        };
        let EngineInfo {
            depth,
            in_flight_byte_limit,
            ..
        } = engine.info;
        let flight = Flight::new(depth, in_flight_byte_limit)?;
        engine.engine_queue.state.lock().queue.open(plan, flight);
        Ok(engine)
    }

    /// Returns the number of the device's node.
    pub(super) fn number(&self) -> u32 {
        self.engine_queue.number()
    }

    /// Returns the state that the buffers of the device share.
    pub(super) fn pool(&self) -> &Arc<Pool> {
        self.engine_queue.pool()
    }

    /// Injects a device fault.
    #[cfg(CONFIG_FAULT_INJECTION)]
    pub(crate) fn inject(&self, command: &str) -> Result {
        self.hardware.inject(command)
    }
}

impl Drop for BoundEngine<'_> {
    fn drop(&mut self) {
        // For a probe that has failed. An unbind has done it before.
        self.hardware.disable_interrupts();
        // The device must not access memory of `hardware`, which is freed after this.
        self.enabled.clear_master();
    }
}

impl WithWork<BoundEngine<'_>> {
    /// Queues requests, for which room was reserved, and posts transfers if the engine accepts
    /// more.
    ///
    /// # Errors
    ///
    /// Those of [`Queue::submit`](crate::schedule::Queue::submit).
    pub(crate) fn submit(&self, lane: LaneId, jobs: &mut Fifo<Job>) -> Result {
        let mut state = self.engine_queue.state.lock();
        state.queue.submit(lane, jobs)?;
        self.advance(&mut state, None);
        Ok(())
    }

    /// Queues a request with a waiter, and posts transfers as [`submit`](Self::submit).
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit).
    pub(crate) fn submit_waited(&self, lane: LaneId, jobs: &mut Fifo<Job>) -> Result<WaiterId> {
        let mut state = self.engine_queue.state.lock();
        let id = state.queue.submit_waited(lane, jobs)?;
        self.advance(&mut state, None);
        Ok(id)
    }

    /// Posts the next transfers, if the engine accepts more.
    pub(crate) fn start_next(&self) {
        self.advance(&mut self.engine_queue.state.lock(), None);
    }

    /// Posts transfers until the slots are full or no requests are left, and queues the work item
    /// for tasks that are not done under the lock. Nothing is posted to an engine that must be
    /// restarted first. `now` is a time that was read under the lock; [`None`]: it is read here. An
    /// earlier time could make a new transfer look late.
    fn advance(&self, state: &mut QueueState, now: Option<u64>) {
        if state.failure.is_some() {
            return;
        }
        let was_idle = !state.queue.is_busy();
        if let Some(mut last) = self.post_all_but_one(state) {
            let now = now.unwrap_or_else(clock::now);
            // The last transfer always raises an interrupt, because none after it could report its
            // end.
            last.interrupt = true;
            self.post(last);
            self.hardware.kick();
            if was_idle {
                state.oldest_since = now;
            }
            self.watch(state, was_idle, now);
        }
        if state.queue.has_deferred() || state.queue.has_cancelled() {
            self.queue_now();
        }
    }

    /// Posts all transfers that can be issued but the last one, which is returned. An interrupt is
    /// raised at least for each half of the slots, so that others can be posted before the engine
    /// is idle.
    fn post_all_but_one(&self, state: &mut QueueState) -> Option<Issue<DeviceTypes>> {
        let mut last = state.queue.issue()?;
        let (mut posted, mut bytes) = (0, 0);
        while let Some(next) = state.queue.issue() {
            let mut issue = core::mem::replace(&mut last, next);
            posted += 1;
            bytes += issue.transfer.length();
            let is_half =
                posted >= self.info.depth / 2 || bytes >= self.info.in_flight_byte_limit / 2;
            issue.interrupt |= is_half;
            if issue.interrupt {
                (posted, bytes) = (0, 0);
            }
            self.post(issue);
        }
        Some(last)
    }

    fn post(&self, issue: Issue<DeviceTypes>) {
        let flags = PostFlags {
            interrupt: issue.interrupt,
            // Requests are executed one after the other; the transfers of one do not overlap. The
            // last transfer of a batch, which raises an interrupt, can become the last one of its
            // request, if that is cancelled.
            fence: issue.ends_request || issue.interrupt,
        };
        self.hardware.post(issue.slot, issue.transfer, flags);
        self.trace_start(issue.transfer);
    }

    fn trace_start(&self, transfer: Transfer) {
        let (operation, offset, length) = match transfer {
            Transfer::Device(transfer) => {
                let operation = match transfer.direction {
                    Direction::ToDevice => uapi::RDMA_OP_TO_DEVICE,
                    Direction::FromDevice => uapi::RDMA_OP_FROM_DEVICE,
                };
                let range = transfer.device;
                (operation, range.offset(), range.length())
            }
            Transfer::Direct(transfer) => (uapi::RDMA_OP_COPY, 0, transfer.length),
        };
        trace::start(self.engine_queue.number(), operation, offset, length);
    }

    /// Frees the buffers whose last references were those of requests that have ended. Sleeps.
    pub(crate) fn free_released(&self) {
        self.engine_queue.drop_deferred();
        // The work item may be freeing others.
        self.flush();
    }
}

impl Work for BoundEngine<'_> {
    fn work(this: &WithWork<Self>) {
        // Freeing memory takes long, and comes after what other requests wait for.
        if this.engine_queue.state.lock().failure.is_some() {
            this.restart_after_failure();
        }
        this.reap_left();
        this.check_late();
        this.engine_queue.complete_cancelled();
        this.engine_queue.fail_waiting();
        this.start_next();
        this.engine_queue.drop_deferred();
    }

    fn expired(this: &WithWork<Self>) {
        this.timer_expired();
    }
}
