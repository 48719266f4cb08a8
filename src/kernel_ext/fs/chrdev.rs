// SPDX-License-Identifier: GPL-2.0

//! Character devices: a region of numbers with a class, a node for each device, its open files.
//!
//! A node belongs to its device while that is bound; open files go on living after it. Whoever
//! opens a node finds the device by the node's number, so that nothing of ours is called for a node
//! that is gone. The kernel keeps the module loaded while a file is open.
//!
//! C headers: `include/linux/cdev.h`, `include/linux/fs.h`, `include/linux/device/class.h`

mod file;
mod operations;
pub(crate) mod region;

pub(crate) use file::{
    File,
    Mode, //
};

use crate::kernel_ext::fs::debugfs::{
    Dir,
    Files, //
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
    Region,
    Slot,
    NODES, //
};

/// The region of a file type, registered; dropping it undoes that.
pub(crate) struct Registration<F: File>(core::marker::PhantomData<fn() -> F>);

impl<F: File> Registration<F> {
    /// Registers the region and a class of the same name. The first thing that a module does.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] the second time.
    pub(in crate::kernel_ext) fn new(name: &'static CStr) -> Result<Self> {
        region::init::<F>()?;

        let mut first = 0;
        // CAST: a small constant.
        // SAFETY: `first` can be written and the name is static.
        to_result(unsafe {
            bindings::alloc_chrdev_region(&mut first, 0, NODES as c_uint, name.as_char_ptr())
        })?;
        let numbers = ScopeGuard::new(|| {
            // CAST: a small constant.
            // SAFETY: Just allocated.
            unsafe { bindings::unregister_chrdev_region(first, NODES as c_uint) }
        });

        // SAFETY: The name is static.
        let class = from_err_ptr(unsafe { bindings::class_create(name.as_char_ptr()) })?;
        numbers.dismiss();
        region::replace::<F>(Some(Region {
            // INVARIANT: both are ours now.
            first,
            class: NonNull::new(class).ok_or(ENOMEM)?,
            slots: KVec::new(),
            debugfs: Dir::new(name),
        }))?;
        Ok(Self(core::marker::PhantomData))
    }
}

impl<F: File> Registration<F> {
    /// Keeps the next number for a device that is yet to be probed; none if all are taken.
    pub(in crate::kernel_ext) fn keep_number(&self, device: *const bindings::device) -> Result {
        region::with::<F, _>(|region| {
            if region.slots.len() < NODES {
                region.slots.push(Slot::Kept(device), GFP_KERNEL)?;
            }
            Ok(())
        })?
    }

    /// Frees the numbers that are still kept, when all devices that were there have been probed.
    pub(in crate::kernel_ext) fn free_kept_numbers(&self) {
        let _ = region::with::<F, _>(|region| {
            for slot in &mut region.slots {
                if matches!(slot, Slot::Kept(_)) {
                    *slot = Slot::Free;
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

/// A number for a node: what was kept for the device, or the lowest that was free; dropping it frees
/// the number.
///
/// # Invariants
///
/// The slot of this number in the region is not free.
pub(crate) struct Number<F: File> {
    number: usize,
    _file: core::marker::PhantomData<fn() -> F>,
}

impl<F: File> Number<F> {
    /// Reserves the number that was kept for the device, otherwise the lowest free one.
    ///
    /// # Errors
    ///
    /// [`ENOSPC`] if there is none.
    pub(crate) fn reserve(device: &Device<Bound>) -> Result<Self> {
        // CAST: `Device` is a transparent wrapper of `struct device`.
        let device = core::ptr::from_ref(device).cast::<bindings::device>();
        let number = region::with::<F, _>(|region| Self::reserve_in(&mut region.slots, device))??;
        // INVARIANT: just reserved.
        Ok(Self {
            number,
            _file: core::marker::PhantomData,
        })
    }

    fn reserve_in(
        slots: &mut KVec<Slot<Arc<F::Device>>>,
        device: *const bindings::device,
    ) -> Result<usize> {
        let kept = |slot: &Slot<_>| matches!(slot, Slot::Kept(of) if *of == device);
        let free = |slot: &Slot<_>| matches!(slot, Slot::Free);
        let number = slots.iter().position(kept);
        match number.or_else(|| slots.iter().position(free)) {
            Some(number) => {
                slots[number] = Slot::Reserved;
                Ok(number)
            }
            None if slots.len() < NODES => {
                slots.push(Slot::Reserved, GFP_KERNEL)?;
                Ok(slots.len() - 1)
            }
            None => Err(ENOSPC),
        }
    }

    /// The number.
    pub(crate) fn get(&self) -> usize {
        self.number
    }

    fn set(&self, slot: Slot<Arc<F::Device>>) {
        let old = region::with::<F, _>(|region| {
            let at = region.slots.get_mut(self.number);
            at.map(|at| core::mem::replace(at, slot))
        });
        // Outside of the lock.
        drop(old);
    }
}

impl<F: File> Drop for Number<F> {
    fn drop(&mut self) {
        self.set(Slot::Free);
    }
}

/// A node, `/dev/NAMEn`; dropping it removes it. Open files stay.
///
/// # Invariants
///
/// `cdev` is a live character device of ours, and the class has a device of the same number.
pub(in crate::kernel_ext) struct Node<F: File> {
    cdev: NonNull<bindings::cdev>,
    class: NonNull<bindings::class>,
    device_number: bindings::dev_t,
    // Gone before its name can be used again.
    _debugfs: Option<Files<F::Device>>,
    number: Number<F>,
}

// SAFETY: The kernel's functions for both may be called from any thread.
unsafe impl<F: File> Send for Node<F> {}

impl<F: File> Node<F> {
    /// Makes the node for `device`, below `parent` in sysfs. From then on it can be opened.
    pub(in crate::kernel_ext) fn new(
        number: Number<F>,
        name: &'static CStr,
        parent: &Device<Bound>,
        device: Arc<F::Device>,
        module: &'static ThisModule,
    ) -> Result<Self> {
        let (first, class) = region::with::<F, _>(|region| (region.first, region.class))?;
        // CAST: less than `NODES`.
        let device_number = first + number.number as bindings::dev_t;

        // SAFETY: Takes nothing.
        let cdev = NonNull::new(unsafe { bindings::cdev_alloc() }).ok_or(ENOMEM)?;
        let undo = ScopeGuard::new(|| {
            // SAFETY: Ours, and not used after this.
            unsafe { bindings::cdev_del(cdev.as_ptr()) }
        });
        // SAFETY: Ours, and nobody else has it yet. Both are there for as long as the module is.
        unsafe {
            (*cdev.as_ptr()).ops = &operations::Table::<F>::TABLE;
            (*cdev.as_ptr()).owner = module.as_ptr();
        }
        number.set(Slot::Published(device.clone()));
        // SAFETY: Ours, and set up; the number is in our region.
        to_result(unsafe { bindings::cdev_add(cdev.as_ptr(), device_number, 1) })?;
        // CAST: `Device` is a transparent wrapper of `struct device`; the number is a small one.
        // SAFETY: The class is there while the region is, which outlives the driver; `parent` is
        // bound; the name is a format that takes one `int`.
        let node = from_err_ptr(unsafe {
            bindings::device_create(
                class.as_ptr(),
                core::ptr::from_ref(parent).cast_mut().cast(),
                device_number,
                core::ptr::null_mut(),
                name.as_char_ptr(),
                number.number as c_int,
            )
        })?;
        undo.dismiss();
        // SAFETY: Just made, and there until it is destroyed.
        let node: &Device = unsafe { Device::from_raw(node) };
        let debugfs =
            region::with::<F, _>(|region| Files::new(&region.debugfs, node.name(), device));
        // INVARIANT: both were just made.
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
        // Nobody finds the device any more.
        self.number.set(Slot::Reserved);
        // SAFETY: By the type invariant.
        unsafe { bindings::device_destroy(self.class.as_ptr(), self.device_number) };
        // SAFETY: By the type invariant. Files that are open keep what they need.
        unsafe { bindings::cdev_del(self.cdev.as_ptr()) };
    }
}
