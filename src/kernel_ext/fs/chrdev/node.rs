// SPDX-License-Identifier: GPL-2.0

//! The node of a device.
//!
//! C headers: `include/linux/cdev.h`, `include/linux/device.h`

use super::{
    number::Number,
    operations,
    region::{
        self,
        NumberState, //
    },
    File, //
};
use crate::kernel_ext::{
    device::raw,
    fs::debugfs::AttributeDir, //
};
use core::ptr::NonNull;
use kernel::{
    bindings,
    device::{
        Bound,
        Device, //
    },
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*,
    sync::Arc,
    types::ScopeGuard, //
};

/// A node, `/dev/NAMEn`. Dropping it removes the node, but does not affect open files.
///
/// # Invariants
///
/// `cdev` is a registered character device, and `class` has a device with the number
/// `device_number`. Both were created by [`new`](Self::new).
pub(in crate::kernel_ext) struct Node<F: File> {
    cdev: NonNull<bindings::cdev>,
    class: NonNull<bindings::class>,
    device_number: bindings::dev_t,
    // Removed before the number, which is part of its name, is released.
    _debugfs: Option<AttributeDir<F::Device>>,
    number: Number<F>,
}

// SAFETY: Character devices and classes are not tied to a thread, and the kernel's functions for
// them take the locks that they need.
unsafe impl<F: File> Send for Node<F> {}

impl<F: File> Node<F> {
    /// Creates the node for `device`, below `parent` in sysfs. It can be opened from then on.
    pub(in crate::kernel_ext) fn new(
        number: Number<F>,
        prefix: &'static CStr,
        parent: &Device<Bound>,
        device: Arc<F::Device>,
        module: &'static ThisModule,
    ) -> Result<Self> {
        let (first, class) = region::with::<F, _>(|region| (region.first, region.class))?;
        // CAST: The number is less than `MAX_NODES`.
        let device_number = first + number.number as bindings::dev_t;

        // SAFETY: The function has no arguments.
        let cdev = NonNull::new(unsafe { bindings::cdev_alloc() }).ok_or(ENOMEM)?;
        let undo = ScopeGuard::new(|| {
            // SAFETY: `cdev` was allocated here, and is not used after this call.
            unsafe { bindings::cdev_del(cdev.as_ptr()) }
        });
        // SAFETY: `cdev` was allocated here, and is not shared yet. The operations and the module
        // are valid as long as the module is loaded.
        unsafe {
            (*cdev.as_ptr()).ops = &operations::FileOperations::<F>::TABLE;
            (*cdev.as_ptr()).owner = module.as_ptr();
        }
        number.set(NumberState::Published(device.clone()));
        // SAFETY: `cdev` is initialised, and the number is in the registered region.
        to_result(unsafe { bindings::cdev_add(cdev.as_ptr(), device_number, 1) })?;
        // CAST: The number is small.
        // SAFETY: The class is valid until the region is unregistered, which is after the driver;
        // `parent` is bound; the format has a string and an `int`.
        let node = from_err_ptr(unsafe {
            bindings::device_create(
                class.as_ptr(),
                raw(parent),
                device_number,
                core::ptr::null_mut(),
                c"%s%d".as_char_ptr(),
                prefix.as_char_ptr(),
                number.number as c_int,
            )
        })?;
        undo.dismiss();
        // SAFETY: The device was created above, and is valid until `device_destroy`.
        let node: &Device = unsafe { Device::from_raw(node) };
        let debugfs =
            region::with::<F, _>(|region| AttributeDir::new(&region.debugfs, node.name(), device));
        // INVARIANT: Both were created above.
        Ok(Self {
            cdev,
            class,
            device_number,
            number,
            _debugfs: debugfs.ok(),
        })
    }
}

impl<F: File> Drop for Node<F> {
    fn drop(&mut self) {
        // open(2) no longer finds the device.
        self.number.set(NumberState::Reserved);
        // SAFETY: By the type invariant, the class has a device with this number.
        unsafe { bindings::device_destroy(self.class.as_ptr(), self.device_number) };
        // SAFETY: By the type invariant, `cdev` is registered. Open files hold their own reference
        // to it.
        unsafe { bindings::cdev_del(self.cdev.as_ptr()) };
    }
}
