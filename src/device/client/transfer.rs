// SPDX-License-Identifier: GPL-2.0

//! Submitting one request, and waiting for it.

use super::Client;
use crate::{
    device::{
        thread_waiter::ThreadWaiter,
        types::{
            DeviceTypes,
            Job,
            Request, //
        },
        waiter::AnyWaiter, //
    },
    engines::request::Operation,
    kernel_ext::{
        collections::fifo::Fifo,
        sync::clock, //
    },
    memory::hold::BufferHold,
    schedule::{
        AbandonedWait,
        Answer,
        WaiterId, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

impl Client {
    /// Submits an operation, and waits until it has ended.
    ///
    /// # Errors
    ///
    /// [`EINTR`] and [`EIO`] to [`ETIMEDOUT`] as in `uapi/rdma.h`, `struct rdma_request`;
    /// [`ENODEV`] if the device is gone.
    pub(crate) fn transfer(&self, operation: Operation<BufferHold>) -> Result {
        let now = clock::now();
        let (mut job, waiter) = self.jobs.take_with_waiter(self.trace_ids)?;
        waiter.begin(now);
        let request = Request::new(operation, Self::uid());
        job.fill_waited(request, 0, AnyWaiter::Thread(waiter.clone()), now);
        let mut jobs = Fifo::new();
        jobs.push_back(job);
        let id = self
            .submit_one(&mut jobs)
            .inspect_err(|error| self.trace_ids.refused(&jobs, *error))?;
        match waiter.wait() {
            Ok(answer) => self.outcome(answer, waiter),
            Err(_) => self.abandon_wait(waiter, id),
        }
    }

    /// Queues a request with a waiter, the only one of `jobs`, and posts its first transfers
    /// if the engine accepts more. Leaves the list empty.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the device is gone, [`EIO`] if the engine is stuck. The list is left as it is.
    pub(super) fn submit_one(&self, jobs: &mut Fifo<Job>) -> Result<WaiterId> {
        self.trace_ids.submitted(jobs);
        self.device
            .enter(&self.engine_queue, |engine| {
                engine.submit_waited(self.lane, jobs)
            })
            .and_then(|accepted| accepted)
    }

    /// Returns the result of a request, and puts its job and its waiter into the cache.
    fn outcome(
        &self,
        answer: Answer<DeviceTypes>,
        waiter: Arc<ThreadWaiter<DeviceTypes>>,
    ) -> Result {
        let (outcome, job) = answer.into_outcome();
        if let Some(job) = job {
            self.jobs.put_with_waiter(job, waiter);
        }
        outcome
    }

    /// Stops waiting for a request because of a signal. Returns the result of the call.
    fn abandon_wait(&self, waiter: Arc<ThreadWaiter<DeviceTypes>>, id: WaiterId) -> Result {
        let abandoned = self.engine_queue.abandon_wait(self.lane, id);
        match abandoned {
            AbandonedWait::Ended => match waiter.take_answer() {
                Some(answer) => self.outcome(answer, waiter),
                // Not reached: a request that has ended is answered.
                None => Err(ERESTARTNOHAND),
            },
            // The request was removed, and no bytes of it are complete.
            AbandonedWait::Waiting(job) if !job.has_progress() => Err(ERESTARTSYS),
            // All operations can be repeated. But if the call was restarted after each signal
            // handler, a timer could prevent a transfer from ever ending.
            AbandonedWait::Waiting(_) | AbandonedWait::InFlight => Err(ERESTARTNOHAND),
        }
    }
}
