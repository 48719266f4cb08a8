// SPDX-License-Identifier: GPL-2.0

//! The tracepoints of the requests of one context.

use crate::{
    engines::{
        plan::SchedulableRequest,
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
pub(super) struct TraceIds {
    /// The number of the device's node.
    pub(super) device: u32,
    /// The number of the context. Numbers are not reused.
    pub(super) context: u64,
}

impl TraceIds {
    /// Traces the submission of requests.
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

    /// Traces requests that were submitted and not accepted.
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

    /// Traces the completion of a request.
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

    /// Traces the failure of a request with this cookie that the engine still executes, or that was
    /// not accepted. `submitted` is the time at which it was submitted.
    pub(super) fn failed(self, cookie: u64, error: Error, submitted: u64) {
        trace::complete(self.device, self.context, cookie, Err(error), 0, submitted);
    }
}
