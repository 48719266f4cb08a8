// SPDX-License-Identifier: GPL-2.0

//! A region of device numbers, and the state of each number.

use crate::kernel_ext::fs::debugfs::Dir;
use core::ptr::NonNull;
use kernel::{
    bindings,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        lock::mutex::MutexBackend,
        GlobalLock,
        GlobalLockBackend, //
    }, //
};

/// The maximum number of nodes.
pub(super) const MAX_NODES: usize = 256;

/// The state of a number of the region.
pub(super) enum NumberState<D> {
    /// The number is not in use.
    Free,
    /// The number is kept for a device that has not been probed yet. The pointer is only compared.
    Kept(*const bindings::device),
    /// The number belongs to a device without a node.
    Reserved,
    /// The number belongs to a device with a node, which open(2) finds.
    Published(D),
}

/// A region of device numbers, the class of its nodes, and the states of the numbers.
///
/// # Invariants
///
/// `first` is the first of [`MAX_NODES`] device numbers that are registered for this module, and
/// `class` is a class that it has created.
pub(crate) struct Region<D> {
    pub(super) first: bindings::dev_t,
    pub(super) class: NonNull<bindings::class>,
    pub(super) states: KVec<NumberState<D>>,
    pub(super) debugfs: Dir,
}

// SAFETY: The functions for a class may be called from any thread, and the devices of `Kept` are
// not dereferenced.
unsafe impl<D: Send> Send for Region<D> {}

impl<D> Drop for Region<D> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, this module has created the class.
        unsafe { bindings::class_destroy(self.class.as_ptr()) };
        // CAST: The constant is small.
        // SAFETY: By the type invariant, the numbers are registered for this module.
        unsafe { bindings::unregister_chrdev_region(self.first, MAX_NODES as c_uint) };
    }
}

/// A file type with a region for its nodes. [`region!`] implements it.
///
/// # Safety
///
/// `lock` must always return the same lock, which must not be accessible otherwise.
pub(crate) unsafe trait HasRegion: 'static {
    /// The object that a node makes available to open(2).
    type Published: Send;

    /// The type of the lock.
    type Lock: GlobalLockBackend<Item = Option<Region<Self::Published>>, Backend = MutexBackend>
        + 'static;

    /// The lock of the region.
    ///
    /// # Safety
    ///
    /// The lock must not be locked before [`init()`] has initialised it.
    unsafe fn lock() -> &'static GlobalLock<Self::Lock>;
}

/// Declares the region of a [`File`](super::File) type, and the type of the objects of its nodes.
macro_rules! region {
    ($file:ty, $published:ty) => {
        #[allow(unsafe_code, reason = "The macro is part of `kernel_ext`.")]
        const _: () = {
            ::kernel::sync::global_lock! {
                // SAFETY: `chrdev::region::init` initialises the lock, and `lock` returns it only
                // after that.
                pub(crate) unsafe(uninit) static REGION:
                    Mutex<Option<$crate::kernel_ext::fs::chrdev::region::Region<$published>>> = None;
            }

            // SAFETY: There is one static lock, whose name is not visible outside of this block.
            unsafe impl $crate::kernel_ext::fs::chrdev::region::HasRegion for $file {
                type Published = $published;
                type Lock = REGION;

                unsafe fn lock() -> &'static ::kernel::sync::GlobalLock<REGION> {
                    &REGION
                }
            }
        };
    };
}
pub(crate) use region;

/// The address of the lock that [`init()`] has initialised, or null. It is only compared.
static INITIALISED: Atomic<*mut c_void> = Atomic::new(core::ptr::null_mut());

/// Initialises the lock of the region. A module can have one region, once.
///
/// # Errors
///
/// [`EBUSY`] if this was called before.
pub(super) fn init<F: HasRegion>() -> Result {
    static ONCE: Atomic<bool> = Atomic::new(false);
    if ONCE.xchg(true, Relaxed) {
        return Err(EBUSY);
    }
    // SAFETY: `ONCE` ensures that this is executed once; `lock` returns the lock only after
    // `INITIALISED` is set below.
    unsafe { F::lock().init() };
    INITIALISED.store(address::<F>(), Release);
    Ok(())
}

fn address<F: HasRegion>() -> *mut c_void {
    // SAFETY: This does not lock it.
    let lock = unsafe { F::lock() };
    core::ptr::from_ref(lock).cast_mut().cast()
}

/// Calls `f` with the region, under its lock.
///
/// # Errors
///
/// [`ENODEV`] if the region is not registered.
pub(super) fn with<F: HasRegion, R>(f: impl FnOnce(&mut Region<F::Published>) -> R) -> Result<R> {
    lock::<F>()?.lock().as_mut().map(f).ok_or(ENODEV)
}

/// Sets or removes the region.
pub(super) fn replace<F: HasRegion>(region: Option<Region<F::Published>>) -> Result {
    let old = core::mem::replace(&mut *lock::<F>()?.lock(), region);
    // Dropped outside of the lock.
    drop(old);
    Ok(())
}

fn lock<F: HasRegion>() -> Result<&'static GlobalLock<F::Lock>> {
    if INITIALISED.load(Acquire) == address::<F>() {
        // SAFETY: `init` has initialised this lock, before it set `INITIALISED`.
        Ok(unsafe { F::lock() })
    } else {
        Err(ENODEV)
    }
}
