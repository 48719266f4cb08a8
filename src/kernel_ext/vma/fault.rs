// SPDX-License-Identifier: GPL-2.0

//! What is put in when a page is touched that is not there:
//!
//! - a *huge page*, where 2 MiB of the address space, all of it in the mapping, show 2 MiB of
//!   memory that follows without a gap and is aligned alike, and no page table is there yet;
//! - a window of *pages* otherwise, for which a page table is made.
//!
//! The first depends on nothing but the bounds of the mapping and on where its memory is, which
//! stay the same while its lock is held, as it is by whoever handles a fault. So, of all who handle
//! faults in the same 2 MiB at one time, either all find a huge page in order or none does. A page
//! table comes into such a place without a fault of ours only by mremap(2), and a huge page leaves
//! it when the bounds change, both of which take the lock for writing. So nobody makes a page table
//! where somebody just puts in a huge page, nor the other way round, at both of which the kernel
//! would warn.

use super::super::coherent::Layout;
use core::marker::PhantomData;
use kernel::{
    bindings,
    error::to_result,
    mm::virt::VmaRef,
    page::PAGE_SHIFT,
    prelude::*, //
};

extern "C" {
    /// Whether there is a page table, even an empty one, for the address of a fault.
    fn rdma_helper_has_page_table(vmf: *const c_void) -> bool;

    /// Puts in page frames that follow each other, except where there is an entry already.
    fn rdma_helper_fill(vma: *mut c_void, address: c_ulong, pfn: c_ulong, pages: c_ulong) -> c_int;
}

/// A page of a mapping that was touched and is not there.
///
/// # Invariants
///
/// The pointer is that of a fault that is being handled, in a mapping with [`Operations`]; or of a
/// copy, with another address for which the entry is in the same table of huge pages, and which need
/// not be in the mapping.
pub(super) struct Fault<'a>(*mut bindings::vm_fault, PhantomData<&'a bindings::vm_fault>);

impl<'a> Fault<'a> {
    /// Bytes of a huge page, and of what a page table is for.
    pub(super) const HUGE: usize = bindings::HPAGE_PMD_SIZE as usize;

    const HUGE_PAGES: usize = Self::HUGE >> PAGE_SHIFT;

    /// Bytes that are put in together. Less than a page table's worth, so that a touch here and
    /// there stays cheap; more makes a whole buffer hardly any cheaper.
    pub(super) const WINDOW: usize = 1 << 20;

    /// A fault that is being handled.
    ///
    /// # Safety
    ///
    /// `vmf` must be one in a mapping made by [`prepare`](super::prepare), for as long as `'a`.
    pub(super) unsafe fn new(vmf: *mut bindings::vm_fault) -> Self {
        // INVARIANT: by the requirement.
        Self(vmf, PhantomData)
    }

    fn address(&self) -> usize {
        // SAFETY: By the type invariant.
        unsafe { (*self.0).__bindgen_anon_1.address }
    }

    /// The page, counted from the start of the file.
    pub(super) fn page(&self) -> usize {
        // SAFETY: By the type invariant.
        unsafe { (*self.0).__bindgen_anon_1.pgoff }
    }

    fn vma(&self) -> &VmaRef {
        // SAFETY: By the type invariant the mapping is there, and its lock is held.
        unsafe { VmaRef::from_raw((*self.0).__bindgen_anon_1.vma) }
    }

    /// Puts in the page that was touched, and those around it, and returns how many there are now.
    /// `page` is its number in the memory.
    pub(super) fn load(&self, layout: &Layout, page: usize) -> Result<usize> {
        match self.load_huge(layout, page)? {
            0 => {}
            pages => return Ok(pages),
        }
        let begin = self.address() & !(Self::WINDOW - 1);
        let end = self.vma().end().min(begin + Self::WINDOW);
        let start = self.vma().start().max(begin);
        let mut address = start;
        let mut page = page
            .checked_sub((self.address() - address) >> PAGE_SHIFT)
            .ok_or(EFAULT)?;
        while address < end {
            let (pfn, run) = layout.frames(page);
            let pages = run.min((end - address) >> PAGE_SHIFT);
            if pages == 0 {
                return Err(EFAULT);
            }
            // SAFETY: By the type invariant the mapping is `VM_PFNMAP`, as `prepare` made it, and
            // its lock is held; the range is in it and below one page table. No huge page is
            // there: see the head of this file.
            to_result(unsafe {
                rdma_helper_fill(self.vma().as_ptr().cast(), address, pfn, pages)
            })?;
            address += pages << PAGE_SHIFT;
            page += pages;
        }
        Ok((end - start) >> PAGE_SHIFT)
    }

    /// Puts in the huge page that was touched, if that is in order, and the other one of the same
    /// pair. Returns how many pages that is.
    fn load_huge(&self, layout: &Layout, page: usize) -> Result<usize> {
        if !self.insert_huge(layout, page)? {
            return Ok(0);
        }
        let mut loaded = Self::HUGE_PAGES;
        let even = page / Self::HUGE_PAGES % 2 == 0;
        let other = if even {
            Some(page + Self::HUGE_PAGES)
        } else {
            page.checked_sub(Self::HUGE_PAGES)
        };
        if let (Some(page), Some(mut vmf)) = (other, self.beside(even)) {
            // INVARIANT: by `beside`.
            let other = Fault(&mut vmf, PhantomData);
            // Nobody has touched it: what does not work can wait.
            if other.insert_huge(layout, page) == Ok(true) {
                loaded += Self::HUGE_PAGES;
            }
        }
        Ok(loaded)
    }

    /// A fault for reading of the huge page after this one, or before it.
    fn beside(&self, after: bool) -> Option<bindings::vm_fault> {
        let here = self.address();
        let address = if after {
            here.checked_add(Self::HUGE)?
        } else {
            here.checked_sub(Self::HUGE)?
        };
        if here >> bindings::PUD_SHIFT != address >> bindings::PUD_SHIFT {
            return None;
        }
        // SAFETY: By the type invariant; it is a value like any other.
        let mut vmf = unsafe { self.0.read() };
        vmf.__bindgen_anon_1.address = address;
        vmf.pmd = if after {
            vmf.pmd.wrapping_add(1)
        } else {
            vmf.pmd.wrapping_sub(1)
        };
        vmf.flags &= !bindings::fault_flag_FAULT_FLAG_WRITE;
        Some(vmf)
    }

    /// Puts in one huge page, if that is in order. `page` is in it.
    fn insert_huge(&self, layout: &Layout, page: usize) -> Result<bool> {
        let begin = self.address() & !(Self::HUGE - 1);
        if begin < self.vma().start() || begin + Self::HUGE > self.vma().end() {
            return Ok(false);
        }
        let first = page
            .checked_sub((self.address() - begin) >> PAGE_SHIFT)
            .ok_or(EFAULT)?;
        let (pfn, run) = layout.frames(first);
        if run < Self::HUGE_PAGES || pfn % Self::HUGE_PAGES != 0 {
            return Ok(false);
        }
        // SAFETY: By the type invariant.
        if unsafe { rdma_helper_has_page_table(self.0.cast()) } {
            return Ok(false);
        }
        // SAFETY: By the type invariant.
        let write = unsafe { (*self.0).flags } & bindings::fault_flag_FAULT_FLAG_WRITE != 0;
        // SAFETY: By the type invariant the mapping is `VM_PFNMAP`, and shared, as `prepare` made
        // it, and its lock is held; all of the huge page is in it. No page table comes there
        // meanwhile, and nothing but this very page: see the head of this file.
        match unsafe { bindings::vmf_insert_pfn_pmd(self.0, pfn, write) } {
            bindings::vm_fault_reason_VM_FAULT_NOPAGE => Ok(true),
            bindings::vm_fault_reason_VM_FAULT_OOM => Err(ENOMEM),
            _ => Err(EFAULT),
        }
    }
}
