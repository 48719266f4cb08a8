// SPDX-License-Identifier: GPL-2.0

//! `RDMA_IOC_WAIT`: collects completions into an array.

use super::argument::{
    passed,
    Argument, //
};
use crate::{
    device::Job,
    file::context::Context,
    kernel_ext::{
        collections::fifo::Fifo,
        fs::chrdev::Mode,
        sync::clock, //
    },
    schedule,
    uapi, //
};
use kernel::prelude::*;

passed!(input rdma_wait: 40);
passed!(output rdma_completion: 24);

/// Waits for completions, and writes them to user memory. Returns their number.
pub(super) fn wait(
    context: &Context,
    mode: Mode,
    argument: Argument<uapi::rdma_wait>,
) -> Result<usize> {
    let wait = argument.read(0)?;
    // CAST: `u32` fits into `usize`.
    let (min, max) = (wait.min as usize, wait.max as usize);
    if max == 0 || min > max || min > schedule::DEPTH {
        return Err(EINVAL);
    }
    let array = Argument::first_of(wait.completions, wait.completion_size)?;

    let until = deadline(wait.deadline_ns);
    let is_over = until.is_some_and(|until| until <= clock::now());
    let min = if mode.nonblocking || is_over { 0 } else { min };
    let completions = context.client().collect(min, max, until)?;
    if completions.is_empty() && mode.nonblocking {
        return Err(EAGAIN);
    }
    put(context, array, completions)
}

/// Returns the deadline in nanoseconds, or [`None`] if there is none.
fn deadline(deadline_ns: i64) -> Option<u64> {
    match u64::try_from(deadline_ns) {
        Ok(uapi::RDMA_WAIT_FOREVER) => None,
        // A negative time is in the past.
        deadline => Some(deadline.unwrap_or(0)),
    }
}

/// Writes completions to user memory, and returns their number. Those that cannot be written are
/// put back.
///
/// # Errors
///
/// [`EFAULT`] if the first one cannot be written.
fn put(
    context: &Context,
    array: Argument<uapi::rdma_completion>,
    mut completions: Fifo<Job>,
) -> Result<usize> {
    let collected = completions.len();
    let written = write(array, &mut completions);
    let count = written.len();
    context.client().deliver(written, completions);
    if count == 0 && collected > 0 {
        return Err(EFAULT);
    }
    Ok(count)
}

/// Writes completions until one cannot be written. Removes the written ones from the list, and
/// returns their jobs, which are blank.
fn write(mut array: Argument<uapi::rdma_completion>, completions: &mut Fifo<Job>) -> Fifo<Job> {
    let mut written = Fifo::new();
    while let Some(job) = completions.front() {
        let completion = uapi::rdma_completion {
            cookie: job.cookie(),
            bytes: job.bytes(),
            status: job.outcome().err().map_or(0, Error::to_errno),
            reserved: 0,
        };
        if array.write(&completion).is_err() {
            break;
        }
        array = array.next();
        if let Some(mut job) = completions.pop_front() {
            // For reuse. The buffers were released when the request ended.
            job.clear();
            written.push_back(job);
        }
    }
    written
}
