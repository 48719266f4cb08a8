// SPDX-License-Identifier: GPL-2.0

//! Page faults: an access to a page without an entry, or a write to a page that is mapped
//! read-only. The result depends first on the PMD entry for the range around the access that one
//! page table covers ([`Fault::HUGE`]: 2 MiB, or 32 MiB with pages of 16 KiB):
//!
//! - If it is a *huge page*, this stays. It is made writable if the fault is a write.
//! - If it is a *page table*, a window of pages is inserted; after `MADV_RANDOM`, one page.
//! - If it is empty, a huge page is inserted if the advice allows it, the range is within the
//!   bounds of the mapping, and its memory is contiguous and aligned like it. Otherwise a page table
//!   with a window of pages is inserted.
//!
//! # Why a huge page never replaces a page table, and a page table never a huge page
//!
//! The kernel would warn about both. The PMD entry is read without its lock. Its kind does not
//! change before it is used, because a fault holds the lock of the mapping for reading:
//!
//! - For an empty entry, the decision depends on bounds, advice and layout only. Bounds and advice
//!   change only with the lock held for writing (madvise, mprotect, mremap, munmap, mmap with
//!   `MAP_FIXED`); the layout never changes. Thus concurrent faults in the same range decide
//!   equally.
//! - A huge page or page table stays until the fault has been handled. Code that removes pages with
//!   the lock held for reading only skips or rejects mappings of page frames (`VM_PFNMAP`):
//!   `MADV_DONTNEED` and similar advice, userfaultfd, khugepaged, NUMA balancing, reclaim, the OOM
//!   reaper (test `vma_rules`). An unbind zaps the mappings after the gate was closed, when no
//!   fault is handled. clear_refs and fork hold the lock for writing.
//!
//! An existing entry may have been inserted under earlier advice, so the current advice does not
//! tell its kind. A huge page stays after `MADV_RANDOM`, and is read-only after clear_refs or
//! mprotect. A page table stays after the advice is reverted, after mremap, which moves it or
//! leaves it empty, and after munmap of a part. A huge page is always completely within the bounds
//! of the mapping and shows the right memory: the kernel removes it when new bounds cross it, and
//! moves it only between addresses of equal alignment (test `walk`).

use crate::kernel_ext::mm::layout::Layout;
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

/// `VM_RAND_READ`, which is set by `MADV_RANDOM`.
const RANDOM: bindings::vm_flags_t = 1 << bindings::VMA_RAND_READ_BIT;

/// Advice that prevents the insertion of huge pages: `VM_RAND_READ`, `VM_NOHUGEPAGE`.
const NO_HUGE: bindings::vm_flags_t = RANDOM | 1 << bindings::VMA_NOHUGEPAGE_BIT;

extern "C" {
    /// Returns whether there is a page table, even an empty one, for the address of a fault.
    fn rdma_helper_has_page_table(vmf: *const c_void) -> bool;

    /// Returns whether there is a huge page at the address of a fault.
    fn rdma_helper_has_huge_page(vmf: *const c_void) -> bool;

    /// Returns whether new entries of the mapping allow writes.
    fn rdma_helper_maps_writable(vmf: *const c_void) -> bool;

    /// Inserts contiguous page frames, and skips page-table entries that are not empty.
    fn rdma_helper_insert_pfns(
        vmf: *const c_void,
        address: c_ulong,
        pfn: c_ulong,
        pages: c_ulong,
    ) -> c_int;
}

/// A range of a mapping that one fault inserts. Contains numbers only.
///
/// # Invariants
///
/// The range from `start` to `end` consists of whole pages, is not empty, is within the bounds of
/// the mapping, and is covered by the page table for the address of the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    start: usize,
    end: usize,
    /// The page of the memory that `start` shows.
    page: usize,
}

impl Window {
    /// Returns the window for an access to `address` in `mapping`, which shows `page` of the
    /// memory. The window has at most `size` bytes, which must be a power of two between the page
    /// size and [`Fault::WINDOW`].
    ///
    /// Returns [`None`] if the start of the window is before the start of the memory.
    fn around(mapping: &Range<usize>, size: usize, address: usize, page: usize) -> Option<Self> {
        let begin = address & !(size - 1);
        let start = mapping.start.max(begin);
        // INVARIANT: `address` is in the mapping, and a window aligned to `size` is covered by one
        // page table, because a page table covers more than `WINDOW`.
        Some(Self {
            start,
            end: mapping.end.min(begin + size),
            page: page.checked_sub((address - start) >> PAGE_SHIFT)?,
        })
    }

    /// Returns the range of the huge page around `address`, or [`None`] if it is not completely in
    /// the mapping and in the memory.
    fn huge(mapping: &Range<usize>, address: usize, page: usize) -> Option<Self> {
        let start = address & !(Fault::HUGE - 1);
        let end = start.checked_add(Fault::HUGE)?;
        if start < mapping.start || end > mapping.end {
            return None;
        }
        // INVARIANT: The bounds were just checked. The range is what one page table covers.
        Some(Self {
            start,
            end,
            page: page.checked_sub((address - start) >> PAGE_SHIFT)?,
        })
    }

    /// Returns the number of pages.
    fn pages(&self) -> usize {
        (self.end - self.start) >> PAGE_SHIFT
    }

    /// Returns the frame of the page at offset `done` of the window, and the number of contiguous
    /// frames from it on, itself included, within the window.
    ///
    /// # Errors
    ///
    /// [`EFAULT`] if the memory has no such page.
    fn contiguous_frames(&self, layout: &Layout, done: usize) -> Result<(usize, usize)> {
        let (pfn, frames) = layout.frames(self.page + done);
        match frames.min(self.pages() - done) {
            0 => Err(EFAULT),
            pages => Ok((pfn, pages)),
        }
    }

    /// Returns the first frame if the frames of the window can be mapped by a huge page.
    fn huge_frame(&self, layout: &Layout) -> Option<usize> {
        let (pfn, frames) = layout.frames(self.page);
        (frames >= Fault::HUGE_PAGES && pfn % Fault::HUGE_PAGES == 0).then_some(pfn)
    }
}

/// The kind of a PMD entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PmdEntry {
    /// An empty entry.
    Empty,
    /// A page table, which may be empty.
    PageTable,
    /// A huge page.
    HugePage,
}

/// A page fault: an access to a page without an entry, or a write to a read-only page.
///
/// # Invariants
///
/// The pointer is that of a fault that is being handled, in a mapping with
/// [`VmaOperations`](super::VmaOperations), whose lock is held; or that of a copy of such a fault
/// with another address, whose PMD entry is in the same table, and which may be outside of the
/// mapping.
pub(in crate::kernel_ext) struct Fault<'a>(
    *mut bindings::vm_fault,
    PhantomData<&'a bindings::vm_fault>,
);

impl<'a> Fault<'a> {
    /// The size of a huge page, which is also the range that a page table covers, in bytes. (Not
    /// every architecture has `HPAGE_PMD_SIZE` in its bindings.)
    pub(in crate::kernel_ext) const HUGE: usize =
        PAGE_SIZE * (PAGE_SIZE / size_of::<bindings::pte_t>());

    const HUGE_PAGES: usize = Self::HUGE >> PAGE_SHIFT;

    /// The order of a huge page.
    pub(in crate::kernel_ext) const HUGE_ORDER: c_uint = Self::HUGE_PAGES.ilog2();

    /// The range that a table of PMD entries covers, in bytes.
    const PMD_TABLE: usize = Self::HUGE * (PAGE_SIZE / size_of::<bindings::pmd_t>());

    /// The largest size of a window, in bytes. It is less than what a page table covers, so that
    /// sparse accesses stay cheap; a larger window hardly makes sequential accesses cheaper.
    pub(in crate::kernel_ext) const WINDOW: usize = 1 << 20;

    /// Creates a fault from a pointer.
    ///
    /// # Safety
    ///
    /// For `'a`, `vmf` must be a fault that is being handled in a mapping by
    /// [`prepare`](super::prepare) or `set_up`.
    pub(in crate::kernel_ext) unsafe fn new(vmf: *mut bindings::vm_fault) -> Self {
        // INVARIANT: By the safety requirement, the fault is being handled in such a mapping.
        Self(vmf, PhantomData)
    }

    fn address(&self) -> usize {
        // SAFETY: By the type invariant, the pointer is valid.
        unsafe { (*self.0).__bindgen_anon_1.address }
    }

    /// Returns the page of the file.
    pub(in crate::kernel_ext) fn page(&self) -> usize {
        // SAFETY: By the type invariant, the pointer is valid.
        unsafe { (*self.0).__bindgen_anon_1.pgoff }
    }

    fn vma(&self) -> &VmaRef {
        // SAFETY: By the type invariant, the mapping is valid, and its lock is held.
        unsafe { VmaRef::from_raw((*self.0).__bindgen_anon_1.vma) }
    }

    /// Returns the bounds of the mapping.
    fn mapping(&self) -> Range<usize> {
        self.vma().start()..self.vma().end()
    }

    /// Returns the kind of the PMD entry for the address.
    fn pmd_entry(&self) -> PmdEntry {
        // SAFETY: By the type invariant, the pointer is valid.
        if unsafe { rdma_helper_has_page_table(self.0.cast()) } {
            return PmdEntry::PageTable;
        }
        // SAFETY: As above.
        if unsafe { rdma_helper_has_huge_page(self.0.cast()) } {
            PmdEntry::HugePage
        } else {
            PmdEntry::Empty
        }
    }

    /// Maps the accessed page and pages around it, and returns the number of mapped pages. `page`
    /// is the accessed page of the memory.
    pub(in crate::kernel_ext) fn load(&self, layout: &Layout, page: usize) -> Result<usize> {
        let flags = self.vma().flags();
        match self.pmd_entry() {
            PmdEntry::HugePage => {
                let pfn = self.huge_frame(layout, page).ok_or(EFAULT)?;
                return self.insert_huge(pfn).map(|()| Self::HUGE_PAGES);
            }
            PmdEntry::Empty if flags & NO_HUGE == 0 => {
                if let Some(pfn) = self.huge_frame(layout, page) {
                    self.insert_huge(pfn)?;
                    return Ok(Self::HUGE_PAGES + self.load_neighbour_of_pair(layout, page));
                }
            }
            PmdEntry::Empty | PmdEntry::PageTable => {}
        }
        // After MADV_RANDOM, accesses to the pages around this one are not expected.
        let size = if flags & RANDOM != 0 {
            PAGE_SIZE
        } else {
            Self::WINDOW
        };
        let window = Window::around(&self.mapping(), size, self.address(), page).ok_or(EFAULT)?;
        self.insert(layout, &window)
    }

    /// Maps the pages of a window.
    fn insert(&self, layout: &Layout, window: &Window) -> Result<usize> {
        let mut done = 0;
        while done < window.pages() {
            let (pfn, pages) = window.contiguous_frames(layout, done)?;
            let address = window.start + (done << PAGE_SHIFT);
            // SAFETY: By the type invariant, the mapping is `VM_PFNMAP`, as set by `prepare` or
            // `set_up`, and its lock is held; by that of `Window`, the range is in the mapping and
            // covered by the page table for the fault. There is no huge page: see the head of this
            // file.
            to_result(unsafe { rdma_helper_insert_pfns(self.0.cast(), address, pfn, pages) })?;
            done += pages;
        }
        Ok(done)
    }

    /// Maps the other huge page of the aligned pair that contains `page`, if its PMD entry is
    /// empty, and returns its number of pages, or 0. An error is ignored, because a later fault
    /// maps this huge page.
    fn load_neighbour_of_pair(&self, layout: &Layout, page: usize) -> usize {
        let even = page / Self::HUGE_PAGES % 2 == 0;
        let other = if even {
            Some(page + Self::HUGE_PAGES)
        } else {
            page.checked_sub(Self::HUGE_PAGES)
        };
        let (Some(page), Some(mut vmf)) = (other, self.neighbour(even)) else {
            return 0;
        };
        // INVARIANT: `neighbour` has returned a copy whose PMD entry is in the same table.
        let other = Fault(&mut vmf, PhantomData);
        let Some(pfn) = other.huge_frame(layout, page) else {
            return 0;
        };
        match other.pmd_entry() {
            PmdEntry::Empty if other.insert_huge(pfn).is_ok() => Self::HUGE_PAGES,
            _ => 0,
        }
    }

    /// Returns a copy of this fault, for a read of the next or previous huge page, or [`None`] if
    /// its PMD entry is in another table.
    fn neighbour(&self, after: bool) -> Option<bindings::vm_fault> {
        let here = self.address();
        let address = if after {
            here.checked_add(Self::HUGE)?
        } else {
            here.checked_sub(Self::HUGE)?
        };
        if here / Self::PMD_TABLE != address / Self::PMD_TABLE {
            return None;
        }
        // SAFETY: By the type invariant, the pointer is valid; `vm_fault` can be copied.
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

    /// Returns the first frame of the huge page around the address, if this can be mapped. It
    /// contains `page`.
    fn huge_frame(&self, layout: &Layout, page: usize) -> Option<usize> {
        // Huge pages of page frames need more than support for transparent huge pages; vfio and DRM
        // make the same check.
        if !cfg!(CONFIG_ARCH_SUPPORTS_PMD_PFNMAP) {
            return None;
        }
        Window::huge(&self.mapping(), self.address(), page)?.huge_frame(layout)
    }

    /// Maps the huge page around the address, or makes it writable. `pfn` must be the result of
    /// [`huge_frame`](Self::huge_frame).
    fn insert_huge(&self, pfn: usize) -> Result {
        // SAFETY: By the type invariant, the pointer is valid.
        let write = unsafe { (*self.0).flags } & bindings::fault_flag_FAULT_FLAG_WRITE != 0
            // SAFETY: As above.
            || unsafe { rdma_helper_maps_writable(self.0.cast()) };
        // SAFETY: By the type invariant, the mapping is `VM_PFNMAP` and shared, as set by
        // `prepare` or `set_up`, and its lock is held; `huge_frame` has checked that the huge page
        // is completely in the mapping. The PMD entry is empty or this huge page, and stays so: see
        // the head of this file.
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

    /// Returns a mapping of `pages` pages that starts `first` pages after `BASE`.
    fn mapping(first: usize, pages: usize) -> Range<usize> {
        let start = BASE + (first << PAGE_SHIFT);
        start..start + (pages << PAGE_SHIFT)
    }

    /// Iterates over a window like `load`, and returns the frames of all its pages.
    fn frames(window: &Window, layout: &Layout) -> Result<KVec<usize>> {
        let mut all = KVec::new();
        while all.len() < window.pages() {
            let (pfn, pages) = window.contiguous_frames(layout, all.len())?;
            for frame in pfn..pfn + pages {
                all.push(frame, GFP_KERNEL)?;
            }
        }
        Ok(all)
    }

    #[test]
    fn window_is_in_the_mapping_and_covered_by_one_page_table() {
        for (first, pages) in [(0, 1), (1, 1), (255, 2), (3, 700), (511, 2), (0, 1024)] {
            let mapping = mapping(first, pages);
            for accessed in 0..pages {
                let address = mapping.start + (accessed << PAGE_SHIFT) + 123;
                let window = Window::around(&mapping, Fault::WINDOW, address, accessed);
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
        for accessed in [0, 1, 508, 509, 699] {
            let address = mapping.start + (accessed << PAGE_SHIFT);
            let window = Window::around(&mapping, PAGE_SIZE, address + 123, accessed);
            assert_eq!(
                window,
                Some(Window {
                    start: address,
                    end: address + PAGE_SIZE,
                    page: accessed,
                })
            );
        }
    }

    #[test]
    fn window_of_a_part_of_the_memory() {
        // The mapping shows the memory from page 7 on.
        let mapping = mapping(10, 20);
        let window = Window::around(
            &mapping,
            Fault::WINDOW,
            mapping.start + (4 << PAGE_SHIFT),
            11,
        );
        assert!(window.is_some_and(|window| window.page == 7 && window.pages() == 20));
        // The accessed page is before the first page that the mapping shows.
        let wrong = Window::around(
            &mapping,
            Fault::WINDOW,
            mapping.start + (4 << PAGE_SHIFT),
            3,
        );
        assert!(wrong.is_none());
    }

    #[test]
    fn huge_page_is_completely_in_the_mapping() {
        let huge = Fault::HUGE_PAGES;
        // The mapping, the accessed page, and the first page of the huge page.
        for (first, pages, accessed, expected) in [
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
            let address = mapping.start + (accessed << PAGE_SHIFT);
            let window = Window::huge(&mapping, address, accessed);
            assert_eq!(window.map(|window| window.page), expected);
            assert!(window.is_none_or(|window| window.pages() == huge));
        }
    }

    #[test]
    fn huge_page_needs_contiguous_and_aligned_memory() -> Result {
        let huge = Fault::HUGE_PAGES;
        let mapping = mapping(0, 2 * huge);
        let window = Window::huge(&mapping, mapping.start, 0).ok_or(EINVAL)?;
        for (extents, expected) in [
            (&[(huge, huge)][..], Some(huge)),
            (&[(huge + 1, 2 * huge)], None),
            (&[(huge, huge - 1), (9 * huge, huge)], None),
            (&[(3 * huge, 1), (3 * huge + 1, huge - 1)], Some(3 * huge)),
        ] {
            let layout = Layout::from_frames(extents)?;
            assert_eq!(window.huge_frame(&layout), expected);
        }
        Ok(())
    }

    #[test]
    fn frames_across_extents() -> Result {
        let layout = Layout::from_frames(&[(1000, 3), (5000, 1), (400, 250), (9000, 100)])?;
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
        let layout = Layout::from_frames(&[(1000, 3)])?;
        // The mapping has four pages, the memory three.
        let mapping = mapping(0, 4);
        let window = Window::around(&mapping, Fault::WINDOW, mapping.start, 0).ok_or(EINVAL)?;
        assert_eq!(window.contiguous_frames(&layout, 0), Ok((1000, 3)));
        assert_eq!(window.contiguous_frames(&layout, 3), Err(EFAULT));
        assert!(frames(&window, &layout).is_err());
        Ok(())
    }
}
