// SPDX-License-Identifier: GPL-2.0

//! Character devices: a region of numbers with a class, a node for each device, its open files.
//!
//! A node belongs to its device while that is bound; open files go on living after it. Whoever
//! opens a node finds the device by the node's number, so that nothing of ours is called for a node
//! that is gone. The kernel keeps the module loaded while a file is open.
//!
//! C headers: `include/linux/cdev.h`, `include/linux/fs.h`, `include/linux/device/class.h`

mod operations;

use crate::kernel_ext::{
    fs::{
        debugfs::{
            Dir,
            Files,
            Shown, //
        },
        poll::{
            Events,
            PollQueue, //
        }, //
    },
    mm::{
        mapping::Mappings,
        vma::Mappable, //
    }, //
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
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    prelude::*,
    seq_file::SeqFile,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        lock::mutex::MutexBackend,
        Arc,
        ArcBorrow,
        GlobalLock,
        GlobalLockBackend, //
    },
    types::{
        ForeignOwnable,
        ScopeGuard, //
    }, //
};

/// How a file is open at the time of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mode {
    /// For reading.
    pub(crate) read: bool,
    /// For writing.
    pub(crate) write: bool,
    /// The call must not wait (`O_NONBLOCK`).
    pub(crate) nonblocking: bool,
}

/// An open file of a node.
pub(crate) trait File: Send + Sync + Sized + 'static {
    /// What a node stands for. It is shown in debugfs, too.
    type Device: Shown;

    /// What its mappings show.
    type Memory: Mappable;

    /// The lock of the region; see [`region!`].
    type Region: GlobalLockBackend<Item = Option<Region<Self>>, Backend = MutexBackend>;

    /// The region that the nodes are in; see [`region!`].
    fn region() -> &'static GlobalLock<Self::Region>;

    /// Called when a node is opened. Dropped when the last descriptor is closed.
    fn open(device: Arc<Self::Device>) -> Result<Arc<Self>>;

    /// Size of what reading, writing and seeking see, in bytes.
    fn size(&self) -> u64;

    /// Where the mappings of the file are to be found. What is returned lives as long as the file
    /// does.
    fn mappings(&self) -> &Mappings;

    /// ioctl(2). Returns what the call does, at most [`i32::MAX`].
    fn ioctl(&self, mode: Mode, command: u32, argument: usize) -> Result<usize>;

    /// mmap(2): the memory that these pages of the file show, all of which it must have.
    fn map(&self, first_page: usize, pages: usize) -> Result<Arc<Self::Memory>>;

    /// read(2) and its relatives, at this position. Returns how many bytes were read.
    fn read(&self, mode: Mode, position: u64, to: &mut IovIterDest<'_>) -> Result<usize>;

    /// write(2) and its relatives, at this position. Returns how many bytes were written.
    fn write(&self, mode: Mode, position: u64, from: &mut IovIterSource<'_>) -> Result<usize>;

    /// fsync(2), fdatasync(2) and msync(2): returns when everything that [`write`](Self::write) has
    /// returned for is where it is to stay.
    fn sync(&self) -> Result;

    /// What is notified whenever [`poll`](Self::poll) may answer something else. What is returned lives
    /// as long as the file does.
    fn poll_queue(&self) -> &PollQueue;

    /// poll(2): what is so now.
    fn poll(&self) -> Events;

    /// `/proc/PID/fdinfo/FD`: lines of `name:<tab>value`.
    fn show_fdinfo(&self, to: &SeqFile);
}

/// The open file behind a pointer from the kernel.
///
/// # Safety
///
/// `file` must be a file of a node of `F` that is open for as long as `'a`.
pub(in crate::kernel_ext) unsafe fn of<'a, F: File>(file: *mut bindings::file) -> ArcBorrow<'a, F> {
    // SAFETY: By the requirement; it was put in when the file was opened.
    unsafe { <Arc<F>>::borrow((*file).private_data.cast()) }
}

/// Nodes that there can be.
const NODES: usize = 256;

/// What a number of the region stands for.
enum Slot<D> {
    Free,
    /// For a device that is there and is yet to be probed. The pointer is only compared.
    Kept(*const bindings::device),
    Reserved,
    Published(Arc<D>),
}

/// A region of device numbers, the class of the nodes in it, and what they stand for.
///
/// # Invariants
///
/// `first` begins a region of [`NODES`] device numbers that is ours, and `class` is a class of
/// ours.
pub(crate) struct Region<F: File> {
    first: bindings::dev_t,
    class: NonNull<bindings::class>,
    slots: KVec<Slot<F::Device>>,
    debugfs: Dir,
}

// SAFETY: `class` is used under the lock of the region only, and the devices that numbers are kept
// for are not used at all; `F::Device` is `Send` and `Sync`.
unsafe impl<F: File> Send for Region<F> {}

impl<F: File> Drop for Region<F> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the class is ours.
        unsafe { bindings::class_destroy(self.class.as_ptr()) };
        // CAST: a small constant.
        // SAFETY: By the type invariant the region is ours.
        unsafe { bindings::unregister_chrdev_region(self.first, NODES as c_uint) };
    }
}

/// Declares the region that the nodes of a [`File`] type are in, as a static of this name.
macro_rules! region {
    ($visibility:vis $name:ident: Region<$file:ty>) => {
        ::kernel::sync::global_lock! {
            // SAFETY: `Registration::new` initialises it, without which nothing uses it.
            $visibility unsafe(uninit) static $name:
                Mutex<Option<$crate::kernel_ext::fs::chrdev::Region<$file>>> = None;
        }
    };
}
pub(crate) use region;

/// The region of a file type, registered; dropping it undoes that.
pub(crate) struct Registration<F: File>(core::marker::PhantomData<fn() -> F>);

impl<F: File> Registration<F> {
    /// Registers the region and a class of the same name. The first thing that a module does.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] the second time.
    pub(in crate::kernel_ext) fn new(name: &'static CStr) -> Result<Self> {
        /// A module has one region, in its life.
        static ONCE: Atomic<bool> = Atomic::new(false);
        if ONCE.xchg(true, Relaxed) {
            return Err(EBUSY);
        }
        // SAFETY: `ONCE` lets nobody come here again, and nobody uses the lock before this.
        unsafe { F::region().init() };

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
        *F::region().lock() = Some(Region {
            // INVARIANT: both are ours now.
            first,
            class: NonNull::new(class).ok_or(ENOMEM)?,
            slots: KVec::new(),
            debugfs: Dir::new(name),
        });
        Ok(Self(core::marker::PhantomData))
    }
}

impl<F: File> Registration<F> {
    /// Keeps the next number for a device that is yet to be probed; none if all are taken.
    pub(in crate::kernel_ext) fn keep_number(&self, device: *const bindings::device) -> Result {
        if let Some(region) = F::region().lock().as_mut() {
            if region.slots.len() < NODES {
                region.slots.push(Slot::Kept(device), GFP_KERNEL)?;
            }
        }
        Ok(())
    }

    /// Frees the numbers that are still kept, when all devices that were there have been probed.
    pub(in crate::kernel_ext) fn free_kept_numbers(&self) {
        if let Some(region) = F::region().lock().as_mut() {
            for slot in &mut region.slots {
                if matches!(slot, Slot::Kept(_)) {
                    *slot = Slot::Free;
                }
            }
        }
    }
}

impl<F: File> Drop for Registration<F> {
    fn drop(&mut self) {
        let region = F::region().lock().take();
        drop(region);
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
        let mut region = F::region().lock();
        let region = region.as_mut().ok_or(ENODEV)?;
        let slots = &mut region.slots;
        let kept = |slot: &Slot<_>| matches!(slot, Slot::Kept(of) if *of == device);
        let free = |slot: &Slot<_>| matches!(slot, Slot::Free);
        let number = slots.iter().position(kept);
        let number = match number.or_else(|| slots.iter().position(free)) {
            Some(number) => {
                slots[number] = Slot::Reserved;
                number
            }
            None if slots.len() < NODES => {
                slots.push(Slot::Reserved, GFP_KERNEL)?;
                slots.len() - 1
            }
            None => return Err(ENOSPC),
        };
        // INVARIANT: just reserved.
        Ok(Self {
            number,
            _file: core::marker::PhantomData,
        })
    }

    /// The number.
    pub(crate) fn get(&self) -> usize {
        self.number
    }

    fn set(&self, slot: Slot<F::Device>) {
        let old = match F::region().lock().as_mut() {
            Some(region) => region
                .slots
                .get_mut(self.number)
                .map(|at| core::mem::replace(at, slot)),
            None => None,
        };
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
        let (first, class) = {
            let region = F::region().lock();
            let region = region.as_ref().ok_or(ENODEV)?;
            (region.first, region.class)
        };
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
        let region = F::region().lock();
        let debugfs = region
            .as_ref()
            .map(|region| Files::new(&region.debugfs, node.name(), device));
        drop(region);
        // INVARIANT: both were just made.
        Ok(Self {
            cdev,
            class,
            device_number,
            number,
            _debugfs: debugfs,
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
