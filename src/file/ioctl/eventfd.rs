// SPDX-License-Identifier: GPL-2.0

//! `RDMA_IOC_EVENTFD`.

use super::argument::{
    user_struct,
    Argument, //
};
use crate::{
    file::context::Context,
    kernel_ext::fs::eventfd::EventFd,
    uapi, //
};
use kernel::prelude::*;

user_struct!(input rdma_eventfd: 16);

/// Sets or removes the eventfd that is signalled when requests are completed.
pub(super) fn eventfd(context: &Context, argument: Argument<uapi::rdma_eventfd>) -> Result<usize> {
    let eventfd = match argument.read(0)?.fd {
        -1 => None,
        fd => Some(EventFd::from_fd(fd)?),
    };
    context.client().set_eventfd(eventfd)?;
    Ok(0)
}
