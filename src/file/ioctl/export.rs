// SPDX-License-Identifier: GPL-2.0

//! `RDMA_IOC_EXPORT`.

use super::argument::{
    passed,
    Argument, //
};
use crate::{
    file::context::Context,
    kernel_ext::fs::chrdev::Mode,
    memory::handle::Handle,
    uapi, //
};
use kernel::prelude::*;

passed!(input rdma_export: 16);

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
