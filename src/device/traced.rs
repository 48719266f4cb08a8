// SPDX-License-Identifier: GPL-2.0

//! The tracepoints of the requests of one context.

use crate::{
    engines::{
        plan::Payload,
        request::{
            Backing,
            Operation,
            Request, //
        }, //
    },
    kernel_ext::{
        collections::fifo::Fifo,
        driver::trace, //
    },
    schedule::{
        Job,
        QueueTypes, //
    },
    uapi, //
};
use kernel::prelude::*;

/// Identifies a context in the tracepoints.
#[derive(Clone, Copy)]
pub(super) struct Traced {
    /// The number of the device's node.
    pub(super) device: u32,
    /// The number of the context, which no other context has had.
    pub(super) context: u64,
}

impl Traced {
    /// Requests are submitted.
    pub(super) fn submitted<B: Backing, T>(self, jobs: &Fifo<Job<T>>)
    where
        T: QueueTypes<Request = Request<B>>,
    {
        if !trace::submit_enabled() {
            return;
        }
        for job in jobs.iter() {
            let Some(request) = job.request() else {
                continue;
            };
            let operation = match request.operation() {
                Operation::ToDevice(..) => uapi::RDMA_OP_TO_DEVICE,
                Operation::FromDevice(..) => uapi::RDMA_OP_FROM_DEVICE,
                Operation::Copy(..) => uapi::RDMA_OP_COPY,
            };
            trace::submit(
                self.device,
                self.context,
                job.cookie(),
                operation,
                request.length(),
            );
        }
    }

    /// Requests were submitted, and not accepted.
    pub(super) fn refused<T: QueueTypes>(self, jobs: &Fifo<Job<T>>, error: Error) {
        for job in jobs.iter() {
            trace::complete(
                self.device,
                self.context,
                job.cookie(),
                Err(error),
                0,
                job.submitted_at(),
            );
        }
    }

    /// A request is completed.
    pub(super) fn completed<T: QueueTypes>(self, job: &Job<T>) {
        trace::complete(
            self.device,
            self.context,
            job.cookie(),
            job.outcome(),
            job.bytes(),
            job.submitted_at(),
        );
    }

    /// A request that the engine still has, and that was submitted at this time, has failed.
    pub(super) fn failed(self, error: Error, submitted: u64) {
        trace::complete(self.device, self.context, 0, Err(error), 0, submitted);
    }
}
