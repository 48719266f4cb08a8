// SPDX-License-Identifier: GPL-2.0

//! `RDMA_IOC_WAIT`: completions become an array.

use crate::{
    context::Context,
    device::Job,
    kernel_ext::{
        chrdev::Mode,
        clock,
        fifo::Fifo, //
    },
    queue,
    uapi, //
};
use kernel::{
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice,
        UserSliceWriter, //
    }, //
};

/// Waits for completions, writes them to userspace, and returns how many.
pub(super) fn wait(context: &Context, mode: Mode, wait: uapi::Wait) -> Result<usize> {
    // CAST: `u32` fits into `usize`.
    let (min, max) = (wait.min as usize, wait.max as usize);
    let wrong = max == 0 || min > max || min > queue::DEPTH;
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
    let completions = context.lane().collect(min, max, until)?;
    if completions.is_empty() && mode.nonblocking {
        return Err(EAGAIN);
    }
    put(context, array, completions)
}

/// Writes completions to userspace, and returns how many. None is lost.
///
/// # Errors
///
/// [`EFAULT`] if not even the first one can be written.
fn put(context: &Context, array: UserPtr, mut completions: Fifo<Job>) -> Result<usize> {
    let there = completions.len();
    let array = UserSlice::new(array, there * size_of::<uapi::Completion>());
    let count = write(&mut array.writer(), &mut completions);
    context.lane().deliver(count, completions);
    if count == 0 && there > 0 {
        return Err(EFAULT);
    }
    Ok(count)
}

/// Writes completions for as long as there is room, removes them from the list, and returns how
/// many.
fn write(array: &mut UserSliceWriter, completions: &mut Fifo<Job>) -> usize {
    let mut count = 0;
    while let Some(job) = completions.front_mut() {
        let completion = uapi::Completion {
            cookie: job.cookie(),
            bytes: job.bytes(),
            status: job.outcome().err().map_or(0, Error::to_errno),
            reserved: 0,
        };
        if array.write(&completion).is_err() {
            break;
        }
        // The request goes here, and perhaps a buffer with it.
        drop(completions.pop_front());
        count += 1;
    }
    count
}
