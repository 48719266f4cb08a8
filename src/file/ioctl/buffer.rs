// SPDX-License-Identifier: GPL-2.0

//! `RDMA_IOC_ALLOC`, `RDMA_IOC_FREE` and `RDMA_IOC_BUFFER_INFO`.

use super::argument::{
    passed,
    Argument, //
};
use crate::{
    file::context::Context,
    memory::handle::Handle,
    uapi, //
};
use kernel::{
    page::PAGE_SHIFT,
    prelude::*, //
};

passed!(input rdma_alloc: 40);
passed!(input rdma_free: 16);
passed!(input rdma_buffer_info: 48);

/// Allocates a buffer.
pub(super) fn alloc(context: &Context, argument: Argument<uapi::rdma_alloc>) -> Result<usize> {
    let wanted = argument.read(0)?;
    if wanted.size == 0 || wanted.size > u64::from(uapi::RDMA_MAX_BUFFER_SIZE) {
        return Err(EINVAL);
    }
    context.allocate(usize::try_from(wanted.size)?, |handle, buffer| {
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
        mmap_offset: mmap_offset(handle),
        mappings: buffer.mappings(),
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
