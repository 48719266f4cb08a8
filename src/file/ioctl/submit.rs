// SPDX-License-Identifier: GPL-2.0

//! `RDMA_IOC_SUBMIT`: queues the requests of an array.

use super::{
    argument::{
        user_struct,
        Argument, //
    },
    request::decode, //
};
use crate::{
    device::{
        Job,
        Reservation, //
    },
    file::context::Context,
    kernel_ext::{
        collections::fifo::Fifo,
        fs::chrdev::Mode, //
    },
    schedule,
    uapi, //
};
use kernel::prelude::*;

user_struct!(input rdma_submit: 24);

/// Queues requests from the first one on, until one cannot be accepted. Returns the number of
/// accepted requests.
pub(super) fn submit(
    context: &Context,
    mode: Mode,
    argument: Argument<uapi::rdma_submit>,
) -> Result<usize> {
    submit_batch(context, mode, &argument.read(0)?)
}

/// Queues the requests that `submit` describes, as [`submit`] does.
pub(super) fn submit_batch(
    context: &Context,
    mode: Mode,
    submit: &uapi::rdma_submit,
) -> Result<usize> {
    // CAST: `u32` fits into `usize`.
    let count = submit.count as usize;
    if count == 0 || count > schedule::LANE_DEPTH {
        return Err(EINVAL);
    }
    let request = Argument::first_of(submit.requests, submit.request_size)?;
    let mut room = context.client().reserve(count)?;
    let batch = Batch {
        context,
        mode,
        room: &mut room,
        request,
        accepted: Fifo::new(),
        chain: Fifo::new(),
    };
    let accepted = batch.read(count)?;
    room.submit(accepted)
}

/// A batch of requests that is being read.
struct Batch<'a, 'b> {
    context: &'a Context,
    mode: Mode,
    room: &'a mut Reservation<'b>,
    /// The next request to read.
    request: Argument<uapi::rdma_request>,
    /// Requests that can be accepted.
    accepted: Fifo<Job>,
    /// The last requests, which are linked. They are accepted all or not at all.
    chain: Fifo<Job>,
}

impl Batch<'_, '_> {
    /// Reads up to `count` requests, as far as there is room. Returns those that can be accepted.
    ///
    /// # Errors
    ///
    /// If none can be accepted: the reason.
    fn read(mut self, count: usize) -> Result<Fifo<Job>> {
        let room = self.room.room();
        let mut linked = false;
        let mut refused = Ok(());
        for _ in 0..room {
            match self.next(linked) {
                Ok(next_is_linked) => linked = next_is_linked,
                Err(error) => {
                    refused = Err(error);
                    break;
                }
            }
            if !linked {
                self.accepted.append(&mut self.chain);
            }
        }
        if !self.accepted.is_empty() {
            return Ok(self.accepted);
        }
        refused?;
        // All requests are linked, and the last one is linked to a next one, for which there is no
        // room or which is not in the array.
        Err(if room < count { EAGAIN } else { EINVAL })
    }

    /// Reads one request. `linked`: the request is linked to the one before it. Returns whether the
    /// next one is linked to this one.
    fn next(&mut self, linked: bool) -> Result<bool> {
        let request = self.request.read(uapi::RDMA_REQUEST_LINK)?;
        self.request = self.request.next();
        let operation = decode(self.context, self.mode, &request)?;
        let job = self.room.job(operation, request.cookie, linked)?;
        self.chain.push_back(job);
        Ok(request.flags & uapi::RDMA_REQUEST_LINK != 0)
    }
}
