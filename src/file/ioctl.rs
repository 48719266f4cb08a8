// SPDX-License-Identifier: GPL-2.0

//! ioctl(2): what `uapi/rdma.h` says of each request is done here.

mod submit;
mod wait;

use crate::{
    engines::request::{
        Operation,
        Span, //
    },
    file::context::Context,
    kernel_ext::fs::{
        chrdev::Mode,
        eventfd::EventFd, //
    },
    memory::{
        buffer::Buffer,
        handle::Handle,
        hold::BufferHold, //
    },
    schedule,
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

static_assert!(uapi::QUEUE_DEPTH as usize == schedule::DEPTH);

/// Does what userspace asks for, and returns the answer: a number, or 0.
///
/// # Errors
///
/// [`ENOTTY`] if the command is unknown; otherwise as in `uapi/rdma.h`.
pub(super) fn ioctl(context: &Context, mode: Mode, command: u32, argument: usize) -> Result<usize> {
    let argument = UserPtr::from_addr(argument);
    match command {
        uapi::IOC_INFO => put(argument, &context.device().info()?)?,
        uapi::IOC_ALLOC => alloc(context, argument)?,
        uapi::IOC_FREE => free(context, get(argument)?)?,
        uapi::IOC_BUFFER => buffer(context, argument)?,
        uapi::IOC_TRANSFER => transfer(context, mode, get(argument)?)?,
        uapi::IOC_SUBMIT => return submit::submit(context, mode, get(argument)?),
        uapi::IOC_WAIT => return wait::wait(context, mode, argument),
        uapi::IOC_CANCEL => return cancel(context, get(argument)?),
        uapi::IOC_EVENTFD => eventfd(context, get(argument)?)?,
        _ => return Err(ENOTTY),
    }
    Ok(0)
}

fn alloc(context: &Context, argument: UserPtr) -> Result {
    let wanted: uapi::Alloc = get(argument)?;
    if wanted.flags != 0 || wanted.reserved != [0; 2] {
        return Err(EINVAL);
    }
    if wanted.size == 0 || wanted.size > uapi::MAX_BUFFER_SIZE {
        return Err(EINVAL);
    }
    context.allocate(usize::try_from(wanted.size)?, |handle, buffer| {
        let answer = uapi::Alloc {
            // CAST: `usize` is at most 64 bits.
            size: buffer.size() as u64,
            mmap_offset: (handle.first_page() as u64) << PAGE_SHIFT,
            handle: handle.0,
            ..Default::default()
        };
        put(argument, &answer)
    })
}

fn free(context: &Context, request: uapi::Free) -> Result {
    if request.flags != 0 {
        return Err(EINVAL);
    }
    context.free(Handle(request.handle))
}

fn buffer(context: &Context, argument: UserPtr) -> Result {
    let wanted: uapi::Buffer = get(argument)?;
    if wanted.flags != 0 || wanted.reserved != [0; 2] {
        return Err(EINVAL);
    }
    context.device().info()?;
    let handle = Handle(wanted.handle);
    let buffer = context.buffer(handle)?;
    let answer = uapi::Buffer {
        handle: handle.0,
        // CAST: `usize` is at most 64 bits.
        size: buffer.size() as u64,
        mmap_offset: (handle.first_page() as u64) << PAGE_SHIFT,
        mappings: buffer.mappings(),
        requests: buffer.requests(),
        ..Default::default()
    };
    put(argument, &answer)
}

fn transfer(context: &Context, mode: Mode, request: uapi::Request) -> Result {
    if request.flags != 0 {
        return Err(EINVAL);
    }
    let operation = decode(context, mode, &request)?;
    if mode.nonblocking {
        return Err(EAGAIN);
    }
    context.lane().transfer(operation)
}

fn cancel(context: &Context, request: uapi::Cancel) -> Result<usize> {
    if request.reserved != 0 {
        return Err(EINVAL);
    }
    let cookie = match request.flags {
        0 => Some(request.cookie),
        uapi::CANCEL_ALL if request.cookie == 0 => None,
        _ => return Err(EINVAL),
    };
    context.device().info()?;
    context.lane().cancel(cookie)
}

fn eventfd(context: &Context, request: uapi::Eventfd) -> Result {
    if request.flags != 0 {
        return Err(EINVAL);
    }
    let eventfd = match request.fd {
        -1 => None,
        fd => Some(EventFd::from_fd(fd)?),
    };
    context.lane().set_eventfd(eventfd)
}

/// Makes an operation of what userspace asks for, with all of it but the flags checked.
fn decode(context: &Context, mode: Mode, request: &uapi::Request) -> Result<Operation<BufferHold>> {
    if request.reserved != [0; 2] {
        return Err(EINVAL);
    }
    let source = || {
        let handle = Handle(request.source);
        context.span(
            handle,
            BufferHold::new,
            request.source_offset,
            request.length,
        )
    };
    let destination = |holder: fn(Arc<Buffer>) -> BufferHold| {
        let handle = Handle(request.destination);
        context.span(handle, holder, request.destination_offset, request.length)
    };

    match request.operation {
        uapi::OP_TO_DEVICE if request.destination == 0 => {
            let range = context.device_range(request.destination_offset, request.length)?;
            permit(mode.write)?;
            Ok(Operation::ToDevice(source()?, range))
        }
        uapi::OP_FROM_DEVICE if request.source == 0 => {
            let range = context.device_range(request.source_offset, request.length)?;
            permit(mode.read)?;
            Ok(Operation::FromDevice(range, destination(BufferHold::new)?))
        }
        uapi::OP_COPY => {
            permit(mode.write)?;
            let within = request.source == request.destination;
            let source = source()?;
            // It is one request on the buffer.
            let destination = destination(if within {
                BufferHold::uncounted
            } else {
                BufferHold::new
            })?;
            if within && Span::overlap(&source, &destination) {
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
