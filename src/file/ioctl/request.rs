// SPDX-License-Identifier: GPL-2.0

//! `RDMA_IOC_TRANSFER`, and the decoding of requests.

use super::argument::{
    user_struct,
    Argument, //
};
use crate::{
    engines::request::{
        Operation,
        Span, //
    },
    file::context::Context,
    kernel_ext::fs::chrdev::Mode,
    memory::{
        handle::Handle,
        hold::BufferHold, //
    },
    schedule,
    uapi, //
};
use kernel::prelude::*;

user_struct!(input rdma_request: 64);

static_assert!(uapi::RDMA_QUEUE_DEPTH as usize == schedule::LANE_DEPTH);

/// Executes a request, and returns when it has ended.
pub(super) fn transfer(
    context: &Context,
    mode: Mode,
    argument: Argument<uapi::rdma_request>,
) -> Result<usize> {
    let operation = decode(context, mode, &argument.read(0)?)?;
    if mode.nonblocking {
        return Err(EAGAIN);
    }
    context.client().transfer(operation)?;
    Ok(0)
}

/// Decodes the operation of a request.
pub(super) fn decode(
    context: &Context,
    mode: Mode,
    request: &uapi::rdma_request,
) -> Result<Operation<BufferHold>> {
    let source = || {
        let handle = Handle::new(request.source)?;
        context.source(handle, request.source_offset, request.length)
    };
    let destination = || {
        let handle = Handle::new(request.destination)?;
        context.destination(handle, request.destination_offset, request.length)
    };

    match request.operation {
        uapi::RDMA_OP_TO_DEVICE if request.destination == uapi::RDMA_NO_BUFFER => {
            let range = context.device_range(request.destination_offset, request.length)?;
            permit(mode.write)?;
            Ok(Operation::ToDevice(source()?, range))
        }
        uapi::RDMA_OP_FROM_DEVICE if request.source == uapi::RDMA_NO_BUFFER => {
            let range = context.device_range(request.source_offset, request.length)?;
            permit(mode.read)?;
            Ok(Operation::FromDevice(range, destination()?))
        }
        uapi::RDMA_OP_COPY => {
            permit(mode.write)?;
            if request.source != request.destination {
                return Ok(Operation::Copy(source()?, destination()?));
            }
            let (source, destination) = context.within(
                Handle::new(request.source)?,
                request.source_offset,
                request.destination_offset,
                request.length,
            )?;
            if Span::overlap(&source, &destination) {
                return Err(EINVAL);
            }
            Ok(Operation::Copy(source, destination))
        }
        _ => Err(EINVAL),
    }
}

/// Returns [`EBADF`] if the mode of the file does not permit an operation.
fn permit(permitted: bool) -> Result {
    permitted.then_some(()).ok_or(EBADF)
}
