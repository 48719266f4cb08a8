// SPDX-License-Identifier: GPL-2.0

//! `RDMA_IOC_ALLOC`, `RDMA_IOC_REGISTER`, `RDMA_IOC_FREE` and `RDMA_IOC_BUFFER_INFO`.

use super::argument::{
    user_struct,
    Argument, //
};
use crate::{
    file::context::Context,
    memory::{
        handle::Handle,
        pool::UserRange, //
    },
    uapi, //
};
use kernel::{
    page::PAGE_SHIFT,
    prelude::*, //
};

/// The size of the largest buffer, in bytes.
const MAX_SIZE: u64 = uapi::RDMA_MAX_BUFFER_SIZE as u64;

user_struct!(input rdma_alloc: 40);
user_struct!(input rdma_register: 40);
user_struct!(input rdma_free: 16);
user_struct!(input rdma_buffer_info: 48);

/// Allocates a buffer.
pub(super) fn alloc(context: &Context, argument: Argument<uapi::rdma_alloc>) -> Result<usize> {
    let wanted = argument.read(0)?;
    context.allocate(size(wanted.size)?, |handle, buffer| {
        argument.write(&uapi::rdma_alloc {
            // CAST: `usize` is at most 64 bits.
            size: buffer.size() as u64,
            mmap_offset: mmap_offset(handle),
            handle: handle.number(),
            ..Default::default()
        })
    })?;
    Ok(0)
}

/// Pins memory of the calling process, and makes a buffer of it.
pub(super) fn register(
    context: &Context,
    argument: Argument<uapi::rdma_register>,
) -> Result<usize> {
    let wanted = argument.read(uapi::RDMA_REGISTER_READ_ONLY)?;
    let range = UserRange {
        address: usize::try_from(wanted.address).map_err(|_| EFAULT)?,
        size: size(wanted.size)?,
        writable: wanted.flags & uapi::RDMA_REGISTER_READ_ONLY == 0,
    };
    context.register(&range, |handle| {
        argument.write(&uapi::rdma_register {
            handle: handle.number(),
            ..wanted
        })
    })?;
    Ok(0)
}

/// Checks the size of a buffer to be created.
///
/// # Errors
///
/// [`EINVAL`] if it is 0 or too large.
fn size(wanted: u64) -> Result<usize> {
    match wanted {
        1..=MAX_SIZE => Ok(usize::try_from(wanted)?),
        _ => Err(EINVAL),
    }
}

/// Frees a handle.
pub(super) fn free(context: &Context, argument: Argument<uapi::rdma_free>) -> Result<usize> {
    let wanted = argument.read(0)?;
    context.free(Handle::new(wanted.handle)?)?;
    Ok(0)
}

/// Writes the properties of a buffer.
pub(super) fn buffer_info(
    context: &Context,
    argument: Argument<uapi::rdma_buffer_info>,
) -> Result<usize> {
    let wanted = argument.read(0)?;
    context.device().info()?;
    let handle = Handle::new(wanted.handle)?;
    let buffer = context.buffer(handle)?;
    argument.write(&uapi::rdma_buffer_info {
        handle: handle.number(),
        // CAST: `usize` is at most 64 bits.
        size: buffer.size() as u64,
        mmap_offset: if buffer.is_mappable() {
            mmap_offset(handle)
        } else {
            uapi::RDMA_NO_OFFSET
        },
        mappings: buffer.mapping_count(),
        requests: buffer.requests(),
        ..Default::default()
    })?;
    Ok(0)
}

/// Returns the offset of a buffer for mmap(2).
fn mmap_offset(handle: Handle) -> u64 {
    // CAST: `usize` is at most 64 bits.
    (handle.first_page() as u64) << PAGE_SHIFT
}
