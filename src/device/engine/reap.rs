// SPDX-License-Identifier: GPL-2.0

//! Interrupts, and the ends of transfers.
//!
//! What does an interrupt do? The kernel calls `handle` in `kernel_ext/driver/attach.rs`, and that
//! `interrupt` here, by way of `device/bound.rs`. If [`DmaEngine::acknowledge`] returns that the
//! device has raised it, `reap_round` calls `reap` in steps, each under the queue's lock. A step
//! asks [`DmaEngine::progress`] whether the oldest transfer has ended. If so, `finish` in
//! `schedule/turns.rs` completes its request, unless other transfers of it are left, and the step
//! continues with the next transfer. At the end of a step, `advance` in `device/engine.rs` posts
//! new transfers, and after the lock is released, `deliver` wakes threads and commands and signals
//! the eventfd (`device/notices.rs`, `device/waiter.rs`). A transfer that has failed is left to the
//! work item, by `record_failure` in `restart.rs`; so are transfers that end after this interrupt
//! has handled as many as there are slots (`reap_left`). When no more have ended, but the engine
//! has others, the handler asks [`DmaEngine::examine`] instead: the next one may have ended without
//! an interrupt, before the device had received the acknowledgement, or may have failed in a way
//! that prevents the device from reporting it.

use super::BoundEngine;
use crate::{
    device::{
        engine_queue::QueueState,
        failure::Failure,
        types::{
            deliver,
            DeviceTypes, //
        }, //
    },
    engines::engine::{
        DmaEngine,
        Progress, //
    },
    kernel_ext::{
        driver::{
            trace,
            work::WithWork, //
        },
        sync::clock, //
    },
    schedule::{
        Notice,
        Recipient, //
    }, //
};
use kernel::{
    pci::IrqType,
    prelude::*, //
};

/// Who handles the ends of transfers.
#[derive(Clone, Copy)]
enum Reaper {
    Interrupt,
    /// Handles what the interrupt handler has left.
    WorkItem,
}

/// The result of a step that handles the ends of transfers.
#[derive(Default)]
pub(super) struct Reaped {
    /// The number of transfers that have ended.
    ended: usize,
    /// The step was stopped, and other transfers may have ended.
    more: bool,
    /// The engine has transfers that were posted before the step, and has not ended them.
    is_busy: bool,
    /// To be delivered without the lock.
    notice: Option<Notice<DeviceTypes>>,
}

impl Reaped {
    /// Returns whether no transfer has ended.
    pub(super) fn is_empty(&self) -> bool {
        self.ended == 0
    }

    /// Delivers the notices. Returns whether another step is needed.
    pub(super) fn deliver(self) -> bool {
        deliver(self.notice);
        self.more
    }
}

impl WithWork<BoundEngine<'_>> {
    /// The maximum number of ends of transfers that are handled in one step.
    const STEP: usize = 32;

    /// Handles an interrupt. Returns whether the device has raised it.
    pub(crate) fn interrupt(&self) -> bool {
        let ours = self.hardware.acknowledge();
        trace::interrupt(self.engine_queue.number(), ours);
        if !ours {
            return false;
        }
        self.reap_round(Reaper::Interrupt);
        true
    }

    /// Handles the ends of transfers that [a round](Self::reap_round) has left.
    pub(super) fn reap_left(&self) {
        if self.engine_queue.state.lock().unreaped {
            self.reap_round(Reaper::WorkItem);
        }
    }

    /// Handles the ends of as many transfers as the engine has slots, in steps. If transfers that
    /// were posted meanwhile have ended, too, they are left to the work item, so that a fast engine
    /// does not keep a CPU in the interrupt handler. Counts the interrupt, and a spurious one if no
    /// transfer has ended or failed.
    fn reap_round(&self, reaper: Reaper) {
        let by_interrupt = matches!(reaper, Reaper::Interrupt);
        let mut state = self.engine_queue.state.lock();
        state.queue.stats.counters.interrupts += u64::from(by_interrupt);
        let mut ended = 0;
        // The interrupt handler may have left what the device does not report.
        let mut examine = !by_interrupt;
        loop {
            let reaped = self.reap(&mut state, |slot| {
                if examine {
                    self.hardware.examine(slot)
                } else {
                    self.hardware.progress(slot)
                }
            });
            ended += reaped.ended;
            let is_done = !reaped.more && (examine || !reaped.is_busy);
            let is_last = ended >= self.info.depth;
            state.unreaped = is_last && !is_done;
            if by_interrupt && is_done && ended == 0 && state.failure.is_none() {
                state.queue.stats.counters.spurious_interrupts += 1;
            }
            drop(state);
            examine |= !reaped.deliver();
            if is_last && !is_done {
                self.queue_now();
            }
            if is_last || is_done {
                return;
            }
            // The lock was released between two steps, so that other threads can take it.
            state = self.engine_queue.state.lock();
        }
    }

    /// Handles the ends of up to [`STEP`](Self::STEP) of the oldest transfers, and starts the next
    /// ones. Ends as soon as one notice does not suffice for those that have ended: at a request of
    /// another lane, or with a waiter. `progress` is a function of [`DmaEngine`].
    pub(super) fn reap(
        &self,
        state: &mut QueueState,
        progress: impl Fn(usize) -> Progress,
    ) -> Reaped {
        let mut reaped = Reaped::default();
        let mut recipient = Recipient::None;
        let now = clock::now();
        while let Some(transferred) = self.oldest_outcome(state, &progress) {
            if let Err(error) = transferred {
                // The engine executes none of the next ones. If its restart has failed, the queue
                // is stuck, and the watchdog checks them.
                if !state.queue.is_stuck() {
                    self.record_failure(state, Failure::reported(error));
                }
                break;
            }
            reaped.ended += 1;
            match self.end_oldest(state, transferred, now) {
                Recipient::None => {}
                other => recipient = other,
            }
            if reaped.ended == Self::STEP || !state.queue.shares_notice_with_next(&recipient) {
                // Not with the transfers that are posted below.
                reaped.more = state.queue.is_busy();
                break;
            }
        }
        reaped.notice = state.queue.notice_of(recipient);
        reaped.is_busy = state.oldest_slot().is_some();
        if reaped.ended > 0 {
            state.oldest_since = now;
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
        Some(outcome.and_then(|()| match self.irq_type {
            IrqType::Msi | IrqType::MsiX => Ok(()),
            IrqType::Intx => self.check_bus_master(),
        }))
    }

    /// Checks that the device is a bus master. If it is not, its transfers may end in time but move
    /// no bytes.
    ///
    /// # Errors
    ///
    /// [`EIO`] if it is not.
    pub(super) fn check_bus_master(&self) -> Result {
        if self.info.reports_errors || self.enabled.is_master() {
            Ok(())
        } else {
            Err(EIO)
        }
    }

    /// Handles the end of the oldest transfer, and starts the next ones. If it has failed, the
    /// engine must have been restarted, or the queue be paused.
    pub(super) fn finish(
        &self,
        state: &mut QueueState,
        transferred: Result,
    ) -> Option<Notice<DeviceTypes>> {
        let now = clock::now();
        let recipient = self.end_oldest(state, transferred, now);
        let notice = state.queue.notice_of(recipient);
        state.oldest_since = now;
        self.advance(state, Some(now));
        notice
    }

    /// Ends the oldest transfer in the queue. If a restart of the engine has failed before, and the
    /// transfers that it had then have ended now, the engine is restarted before it is used again.
    fn end_oldest(
        &self,
        state: &mut QueueState,
        transferred: Result,
        now: u64,
    ) -> Recipient<DeviceTypes> {
        let was_stuck = state.queue.is_stuck();
        let recipient = state.queue.finish(transferred, now);
        if was_stuck && !state.queue.is_stuck() && self.info.can_abort {
            self.record_failure(state, Failure::of_restart());
        }
        recipient
    }
}
