// SPDX-License-Identifier: GPL-2.0

//! `RDMA_IOC_COMPLETION_RING`.

use super::argument::{
    user_struct,
    Argument, //
};
use crate::{
    file::context::Context,
    kernel_ext::mm::shared_ring::SharedRing,
    memory::handle::Handle,
    uapi, //
};
use kernel::{
    page::PAGE_SHIFT,
    prelude::*, //
};

user_struct!(input rdma_completion_ring: 64);

/// The properties of each completion ring.
// CAST: All values are small, except for the offset, which is a `usize`.
const PROPERTIES: uapi::rdma_completion_ring = uapi::rdma_completion_ring {
    mmap_offset: (Handle::RING_PAGE as u64) << PAGE_SHIFT,
    size: SharedRing::SIZE as u64,
    entries: SharedRing::ENTRIES as u32,
    completion_size: SharedRing::ENTRY_SIZE as u32,
    completions_offset: SharedRing::FIRST_ENTRY as u32,
    head_offset: SharedRing::HEAD as u32,
    tail_offset: SharedRing::TAIL as u32,
    flags_offset: SharedRing::FLAGS as u32,
    flags: 0,
    reserved: [0; 5],
};

/// Creates the completion ring of the context, and writes its properties.
pub(super) fn create(
    context: &Context,
    argument: Argument<uapi::rdma_completion_ring>,
) -> Result<usize> {
    argument.read(0)?;
    let report = || argument.write(&PROPERTIES);
    context.client().create_ring(report)?;
    Ok(0)
}
