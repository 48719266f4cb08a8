// SPDX-License-Identifier: GPL-2.0

//! Mappings whose pages are put in when they are touched: together with those around them, or two
//! megabytes at a time.
//!
//! C header: `include/linux/mm.h`

mod fault;

use crate::kernel_ext::mm::shared::Shared;
use core::marker::PhantomData;
use fault::Fault;
use kernel::{
    bindings,
    mm::virt::{
        flags as flag,
        VmaRef, //
    },
    page::PAGE_SHIFT,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    },
    types::ForeignOwnable, //
};

extern "C" {
    /// The flags of a mapping that is being described.
    fn rdma_helper_vma_flags(desc: *const c_void) -> bindings::vm_flags_t;

    /// Sets the flags of a mapping of page frames.
    fn rdma_helper_vma_rules(desc: *mut c_void);
}

/// What mappings show. Each holds a reference to it.
///
/// The memory is borrowed from `self`, and so is there for as long as the mapping holds that.
pub(crate) trait Mappable: Send + Sync + Sized + 'static {
    /// Whom memory is charged to.
    type Charge: Send + Unpin;

    /// The memory.
    fn memory(&self) -> &Shared<Self::Charge>;

    /// Takes note that a page was touched, and how many were put in, or why none.
    fn faulted(&self, page: usize, loaded: Result<usize>);
}

/// Files that can be mapped.
pub(in crate::kernel_ext) trait Files {
    /// What their mappings show.
    type Memory: Mappable;

    /// What these pages of a file show.
    ///
    /// # Safety
    ///
    /// `file` must be one of these files, and open.
    unsafe fn at(
        file: *mut bindings::file,
        first_page: usize,
        pages: usize,
    ) -> Result<Arc<Self::Memory>>;
}

/// Makes a mapping of one of the files `F` follow our rules: it is shared, never executable, does not grow, is in
/// no core dump, and is inherited by a child.
///
/// # Errors
///
/// [`EINVAL`] if it is private, [`EPERM`] if it is executable.
///
/// # Safety
///
/// `desc` must be a mapping of one of these files that is being made.
pub(in crate::kernel_ext) unsafe fn prepare<F: Files>(desc: *mut bindings::vm_area_desc) -> Result {
    // SAFETY: By the requirement.
    let flags = unsafe { rdma_helper_vma_flags(desc.cast()) };
    // Not `SHARED`, which a mapping of a file that is open for reading only has not.
    if flags & flag::MAYSHARE == 0 {
        return Err(EINVAL);
    }
    if flags & flag::EXEC != 0 {
        return Err(EPERM);
    }
    // SAFETY: By the requirement. It will only ever have page frames that are inserted by number.
    unsafe { rdma_helper_vma_rules(desc.cast()) };
    // SAFETY: By the requirement, nobody else has it. The operations expect no more than this.
    unsafe {
        (*desc).private_data = core::ptr::null_mut();
        (*desc).vm_ops = &Operations::<F>::TABLE;
    }
    Ok(())
}

/// What the kernel calls for a mapping of one of the files `F`.
///
/// Its private data is a reference to the memory, from [`mapped`](Self::mapped) or
/// [`open`](Self::open) to [`close`](Self::close); before, and in what is left of a mapping that
/// could not be made, null.
struct Operations<F>(PhantomData<F>);

impl<F: Files> Operations<F> {
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
        // SAFETY: What is not null is a reference, which the mapping holds.
        (!data.is_null()).then(|| unsafe { <Arc<F::Memory>>::borrow(data.cast()) })
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
        let pages = (end - start) >> PAGE_SHIFT;
        // SAFETY: By the requirement: a mapping by `prepare` is one of a file of `F`.
        let memory = match unsafe { F::at(file.cast_mut(), first_page, pages) } {
            Ok(memory) => memory,
            Err(e) => return e.to_errno(),
        };
        memory.memory().add_mapping();
        // SAFETY: By the requirement, `data` can be written. `close` gives the reference back.
        unsafe { *data = memory.into_foreign().cast() };
        0
    }

    /// Called when there is one more mapping: by fork, or when one is split or moved.
    ///
    /// # Safety
    ///
    /// `vma` must be a copy of a mapping with these operations.
    unsafe extern "C" fn open(vma: *mut bindings::vm_area_struct) {
        // SAFETY: By the requirement; the mapping that was copied holds a reference meanwhile.
        if let Some(memory) = unsafe { Self::memory(vma) } {
            memory.memory().add_mapping();
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
    /// `Closed::zap` removes in between would come back in the child, and stay.
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
        let parent = unsafe { bindings::vma_lookup(mm.as_raw(), start) };
        // Another address space means fork(2) in this kernel. If it ever means something else, what
        // is found here is not what is copied, and is left alone.
        // SAFETY: By the requirement; what was found is there while the address space is locked.
        if !unsafe { Self::is_copy(copy, parent) } {
            return;
        }
        // SAFETY: fork(2) holds the lock of the mapping, too, so that nothing comes back before it
        // has copied it; the range is in it, as `is_copy` has seen.
        unsafe { bindings::zap_vma_range(parent, start, end - start) };
    }

    /// Whether `copy` can be a copy of `original`: it shows the same part of the same memory.
    ///
    /// # Safety
    ///
    /// `copy` must be a mapping, and `original` one or null; neither changes meanwhile.
    unsafe fn is_copy(
        copy: *mut bindings::vm_area_struct,
        original: *mut bindings::vm_area_struct,
    ) -> bool {
        let shows = |vma: *mut bindings::vm_area_struct| {
            // SAFETY: By the requirement.
            let (ops, memory) = unsafe { ((*vma).vm_ops, (*vma).vm_private_data) };
            // SAFETY: As above.
            let first_page = unsafe { (*vma).vm_pgoff };
            // SAFETY: As above.
            let vma = unsafe { VmaRef::from_raw(vma) };
            (ops, memory, first_page, vma.start(), vma.end())
        };
        !original.is_null() && shows(copy) == shows(original)
    }

    /// Called when there is one mapping less.
    ///
    /// # Safety
    ///
    /// `vma` must be a mapping with these operations, and is not used any more.
    unsafe extern "C" fn close(vma: *mut bindings::vm_area_struct) {
        // SAFETY: By the requirement.
        if let Some(memory) = unsafe { Self::memory(vma) } {
            memory.memory().remove_mapping();
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
        // SAFETY: By the requirement.
        let vma = unsafe { (*vmf).__bindgen_anon_1.vma };
        // SAFETY: By the requirement; the mapping is there until the fault is handled.
        let memory = unsafe { Self::memory(vma) };
        let loaded = memory.ok_or(ENXIO).and_then(|memory| {
            let shared = memory.memory();
            // SAFETY: The mapping keeps its file open.
            if !unsafe { shared.mappings().have_adopted((*vma).vm_file) } {
                // It would not be emptied before the memory is freed.
                return Err(ENXIO);
            }
            // SAFETY: By the requirement.
            let fault = unsafe { Fault::new(vmf) };
            let page = fault.page().wrapping_sub(shared.first_page());
            let loaded = shared
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
