// SPDX-License-Identifier: GPL-2.0

//! Suspend, resume, a reset by the PCI core, shutdown and kexec.

use super::BoundEngine;
use crate::{
    device::{
        failure::Failure,
        types::deliver, //
    },
    engines::engine::{
        DmaEngine,
        EngineInfo,
        Progress, //
    },
    kernel_ext::{
        driver::work::WithWork,
        sync::clock, //
    }, //
};
use kernel::{
    prelude::*,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

/// Interval at which an idle engine is checked for transfers that it has not begun.
const POLL: Delta = Delta::from_millis(1);

impl WithWork<BoundEngine<'_>> {
    /// Sleeps until the transfers of the engine have ended, for at most `timeout_ms` milliseconds,
    /// and completes their requests. The queue must be paused or closed.
    ///
    /// # Errors
    ///
    /// [`ETIMEDOUT`] if a transfer does not end. [`ENODEV`] if the device is gone; all requests
    /// have failed then.
    fn quiesce(&self, timeout_ms: u32) -> Result {
        let end = clock::now() + u64::from(timeout_ms) * clock::NSEC_PER_MSEC;
        loop {
            // CAST: `timeout_ms` at most.
            let left_ms = (end.saturating_sub(clock::now()) / clock::NSEC_PER_MSEC) as u32;
            match self.hardware.wait_idle(left_ms) {
                Ok(()) if self.hardware.responds() => {
                    // If the interrupt handler runs after this, it finds no transfer.
                    self.hardware.acknowledge();
                    self.reap_idle();
                }
                Err(ETIMEDOUT) => return Err(ETIMEDOUT),
                _ => {
                    self.set_gone();
                    return Err(ENODEV);
                }
            }
            // An engine can look idle before it begins what was posted.
            let (is_idle, is_stuck) = {
                let state = self.engine_queue.state.lock();
                // The work item may be restarting an engine whose transfers have all ended.
                let is_idle = !state.queue.is_busy() && !state.must_restart();
                (is_idle, state.queue.is_stuck())
            };
            if is_idle {
                return Ok(());
            }
            if is_stuck || clock::now() >= end {
                return Err(ETIMEDOUT);
            }
            fsleep(POLL);
        }
    }

    /// Handles the ends of the transfers of an idle engine, and checks Bus Master. Restarts the
    /// engine after each one that has failed.
    fn reap_idle(&self) {
        loop {
            let mut state = self.engine_queue.state.lock();
            let Some(slot) = state.oldest_slot() else {
                return;
            };
            let Progress::Ended(outcome) = self.hardware.examine(slot) else {
                return;
            };
            match outcome.and_then(|()| self.check_bus_master()) {
                Ok(()) => {
                    let notice = self.finish(&mut state, Ok(()));
                    drop(state);
                    deliver(notice);
                }
                Err(_) if state.queue.is_stuck() => return,
                Err(error) => {
                    self.record_failure(&mut state, Failure::reported(error));
                    drop(state);
                    self.restart_after_failure();
                }
            }
        }
    }

    /// Starts no more transfers until [`unpause`](Self::unpause). All requests wait until then.
    pub(in crate::device) fn pause(&self) {
        self.engine_queue.state.lock().queue.pause();
    }

    /// Resumes the queue after [`pause`](Self::pause).
    pub(in crate::device) fn unpause(&self) {
        let mut state = self.engine_queue.state.lock();
        state.queue.unpause();
        self.advance(&mut state, None);
    }

    /// Quiesces the engine for a suspend. The queue must be paused.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] if the transfers in the slots have not all ended in the time that one may take.
    pub(in crate::device) fn quiesce_to_suspend(&self) -> Result {
        // The watchdog stops a transfer that does not end, if the engine can be stopped.
        let EngineInfo {
            timeout_ms,
            late_ms,
            stop_ms,
            ..
        } = self.info;
        if self.quiesce(timeout_ms + late_ms + stop_ms) == Err(ETIMEDOUT) {
            dev_err!(self.dev, "cannot suspend: a transfer does not end\n");
            return Err(EBUSY);
        }
        Ok(())
    }

    /// Quiesces the engine after a suspend.
    ///
    /// # Errors
    ///
    /// As [`quiesce`](Self::quiesce).
    pub(in crate::device) fn quiesce_to_resume(&self) -> Result {
        self.quiesce(self.info.timeout_ms)
            .inspect_err(|error| dev_err!(self.dev, "cannot resume: {error:?}\n"))
    }

    /// Quiesces the engine for a reset of the device, which cannot be refused. The queue must be
    /// paused. If a transfer does not end by itself, its end is not handled before
    /// [`restart_to_resume`](Self::restart_to_resume).
    pub(in crate::device) fn prepare_reset(&self) {
        if self.quiesce(self.info.timeout_ms) == Err(ETIMEDOUT) {
            dev_warn!(self.dev, "a transfer does not end before the reset\n");
        }
        // The engine is not restarted during the reset.
        let _restarting = self.engine_queue.restarting.lock();
        self.engine_queue.state.lock().stopped = true;
    }

    /// Returns whether the queue is closed: the device is gone, or was shut down.
    pub(in crate::device) fn is_closed(&self) -> bool {
        self.engine_queue.state.lock().queue.is_closed()
    }

    /// Handles the ends of transfers that did not end before a reset. Bus Master must be off.
    fn reap_after_reset(&self) {
        loop {
            let mut state = self.engine_queue.state.lock();
            let Some(slot) = state.queue.oldest_slot() else {
                return;
            };
            let Progress::Ended(outcome) = self.hardware.progress(slot) else {
                return;
            };
            // After Bus Master was cleared, a transfer ends but moves nothing, which an engine that
            // reports no errors does not tell.
            let transferred = if self.info.reports_errors {
                outcome
            } else {
                Err(EIO)
            };
            // An engine that can be aborted executes the others again.
            if transferred.is_err() && self.info.can_abort {
                return;
            }
            let notice = self.finish(&mut state, transferred);
            drop(state);
            deliver(notice);
        }
    }

    /// Restarts the engine after a suspend, for which it was quiesced, or after a reset. Bus Master
    /// must be off.
    ///
    /// # Errors
    ///
    /// [`EIO`] if the engine cannot be restarted.
    pub(in crate::device) fn restart_to_resume(&self) -> Result {
        let _restarting = self.engine_queue.restarting.lock();
        self.reap_after_reset();
        // What has failed is issued again, or has failed above.
        self.engine_queue.state.lock().failure = None;
        // The device may have lost the contents of its registers.
        self.hardware
            .restart()
            .inspect_err(|_| dev_err!(self.dev, "cannot resume: the engine does not stop\n"))
    }

    /// Resumes the queue of an engine that was [restarted](Self::restart_to_resume). If
    /// `memory_kept` is false, the device memory has lost its contents.
    pub(in crate::device) fn resume(&self, memory_kept: bool) {
        let mut state = self.engine_queue.state.lock();
        state.stopped = false;
        if self.info.can_abort {
            // Also an idle engine, which can be stuck.
            state.queue.issue_again();
            // If the queue was closed, the work item fails them.
            self.queue_now();
        }
        if !memory_kept {
            state.queue.invalidate();
        }
        state.queue.unpause();
        let now = clock::now();
        self.advance(&mut state, Some(now));
        if state.queue.is_busy() {
            self.watch(&mut state, true, now);
        }
    }

    /// Quiesces the engine for shutdown and kexec: the device must not write to the memory of the
    /// next kernel, even if that kernel sets Bus Master again. A transfer that takes too long is
    /// stopped, if the engine can be stopped. Requests fail with [`ENODEV`] from then on. Buffers
    /// are not freed, and can be allocated and mapped, because programs may still run.
    pub(in crate::device) fn shut_down(&self) {
        self.engine_queue.close();
        if self.quiesce(self.info.timeout_ms) == Err(ETIMEDOUT) {
            if self.info.can_abort && self.stop().is_ok() {
                self.fail_requests();
            } else {
                dev_err!(self.dev, "a transfer does not end: clearing Bus Master\n");
            }
        }
        // The work item fails and drops what is left.
        self.queue_now();
    }

    /// Answers the waiters of transfers that do not end before the shutdown. Bus Master must be
    /// off.
    pub(in crate::device) fn end_shutdown(&self) {
        self.engine_queue.fail_waiters_in_flight();
    }
}
