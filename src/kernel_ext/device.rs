// SPDX-License-Identifier: GPL-2.0

//! Pointers to devices, for functions of C.
//!
//! C header: `include/linux/device.h`

use kernel::{
    bindings,
    device::{
        Device,
        DeviceContext, //
    }, //
};

/// Returns the `struct device`.
pub(in crate::kernel_ext) fn raw<Ctx: DeviceContext>(dev: &Device<Ctx>) -> *mut bindings::device {
    // CAST: `Device` is a transparent wrapper of `Opaque<struct device>`.
    core::ptr::from_ref(dev).cast_mut().cast()
}
