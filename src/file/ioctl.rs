// SPDX-License-Identifier: GPL-2.0

//! ioctl(2): what `uapi/rdma.h` says of each request is done here.

use crate::{
    buffer::Buffer,
    context::{
        Context,
        Handle, //
    },
    kernel_ext::chrdev::Mode,
    request::{
        Operation,
        Span, //
    },
    transfer::{
        DeviceRange,
        DEVICE_MEMORY_SIZE, //
    },
    uapi, //
};
use kernel::{
    page::PAGE_SHIFT,
    prelude::*,
    sync::Arc,
    transmute::{
        AsBytes,
        FromBytes, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

static_assert!(uapi::DEVICE_MEMORY_SIZE == DEVICE_MEMORY_SIZE);

/// Does what userspace asks for.
///
/// # Errors
///
/// [`ENOTTY`] if the command is unknown; otherwise as in `uapi/rdma.h`.
pub(super) fn ioctl(context: &Context, mode: Mode, command: u32, argument: usize) -> Result<usize> {
    let argument = UserPtr::from_addr(argument);
    match command {
        uapi::IOC_INFO => put(argument, &context.device().info()?),
        uapi::IOC_ALLOC => alloc(context, argument),
        uapi::IOC_FREE => free(context, get(argument)?),
        uapi::IOC_TRANSFER => {
            let operation = decode(context, mode, get(argument)?)?;
            context.transfer(operation)
        }
        _ => Err(ENOTTY),
    }
    .map(|()| 0)
}

fn alloc(context: &Context, argument: UserPtr) -> Result {
    let wanted: uapi::Alloc = get(argument)?;
    if wanted.flags != 0 || wanted.reserved != [0; 2] {
        return Err(EINVAL);
    }
    if wanted.size == 0 || wanted.size > uapi::MAX_BUFFER_SIZE {
        return Err(EINVAL);
    }
    let (handle, buffer) = context.allocate(usize::try_from(wanted.size)?)?;
    let answer = uapi::Alloc {
        // CAST: `usize` is at most 64 bits.
        size: buffer.size() as u64,
        mmap_offset: (handle.first_page() as u64) << PAGE_SHIFT,
        handle: handle.0,
        ..Default::default()
    };
    put(argument, &answer).inspect_err(|_| {
        // Nobody knows of it.
        let _ = context.free(handle);
    })
}

fn free(context: &Context, request: uapi::Free) -> Result {
    if request.flags != 0 {
        return Err(EINVAL);
    }
    context.free(Handle(request.handle))
}

/// Makes an operation of what userspace asks for, with all of it checked.
fn decode(context: &Context, mode: Mode, request: uapi::Request) -> Result<Operation<Arc<Buffer>>> {
    if request.flags != 0 || request.reserved != [0; 3] {
        return Err(EINVAL);
    }
    let source = || {
        let handle = Handle(request.source);
        context.span(handle, request.source_offset, request.length)
    };
    let destination = || {
        let handle = Handle(request.destination);
        context.span(handle, request.destination_offset, request.length)
    };

    match request.operation {
        uapi::OP_TO_DEVICE if request.destination == 0 => {
            let range = DeviceRange::new(request.destination_offset, request.length)?;
            permit(mode.write)?;
            Ok(Operation::ToDevice(source()?, range))
        }
        uapi::OP_FROM_DEVICE if request.source == 0 => {
            let range = DeviceRange::new(request.source_offset, request.length)?;
            permit(mode.read)?;
            Ok(Operation::FromDevice(range, destination()?))
        }
        uapi::OP_COPY => {
            permit(mode.write)?;
            let (source, destination) = (source()?, destination()?);
            if request.source == request.destination && Span::overlap(&source, &destination) {
                return Err(EINVAL);
            }
            Ok(Operation::Copy(source, destination))
        }
        _ => Err(EINVAL),
    }
}

/// [`EBADF`] if the file was not opened for this.
fn permit(opened_for: bool) -> Result {
    opened_for.then_some(()).ok_or(EBADF)
}

/// Reads an argument, once.
fn get<T: FromBytes>(argument: UserPtr) -> Result<T> {
    UserSlice::new(argument, size_of::<T>()).reader().read()
}

/// Writes an answer.
fn put<T: AsBytes>(argument: UserPtr, answer: &T) -> Result {
    UserSlice::new(argument, size_of::<T>())
        .writer()
        .write(answer)
}
