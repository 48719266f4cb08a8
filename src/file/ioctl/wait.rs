// SPDX-License-Identifier: GPL-2.0

//! `RDMA_IOC_WAIT`: completions become an array.

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
use core::mem::offset_of;
use kernel::{
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice,
        UserSliceWriter, //
    }, //
};

/// Waits for completions, writes them to userspace, and returns how many.
pub(super) fn wait(context: &Context, mode: Mode, argument: UserPtr) -> Result<usize> {
    let wait: uapi::Wait = super::get(argument)?;
    // CAST: `u32` fits into `usize`.
    let (min, max) = (wait.min as usize, wait.max as usize);
    let wrong = max == 0 || min > max || min > schedule::DEPTH;
    if wait.flags != 0 || wait.reserved != 0 || wrong {
        return Err(EINVAL);
    }
    let array = UserPtr::from_addr(usize::try_from(wait.completions).map_err(|_| EFAULT)?);

    let until = match u64::try_from(wait.timeout_ns) {
        Ok(timeout) => Some(clock::now().saturating_add(timeout)),
        Err(_) => None,
    };
    let min = if mode.nonblocking || wait.timeout_ns == 0 {
        0
    } else {
        min
    };
    let completions = context
        .lane()
        .collect(min, max, until)
        .or_else(|error| interrupted(argument, until, error))?;
    if completions.is_empty() && mode.nonblocking {
        return Err(EAGAIN);
    }
    put(context, array, completions)
}

/// What to answer to a call that has ended with `error`. One that may be restarted leaves the time
/// that remains where it has found the timeout, as select(2) and ppoll(2) do.
fn interrupted(argument: UserPtr, until: Option<u64>, error: Error) -> Result<Fifo<Job>> {
    if let (Some(until), true) = (until, error == ERESTARTNOHAND) {
        let remains = until.saturating_sub(clock::now());
        let at = argument.wrapping_byte_add(offset_of!(uapi::Wait, timeout_ns));
        // One that is not to be written cannot be restarted.
        super::put(at, &i64::try_from(remains).unwrap_or(i64::MAX)).map_err(|_| EINTR)?;
    }
    Err(error)
}

/// Writes completions to userspace, and returns how many. None is lost.
///
/// # Errors
///
/// [`EFAULT`] if not even the first one can be written.
fn put(context: &Context, array: UserPtr, mut completions: Fifo<Job>) -> Result<usize> {
    let there = completions.len();
    let array = UserSlice::new(array, there * size_of::<uapi::Completion>());
    let written = write(&mut array.writer(), &mut completions);
    let count = written.len();
    context.lane().deliver(written, completions);
    if count == 0 && there > 0 {
        return Err(EFAULT);
    }
    Ok(count)
}

/// Writes completions for as long as there is room. Removes them from the list, and returns their
/// jobs, which are blank.
fn write(array: &mut UserSliceWriter, completions: &mut Fifo<Job>) -> Fifo<Job> {
    let mut written = Fifo::new();
    while let Some(job) = completions.front() {
        let completion = uapi::Completion {
            cookie: job.cookie(),
            bytes: job.bytes(),
            status: job.outcome().err().map_or(0, Error::to_errno),
            reserved: 0,
        };
        if array.write(&completion).is_err() {
            break;
        }
        if let Some(mut job) = completions.pop_front() {
            // The request is freed here, and its buffers if nothing else holds them.
            job.clear();
            written.push_back(job);
        }
    }
    written
}
