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
mod open;
mod operations;
pub(crate) mod region;
pub(crate) mod uring;

pub(crate) use file::File;
pub(crate) use open::Mode;

use crate::kernel_ext::fs::debugfs::{
    AttributeDir,
    Dir, //
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
use region::{
    NumberState,
    Region,
    MAX_NODES, //
};

/// The registration of the region for a file type. Dropping it unregisters the region.
pub(crate) struct Registration<F: File>(core::marker::PhantomData<fn() -> F>);

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
        Ok(Self(core::marker::PhantomData))
    }
}

impl<F: File> Registration<F> {
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

/// The reserved number of a node. Dropping it releases the number.
///
/// # Invariants
///
/// The state of this number in the region is not [`NumberState::Free`].
pub(crate) struct Number<F: File> {
    number: usize,
    _file: core::marker::PhantomData<fn() -> F>,
}

impl<F: File> Number<F> {
    /// Reserves the number that was kept for the device, or the lowest free number.
    ///
    /// # Errors
    ///
    /// [`ENOSPC`] if all numbers are taken.
    pub(crate) fn reserve(device: &Device<Bound>) -> Result<Self> {
        // CAST: `Device` is a transparent wrapper of `struct device`.
        let device = core::ptr::from_ref(device).cast::<bindings::device>();
        let number = region::with::<F, _>(|region| Self::reserve_in(&mut region.states, device))??;
        // INVARIANT: `reserve_in` has set the state to `Reserved`.
        Ok(Self {
            number,
            _file: core::marker::PhantomData,
        })
    }

    fn reserve_in(
        states: &mut KVec<NumberState<Arc<F::Device>>>,
        device: *const bindings::device,
    ) -> Result<usize> {
        let kept = |state: &NumberState<_>| matches!(state, NumberState::Kept(of) if *of == device);
        let free = |state: &NumberState<_>| matches!(state, NumberState::Free);
        let number = states.iter().position(kept);
        match number.or_else(|| states.iter().position(free)) {
            Some(number) => {
                states[number] = NumberState::Reserved;
                Ok(number)
            }
            None if states.len() < MAX_NODES => {
                states.push(NumberState::Reserved, GFP_KERNEL)?;
                Ok(states.len() - 1)
            }
            None => Err(ENOSPC),
        }
    }

    /// Returns the number.
    pub(crate) fn get(&self) -> usize {
        self.number
    }

    fn set(&self, state: NumberState<Arc<F::Device>>) {
        let old = region::with::<F, _>(|region| {
            let at = region.states.get_mut(self.number);
            at.map(|at| core::mem::replace(at, state))
        });
        // Dropped outside of the lock.
        drop(old);
    }
}

impl<F: File> Drop for Number<F> {
    fn drop(&mut self) {
        self.set(NumberState::Free);
    }
}

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

// SAFETY: Character devices and classes are not tied to a thread, and the kernel's functions for them
// take the locks that they need.
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
        // CAST: `Device` is a transparent wrapper of `struct device`; the number is small.
        // SAFETY: The class is valid until the region is unregistered, which is after the driver;
        // `parent` is bound; the format has a string and an `int`.
        let node = from_err_ptr(unsafe {
            bindings::device_create(
                class.as_ptr(),
                core::ptr::from_ref(parent).cast_mut().cast(),
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
