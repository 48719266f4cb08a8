// SPDX-License-Identifier: GPL-2.0

//! ioctl(2), as described in `uapi/rdma.h`. Each submodule handles one call, or a few related ones.

mod argument;
mod buffer;
mod cancel;
mod completion_ring;
mod device_info;
mod dma_buf;
mod eventfd;
mod request;
mod submit;
mod uring;
mod wait;

use crate::{
    file::context::Context,
    kernel_ext::fs::chrdev::Mode,
    uapi, //
};
use argument::Argument;
use kernel::{
    ioctl::{
        _IOC_DIR,
        _IOC_NR,
        _IOC_SIZE,
        _IOC_TYPE, //
    },
    prelude::*, //
};

/// Runs the handler of a call, by direction, type and number. [`Argument`] checks the size of the
/// structure.
macro_rules! dispatch {
    ($command:expr, { $($name:ident => $call:expr,)* }) => {{
        $(const $name: (u32, u32, u32) = without_size(uapi::$name);)*
        match without_size($command) {
            $($name => $call,)*
            _ => Err(ENOTTY),
        }
    }};
}

/// Handles a call. Returns the result for userspace, which is a number or 0.
///
/// # Errors
///
/// [`ENOTTY`] if the call is unknown; otherwise as in `uapi/rdma.h`.
pub(super) fn ioctl(context: &Context, mode: Mode, command: u32, address: usize) -> Result<usize> {
    let size = _IOC_SIZE(command);
    dispatch!(command, {
        RDMA_IOC_DEVICE_INFO => device_info::device_info(context, Argument::new(address, size)?),
        RDMA_IOC_ALLOC => buffer::alloc(context, Argument::new(address, size)?),
        RDMA_IOC_REGISTER => buffer::register(context, Argument::new(address, size)?),
        RDMA_IOC_FREE => buffer::free(context, Argument::new(address, size)?),
        RDMA_IOC_BUFFER_INFO => buffer::buffer_info(context, Argument::new(address, size)?),
        RDMA_IOC_EXPORT => dma_buf::export(context, mode, Argument::new(address, size)?),
        RDMA_IOC_IMPORT => dma_buf::import(context, Argument::new(address, size)?),
        RDMA_IOC_TRANSFER => request::transfer(context, mode, Argument::new(address, size)?),
        RDMA_IOC_SUBMIT => submit::submit(context, mode, Argument::new(address, size)?),
        RDMA_IOC_WAIT => wait::wait(context, mode, Argument::new(address, size)?),
        RDMA_IOC_CANCEL => cancel::cancel(context, Argument::new(address, size)?),
        RDMA_IOC_EVENTFD => eventfd::eventfd(context, Argument::new(address, size)?),
        RDMA_IOC_COMPLETION_RING => completion_ring::create(context, Argument::new(address, size)?),
    })
}

/// Returns the direction, type and number of a call.
const fn without_size(command: u32) -> (u32, u32, u32) {
    (_IOC_DIR(command), _IOC_TYPE(command), _IOC_NR(command))
}
