// SPDX-License-Identifier: GPL-2.0

//! `RDMA_IOC_CANCEL`.

use super::argument::{
    user_struct,
    Argument, //
};
use crate::{
    file::context::Context,
    uapi, //
};
use kernel::prelude::*;

user_struct!(input rdma_cancel: 16);

/// Cancels requests, as [`Client::cancel`](crate::device::Client::cancel). Returns their number.
pub(super) fn cancel(context: &Context, argument: Argument<uapi::rdma_cancel>) -> Result<usize> {
    let wanted = argument.read(uapi::RDMA_CANCEL_ALL)?;
    let cookie = match wanted.flags {
        uapi::RDMA_CANCEL_ALL if wanted.cookie != 0 => return Err(EINVAL),
        uapi::RDMA_CANCEL_ALL => None,
        _ => Some(wanted.cookie),
    };
    context.device().info()?;
    context.client().cancel(cookie)
}
