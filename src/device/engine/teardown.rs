// SPDX-License-Identifier: GPL-2.0

//! The end of an engine: its device is unbound, or is gone.

use super::BoundEngine;
use crate::{
    device::{
        engine_queue::QueueState,
        types::deliver, //
    },
    engines::engine::DmaEngine,
    kernel_ext::{
        driver::work::WithWork,
        sync::clock, //
    },
    memory::hold::BufferHold, //
};
use kernel::prelude::*;

impl WithWork<BoundEngine<'_>> {
    /// Closes the queue, because the device is gone. The caller must abort the requests that the
    /// engine has begun, and fail those that wait.
    pub(super) fn mark_gone(&self, state: &mut QueueState) {
        // A device that only seems to be gone must not access memory that is freed after this.
        self.enabled.clear_master();
        state.queue.close();
        state.failure = None;
    }

    /// Fails all requests, because the device cannot be used any more.
    pub(in crate::device) fn set_gone(&self) {
        self.mark_gone(&mut self.engine_queue.state.lock());
        self.engine_queue.fail_active();
        self.engine_queue.fail_waiting();
        // The work item drops what these have deferred.
        self.queue_now();
    }

    /// Closes the queue, before the device is unbound. The gate must be closed, and no thread may
    /// be inside.
    pub(in crate::device) fn close(&self) {
        self.engine_queue.close();
    }

    /// Stops all transfers, or waits for their end. Ends that were not handled before are not
    /// handled after this.
    ///
    /// # Errors
    ///
    /// [`ETIMEDOUT`] if a transfer may still access memory.
    pub(super) fn stop(&self) -> Result {
        if self.abort().is_ok() {
            return Ok(());
        }
        if self.hardware.wait_idle(self.info.timeout_ms) == Err(ETIMEDOUT) {
            return Err(ETIMEDOUT);
        }
        // A late interrupt handler would find Bus Master off, and fail the last request for that.
        self.engine_queue.state.lock().stopped = true;
        Ok(())
    }

    /// Stops all transfers for an unbind, as [`stop`](Self::stop). If one may still access memory,
    /// [`must_leak`](Self::must_leak) returns true after this. The watchdog does nothing more: it
    /// would take a cleared Bus Master for a device that is gone, and fail requests whose memory
    /// must be leaked.
    pub(in crate::device) fn stop_for_unbind(&self) {
        let stopped = self.stop();
        let mut state = self.engine_queue.state.lock();
        state.stopped = true;
        state.must_leak = stopped.is_err();
    }

    /// Returns whether the engine did not [stop](Self::stop_for_unbind).
    pub(in crate::device) fn must_leak(&self) -> bool {
        self.engine_queue.state.lock().must_leak
    }

    /// Stops all transfers, if the engine can be stopped. Their ends are not handled after this.
    fn abort(&self) -> Result {
        if !self.info.can_abort {
            return Err(EOPNOTSUPP);
        }
        let _restarting = self.engine_queue.restarting.lock();
        self.engine_queue.state.lock().stopped = true;
        self.hardware
            .abort()
            .inspect_err(|_| self.engine_queue.state.lock().stopped = false)
    }

    /// Disables the interrupts of the device, before its vectors are freed: it could assert the
    /// line, which other devices may share.
    pub(in crate::device) fn disable_interrupts(&self) {
        self.hardware.disable_interrupts();
    }

    /// Enables bus mastering of the device.
    pub(in crate::device) fn set_master(&self) {
        self.enabled.set_master();
    }

    /// Disables bus mastering of the device.
    pub(in crate::device) fn clear_master(&self) {
        self.enabled.clear_master();
    }

    /// Fails all requests. The engine must have stopped, or its memory been
    /// [leaked](Self::leak_and_fail).
    pub(in crate::device) fn fail_requests(&self) {
        self.engine_queue.fail_active();
        self.engine_queue.fail_waiting();
        self.engine_queue.drop_deferred();
    }

    /// Logs that other drivers still access this number of buffers.
    pub(in crate::device) fn report_leaked(&self, buffers: usize) {
        dev_err!(
            self.dev,
            "other drivers still access {buffers} exported buffers, whose memory is never freed\n"
        );
    }

    /// Leaks the memory that the device may still write to, and fails the requests that use it.
    pub(in crate::device) fn leak_and_fail(&self) {
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
                .fail_taken(taken, clock::now());
            deliver(notice);
        }
    }
}
