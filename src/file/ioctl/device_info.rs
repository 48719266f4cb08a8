// SPDX-License-Identifier: GPL-2.0

//! `RDMA_IOC_DEVICE_INFO`.

use super::argument::{
    user_struct,
    Argument, //
};
use crate::{
    file::context::Context,
    uapi, //
};
use kernel::prelude::*;

user_struct!(output rdma_device_info: 80);

/// Writes the properties of the device and the driver.
pub(super) fn device_info(
    context: &Context,
    argument: Argument<uapi::rdma_device_info>,
) -> Result<usize> {
    argument.write(&context.device().info()?)?;
    Ok(0)
}
