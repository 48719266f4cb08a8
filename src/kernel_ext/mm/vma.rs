// SPDX-License-Identifier: GPL-2.0

//! Mappings whose pages are inserted by page faults: a window of pages around the access, or a huge
//! page.
//!
//! C header: `include/linux/mm.h`

mod fault;
pub(in crate::kernel_ext) mod shared_ring;

use crate::kernel_ext::mm::shared_memory::SharedMemory;
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
    /// Returns the flags of a mapping that is being created.
    fn rdma_helper_get_vma_flags(desc: *const c_void) -> bindings::vm_flags_t;

    /// Returns whether the flags are those of a shared mapping. (In the kernel crate of 7.3-rc7,
    /// `VM_MAYSHARE` has the bit of `VM_MAYEXEC`.)
    fn rdma_helper_is_shared(flags: bindings::vm_flags_t) -> bool;

    /// Sets the flags of a mapping of page frames that is being created.
    fn rdma_helper_set_vma_flags(desc: *mut c_void);

    /// Sets the flags of a mapping of page frames that is being created by an operation `mmap`.
    /// `vma` is a `struct vm_area_struct *`.
    #[cfg(CONFIG_DMA_SHARED_BUFFER)]
    fn rdma_helper_set_flags_of(vma: *mut c_void);
}

/// An object whose memory can be mapped. Each mapping holds a reference to it.
///
/// The memory is borrowed from `self`, so it lives at least as long as the mapping.
pub(crate) trait Mappable: Send + Sync + Sized + 'static {
    /// The charge for the memory, which is dropped with it.
    type Charge: Send + Unpin;

    /// Returns the memory.
    fn shared_memory(&self) -> &SharedMemory<Self::Charge>;

    /// Called after a page fault, with the page of the memory, and the number of inserted pages or
    /// the error.
    fn faulted(&self, page: usize, inserted: Result<usize>);
}

/// The files of a node, which can be mapped: the object that a mapping shows depends on its offset.
pub(in crate::kernel_ext) trait MappableFiles {
    /// The object that the mappings of a file show.
    type Memory: Mappable;

    /// Returns the object that these pages of a file show.
    ///
    /// # Safety
    ///
    /// `file` must be one of these files, and open.
    unsafe fn memory_at(
        file: *mut bindings::file,
        first_page: usize,
        pages: usize,
    ) -> Result<Arc<Self::Memory>>;
}

/// Sets flags and operations of a mapping of one of the files `F`. Such a mapping is shared, never
/// executable, does not grow, is not in core dumps, and is inherited by fork(2).
///
/// # Errors
///
/// [`EINVAL`] if it is private, [`EPERM`] if it is executable.
///
/// # Safety
///
/// `desc` must describe a mapping of one of these files that is being created.
pub(in crate::kernel_ext) unsafe fn prepare<F: MappableFiles>(
    desc: *mut bindings::vm_area_desc,
) -> Result {
    // SAFETY: By the safety requirement, `desc` is valid.
    let flags = unsafe { rdma_helper_get_vma_flags(desc.cast()) };
    check(flags)?;
    // SAFETY: By the safety requirement, `desc` is valid. Pages are inserted by their frame number
    // only.
    unsafe { rdma_helper_set_vma_flags(desc.cast()) };
    // SAFETY: By the safety requirement, `desc` is valid and is not shared. The operations require
    // private data that is null or set by `mapped` or `open`.
    unsafe {
        (*desc).private_data = core::ptr::null_mut();
        (*desc).vm_ops = &FileVmaOperations::<F>::TABLE;
    }
    Ok(())
}

/// Returns whether the flags are those of a shared mapping.
fn is_shared(flags: bindings::vm_flags_t) -> bool {
    // SAFETY: The function accepts any flags.
    unsafe { rdma_helper_is_shared(flags) }
}

/// Checks the flags of a mapping; see [`prepare`].
fn check(flags: bindings::vm_flags_t) -> Result {
    if !is_shared(flags) {
        return Err(EINVAL);
    }
    if flags & flag::EXEC != 0 {
        return Err(EPERM);
    }
    Ok(())
}

/// Like [`prepare`], for files with the operation `mmap` instead of `mmap_prepare`. The mapping
/// shows `memory`; its offset is one in the memory, which must have all pages of the mapping.
///
/// # Errors
///
/// Those of [`prepare`].
///
/// # Safety
///
/// `vma` must be a mapping that is being created.
#[cfg(CONFIG_DMA_SHARED_BUFFER)]
pub(in crate::kernel_ext) unsafe fn set_up<M: Mappable>(
    vma: *mut bindings::vm_area_struct,
    memory: Arc<M>,
) -> Result {
    // SAFETY: By the safety requirement, `vma` is valid.
    check(unsafe { VmaRef::from_raw(vma) }.flags())?;
    let shared = memory.shared_memory();
    shared.add_mapping();
    // SAFETY: By the safety requirement, `vma` is valid and is not shared. Pages are inserted by
    // their frame number only. `close` drops the reference.
    unsafe {
        rdma_helper_set_flags_of(vma.cast());
        (*vma).vm_pgoff += shared.first_page();
        (*vma).vm_ops = &VmaOperations::<M>::TABLE;
        (*vma).vm_private_data = memory.into_foreign().cast();
    }
    Ok(())
}

/// The operations of a mapping of one of the files `F`, which [`prepare`] has set up.
struct FileVmaOperations<F>(PhantomData<F>);

impl<F: MappableFiles> FileVmaOperations<F> {
    const TABLE: bindings::vm_operations_struct = bindings::vm_operations_struct {
        mapped: Some(Self::mapped),
        ..VmaOperations::<F::Memory>::TABLE
    };

    /// Called when a mapping has been created and `unmap_mapping_range` finds it. If this returns
    /// an error, the kernel unmaps it again.
    ///
    /// # Safety
    ///
    /// Must be called by the kernel only, for a mapping that [`prepare`] has set up, with the lock
    /// of the address space held for writing.
    unsafe extern "C" fn mapped(
        start: c_ulong,
        end: c_ulong,
        first_page: c_ulong,
        file: *const bindings::file,
        data: *mut *mut c_void,
    ) -> c_int {
        let pages = (end - start) >> PAGE_SHIFT;
        // SAFETY: By the safety requirement, `file` is the file of a mapping by `prepare`, thus one
        // of `F`, and open.
        let memory = match unsafe { F::memory_at(file.cast_mut(), first_page, pages) } {
            Ok(memory) => memory,
            Err(e) => return e.to_errno(),
        };
        memory.shared_memory().add_mapping();
        // SAFETY: By the safety requirement, `data` is valid for writing. `close` drops the
        // reference.
        unsafe { *data = memory.into_foreign().cast() };
        0
    }
}

/// The operations of a mapping of an `M`.
///
/// The private data of a mapping is a reference to the `M`, from
/// [`mapped`](FileVmaOperations::mapped), [`open`](Self::open) or [`set_up`] to
/// [`close`](Self::close). It is null before, and if the creation has failed.
struct VmaOperations<M>(PhantomData<M>);

impl<M: Mappable> VmaOperations<M> {
    const TABLE: bindings::vm_operations_struct = bindings::vm_operations_struct {
        open: Some(Self::open),
        close: Some(Self::close),
        fault: Some(Self::fault),
        huge_fault: Some(Self::huge_fault),
        map_pages: Some(Self::map_pages),
        ..pin_init::zeroed()
    };

    /// Returns the private data of a mapping, or [`None`] if it is null.
    ///
    /// # Safety
    ///
    /// `vma` must be a mapping with these operations that is valid for `'a`.
    unsafe fn memory<'a>(vma: *mut bindings::vm_area_struct) -> Option<ArcBorrow<'a, M>> {
        // SAFETY: By the safety requirement, `vma` is valid.
        let data = unsafe { (*vma).vm_private_data };
        // SAFETY: Private data that is not null is a reference to an `M`, which the mapping
        // holds.
        (!data.is_null()).then(|| unsafe { <Arc<M>>::borrow(data.cast()) })
    }

    /// Called when a mapping has been copied: by fork, or when it is split or moved.
    ///
    /// # Safety
    ///
    /// `vma` must be a copy of a mapping with these operations.
    unsafe extern "C" fn open(vma: *mut bindings::vm_area_struct) {
        // SAFETY: By the safety requirement, `vma` has these operations; the original mapping holds
        // a reference during this call.
        if let Some(memory) = unsafe { Self::memory(vma) } {
            memory.shared_memory().add_mapping();
            // This leaks a reference, which `close` drops.
            let _ = Arc::from(memory).into_foreign();
        }
        // SAFETY: By the safety requirement, `vma` is such a copy.
        unsafe { Self::zap_parent(vma) };
    }

    /// Zaps the parent's mapping of which fork(2) makes this copy, so that no huge page is copied
    /// to the child. Both processes fault again.
    ///
    /// The kernel reads the entry of a huge page before it takes the locks, and copies what it has
    /// read (`copy_huge_pmd`, 7.3). A huge page that `ClosedAddressSpace::zap` removes between
    /// these two steps would remain mapped in the child.
    ///
    /// # Safety
    ///
    /// As for [`open`](Self::open).
    unsafe fn zap_parent(copy: *mut bindings::vm_area_struct) {
        let task = kernel::current!();
        let Some(mm) = task.mm() else { return };
        // SAFETY: By the safety requirement, `copy` is valid.
        let child = unsafe { (*copy).vm_mm };
        // SAFETY: By the safety requirement, `copy` is valid; the thread that creates the copy
        // holds its lock.
        let vma = unsafe { VmaRef::from_raw(copy) };
        let (start, end) = (vma.start(), vma.end());
        let huge = start.next_multiple_of(Fault::HUGE) + Fault::HUGE <= end;
        if child == mm.as_raw() || !huge {
            return;
        }
        // SAFETY: fork(2) holds the lock of the address space.
        let parent = unsafe { bindings::vma_lookup(mm.as_raw(), start) };
        // A copy in another address space is always made by fork(2) in this kernel. If this
        // changes, the mapping found here is not the original, and is left unchanged.
        // SAFETY: By the safety requirement, `copy` is valid; `parent` is null or valid while the
        // address space is locked.
        if !unsafe { Self::is_copy(copy, parent) } {
            return;
        }
        // SAFETY: fork(2) holds the lock of the mapping for writing, so that no fault inserts a
        // page before the copy; `is_copy` has checked that the range is in the mapping.
        unsafe { bindings::zap_vma_range(parent, start, end - start) };
    }

    /// Returns whether `copy` shows the same part of the same memory at the same address as
    /// `original`.
    ///
    /// # Safety
    ///
    /// `copy` must be a valid mapping; `original` must be a valid mapping or null. Neither may
    /// change during the call.
    unsafe fn is_copy(
        copy: *mut bindings::vm_area_struct,
        original: *mut bindings::vm_area_struct,
    ) -> bool {
        let shows = |vma: *mut bindings::vm_area_struct| {
            // SAFETY: By the safety requirement, `vma` is valid.
            let (ops, memory) = unsafe { ((*vma).vm_ops, (*vma).vm_private_data) };
            // SAFETY: As above.
            let first_page = unsafe { (*vma).vm_pgoff };
            // SAFETY: As above.
            let vma = unsafe { VmaRef::from_raw(vma) };
            (ops, memory, first_page, vma.start(), vma.end())
        };
        !original.is_null() && shows(copy) == shows(original)
    }

    /// Called when a mapping is removed.
    ///
    /// # Safety
    ///
    /// `vma` must be a mapping with these operations, which is not used after this call.
    unsafe extern "C" fn close(vma: *mut bindings::vm_area_struct) {
        // SAFETY: By the safety requirement, `vma` has these operations and is valid during this
        // call.
        if let Some(memory) = unsafe { Self::memory(vma) } {
            memory.shared_memory().remove_mapping();
            // SAFETY: `mapped`, `open` or `set_up` has set the private data to this reference; by
            // the safety requirement, it is not borrowed after this call.
            drop(unsafe { <Arc<M>>::from_foreign((*vma).vm_private_data.cast()) });
        }
    }

    /// Called when a page without a page-table entry is accessed.
    ///
    /// # Safety
    ///
    /// `vmf` must be a fault in a mapping with these operations.
    unsafe extern "C" fn fault(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        // SAFETY: By the safety requirement, `vmf` is valid.
        let vma = unsafe { (*vmf).__bindgen_anon_1.vma };
        // SAFETY: By the safety requirement, `vma` has these operations; it is valid until the
        // fault has been handled.
        let memory = unsafe { Self::memory(vma) };
        let loaded = memory.ok_or(ENXIO).and_then(|memory| {
            let shared = memory.shared_memory();
            // SAFETY: The mapping keeps its file open.
            if !unsafe { shared.address_space().is_of((*vma).vm_file) } {
                // `ClosedAddressSpace::zap` would not remove the page from this mapping.
                return Err(ENXIO);
            }
            // SAFETY: By the safety requirement, `vmf` is a fault in a mapping by `prepare` or
            // `set_up`.
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

    /// Called when a page without a page table is accessed, or a page of a read-only huge page is
    /// written.
    ///
    /// # Safety
    ///
    /// As for [`fault`](Self::fault).
    unsafe extern "C" fn huge_fault(
        vmf: *mut bindings::vm_fault,
        order: c_uint,
    ) -> bindings::vm_fault_t {
        if order != Fault::HUGE_ORDER {
            return bindings::vm_fault_reason_VM_FAULT_FALLBACK;
        }
        // This also inserts small pages, without a second call for them.
        // SAFETY: By the safety requirement, which is that of `fault`.
        unsafe { Self::fault(vmf) }
    }

    /// Called to insert pages without sleeping. This inserts none.
    ///
    /// Because the operation exists, the kernel calls [`fault`](Self::fault) with only the lock of
    /// the mapping held, which is sufficient, instead of retrying with the lock of the address
    /// space.
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
