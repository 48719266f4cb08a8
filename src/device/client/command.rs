// SPDX-License-Identifier: GPL-2.0

//! Submitting one request for a command of io_uring.

use super::Client;
use crate::{
    device::{
        command_waiter::CommandWaiter,
        types::{
            deliver,
            DeviceTypes, //
        },
        waiter::AnyWaiter, //
    },
    engines::request::Operation,
    kernel_ext::{
        collections::fifo::Fifo,
        fs::chrdev::uring::Command,
        sync::clock, //
    },
    memory::hold::BufferHold,
    schedule::{
        AbandonedWait,
        WaiterId, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// The state of a command of io_uring that waits for a request of a device.
pub(crate) type CommandState = CommandWaiter<DeviceTypes>;

impl Client {
    /// Submits an operation for a command, which `queue_command` queues. The command ends when the
    /// request has ended. The request takes room in the lane, as those of SUBMIT do.
    ///
    /// # Errors
    ///
    /// As [`reserve`](Self::reserve); [`ENOMEM`]. Later errors are those of the command.
    pub(crate) fn submit_command(
        &self,
        operation: Operation<BufferHold>,
        cookie: u64,
        queue_command: impl FnOnce(Arc<CommandState>) -> Command,
    ) -> Result {
        let mut room = self.reserve(1)?;
        let waiter = CommandWaiter::new(self.trace_ids, cookie, clock::now())?;
        let job = room.job_for(operation, cookie, AnyWaiter::Command(waiter.clone()))?;
        // From now on, `command_result` releases the room.
        room.keep();
        waiter.set_command(queue_command(waiter.clone()));
        let mut jobs = Fifo::new();
        jobs.push_back(job);
        match self.submit_one(&mut jobs) {
            Ok(id) if waiter.set_submitted(id) => self.abandon_command(&waiter, id),
            Ok(_) => {}
            Err(error) => waiter.fail(error),
        }
        Ok(())
    }

    /// Ends a command early, if its request has not ended. If the engine has the request, it keeps
    /// the memory until its transfers have ended.
    pub(crate) fn cancel_command(&self, waiter: &CommandState) {
        if let Some(id) = waiter.cancel() {
            self.abandon_command(waiter, id);
        }
    }

    fn abandon_command(&self, waiter: &CommandState, id: WaiterId) {
        let abandoned = self.engine_queue.abandon_wait(self.lane, id);
        match abandoned {
            // The answer ends the command.
            AbandonedWait::Ended => {}
            AbandonedWait::Waiting(_) | AbandonedWait::InFlight => waiter.fail(ECANCELED),
        }
    }

    /// Returns the result of a command, and releases the room of its request.
    pub(crate) fn command_result(&self, waiter: &CommandState) -> Result {
        let (outcome, job) = match waiter.take_answer() {
            Some(answer) => answer.into_outcome(),
            // Not reached: only an answer ends a command.
            None => (Err(ECANCELED), None),
        };
        if let Some(job) = job {
            let mut blank = Fifo::new();
            blank.push_back(job);
            self.jobs.put(blank);
        }
        let notice = self
            .engine_queue
            .state
            .lock()
            .queue
            .free_reserved(self.lane, 1);
        deliver(notice);
        outcome
    }
}
