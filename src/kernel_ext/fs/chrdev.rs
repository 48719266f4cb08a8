// SPDX-License-Identifier: GPL-2.0

//! Character devices: a region of device numbers with a class, a node for each device, and open
//! files.
//!
//! A node exists while the driver is bound to its device; open files can outlive the node. open(2)
//! finds the device by the number of the node, so that it fails for a node that was removed. The
//! kernel keeps the module loaded while a file is open.
//!
//! C headers: `include/linux/cdev.h`, `include/linux/fs.h`, `include/linux/device/class.h`

mod file;
mod node;
mod number;
mod open;
mod operations;
pub(crate) mod region;
pub(crate) mod uring;

pub(crate) use file::File;
pub(in crate::kernel_ext) use node::Node;
pub(crate) use number::Number;
pub(crate) use open::Mode;

use crate::kernel_ext::fs::debugfs::Dir;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*,
    types::ScopeGuard, //
};
use region::{
    NumberState,
    Region,
    MAX_NODES, //
};

/// The registration of the region for a file type. Dropping it unregisters the region.
pub(crate) struct Registration<F: File>(PhantomData<fn() -> F>);

impl<F: File> Registration<F> {
    /// Registers the region, and a class of the same name. A module can do this once.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] if this was called before; errors of the kernel.
    pub(in crate::kernel_ext) fn new(name: &'static CStr) -> Result<Self> {
        region::init::<F>()?;

        let mut first = 0;
        // CAST: The constant is small.
        // SAFETY: `first` is valid for writing, and the name is static.
        to_result(unsafe {
            bindings::alloc_chrdev_region(&mut first, 0, MAX_NODES as c_uint, name.as_char_ptr())
        })?;
        let numbers = ScopeGuard::new(|| {
            // CAST: The constant is small.
            // SAFETY: The region was allocated above.
            unsafe { bindings::unregister_chrdev_region(first, MAX_NODES as c_uint) }
        });

        // SAFETY: The name is static.
        let class = from_err_ptr(unsafe { bindings::class_create(name.as_char_ptr()) })?;
        numbers.dismiss();
        region::replace::<F>(Some(Region {
            // INVARIANT: The region and the class were created above.
            first,
            class: NonNull::new(class).ok_or(ENOMEM)?,
            states: KVec::new(),
            debugfs: Dir::new(name),
        }))?;
        Ok(Self(PhantomData))
    }

    /// Keeps the next number for a device that has not been probed yet, unless all numbers are
    /// taken.
    pub(in crate::kernel_ext) fn keep_number(&self, device: *const bindings::device) -> Result {
        region::with::<F, _>(|region| {
            if region.states.len() < MAX_NODES {
                region.states.push(NumberState::Kept(device), GFP_KERNEL)?;
            }
            Ok(())
        })?
    }

    /// Releases the numbers that are still kept, after all existing devices have been probed.
    pub(in crate::kernel_ext) fn release_kept_numbers(&self) {
        let _ = region::with::<F, _>(|region| {
            for state in &mut region.states {
                if matches!(state, NumberState::Kept(_)) {
                    *state = NumberState::Free;
                }
            }
        });
    }
}

impl<F: File> Drop for Registration<F> {
    fn drop(&mut self) {
        let _ = region::replace::<F>(None);
    }
}
