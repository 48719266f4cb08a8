// SPDX-License-Identifier: GPL-2.0

//! Mappings of a [`SharedRing`]: ordinary pages, which page faults insert.
//!
//! A mapping keeps its file open, and the file its ring. The unbind of the device removes the pages
//! from these mappings, too; the next access inserts them again.
//!
//! C header: `include/linux/mm.h`

use super::{
    check,
    rdma_helper_get_vma_flags, //
};
use crate::kernel_ext::mm::shared_ring::SharedRing;
use core::marker::PhantomData;
use kernel::{
    bindings,
    page::PAGE_SHIFT,
    prelude::*, //
};

extern "C" {
    /// Sets the flags of a mapping of ordinary pages that is being created.
    fn rdma_helper_set_ring_vma_flags(desc: *mut c_void);

    /// Takes a reference to a page.
    fn rdma_helper_get_page(page: *mut c_void);
}

/// The files of a node, which can have a ring.
pub(in crate::kernel_ext) trait RingFiles {
    /// The page of a file at which its ring begins.
    const RING_PAGE: usize;

    /// Returns the ring of a file, if it has one. A file never loses its ring.
    ///
    /// # Safety
    ///
    /// `file` must be one of these files, and open during `'a`.
    unsafe fn ring<'a>(file: *mut bindings::file) -> Option<&'a SharedRing>;
}

/// Returns whether a mapping of one of the files `F` that is being created shows pages of its ring.
///
/// # Safety
///
/// `desc` must describe a mapping of one of these files that is being created.
pub(in crate::kernel_ext) unsafe fn shows_ring<F: RingFiles>(
    desc: *const bindings::vm_area_desc,
) -> bool {
    // SAFETY: By the safety requirement, `desc` is valid.
    let (first, start, end) = unsafe { ((*desc).pgoff, (*desc).start, (*desc).end) };
    let Some(first) = first.checked_sub(F::RING_PAGE) else {
        return false;
    };
    // SAFETY: By the safety requirement, `desc` is valid, and its file is one of `F` and open.
    let ring = unsafe { F::ring((*desc).file) };
    ring.is_some() && SharedRing::has_pages(first, (end - start) >> PAGE_SHIFT)
}

/// Sets flags and operations of a mapping of the ring of one of the files `F`. Such a mapping is
/// shared, never executable, does not grow, is not in core dumps, and is inherited by fork(2).
///
/// # Errors
///
/// [`EINVAL`] if it is private, [`EPERM`] if it is executable.
///
/// # Safety
///
/// As for [`shows_ring`], which must have returned true.
pub(in crate::kernel_ext) unsafe fn prepare<F: RingFiles>(
    desc: *mut bindings::vm_area_desc,
) -> Result {
    // SAFETY: By the safety requirement, `desc` is valid.
    let flags = unsafe { rdma_helper_get_vma_flags(desc.cast()) };
    check(flags)?;
    // SAFETY: By the safety requirement, `desc` is valid. `fault` returns ordinary pages.
    unsafe { rdma_helper_set_ring_vma_flags(desc.cast()) };
    // SAFETY: By the safety requirement, `desc` is valid and is not shared. The operation uses only
    // the file of the mapping.
    unsafe { (*desc).vm_ops = &RingOperations::<F>::TABLE };
    Ok(())
}

/// The operations of a mapping of the ring of one of the files `F`.
struct RingOperations<F>(PhantomData<F>);

impl<F: RingFiles> RingOperations<F> {
    const TABLE: bindings::vm_operations_struct = bindings::vm_operations_struct {
        fault: Some(Self::fault),
        ..pin_init::zeroed()
    };

    /// Called when a page without a page-table entry is accessed.
    ///
    /// # Safety
    ///
    /// `vmf` must be a fault in a mapping with these operations.
    unsafe extern "C" fn fault(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        // SAFETY: By the safety requirement, `vmf` is valid.
        let fault = unsafe { &(*vmf).__bindgen_anon_1 };
        // SAFETY: The mapping is one of a file of `F`, and keeps it open.
        let ring = unsafe { F::ring((*fault.vma).vm_file) };
        let number = fault.pgoff.checked_sub(F::RING_PAGE);
        let Some(page) = ring.zip(number).and_then(|(ring, at)| ring.page(at)) else {
            return bindings::vm_fault_reason_VM_FAULT_SIGBUS;
        };
        // SAFETY: The page is valid. The page-table entry owns this reference.
        unsafe { rdma_helper_get_page(page.as_ptr().cast()) };
        // SAFETY: By the safety requirement, `vmf` is valid.
        unsafe { (*vmf).page = page.as_ptr() };
        0
    }
}
