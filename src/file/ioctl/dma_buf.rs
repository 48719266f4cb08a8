// SPDX-License-Identifier: GPL-2.0

//! `RDMA_IOC_EXPORT` and `RDMA_IOC_IMPORT`.

use super::argument::{
    user_struct,
    Argument, //
};
use crate::{
    file::context::Context,
    kernel_ext::{
        dma_buf::import::Importable,
        fs::chrdev::Mode, //
    },
    memory::handle::Handle,
    uapi, //
};
use kernel::prelude::*;

user_struct!(input rdma_export: 16);
user_struct!(input rdma_import: 32);

/// Exports a buffer as a dma-buf.
pub(super) fn export(
    context: &Context,
    mode: Mode,
    argument: Argument<uapi::rdma_export>,
) -> Result<usize> {
    let wanted = argument.read(0)?;
    let handle = Handle::new(wanted.handle)?;
    context.export(handle, mode.access(), |fd| {
        argument.write(&uapi::rdma_export { fd, ..wanted })
    })?;
    Ok(0)
}

/// Imports a dma-buf as a buffer.
pub(super) fn import(context: &Context, argument: Argument<uapi::rdma_import>) -> Result<usize> {
    let wanted = argument.read(uapi::RDMA_IMPORT_READ_ONLY)?;
    let writable = wanted.flags & uapi::RDMA_IMPORT_READ_ONLY == 0;
    let dma_buf = Importable::from_fd(wanted.fd, writable)?;
    // CAST: `usize` is at most 64 bits.
    if dma_buf.size() as u64 > u64::from(uapi::RDMA_MAX_BUFFER_SIZE) {
        return Err(EINVAL);
    }
    context.import(&dma_buf, writable, |handle, buffer| {
        argument.write(&uapi::rdma_import {
            // CAST: As above.
            size: buffer.size() as u64,
            handle: handle.number(),
            ..wanted
        })
    })?;
    Ok(0)
}
