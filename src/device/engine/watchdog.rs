// SPDX-License-Identifier: GPL-2.0

//! The watchdog: recovers from lost interrupts, and from transfers that do not end.

use super::{
    reap::Reaped,
    BoundEngine, //
};
use crate::{
    device::{
        engine_queue::QueueState,
        failure::{
            Failure,
            Message, //
        },
        types::{
            deliver,
            DeviceTypes,
            Job, //
        }, //
    },
    engines::engine::{
        DmaEngine,
        Progress, //
    },
    kernel_ext::{
        collections::fifo::Entry,
        driver::work::WithWork,
        sync::clock, //
    },
    schedule::Notice, //
};
use core::cell::Cell;
use kernel::{
    prelude::*,
    time::msecs_to_jiffies, //
};

/// What is left to do after a check, without the queue's lock.
enum Recovery {
    /// Nothing.
    None,
    /// Transfers have ended that no interrupt has reported.
    Reaped {
        reaped: Reaped,
        /// One of them raises an interrupt, which was lost.
        lost: bool,
    },
    /// The engine must be restarted.
    Restart,
    /// A transfer does not end, and the requests that wait must be failed.
    TimedOut {
        notice: Option<Notice<DeviceTypes>>,
        message: Option<Message>,
    },
    /// The device is gone, and all requests must be failed.
    Gone,
}

impl WithWork<BoundEngine<'_>> {
    /// Arms the timer for a transfer that begins at the time `now`: if the engine was idle, the
    /// check is between `late_ms` and twice that time later. A timer that is armed for `late_ms`
    /// later or more is not moved, because moving it for each transfer costs more than the rest of
    /// the queue's work. Nor is it moved while the engine has earlier transfers, which the check is
    /// for; it then checks the next ones.
    pub(super) fn watch(&self, state: &mut QueueState, was_idle: bool, now: u64) {
        let late = now + u64::from(self.info.late_ms) * clock::NSEC_PER_MSEC;
        if state.checked_at.is_none_or(|at| was_idle && at < late) {
            self.check_after(state, 2 * self.info.late_ms, now);
        }
    }

    /// Arms the timer to expire after `ms` milliseconds.
    pub(super) fn check_after(&self, state: &mut QueueState, ms: u32, now: u64) {
        state.checked_at = Some(now + u64::from(ms) * clock::NSEC_PER_MSEC);
        self.arm(msecs_to_jiffies(ms));
    }

    /// Handles the expiry of the timer. Queues the work item only if a transfer is late, or an idle
    /// engine cannot be used.
    pub(super) fn timer_expired(&self) {
        let mut state = self.engine_queue.state.lock();
        state.checked_at = None;
        let now = clock::now();
        match state.oldest_age_ms(now) {
            None => {}
            Some(age_ms) if age_ms >= self.info.late_ms => {
                self.queue_now();
                // If the transfer ends before the work item runs, this checks the next ones.
                self.check_after(&mut state, self.info.late_ms, now);
            }
            Some(age_ms) => self.check_after(&mut state, self.info.late_ms - age_ms, now),
        }
    }

    /// Returns the age of the oldest transfer in milliseconds if it is late, otherwise [`None`].
    fn late_age_ms(&self, state: &QueueState) -> Option<u32> {
        let age_ms = state.oldest_age_ms(clock::now());
        age_ms.filter(|age_ms| *age_ms >= self.info.late_ms)
    }

    /// Recovers from transfers that are late.
    pub(super) fn check_late(&self) {
        while self.late_age_ms(&self.engine_queue.state.lock()).is_some() {
            // If this allocation fails, the next check retries.
            let mut completion = Job::blank().ok();
            let mut state = self.engine_queue.state.lock();
            let recovery = match self.late_age_ms(&state) {
                Some(age_ms) => self.recover(&mut state, age_ms, &mut completion),
                None => Recovery::None,
            };
            drop(state);
            match recovery {
                Recovery::None => return,
                Recovery::Reaped {
                    mut reaped,
                    mut lost,
                } => {
                    while reaped.deliver() {
                        reaped = self.reap_late(&mut self.engine_queue.state.lock(), &mut lost);
                    }
                    if lost {
                        self.log(Message::LostInterrupt);
                    }
                }
                Recovery::Restart => self.restart_after_failure(),
                Recovery::TimedOut { notice, message } => {
                    deliver(notice);
                    if let Some(message) = message {
                        self.log(message);
                    }
                    self.engine_queue.fail_waiting();
                    // The work item drops what this has deferred.
                    self.queue_now();
                }
                Recovery::Gone => {
                    self.engine_queue.fail_active();
                    self.engine_queue.fail_waiting();
                    self.queue_now();
                    return;
                }
            }
        }
    }

    /// Recovers from a late transfer. `completion` is a blank job. It becomes the completion of a
    /// transfer that does not end.
    fn recover(
        &self,
        state: &mut QueueState,
        age_ms: u32,
        completion: &mut Option<Entry<Job>>,
    ) -> Recovery {
        let Some(slot) = state.oldest_slot() else {
            return self.restart_idle(state, age_ms);
        };
        let recovery = match self.hardware.examine(slot) {
            Progress::Gone => self.close_gone(state),
            // Another engine of the device may have found that it is gone.
            _ if !self.hardware.responds() || !self.enabled.master_set_by_driver() => {
                self.close_gone(state)
            }
            Progress::Ended(Err(error)) => {
                self.fail_late(state, age_ms, error, Message::LostInterrupt, completion)
            }
            Progress::Ended(Ok(())) => match self.check_bus_master() {
                Ok(()) => {
                    self.hardware.rearm();
                    let mut lost = false;
                    let reaped = self.reap_late(state, &mut lost);
                    if reaped.is_empty() && state.failure.is_none() {
                        // A device that contradicts itself must not delay the timeout.
                        self.wait_or_abort(state, age_ms, completion)
                    } else {
                        Recovery::Reaped { reaped, lost }
                    }
                }
                Err(error) => {
                    self.fail_late(state, age_ms, error, Message::NoBusMaster, completion)
                }
            },
            Progress::Running => self.wait_or_abort(state, age_ms, completion),
        };
        if state.queue.is_busy() {
            self.check_after(state, self.info.late_ms / 2, clock::now());
        }
        recovery
    }

    /// Tries again to restart an engine that has no transfer, after each timeout. Not while the
    /// queue is paused: the device may be suspended, and is restarted to be resumed.
    fn restart_idle(&self, state: &mut QueueState, age_ms: u32) -> Recovery {
        if age_ms < self.info.timeout_ms || state.queue.is_paused() {
            return Recovery::None;
        }
        self.record_failure(state, Failure::of_restart());
        Recovery::Restart
    }

    /// Handles the ends of transfers that no interrupt has reported. If one of them raises an
    /// interrupt, sets `lost`, and counts this unless it was set before. The others of a batch are
    /// reported with the last one, and if they take long, nothing was lost.
    fn reap_late(&self, state: &mut QueueState, lost: &mut bool) -> Reaped {
        let raises = Cell::new(false);
        let reaped = self.reap(state, |slot| {
            let progress = self.hardware.examine(slot);
            if matches!(progress, Progress::Ended(_)) && self.hardware.raises_interrupt(slot) {
                raises.set(true);
            }
            progress
        });
        if raises.get() && !*lost {
            *lost = true;
            state.queue.stats.counters.watchdog_recoveries += 1;
        }
        reaped
    }

    /// Fails the oldest transfer, which has not ended, if it has timed out.
    fn wait_or_abort(
        &self,
        state: &mut QueueState,
        age_ms: u32,
        completion: &mut Option<Entry<Job>>,
    ) -> Recovery {
        if age_ms >= self.info.timeout_ms {
            self.fail_late(state, age_ms, ETIMEDOUT, Message::Aborted, completion)
        } else {
            Recovery::None
        }
    }

    /// Closes the queue, because the device is gone.
    fn close_gone(&self, state: &mut QueueState) -> Recovery {
        self.mark_gone(state);
        Recovery::Gone
    }

    /// Fails the oldest transfer, which has failed or does not end. If it does not end, and the
    /// engine cannot be stopped, all requests fail.
    fn fail_late(
        &self,
        state: &mut QueueState,
        age_ms: u32,
        error: Error,
        message: Message,
        completion: &mut Option<Entry<Job>>,
    ) -> Recovery {
        let was_stuck = state.queue.is_stuck();
        let failure = if was_stuck && self.info.can_abort {
            // The restart has failed before, and is tried again after each timeout.
            (age_ms >= self.info.timeout_ms).then(Failure::of_restart)
        } else if self.info.can_abort || error != ETIMEDOUT {
            Some(Failure {
                error: Some(error),
                message: Some(message),
            })
        } else {
            None
        };
        if let Some(failure) = failure {
            self.record_failure(state, failure);
            return Recovery::Restart;
        }
        let timed_out = state.queue.time_out(completion);
        if !timed_out.more {
            return Recovery::None;
        }
        Recovery::TimedOut {
            notice: timed_out.notice,
            message: (!was_stuck).then_some(Message::NoEnd),
        }
    }

    /// Logs a message. The caller must not hold the queue's lock, because a console can be slow.
    pub(super) fn log(&self, message: Message) {
        match message {
            Message::NoEnd => dev_err!(
                self.dev,
                "a transfer does not end; the device keeps its memory\n"
            ),
            Message::NoStop => dev_err!(
                self.dev,
                "the engine does not stop; this is tried again each second\n"
            ),
            Message::Aborted => dev_err!(self.dev, "a transfer did not end, and was stopped\n"),
            _ if !self.lost_interrupt.allows() => {}
            Message::LostInterrupt => {
                dev_warn!(self.dev, "lost interrupt: a transfer ended without one\n");
            }
            Message::NoBusMaster => dev_err!(
                self.dev,
                "a transfer moved no bytes: Bus Master is off, although the driver had set it\n"
            ),
        }
    }
}
