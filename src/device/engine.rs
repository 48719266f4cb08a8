// SPDX-License-Identifier: GPL-2.0

//! The engine of a bound device: posts the transfers of the queue to the hardware, and handles
//! their ends.

mod power;
mod watchdog;

use super::{
    engine_queue::{
        EngineQueue,
        QueueState, //
    },
    queue::{
        deliver,
        Job,
        Types, //
    }, //
};
use crate::{
    engines::{
        engine::{
            Abilities,
            DmaEngine,
            Progress, //
        },
        transfer::{
            Direction,
            Transfer, //
        },
        Hardware,
        HardwarePlan, //
    },
    kernel_ext::{
        collections::fifo::Fifo,
        driver::{
            pci::Enabled,
            ratelimit::Ratelimit,
            trace,
            work::{
                WithWork,
                Work, //
            }, //
        },
        sync::clock, //
    },
    memory::{
        hold::BufferHold,
        pool::Pool, //
    },
    schedule::{
        Ended,
        Flight,
        Issue,
        LaneId,
        Notice,
        WaiterId, //
    },
    uapi, //
};
use kernel::{
    device::{
        self,
        Bound, //
    },
    prelude::*,
    sync::Arc, //
};

/// The type of the device's interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InterruptKind {
    /// A message-signalled interrupt (MSI).
    Message,
    /// An interrupt line (INTx).
    Line,
}

/// Whether the transfers of an engine have stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// No transfer accesses memory any more.
    Yes,
    /// A transfer may still access memory.
    No,
}

/// An engine of a bound device, which executes the requests of a queue.
pub(crate) struct BoundEngine<'bound> {
    // Dropped before `enabled`: the BAR is unmapped, then the device is disabled.
    hardware: Hardware<'bound>,
    enabled: Arc<Enabled<'bound>>,
    abilities: Abilities,
    dev: &'bound device::Device<Bound>,
    engine_queue: Arc<EngineQueue>,
    interrupt_kind: InterruptKind,
    lost_interrupt: Ratelimit,
}

impl<'bound> BoundEngine<'bound> {
    /// Creates the engine of a device that was [prepared](Hardware::prepare), and opens the queue.
    /// `plan` divides the requests into transfers.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(
        dev: &'bound device::Device<Bound>,
        (hardware, plan): (Hardware<'bound>, HardwarePlan),
        enabled: Arc<Enabled<'bound>>,
        engine_queue: Arc<EngineQueue>,
        interrupt_kind: InterruptKind,
    ) -> Result<Self> {
        let engine = Self {
            abilities: hardware.abilities(),
            hardware,
            enabled,
            dev,
            engine_queue,
            interrupt_kind,
            lost_interrupt: Ratelimit::new(),
        };
        let Abilities {
            depth,
            max_in_flight,
            ..
        } = engine.abilities;
        let flight = Flight::new(depth, max_in_flight)?;
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
        // The device must not access memory of `hardware`, which is freed after this.
        self.enabled.clear_master();
    }
}

/// The result of a step that handles the ends of transfers.
#[derive(Default)]
struct Reaped {
    /// The number of transfers that have ended.
    ended: usize,
    /// The step was stopped, and other transfers may have ended.
    more: bool,
    /// The engine has transfers that were posted before the step, and has not ended them.
    is_busy: bool,
    /// To be delivered without the lock.
    notice: Option<Notice<Types>>,
}

impl Reaped {
    /// Delivers the notices. Returns whether another step is needed.
    fn deliver(self) -> bool {
        deliver(self.notice);
        self.more
    }
}

impl WithWork<BoundEngine<'_>> {
    /// The maximum number of ends of transfers that are handled in one step.
    const STEP: usize = 32;

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

    /// Handles an interrupt. Returns whether the device has raised it.
    pub(crate) fn interrupt(&self) -> bool {
        let ours = self.hardware.acknowledge();
        trace::interrupt(self.engine_queue.number(), ours);
        if !ours {
            return false;
        }
        let ended = self.reap_round(|state| state.queue.stats.counters.interrupts += 1);
        if ended == 0 {
            let mut state = self.engine_queue.state.lock();
            state.queue.stats.counters.spurious_interrupts += 1;
        }
        true
    }

    /// Handles the ends of transfers that [a round](Self::reap_round) has left.
    fn reap_left(&self) {
        if self.engine_queue.state.lock().unreaped {
            self.reap_round(|_| {});
        }
    }

    /// Handles the ends of as many transfers as the engine has slots, in steps, and returns their
    /// number. If transfers that were posted meanwhile have ended, too, they are left to the work
    /// item, so that a fast engine does not keep a CPU in the interrupt handler. `begin` is called
    /// with the lock held.
    fn reap_round(&self, begin: impl FnOnce(&mut QueueState)) -> usize {
        let mut state = self.engine_queue.state.lock();
        begin(&mut state);
        let mut ended = 0;
        let mut flushed = false;
        loop {
            let reaped = self.reap(&mut state, |slot| self.hardware.progress(slot));
            ended += reaped.ended;
            let is_last = ended >= self.abilities.depth;
            state.unreaped = reaped.more && is_last;
            let is_busy = reaped.is_busy;
            drop(state);
            let more = reaped.deliver();
            if more && is_last {
                self.queue_now();
            }
            if is_last {
                return ended;
            }
            if !more {
                if flushed || !is_busy || !self.hardware.flush_acknowledge() {
                    return ended;
                }
                // Another transfer may have ended before, without an interrupt.
                flushed = true;
            }
            // The lock was released between two steps, so that other threads can take it.
            state = self.engine_queue.state.lock();
        }
    }

    /// Handles the ends of up to [`STEP`](Self::STEP) of the oldest transfers, and starts the next
    /// ones. Ends as soon as one notice does not suffice for those that have ended: at a request of
    /// another lane, or with a waiter. `progress` is a function of [`DmaEngine`].
    fn reap(&self, state: &mut QueueState, progress: impl Fn(usize) -> Progress) -> Reaped {
        let mut reaped = Reaped::default();
        let mut ended = Ended::Nothing;
        let now = clock::now();
        while let Some(transferred) = self.oldest_outcome(state, &progress) {
            // `restart` polls for milliseconds if the engine does not stop, and is not repeated at
            // each interrupt.
            if transferred.is_err() && (state.restart_failed || !self.restart(state)) {
                // The watchdog checks the transfer again.
                break;
            }
            reaped.ended += 1;
            match state.queue.finish(transferred, now) {
                Ended::Nothing => {}
                other => ended = other,
            }
            if reaped.ended == Self::STEP || !state.queue.is_next_for(&ended) {
                // Not with the transfers that are posted below.
                reaped.more = state.queue.is_busy();
                break;
            }
        }
        reaped.notice = state.queue.notice_of(ended);
        reaped.is_busy = state.oldest_slot().is_some();
        if reaped.ended > 0 {
            state.since = now;
            self.advance(state, Some(now));
        }
        reaped
    }

    /// Returns the outcome of the oldest transfer, if it has ended.
    fn oldest_outcome(
        &self,
        state: &QueueState,
        progress: impl Fn(usize) -> Progress,
    ) -> Option<Result> {
        let slot = state.oldest_slot()?;
        let Progress::Ended(outcome) = progress(slot) else {
            return None;
        };
        // A message is a memory write, like the device's transfers: it arrives only if Bus Master
        // is set. An interrupt on a line does not show that.
        Some(outcome.and_then(|()| match self.interrupt_kind {
            InterruptKind::Message => Ok(()),
            InterruptKind::Line => self.reached_memory(),
        }))
    }

    /// Checks that the device is a bus master. If it is not, its transfers may end in time but move
    /// no bytes.
    ///
    /// # Errors
    ///
    /// [`EIO`] if it is not.
    fn reached_memory(&self) -> Result {
        if self.abilities.reports_errors || self.enabled.is_master() {
            Ok(())
        } else {
            Err(EIO)
        }
    }

    /// Handles the end of the oldest transfer, and starts the next ones. If it has failed, the
    /// engine must have been [restarted](Self::restart).
    fn finish(&self, state: &mut QueueState, transferred: Result) -> Option<Notice<Types>> {
        let now = clock::now();
        let ended = state.queue.finish(transferred, now);
        let notice = state.queue.notice_of(ended);
        state.since = now;
        self.advance(state, Some(now));
        notice
    }

    /// Restarts the engine after a failed transfer, so that the other transfers can be issued again.
    /// If it was the driver that detected the failure, the engine may still be executing them.
    /// Returns whether it can be used again.
    fn restart(&self, state: &mut QueueState) -> bool {
        state.restart_failed = self.hardware.restart().is_err();
        if !state.restart_failed {
            // If the queue is closed, the work item fails those that return to their lanes.
            self.queue_now();
        }
        !state.restart_failed
    }

    /// Posts transfers until the slots are full or no requests are left, and queues the work item
    /// for tasks that are not done under the lock. `now` is a time that was read under the lock;
    /// [`None`]: it is read here. An earlier time could make a new transfer look late.
    fn advance(&self, state: &mut QueueState, now: Option<u64>) {
        let was_idle = !state.queue.is_busy();
        if let Some(last) = self.post_all_but_one(state) {
            let now = now.unwrap_or_else(clock::now);
            // The last transfer always raises an interrupt, because none after it could report its
            // end.
            self.post(last.slot, last.transfer, true);
            self.hardware.kick();
            if was_idle {
                state.since = now;
            }
            self.watch(state, was_idle, now);
        }
        if state.queue.has_deferred() || state.queue.has_failing() {
            self.queue_now();
        }
    }

    /// Posts all transfers that can be issued but the last one, which is returned. An interrupt is
    /// raised at least for each half of the slots, so that others can be posted before the engine is
    /// idle.
    fn post_all_but_one(&self, state: &mut QueueState) -> Option<Issue<Types>> {
        let mut last = state.queue.issue()?;
        let (mut posted, mut bytes) = (0, 0);
        while let Some(next) = state.queue.issue() {
            let Issue {
                slot,
                transfer,
                interrupt,
            } = core::mem::replace(&mut last, next);
            posted += 1;
            bytes += transfer.length();
            let is_half =
                posted >= self.abilities.depth / 2 || bytes >= self.abilities.max_in_flight / 2;
            if interrupt || is_half {
                (posted, bytes) = (0, 0);
            }
            self.post(slot, transfer, interrupt || is_half);
        }
        Some(last)
    }

    fn post(&self, slot: usize, transfer: Transfer, interrupt: bool) {
        self.hardware.post(slot, transfer, interrupt);
        self.trace_start(transfer);
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

    /// Closes the queue, because the device is gone. The caller must abort the requests that the
    /// engine has begun, and fail those that wait.
    fn mark_gone(&self, state: &mut QueueState) {
        // A device that only seems to be gone must not access memory that is freed after this.
        self.enabled.clear_master();
        state.queue.close(ENODEV);
    }

    /// Closes the queue, before the device is unbound. The gate must be closed, and no thread may be
    /// inside.
    pub(super) fn close(&self) {
        self.engine_queue.close(ENODEV);
    }

    /// Stops all transfers, or waits for their end.
    pub(super) fn stop(&self) -> Stopped {
        let aborted = {
            let mut state = self.engine_queue.state.lock();
            let aborted = self.hardware.abort();
            state.stopped = aborted.is_ok();
            aborted
        };
        if aborted.is_ok() || self.hardware.wait_idle(self.abilities.overdue_ms) != Err(ETIMEDOUT) {
            Stopped::Yes
        } else {
            Stopped::No
        }
    }

    /// Enables bus mastering of the device.
    pub(super) fn set_master(&self) {
        self.enabled.set_master();
    }

    /// Disables bus mastering of the device.
    pub(super) fn clear_master(&self) {
        self.enabled.clear_master();
    }

    /// Fails all requests. The engine must have been [stopped](Self::stop), or its memory
    /// [kept](Self::keep_memory).
    pub(super) fn abort_requests(&self) {
        self.engine_queue.abort_active();
        self.engine_queue.fail_waiting();
        self.engine_queue.drop_deferred();
    }

    /// Logs that other drivers still access this number of buffers.
    pub(super) fn report_kept(&self, buffers: usize) {
        dev_err!(
            self.dev,
            "other drivers still access {buffers} exported buffers, whose memory is never freed\n"
        );
    }

    /// Leaks the memory that the device may still write to.
    pub(super) fn keep_memory(&self) {
        dev_err!(
            self.dev,
            "a transfer does not end; its memory is never freed\n"
        );
        self.hardware.leak_memory();
        loop {
            let taken = self.engine_queue.state.lock().queue.take_active();
            let Some(taken) = taken else {
                return;
            };
            if let Some(request) = taken.request() {
                request.memories().for_each(BufferHold::leak);
            }
            let notice = self
                .engine_queue
                .state
                .lock()
                .queue
                .abort(taken, clock::now());
            deliver(notice);
        }
    }
}

impl WithWork<BoundEngine<'_>> {
    /// Frees the buffers whose last references were those of requests that have ended. Sleeps.
    pub(crate) fn free_released(&self) {
        self.engine_queue.drop_deferred();
        // The work item may be freeing others.
        self.flush();
    }
}

impl Work for BoundEngine<'_> {
    fn work(this: &WithWork<Self>) {
        this.reap_left();
        this.engine_queue.drop_deferred();
        this.engine_queue.fail_links();
        this.engine_queue.fail_waiting();
        this.start_next();
        this.check_late();
    }

    fn expired(this: &WithWork<Self>) {
        this.check_time();
    }
}
