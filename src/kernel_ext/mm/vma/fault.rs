// SPDX-License-Identifier: GPL-2.0

//! What is mapped when a page is touched that is not there, or that is written and is mapped for
//! reading. What the 2 MiB around it have already, in their entry of the table above page tables
//! (PMD), decides first:
//!
//! - a *huge page* stays, and is made writable if that is what the fault is about;
//! - a *page table* gets a window of pages; of one page after `MADV_RANDOM`;
//! - where there is nothing, a huge page comes in if no advice says otherwise and all 2 MiB are in
//!   the mapping and show memory that follows without a gap and is aligned alike; otherwise a page
//!   table with a window of pages.
//!
//! # Why a huge page is never replaced by a page table, nor the other way round
//!
//! The kernel would warn at both. The entry is read without its lock; it does not change into
//! something else before it is used, for a fault holds the lock of the mapping for reading:
//!
//! - Where there is nothing, bounds, advice and memory decide. Bounds and advice change only with
//!   the lock held for writing (madvise, mprotect, mremap, munmap, mmap over it), memory never. So
//!   all who handle faults in the same 2 MiB at one time decide alike.
//! - A huge page or a page table stays while a fault is handled. What removes pages with the lock
//!   held for reading only passes over mappings of page frames (`VM_PFNMAP`), or refuses them:
//!   `MADV_DONTNEED` and the like, userfaultfd, khugepaged, NUMA balancing, reclaim, the OOM reaper
//!   (test `vma_rules`). An unbind empties the mappings when the guard is closed, so that no fault
//!   is handled. clear_refs and fork hold the lock for writing.
//!
//! What is there may be from another time, when the advice was another one, and nothing is
//! concluded from the advice of today: a huge page stays after `MADV_RANDOM`, and is read-only after
//! clear_refs or mprotect; a page table stays after the advice is taken back, after mremap, which
//! moves it or leaves it empty, and after munmap of a part. A huge page is always in the mapping as
//! a whole, and shows what it should: the kernel removes it where bounds come to be inside it, and
//! moves it only between addresses that are aligned alike (test `walk`).

use crate::kernel_ext::mm::coherent::Layout;
use core::{
    marker::PhantomData,
    ops::Range, //
};
use kernel::{
    bindings,
    error::to_result,
    mm::virt::VmaRef,
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*, //
};

/// `VM_RAND_READ`
const RANDOM: bindings::vm_flags_t = 1 << bindings::VMA_RAND_READ_BIT;

/// Advice after which no huge page comes in: `VM_RAND_READ`, `VM_NOHUGEPAGE`.
const NO_HUGE: bindings::vm_flags_t = RANDOM | 1 << bindings::VMA_NOHUGEPAGE_BIT;

extern "C" {
    /// Whether there is a page table, even an empty one, for the address of a fault.
    fn rdma_helper_has_page_table(vmf: *const c_void) -> bool;

    /// Whether there is a huge page at the address of a fault.
    fn rdma_helper_has_huge_page(vmf: *const c_void) -> bool;

    /// Puts in page frames that follow each other, except where there is an entry already.
    fn rdma_helper_fill(
        vmf: *const c_void,
        address: c_ulong,
        pfn: c_ulong,
        pages: c_ulong,
    ) -> c_int;
}

/// A part of a mapping that is put in together. Numbers only.
///
/// # Invariants
///
/// From `start` to `end` is all in the mapping, whole pages and not empty, and below the page table
/// of the address that it is around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    start: usize,
    end: usize,
    /// The page of the memory that it begins with.
    page: usize,
}

impl Window {
    /// What is put in where this page of the memory is touched, at `address` in `mapping`: `size`
    /// bytes at most, a power of 2 of at least a page and at most [`Fault::WINDOW`].
    ///
    /// [`None`] if the memory begins later than that.
    fn around(mapping: &Range<usize>, size: usize, address: usize, page: usize) -> Option<Self> {
        let begin = address & !(size - 1);
        let start = mapping.start.max(begin);
        // INVARIANT: `address` is in the mapping, and a page table is for more than `WINDOW`.
        Some(Self {
            start,
            end: mapping.end.min(begin + size),
            page: page.checked_sub((address - start) >> PAGE_SHIFT)?,
        })
    }

    /// The huge page around `address`; [`None`] if not all of it is in the mapping or in memory.
    fn huge(mapping: &Range<usize>, address: usize, page: usize) -> Option<Self> {
        let start = address & !(Fault::HUGE - 1);
        let end = start.checked_add(Fault::HUGE)?;
        if start < mapping.start || end > mapping.end {
            return None;
        }
        // INVARIANT: just checked; it is what a page table is for.
        Some(Self {
            start,
            end,
            page: page.checked_sub((address - start) >> PAGE_SHIFT)?,
        })
    }

    /// Pages.
    fn pages(&self) -> usize {
        (self.end - self.start) >> PAGE_SHIFT
    }

    /// The frame that the page after `done` pages of the window has, and how many follow it without
    /// a gap, itself included, none of them beyond the window.
    ///
    /// # Errors
    ///
    /// [`EFAULT`] if the memory has no such page.
    fn run(&self, layout: &Layout, done: usize) -> Result<(usize, usize)> {
        let (pfn, run) = layout.frames(self.page + done);
        match run.min(self.pages() - done) {
            0 => Err(EFAULT),
            pages => Ok((pfn, pages)),
        }
    }

    /// The first of the frames that make it a huge page, if they do.
    fn huge_frame(&self, layout: &Layout) -> Option<usize> {
        let (pfn, run) = layout.frames(self.page);
        (run >= Fault::HUGE_PAGES && pfn % Fault::HUGE_PAGES == 0).then_some(pfn)
    }
}

/// What the 2 MiB around a page have in their entry above page tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Present {
    /// Nothing.
    Nothing,
    /// A page table, which may be empty.
    PageTable,
    /// A huge page.
    HugePage,
}

/// A page of a mapping that was touched and is not there, or cannot be written.
///
/// # Invariants
///
/// The pointer is that of a fault that is being handled, in a mapping with [`Operations`]; or of a
/// copy, with another address for which the entry is in the same table of huge pages, and which need
/// not be in the mapping.
pub(in crate::kernel_ext) struct Fault<'a>(
    *mut bindings::vm_fault,
    PhantomData<&'a bindings::vm_fault>,
);

impl<'a> Fault<'a> {
    /// Bytes of a huge page, and of what a page table is for.
    pub(in crate::kernel_ext) const HUGE: usize = bindings::HPAGE_PMD_SIZE as usize;

    const HUGE_PAGES: usize = Self::HUGE >> PAGE_SHIFT;

    /// Bytes that are put in together. Less than a page table's worth, so that a touch here and
    /// there stays cheap; more makes a whole buffer hardly any cheaper.
    pub(in crate::kernel_ext) const WINDOW: usize = 1 << 20;

    /// A fault that is being handled.
    ///
    /// # Safety
    ///
    /// `vmf` must be one in a mapping made by [`prepare`](super::prepare), for as long as `'a`.
    pub(in crate::kernel_ext) unsafe fn new(vmf: *mut bindings::vm_fault) -> Self {
        // INVARIANT: by the requirement.
        Self(vmf, PhantomData)
    }

    fn address(&self) -> usize {
        // SAFETY: By the type invariant.
        unsafe { (*self.0).__bindgen_anon_1.address }
    }

    /// The page, counted from the start of the file.
    pub(in crate::kernel_ext) fn page(&self) -> usize {
        // SAFETY: By the type invariant.
        unsafe { (*self.0).__bindgen_anon_1.pgoff }
    }

    fn vma(&self) -> &VmaRef {
        // SAFETY: By the type invariant the mapping is there, and its lock is held.
        unsafe { VmaRef::from_raw((*self.0).__bindgen_anon_1.vma) }
    }

    /// The bounds of the mapping.
    fn mapping(&self) -> Range<usize> {
        self.vma().start()..self.vma().end()
    }

    /// What there is for the 2 MiB around the address.
    fn present(&self) -> Present {
        // SAFETY: By the type invariant.
        if unsafe { rdma_helper_has_page_table(self.0.cast()) } {
            return Present::PageTable;
        }
        // SAFETY: As above.
        if unsafe { rdma_helper_has_huge_page(self.0.cast()) } {
            Present::HugePage
        } else {
            Present::Nothing
        }
    }

    /// Maps the page that was touched, and those around it, and returns how many there are now.
    /// `page` is its number in the memory.
    pub(in crate::kernel_ext) fn load(&self, layout: &Layout, page: usize) -> Result<usize> {
        let flags = self.vma().flags();
        match self.present() {
            Present::HugePage => {
                let pfn = self.huge_frame(layout, page).ok_or(EFAULT)?;
                return self.insert_huge(pfn).map(|()| Self::HUGE_PAGES);
            }
            Present::Nothing if flags & NO_HUGE == 0 => {
                if let Some(pfn) = self.huge_frame(layout, page) {
                    self.insert_huge(pfn)?;
                    return Ok(Self::HUGE_PAGES + self.load_other_of_pair(layout, page));
                }
            }
            Present::Nothing | Present::PageTable => {}
        }
        // MADV_RANDOM: what is around it will not be touched.
        let size = if flags & RANDOM != 0 {
            PAGE_SIZE
        } else {
            Self::WINDOW
        };
        let window = Window::around(&self.mapping(), size, self.address(), page).ok_or(EFAULT)?;
        self.fill(layout, &window)
    }

    /// Maps a window of pages.
    fn fill(&self, layout: &Layout, window: &Window) -> Result<usize> {
        let mut done = 0;
        while done < window.pages() {
            let (pfn, pages) = window.run(layout, done)?;
            let address = window.start + (done << PAGE_SHIFT);
            // SAFETY: By the type invariant the mapping is `VM_PFNMAP`, as `prepare` made it, and
            // its lock is held; by that of `Window` the range is in it and below one page table,
            // which is that of the fault. No huge page is there: see the head of this file.
            to_result(unsafe { rdma_helper_fill(self.0.cast(), address, pfn, pages) })?;
            done += pages;
        }
        Ok(done)
    }

    /// Maps the other one of the pair of huge pages that `page` is in, if there is nothing yet, and
    /// returns how many pages that is. It was not touched: if it cannot be mapped now, a later fault maps it.
    fn load_other_of_pair(&self, layout: &Layout, page: usize) -> usize {
        let even = page / Self::HUGE_PAGES % 2 == 0;
        let other = if even {
            Some(page + Self::HUGE_PAGES)
        } else {
            page.checked_sub(Self::HUGE_PAGES)
        };
        let (Some(page), Some(mut vmf)) = (other, self.beside(even)) else {
            return 0;
        };
        // INVARIANT: by `beside`.
        let other = Fault(&mut vmf, PhantomData);
        let Some(pfn) = other.huge_frame(layout, page) else {
            return 0;
        };
        match other.present() {
            Present::Nothing if other.insert_huge(pfn).is_ok() => Self::HUGE_PAGES,
            _ => 0,
        }
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

    /// The frame that a huge page around the address begins with, if there can be one. `page` is in
    /// it.
    fn huge_frame(&self, layout: &Layout, page: usize) -> Option<usize> {
        // As for vfio and DRM: that huge pages are there for anonymous memory is not enough.
        if !cfg!(CONFIG_ARCH_SUPPORTS_PMD_PFNMAP) {
            return None;
        }
        Window::huge(&self.mapping(), self.address(), page)?.huge_frame(layout)
    }

    /// Maps the huge page around the address, or makes it writable. `pfn` is from
    /// [`huge_frame`](Self::huge_frame).
    fn insert_huge(&self, pfn: usize) -> Result {
        // SAFETY: By the type invariant.
        let write = unsafe { (*self.0).flags } & bindings::fault_flag_FAULT_FLAG_WRITE != 0;
        // SAFETY: By the type invariant the mapping is `VM_PFNMAP`, and shared, as `prepare` made
        // it, and its lock is held; all of the huge page is in it. No page table is or comes there,
        // and nothing but this very page: see the head of this file.
        match unsafe { bindings::vmf_insert_pfn_pmd(self.0, pfn, write) } {
            bindings::vm_fault_reason_VM_FAULT_NOPAGE => Ok(()),
            bindings::vm_fault_reason_VM_FAULT_OOM => Err(ENOMEM),
            _ => Err(EFAULT),
        }
    }
}

#[kunit_tests(rdma_fault)]
mod tests {
    use super::*;

    const BASE: usize = 0x7f00_0000_0000;
    const WINDOW_PAGES: usize = Fault::WINDOW >> PAGE_SHIFT;

    /// A mapping of so many pages that begins so many pages after `BASE`.
    fn mapping(first: usize, pages: usize) -> Range<usize> {
        let start = BASE + (first << PAGE_SHIFT);
        start..start + (pages << PAGE_SHIFT)
    }

    /// Goes through a window as `load` does, and returns the frames of all its pages.
    fn frames(window: &Window, layout: &Layout) -> Result<KVec<usize>> {
        let mut all = KVec::new();
        while all.len() < window.pages() {
            let (pfn, pages) = window.run(layout, all.len())?;
            for frame in pfn..pfn + pages {
                all.push(frame, GFP_KERNEL)?;
            }
        }
        Ok(all)
    }

    #[test]
    fn window_is_in_the_mapping_and_below_one_page_table() {
        for (first, pages) in [(0, 1), (1, 1), (255, 2), (3, 700), (511, 2), (0, 1024)] {
            let mapping = mapping(first, pages);
            for touched in 0..pages {
                let address = mapping.start + (touched << PAGE_SHIFT) + 123;
                let window = Window::around(&mapping, Fault::WINDOW, address, touched);
                assert!(window.is_some_and(|window| {
                    mapping.start <= window.start
                        && window.start <= address
                        && address < window.end
                        && window.end <= mapping.end
                        && window.pages() <= WINDOW_PAGES
                        && window.start / Fault::HUGE == (window.end - 1) / Fault::HUGE
                        && window.start % PAGE_SIZE == 0
                        && window.page == (window.start - mapping.start) >> PAGE_SHIFT
                }));
            }
        }
    }

    #[test]
    fn window_of_one_page() {
        let mapping = mapping(3, 700);
        for touched in [0, 1, 508, 509, 699] {
            let address = mapping.start + (touched << PAGE_SHIFT);
            let window = Window::around(&mapping, PAGE_SIZE, address + 123, touched);
            assert_eq!(
                window,
                Some(Window {
                    start: address,
                    end: address + PAGE_SIZE,
                    page: touched,
                })
            );
        }
    }

    #[test]
    fn window_of_a_part_of_the_memory() {
        // A mapping that shows the memory from page 7 on.
        let mapping = mapping(10, 20);
        let window = Window::around(
            &mapping,
            Fault::WINDOW,
            mapping.start + (4 << PAGE_SHIFT),
            11,
        );
        assert!(window.is_some_and(|window| window.page == 7 && window.pages() == 20));
        // What says that the touched page is before where the mapping begins in memory.
        let wrong = Window::around(
            &mapping,
            Fault::WINDOW,
            mapping.start + (4 << PAGE_SHIFT),
            3,
        );
        assert!(wrong.is_none());
    }

    #[test]
    fn huge_page_is_all_in_the_mapping() {
        let huge = Fault::HUGE_PAGES;
        // The mapping, the page that is touched, and the page that the huge one would begin with.
        for (first, pages, touched, expected) in [
            (0, huge, 0, Some(0)),
            (0, huge, huge - 1, Some(0)),
            (0, huge - 1, 0, None),
            (1, huge, 0, None),
            (1, huge, huge - 1, None),
            (1, 2 * huge, huge, Some(huge - 1)),
            (1, 2 * huge - 2, huge, None),
            (0, 3 * huge, 2 * huge + 9, Some(2 * huge)),
        ] {
            let mapping = mapping(first, pages);
            let address = mapping.start + (touched << PAGE_SHIFT);
            let window = Window::huge(&mapping, address, touched);
            assert_eq!(window.map(|window| window.page), expected);
            assert!(window.is_none_or(|window| window.pages() == huge));
        }
    }

    #[test]
    fn huge_page_wants_memory_without_a_gap_and_aligned() -> Result {
        let huge = Fault::HUGE_PAGES;
        let mapping = mapping(0, 2 * huge);
        let window = Window::huge(&mapping, mapping.start, 0).ok_or(EINVAL)?;
        for (runs, expected) in [
            (&[(huge, huge)][..], Some(huge)),
            (&[(huge + 1, 2 * huge)], None),
            (&[(huge, huge - 1), (9 * huge, huge)], None),
            (&[(3 * huge, 1), (3 * huge + 1, huge - 1)], Some(3 * huge)),
        ] {
            let layout = Layout::of_frames(runs)?;
            assert_eq!(window.huge_frame(&layout), expected);
        }
        Ok(())
    }

    #[test]
    fn frames_over_the_seams_of_the_memory() -> Result {
        let layout = Layout::of_frames(&[(1000, 3), (5000, 1), (400, 250), (9000, 100)])?;
        let mapping = mapping(0, 354);
        let window = Window::around(&mapping, Fault::WINDOW, mapping.start, 0).ok_or(EINVAL)?;
        let first = frames(&window, &layout)?;
        assert_eq!(first.len(), WINDOW_PAGES);
        assert_eq!(&first[..5], &[1000, 1001, 1002, 5000, 400]);
        assert_eq!(&first[253..], &[649, 9000, 9001]);
        let last = mapping.end - PAGE_SIZE;
        let window = Window::around(&mapping, Fault::WINDOW, last, 353).ok_or(EINVAL)?;
        let rest = frames(&window, &layout)?;
        assert_eq!(rest.len(), 354 - WINDOW_PAGES);
        assert_eq!(rest.last().copied(), Some(9099));
        Ok(())
    }

    #[test]
    fn no_frame_beyond_the_memory() -> Result {
        let layout = Layout::of_frames(&[(1000, 3)])?;
        // A mapping of four pages, of which the memory has three.
        let mapping = mapping(0, 4);
        let window = Window::around(&mapping, Fault::WINDOW, mapping.start, 0).ok_or(EINVAL)?;
        assert_eq!(window.run(&layout, 0), Ok((1000, 3)));
        assert_eq!(window.run(&layout, 3), Err(EFAULT));
        assert!(frames(&window, &layout).is_err());
        Ok(())
    }
}
