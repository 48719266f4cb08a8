// SPDX-License-Identifier: GPL-2.0

//! A region of device numbers, and what each number stands for.

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

/// Nodes that there can be.
pub(super) const NODES: usize = 256;

/// What a number of the region stands for.
pub(super) enum Slot<D> {
    Free,
    /// For a device that is there and is yet to be probed. The pointer is only compared.
    Kept(*const bindings::device),
    Reserved,
    Published(D),
}

/// A region of device numbers, the class of the nodes in it, and what they stand for.
///
/// # Invariants
///
/// `first` begins a region of [`NODES`] device numbers that is ours, and `class` is a class of
/// ours.
pub(crate) struct Region<D> {
    pub(super) first: bindings::dev_t,
    pub(super) class: NonNull<bindings::class>,
    pub(super) slots: KVec<Slot<D>>,
    pub(super) debugfs: Dir,
}

// SAFETY: `class` is used under the lock of the region only, and the devices that numbers are kept
// for are not used at all.
unsafe impl<D: Send> Send for Region<D> {}

impl<D> Drop for Region<D> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the class is ours.
        unsafe { bindings::class_destroy(self.class.as_ptr()) };
        // CAST: a small constant.
        // SAFETY: By the type invariant the region is ours.
        unsafe { bindings::unregister_chrdev_region(self.first, NODES as c_uint) };
    }
}

/// A type whose nodes are in a region of their own; [`region!`] implements it.
///
/// # Safety
///
/// `lock` must return the same lock each time, which nothing else uses.
pub(crate) unsafe trait HasRegion: 'static {
    /// What a number of the region stands for.
    type Stands: Send;

    /// The type of the lock.
    type Lock: GlobalLockBackend<Item = Option<Region<Self::Stands>>, Backend = MutexBackend>
        + 'static;

    /// The lock of the region.
    ///
    /// # Safety
    ///
    /// Not to be locked before [`init`] has initialised it.
    unsafe fn lock() -> &'static GlobalLock<Self::Lock>;
}

/// Gives a [`File`](super::File) type a region for its nodes, which stand for these.
macro_rules! region {
    ($file:ty, $stands:ty) => {
        #[allow(unsafe_code, reason = "For the macro, which is of `kernel_ext`.")]
        const _: () = {
            ::kernel::sync::global_lock! {
                // SAFETY: `chrdev::region::init` initialises it, without which nothing uses it.
                pub(crate) unsafe(uninit) static REGION:
                    Mutex<Option<$crate::kernel_ext::fs::chrdev::region::Region<$stands>>> = None;
            }

            // SAFETY: It is the one lock, and has no name outside of here.
            unsafe impl $crate::kernel_ext::fs::chrdev::region::HasRegion for $file {
                type Stands = $stands;
                type Lock = REGION;

                unsafe fn lock() -> &'static ::kernel::sync::GlobalLock<REGION> {
                    &REGION
                }
            }
        };
    };
}
pub(crate) use region;

/// The lock that [`init`] has initialised; null before. It is only compared.
static INITIALISED: Atomic<*mut c_void> = Atomic::new(core::ptr::null_mut());

/// Initialises the lock of the region. A module has one region, in its life.
///
/// # Errors
///
/// [`EBUSY`] the second time.
pub(super) fn init<F: HasRegion>() -> Result {
    static ONCE: Atomic<bool> = Atomic::new(false);
    if ONCE.xchg(true, Relaxed) {
        return Err(EBUSY);
    }
    // SAFETY: `ONCE` lets nobody come here again, and nobody uses the lock before this: see `lock`.
    unsafe { raw::<F>().init() };
    INITIALISED.store(address::<F>(), Release);
    Ok(())
}

fn address<F: HasRegion>() -> *mut c_void {
    core::ptr::from_ref(raw::<F>()).cast_mut().cast()
}

fn raw<F: HasRegion>() -> &'static GlobalLock<F::Lock> {
    // SAFETY: `init` alone initialises it, and `lock` alone passes it on to be locked.
    unsafe { F::lock() }
}

/// Does `f` with the region.
///
/// # Errors
///
/// [`ENODEV`] if it is not registered.
pub(super) fn with<F: HasRegion, R>(f: impl FnOnce(&mut Region<F::Stands>) -> R) -> Result<R> {
    lock::<F>()?.lock().as_mut().map(f).ok_or(ENODEV)
}

/// Puts the region in, or takes it out.
pub(super) fn replace<F: HasRegion>(region: Option<Region<F::Stands>>) -> Result {
    let old = core::mem::replace(&mut *lock::<F>()?.lock(), region);
    // Outside of the lock.
    drop(old);
    Ok(())
}

fn lock<F: HasRegion>() -> Result<&'static GlobalLock<F::Lock>> {
    if INITIALISED.load(Acquire) == address::<F>() {
        Ok(raw::<F>())
    } else {
        Err(ENODEV)
    }
}
