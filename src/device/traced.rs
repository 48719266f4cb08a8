// SPDX-License-Identifier: GPL-2.0

//! What the tracepoints say of the requests of one context.

use super::Job;
use crate::{
    engines::{
        plan::Payload,
        request::Operation, //
    },
    kernel_ext::{
        collections::fifo::Fifo,
        driver::trace, //
    },
    uapi, //
};
use kernel::prelude::*;

/// Names a context in the tracepoints.
#[derive(Clone, Copy)]
pub(super) struct Traced {
    /// The number of the device's node.
    pub(super) device: u32,
    /// The context's own, of all that there have been.
    pub(super) context: u64,
}

impl Traced {
    /// Requests are put into the queue.
    pub(super) fn submitted(self, jobs: &Fifo<Job>) {
        // Going through them is for those who look.
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

    /// Requests were not taken after all: their end is told, too.
    pub(super) fn refused(self, jobs: &Fifo<Job>, error: Error) {
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

    /// A request has ended.
    pub(super) fn completed(self, job: &Job) {
        trace::complete(
            self.device,
            self.context,
            job.cookie(),
            job.outcome(),
            job.bytes(),
            job.submitted_at(),
        );
    }

    /// A request of this time has failed that the engine still has.
    pub(super) fn failed(self, error: Error, submitted: u64) {
        trace::complete(self.device, self.context, 0, Err(error), 0, submitted);
    }
}
