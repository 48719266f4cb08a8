// SPDX-License-Identifier: GPL-2.0

//! `RDMA_IOC_WAIT`: collects completions into an array.

use super::argument::{
    user_struct,
    Argument, //
};
use crate::{
    device::{
        completion,
        Job, //
    },
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

user_struct!(input rdma_wait: 40);
user_struct!(output rdma_completion: 24);

/// Waits for completions. Without a completion ring, writes them to user memory. Returns their
/// number.
pub(super) fn wait(
    context: &Context,
    mode: Mode,
    argument: Argument<uapi::rdma_wait>,
) -> Result<usize> {
    let wait = argument.read(0)?;
    // CAST: `u32` fits into `usize`.
    let (min, max) = (wait.min as usize, wait.max as usize);
    let for_ring = max == 0 && wait.completions == 0 && wait.completion_size == 0;
    if min > schedule::LANE_DEPTH || !for_ring && (max == 0 || min > max) {
        return Err(EINVAL);
    }
    let until = deadline(wait.deadline_ns);
    let is_over = until.is_some_and(|until| until <= clock::now());
    let min = if mode.nonblocking || is_over { 0 } else { min };
    let client = context.client();
    if for_ring {
        return not_none(mode, client.wait_for_ring(min, until)?);
    }
    let array = Argument::first_of(wait.completions, wait.completion_size)?;
    let completions = client.collect(min, max, until)?;
    not_none(mode, completions.len())?;
    put(context, array, completions)
}

/// Returns the number of completions.
///
/// # Errors
///
/// [`EAGAIN`] if there are none, and the file has `O_NONBLOCK`.
fn not_none(mode: Mode, completions: usize) -> Result<usize> {
    if completions == 0 && mode.nonblocking {
        return Err(EAGAIN);
    }
    Ok(completions)
}

/// Returns the deadline in nanoseconds, as a time of the kernel, or [`None`] if there is none.
fn deadline(deadline_ns: i64) -> Option<u64> {
    match u64::try_from(deadline_ns) {
        Ok(uapi::RDMA_WAIT_FOREVER) => None,
        // A negative time is in the past.
        Err(_) => Some(0),
        Ok(_) => Some(u64::try_from(clock::from_program(deadline_ns)).unwrap_or(0)),
    }
}

/// Writes completions to user memory, and returns their number. Those that cannot be written are
/// put back.
///
/// # Errors
///
/// [`EFAULT`] if the first one cannot be written.
#[inline]
fn put(
    context: &Context,
    array: Argument<uapi::rdma_completion>,
    mut completions: Fifo<Job>,
) -> Result<usize> {
    let collected = completions.len();
    let written = write(array, &mut completions);
    let count = written.len();
    context.client().finish_collect(written, completions);
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
        let completion = completion(job.cookie(), job.bytes(), job.outcome());
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
