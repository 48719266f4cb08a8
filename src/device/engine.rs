// SPDX-License-Identifier: GPL-2.0

//! The engine of a bound device: posts the transfers of the queue to the hardware, and handles
//! their ends.

mod power;
mod watchdog;

use super::{
    channel::{
        Channel,
        ChannelState, //
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
            trace::{
                self,
                Teardown, //
            },
            work::{
                Delayed,
                Work, //
            }, //
        },
        mm::{
            coherent::Memory,
            mapping::Closed, //
        },
        sync::clock, //
    },
    memory::hold::BufferHold,
    schedule::{
        Flight,
        Issue,
        LaneId,
        Notice,
        SyncId, //
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

/// The engine of a bound device.
pub(crate) struct Engine<'bound> {
    // The fields are dropped in this order.
    hardware: Hardware<'bound>,
    abilities: Abilities,
    enabled: Enabled<'bound>,
    dev: &'bound device::Device<Bound>,
    zeros: Memory<'bound>,
    channel: Arc<Channel>,
    interrupt_kind: InterruptKind,
    lost_interrupt: Ratelimit,
}

impl<'bound> Engine<'bound> {
    /// Creates the engine of a device that was [prepared](Hardware::prepare) with `zeros`, and
    /// opens the queue. `plan` divides the requests into transfers.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(
        dev: &'bound device::Device<Bound>,
        (hardware, plan): (Hardware<'bound>, HardwarePlan),
        enabled: Enabled<'bound>,
        zeros: Memory<'bound>,
        channel: Arc<Channel>,
        interrupt_kind: InterruptKind,
    ) -> Result<Self> {
        let abilities = hardware.abilities();
        let flight = Flight::new(abilities.depth)?;
        channel.state.lock().queue.open(plan, flight);
        Ok(Self {
            hardware,
            abilities,
            enabled,
            dev,
            zeros,
            channel,
            interrupt_kind,
            lost_interrupt: Ratelimit::new(),
        })
    }

    /// Injects a device fault.
    #[cfg(CONFIG_FAULT_INJECTION)]
    pub(crate) fn inject(&self, command: &str) -> Result {
        self.hardware.inject(command)
    }
}

impl Delayed<Engine<'_>> {
    /// Queues requests, for which room was reserved, and starts the first one if the engine is
    /// idle.
    ///
    /// # Errors
    ///
    /// Those of [`Queue::submit`](crate::schedule::Queue::submit).
    pub(crate) fn submit(&self, lane: LaneId, jobs: &mut Fifo<Job>) -> Result {
        let mut state = self.channel.state.lock();
        state.queue.submit(lane, jobs)?;
        self.advance(&mut state, None);
        Ok(())
    }

    /// Queues a request that a thread will wait for, and starts it if the engine is idle.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit).
    pub(crate) fn submit_sync(&self, lane: LaneId, jobs: &mut Fifo<Job>) -> Result<SyncId> {
        let mut state = self.channel.state.lock();
        let id = state.queue.submit_sync(lane, jobs)?;
        self.advance(&mut state, None);
        Ok(id)
    }

    /// Starts the next requests, if the engine is idle.
    pub(crate) fn start_next(&self) {
        self.advance(&mut self.channel.state.lock(), None);
    }

    /// Handles an interrupt. Returns whether the device has raised it.
    pub(crate) fn interrupt(&self) -> bool {
        let ours = self.hardware.acknowledge();
        trace::interrupt(self.channel.number(), ours);
        if !ours {
            return false;
        }
        let mut state = self.channel.state.lock();
        state.queue.stats.counters.interrupts += 1;
        let mut ended = self.reap(&mut state);
        if ended.is_none() {
            state.queue.stats.counters.spurious_interrupts += 1;
        }
        // The lock is released between two transfers, so that other threads can take it.
        while let Some(notice) = ended {
            let more = self.abilities.depth > 1;
            drop(state);
            deliver(notice);
            if !more {
                return true;
            }
            state = self.channel.state.lock();
            ended = self.reap(&mut state);
        }
        true
    }

    /// Handles the end of the oldest transfer, and starts the next ones. Returns [`None`] if it has
    /// not ended.
    fn reap(&self, state: &mut ChannelState) -> Option<Option<Notice<Types>>> {
        let slot = state.queue.oldest_slot()?;
        let Progress::Ended(outcome) = self.hardware.progress(slot) else {
            return None;
        };
        // A message is a memory write, like the device's transfers: it arrives only if Bus Master
        // is set. An interrupt on a line does not show that.
        let transferred = outcome.and_then(|()| match self.interrupt_kind {
            InterruptKind::Message => Ok(()),
            InterruptKind::Line => self.reached_memory(),
        });
        Some(self.finish(state, transferred))
    }

    /// Checks that the device is a bus master. If it is not, its transfers end in time but move no
    /// bytes.
    ///
    /// # Errors
    ///
    /// [`EIO`] if it is not.
    fn reached_memory(&self) -> Result {
        if self.enabled.is_master() {
            Ok(())
        } else {
            Err(EIO)
        }
    }

    /// Handles the end of the oldest transfer, and starts the next ones.
    fn finish(&self, state: &mut ChannelState, transferred: Result) -> Option<Notice<Types>> {
        let now = clock::now();
        if transferred.is_err() {
            self.stop_others();
            // If the queue is closed, the work item fails those that return to their lanes.
            self.queue_now();
        }
        let notice = state.queue.finish(transferred, now);
        state.since = now;
        self.advance(state, Some(now));
        notice
    }

    /// Stops the transfers behind a failed one, so that they can be issued again. If it was the
    /// driver that detected the failure, the engine may still be executing them.
    fn stop_others(&self) {
        if self.abilities.depth > 1 {
            // An engine with several slots can be stopped.
            let _ = self.hardware.abort();
        }
        self.hardware.restart();
    }

    /// Posts transfers until the slots are full or no requests are left, and queues the work item
    /// for tasks that are not done under the lock. `now` is a time that was read under the lock;
    /// [`None`]: it is read here. An earlier time could make a new transfer look late.
    fn advance(&self, state: &mut ChannelState, now: Option<u64>) {
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
            self.watch(state, now);
        }
        if state.queue.has_deferred() || state.queue.has_failing() {
            self.queue_now();
        }
    }

    fn post_all_but_one(&self, state: &mut ChannelState) -> Option<Issue<Types>> {
        let mut last = state.queue.issue()?;
        while let Some(next) = state.queue.issue() {
            let Issue {
                slot,
                transfer,
                interrupt,
            } = core::mem::replace(&mut last, next);
            self.post(slot, transfer, interrupt);
        }
        Some(last)
    }

    fn post(&self, slot: usize, transfer: Transfer, interrupt: bool) {
        self.hardware.post(slot, transfer, interrupt);
        self.trace_start(transfer);
    }

    fn trace_start(&self, transfer: Transfer) {
        let direction = match transfer.direction {
            Direction::ToDevice => uapi::RDMA_OP_TO_DEVICE,
            Direction::FromDevice => uapi::RDMA_OP_FROM_DEVICE,
        };
        let (offset, length) = (transfer.device.offset(), transfer.device.length());
        trace::start(self.channel.number(), direction, offset, length);
    }

    /// Closes the queue, because the device is gone. The caller must abort the requests that the
    /// engine has begun, and fail those that wait.
    fn mark_gone(&self, state: &mut ChannelState) {
        // A device that only seems to be gone must not access memory that is freed after this.
        self.enabled.clear_master();
        state.queue.close(ENODEV);
    }

    /// Stops the device before it is unbound, and frees the memory of all buffers. The guard must
    /// be closed, and no thread may be inside.
    pub(crate) fn stop(&self, mappings: Closed<'_>) {
        let dev = self.channel.number();
        self.channel.close(ENODEV);
        trace::teardown(dev, Teardown::Closed);
        trace::zap(dev);
        let emptied = mappings.zap();
        trace::teardown(dev, Teardown::Zapped);

        let still_running = self.hardware.abort().is_err()
            && self.hardware.wait_idle(self.abilities.overdue_ms) == Err(ETIMEDOUT);
        self.enabled.clear_master();
        let step = if still_running {
            Teardown::Stuck
        } else {
            Teardown::Idle
        };
        trace::teardown(dev, step);

        if still_running {
            self.keep_memory();
        }
        self.channel.abort_active();
        self.channel.fail_waiting();
        self.channel.drop_deferred();
        self.channel.pool().revoke_all(&emptied);
        trace::teardown(dev, Teardown::Freed);
    }

    /// Leaks the memory that the device may still write to.
    fn keep_memory(&self) {
        dev_err!(
            self.dev,
            "a transfer does not end; its memory is never freed\n"
        );
        self.zeros.leak();
        loop {
            let taken = self.channel.state.lock().queue.take_active();
            let Some(taken) = taken else {
                return;
            };
            if let Some(request) = taken.request() {
                request.memories().for_each(BufferHold::leak);
            }
            let notice = self.channel.state.lock().queue.abort(taken, clock::now());
            deliver(notice);
        }
    }
}

impl Delayed<Engine<'_>> {
    /// Frees the buffers whose last references were those of requests that have ended. Returns
    /// whether there may have been any, when they are freed. Sleeps.
    pub(crate) fn free_released(&self) -> bool {
        let freed = self.channel.drop_deferred();
        // The work item may be freeing others.
        self.flush() || freed
    }
}

impl Work for Engine<'_> {
    fn work(this: &Delayed<Self>) {
        this.channel.drop_deferred();
        this.channel.fail_links();
        this.channel.fail_waiting();
        this.start_next();
        this.check_late();
    }

    fn expired(this: &Delayed<Self>) {
        this.check_time();
    }
}
