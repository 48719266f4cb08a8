// SPDX-License-Identifier: GPL-2.0

//! Restarts an engine after a failed transfer.
//!
//! An engine takes up to 300 ms to stop. The thread that finds a failure therefore only records it
//! in the queue's state, and the work item restarts the engine without the queue's lock. Until
//! then, no transfer is posted, and no end is handled except by `reap_before_restart`.

use super::BoundEngine;
use crate::{
    device::{
        engine_queue::QueueState,
        failure::{
            Failure,
            Message, //
        },
        types::{
            deliver,
            Job, //
        }, //
    },
    engines::engine::{
        DmaEngine,
        Progress, //
    },
    kernel_ext::{
        driver::work::WithWork,
        sync::clock, //
    }, //
};

impl WithWork<BoundEngine<'_>> {
    /// Records a failure. The work item restarts the engine, and completes the request of the
    /// oldest transfer if that has failed.
    pub(super) fn record_failure(&self, state: &mut QueueState, failure: Failure) {
        state.failure = Some(failure);
        self.queue_now();
    }

    /// Restarts the engine after a failure, and completes the request of the transfer that has
    /// failed. The other transfers are issued again. If the engine does not stop, all requests
    /// fail. Sleeps.
    pub(super) fn restart_after_failure(&self) {
        let _restarting = self.engine_queue.restarting.lock();
        if !self.engine_queue.state.lock().must_restart() {
            return;
        }
        let has_ended = self.info.can_abort && self.reap_before_restart();
        let restarted = self.hardware.restart();

        let mut state = self.engine_queue.state.lock();
        let Some(failure) = state.failure.take() else {
            return;
        };
        if restarted.is_err() {
            if !self.hardware.responds() {
                drop(state);
                return self.set_gone();
            }
            let message = if state.queue.is_busy() {
                Message::NoEnd
            } else {
                Message::NoStop
            };
            let was_stuck = state.queue.is_stuck();
            state.queue.set_stuck();
            // The restart is tried again after the timeout of a transfer.
            let now = clock::now();
            state.oldest_since = now;
            self.check_after(&mut state, self.info.late_ms, now);
            drop(state);
            if !was_stuck {
                self.log(message);
            }
            return self.time_out_all();
        }
        let (notice, message) = match failure.error {
            Some(error) if !has_ended => (self.finish(&mut state, Err(error)), failure.message),
            // The oldest transfer has not failed, or has ended meanwhile.
            _ => {
                state.queue.issue_again();
                self.advance(&mut state, None);
                (None, None)
            }
        };
        if message.is_some() {
            state.queue.stats.counters.watchdog_recoveries += 1;
        }
        drop(state);
        deliver(notice);
        if let Some(message) = message {
            self.log(message);
        }
        // If the queue is closed, this fails the requests that return to their lanes.
        self.queue_now();
    }

    /// Suspends the engine, and completes the requests of the transfers that have ended before:
    /// they must not be executed again. Returns whether the oldest one, whose failure was recorded,
    /// is one of them.
    fn reap_before_restart(&self) -> bool {
        self.hardware.suspend_transfers();
        let mut has_ended = false;
        loop {
            let mut state = self.engine_queue.state.lock();
            let slot = state.queue.oldest_slot().filter(|_| state.must_restart());
            let progress = slot.map(|slot| self.hardware.examine(slot));
            if progress != Some(Progress::Ended(Ok(()))) {
                return has_ended;
            }
            let notice = self.finish(&mut state, Ok(()));
            drop(state);
            deliver(notice);
            has_ended = true;
        }
    }

    /// Fails all requests of an engine that does not stop.
    fn time_out_all(&self) {
        loop {
            // If this allocation fails, the watchdog completes the request.
            let mut completion = Job::blank().ok();
            let mut state = self.engine_queue.state.lock();
            let timed_out = state.queue.time_out(&mut completion);
            drop(state);
            deliver(timed_out.notice);
            if !timed_out.more {
                break;
            }
        }
        self.engine_queue.fail_waiting();
        // The work item drops what this has deferred.
        self.queue_now();
    }
}
