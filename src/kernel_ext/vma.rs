// SPDX-License-Identifier: GPL-2.0

//! Mappings whose pages are put in when they are touched: together with those around them, or two
//! megabytes at a time.
//!
//! C header: `include/linux/mm.h`

mod fault;

use super::{
    chrdev::{
        self,
        File, //
    },
    coherent::Layout,
    signal, //
};
use core::marker::PhantomData;
use fault::Fault;
use kernel::{
    bindings,
    mm::virt::{
        flags as flag,
        VmaRef, //
    },
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        ArcBorrow, //
    },
    types::ForeignOwnable, //
};

extern "C" {
    /// Whether mmap(2) with these flags is to fill the mapping.
    fn rdma_helper_populates(flags: c_ulong) -> bool;

    /// The flags of a mapping that is being described.
    fn rdma_helper_vma_flags(desc: *const c_void) -> bindings::vm_flags_t;

    /// Sets the flags of a mapping of page frames.
    fn rdma_helper_vma_rules(desc: *mut c_void);
}

/// Memory that can be mapped. Each mapping holds a reference to it.
pub(crate) trait Mappable: Send + Sync + Sized + 'static {
    /// Calls `f` with where the memory is. It is not freed meanwhile, and afterwards not before all
    /// mappings were emptied.
    ///
    /// Called with the lock of the mapping (or of the whole address space) held.
    ///
    /// # Errors
    ///
    /// Any error is a SIGBUS for whoever touched a page.
    fn with_layout<R>(&self, f: impl FnOnce(&Layout) -> R) -> Result<R>;

    /// Where it begins in the file, in pages.
    fn first_page(&self) -> usize;

    /// Its mappings.
    fn mappings(&self) -> &Count;

    /// Takes note that a page was touched, and how many were put in, or why none.
    fn faulted(&self, page: usize, loaded: Result<usize>);
}

/// How many mappings there are of something.
pub(crate) struct Count(Atomic<u32>);

impl Count {
    /// None.
    pub(crate) const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// How many there are.
    pub(crate) fn get(&self) -> u32 {
        self.0.load(Relaxed)
    }
}

/// Which address space wants the mapping of a file filled that it is about to make
/// (`MAP_POPULATE`; the kernel itself passes over mappings of page frames).
///
/// The flags of mmap(2) are known only when an address is looked for, somewhat earlier. Two
/// processes that share the file and do this at the same time can have only one mapping filled.
pub(crate) struct Populate(Atomic<usize>);

impl Populate {
    /// None.
    pub(crate) const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// The calling process makes a mapping with these flags.
    pub(super) fn note(&self, flags: c_ulong) {
        // SAFETY: Takes a number only.
        if unsafe { rdma_helper_populates(flags) } {
            self.0.store(Self::caller(), Relaxed);
        } else if self.is_wanted() {
            self.0.store(0, Relaxed);
        }
    }

    fn is_wanted(&self) -> bool {
        self.0.load(Relaxed) == Self::caller()
    }

    /// Stands for the address space of the caller.
    fn caller() -> usize {
        kernel::current!()
            .mm()
            .map_or(1, |mm| core::ptr::from_ref(mm).addr())
    }
}

/// What is in the private data of a mapping until [`Operations::mapped`] puts its memory there:
/// whether it is to be filled at once. Less than any address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fill {
    No = 0,
    Yes = 1,
}

impl Fill {
    fn new(wanted: bool, flags: bindings::vm_flags_t) -> Self {
        let locked = flags & LOCKED != 0 && flags & flag::LOCKONFAULT == 0;
        let accessible = flags & (flag::READ | flag::WRITE) != 0;
        if accessible && (wanted || locked) {
            Self::Yes
        } else {
            Self::No
        }
    }
}

/// Makes a mapping of `file` follow our rules: it is shared, never executable, does not grow, is in
/// no core dump, and is inherited by a child.
///
/// # Errors
///
/// [`EINVAL`] if it is private, [`EPERM`] if it is executable.
///
/// # Safety
///
/// `desc` must be a mapping of `file` that is being made.
pub(super) unsafe fn prepare<F: File>(desc: *mut bindings::vm_area_desc, file: &F) -> Result {
    // SAFETY: By the requirement.
    let flags = unsafe { rdma_helper_vma_flags(desc.cast()) };
    // Not `SHARED`, which a mapping of a file that is open for reading only has not.
    if flags & flag::MAYSHARE == 0 {
        return Err(EINVAL);
    }
    if flags & flag::EXEC != 0 {
        return Err(EPERM);
    }
    let fill = Fill::new(file.populate().is_wanted(), flags);
    // SAFETY: By the requirement. It will only ever have page frames that are inserted by number.
    unsafe { rdma_helper_vma_rules(desc.cast()) };
    // SAFETY: By the requirement, nobody else has it. The operations expect no more than this.
    unsafe {
        (*desc).private_data = core::ptr::without_provenance_mut(fill as usize);
        (*desc).vm_ops = &Operations::<F>::TABLE;
    }
    Ok(())
}

/// What the kernel calls for a mapping of a file of type `F`.
///
/// Its private data is a reference to the memory, from [`mapped`](Self::mapped) or
/// [`open`](Self::open) to [`close`](Self::close); before, and in what is left of a mapping that
/// could not be made, a [`Fill`].
struct Operations<F>(PhantomData<F>);

impl<F: File> Operations<F> {
    const TABLE: bindings::vm_operations_struct = bindings::vm_operations_struct {
        open: Some(Self::open),
        close: Some(Self::close),
        mapped: Some(Self::mapped),
        fault: Some(Self::fault),
        huge_fault: Some(Self::huge_fault),
        map_pages: Some(Self::map_pages),
        ..pin_init::zeroed()
    };

    /// The memory of a mapping; [`None`] if it never got any.
    ///
    /// # Safety
    ///
    /// `vma` must be a mapping with these operations that is there for as long as `'a`.
    unsafe fn memory<'a>(vma: *mut bindings::vm_area_struct) -> Option<ArcBorrow<'a, F::Memory>> {
        // SAFETY: By the requirement.
        let data = unsafe { (*vma).vm_private_data };
        // SAFETY: What is no `Fill` is a reference, which the mapping holds.
        (data.addr() >= PAGE_SIZE).then(|| unsafe { <Arc<F::Memory>>::borrow(data.cast()) })
    }

    /// Called when a mapping was made, and can be found by whoever empties all of them. An error
    /// has it unmapped again.
    ///
    /// # Safety
    ///
    /// Called by the kernel only, for a mapping by [`prepare`], with the lock of the address space
    /// held for writing.
    unsafe extern "C" fn mapped(
        start: c_ulong,
        end: c_ulong,
        first_page: c_ulong,
        file: *const bindings::file,
        data: *mut *mut c_void,
    ) -> c_int {
        // SAFETY: By the requirement: a mapping by `prepare` is one of a file of type `F`.
        let file = unsafe { chrdev::of::<F>(file.cast_mut()) };
        let memory = match file.map(first_page, (end - start) >> PAGE_SHIFT) {
            Ok(memory) => memory,
            Err(e) => return e.to_errno(),
        };
        memory.mappings().0.add(1, Relaxed);
        let memory = memory.into_foreign().cast();
        // SAFETY: By the requirement, `data` can be read and written. `close` gives the reference
        // back.
        let fill = unsafe { data.replace(memory) };
        if fill.addr() == Fill::Yes as usize {
            // SAFETY: By the requirement.
            unsafe { Self::populate(start, memory) };
        }
        0
    }

    /// Touches all pages of a mapping that was just made. What cannot be put in now faults later.
    ///
    /// # Safety
    ///
    /// As for [`mapped`](Self::mapped); `memory` is what the private data is about to be.
    unsafe fn populate(start: c_ulong, memory: *mut c_void) {
        let task = kernel::current!();
        let Some(mm) = task.mm() else { return };
        // SAFETY: By the requirement the address space is locked.
        let raw = unsafe { bindings::find_vma(mm.as_raw(), start) };
        // SAFETY: By the requirement there is a mapping at `start`, and nobody else has it.
        unsafe { (*raw).vm_private_data = memory };
        // SAFETY: As above.
        let vma = unsafe { VmaRef::from_raw(raw) };

        let mut address = start;
        while address < vma.end() && !signal::is_fatal() {
            // SAFETY: As above, and the address is in it. Reading is always allowed, and entries
            // can be written if the mapping can.
            let done = unsafe { bindings::handle_mm_fault(raw, address, 0, core::ptr::null_mut()) };
            if done & FAILED != 0 {
                return;
            }
            address = (address & !(Fault::WINDOW - 1)) + Fault::WINDOW;
        }
    }

    /// Called when there is one more mapping: by fork, or when one is split or moved.
    ///
    /// # Safety
    ///
    /// `vma` must be a copy of a mapping with these operations.
    unsafe extern "C" fn open(vma: *mut bindings::vm_area_struct) {
        // SAFETY: By the requirement; the mapping that was copied holds a reference meanwhile.
        if let Some(memory) = unsafe { Self::memory(vma) } {
            memory.mappings().0.add(1, Relaxed);
            // One more reference, which `close` gives back.
            let _ = Arc::from(memory).into_foreign();
        }
        // SAFETY: By the requirement.
        unsafe { Self::empty_parent(vma) };
    }

    /// Removes the huge pages from the mapping of which fork(2) makes this copy for a child, so
    /// that none is copied: both fault anew.
    ///
    /// The kernel copies what it has read before it takes the locks (`copy_huge_pmd`, 7.3). What
    /// `Mappings::zap` removes in between would come back in the child, and stay.
    ///
    /// # Safety
    ///
    /// As for [`open`](Self::open).
    unsafe fn empty_parent(copy: *mut bindings::vm_area_struct) {
        let task = kernel::current!();
        let Some(mm) = task.mm() else { return };
        // SAFETY: By the requirement.
        let child = unsafe { (*copy).vm_mm };
        // SAFETY: By the requirement; whoever makes the copy holds its lock.
        let vma = unsafe { VmaRef::from_raw(copy) };
        let (start, end) = (vma.start(), vma.end());
        let huge = start.next_multiple_of(Fault::HUGE) + Fault::HUGE <= end;
        if child == mm.as_raw() || !huge {
            return;
        }
        // SAFETY: fork(2) holds the lock of the address space.
        let parent = unsafe { bindings::find_vma(mm.as_raw(), start) };
        // SAFETY: fork(2) holds the lock of the mapping, too, so that nothing comes back before it
        // has copied it; the copy has the same bounds.
        unsafe { bindings::zap_vma_range(parent, start, end - start) };
    }

    /// Called when there is one mapping less.
    ///
    /// # Safety
    ///
    /// `vma` must be a mapping with these operations, and is not used any more.
    unsafe extern "C" fn close(vma: *mut bindings::vm_area_struct) {
        // SAFETY: By the requirement.
        if let Some(memory) = unsafe { Self::memory(vma) } {
            memory.mappings().0.fetch_sub(1, Relaxed);
            // SAFETY: By the requirement; `mapped` or `open` put the reference in, and nobody
            // borrows from it after this.
            drop(unsafe { <Arc<F::Memory>>::from_foreign((*vma).vm_private_data.cast()) });
        }
    }

    /// Called when a page is touched that is not there.
    ///
    /// # Safety
    ///
    /// `vmf` must be a fault in a mapping with these operations.
    unsafe extern "C" fn fault(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        // SAFETY: By the requirement; the mapping is there until the fault is handled.
        let memory = unsafe { Self::memory((*vmf).__bindgen_anon_1.vma) };
        let loaded = memory.ok_or(ENXIO).and_then(|memory| {
            // SAFETY: By the requirement.
            let fault = unsafe { Fault::new(vmf) };
            let page = fault.page().wrapping_sub(memory.first_page());
            let loaded = memory
                .with_layout(|layout| fault.load(layout, page))
                .and_then(|loaded| loaded);
            memory.faulted(page, loaded);
            loaded
        });
        match loaded {
            Ok(_) => bindings::vm_fault_reason_VM_FAULT_NOPAGE,
            Err(e) if e == ENOMEM => bindings::vm_fault_reason_VM_FAULT_OOM,
            Err(_) => bindings::vm_fault_reason_VM_FAULT_SIGBUS,
        }
    }

    /// Called when a page is touched where there is no page table yet, or one is written that is in
    /// a huge page for reading.
    ///
    /// # Safety
    ///
    /// As for [`fault`](Self::fault).
    unsafe extern "C" fn huge_fault(
        vmf: *mut bindings::vm_fault,
        order: c_uint,
    ) -> bindings::vm_fault_t {
        if order != bindings::HPAGE_PMD_ORDER {
            return bindings::vm_fault_reason_VM_FAULT_FALLBACK;
        }
        // Also where it is not a huge page that is put in: this is the shorter way.
        // SAFETY: By the requirement.
        unsafe { Self::fault(vmf) }
    }

    /// Called for pages that could be put in without sleeping: none.
    ///
    /// That it is there has the kernel call [`fault`](Self::fault) with the lock of the mapping
    /// held only, which is all that it takes, and not try again with that of the address space.
    ///
    /// # Safety
    ///
    /// As for [`fault`](Self::fault).
    unsafe extern "C" fn map_pages(
        _: *mut bindings::vm_fault,
        _: c_ulong,
        _: c_ulong,
    ) -> bindings::vm_fault_t {
        0
    }
}

/// `VM_LOCKED`
const LOCKED: bindings::vm_flags_t = 1 << bindings::VMA_LOCKED_BIT;

/// What says that a fault could not be handled.
const FAILED: bindings::vm_fault_t = bindings::vm_fault_reason_VM_FAULT_OOM
    | bindings::vm_fault_reason_VM_FAULT_SIGBUS
    | bindings::vm_fault_reason_VM_FAULT_SIGSEGV;
