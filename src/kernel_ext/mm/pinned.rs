// SPDX-License-Identifier: GPL-2.0

//! Pages of a program that are pinned, so that a device can access them.
//!
//! The program can unmap the pages, fork or exit: the kernel does not use them for anything else
//! before they are unpinned.
//!
//! Kernel document: `Documentation/core-api/pin_user_pages.rst`, "CASE 2: RDMA"
//!
//! C header: `include/linux/mm.h`

use crate::kernel_ext::{
    gfp::{
        GFP_ACCOUNT_MAYFAIL,
        RAW_GFP_ACCOUNT_MAYFAIL, //
    },
    mm::{
        dma_table::{
            self,
            Bytes,
            DmaTable, //
        },
        extents::Extents,
        layout::Layout, //
    }, //
};
use core::marker::PhantomData;
use kernel::{
    bindings,
    device::{
        Bound,
        Device, //
    },
    mm::Mm,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        }, //
    }, //
};

extern "C" {
    /// Returns how many of the first `count` pages, at least 1, are a contiguous part of the same
    /// compound page, or belong to none. Stores the frame of its first page, and its number of
    /// pages, which is 1 for none. `pages` is an array of `struct page *`, which is not changed.
    fn rdma_helper_compound_part(
        pages: *mut c_void,
        count: c_ulong,
        pfn: *mut c_ulong,
        size: *mut c_ulong,
    ) -> c_ulong;
}

/// A compound page, such as a huge page. Pinning one page of it keeps all of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CompoundPage {
    pfn: usize,
    pages: usize,
}

impl CompoundPage {
    /// Returns the number of pages that it consists of.
    pub(crate) fn pages(&self) -> usize {
        self.pages
    }
}

/// Pinned pages of a program. Dropping it unpins them, which may sleep.
///
/// # Invariants
///
/// All `pages` are pinned, for writing if `writable` is true, and `mm` counts them as pinned. They
/// contain the `size` bytes from `offset` in the first page on.
pub(crate) struct PinnedPages {
    pages: KVVec<*mut bindings::page>,
    offset: usize,
    size: usize,
    writable: bool,
    mm: ARef<Mm>,
}

// SAFETY: Pinned pages may be unpinned by any thread.
unsafe impl Send for PinnedPages {}
// SAFETY: Shared references do not access the pages.
unsafe impl Sync for PinnedPages {}

impl PinnedPages {
    /// The number of pages that are pinned at once, with interrupts disabled for as long as none
    /// of them has to be loaded.
    const CHUNK: usize = 512;

    /// Pins the pages of the `size` bytes at `address` in the calling process, and loads them if
    /// necessary. A page fault of it may take forever, for example with userfaultfd(2).
    ///
    /// `proceed` is called before each chunk. `charge_compound` is called for each compound page
    /// that is pinned, and the number of pages in the chunk that belong to it, before another page
    /// fault. An error of either ends the call.
    ///
    /// # Errors
    ///
    /// [`EFAULT`] if the memory does not exist, or is read-only and `writable` is true, or must not
    /// be pinned for long (a file in a filesystem, memory of a device); [`ENOMEM`]; [`EINTR`] if
    /// the process is being killed; the errors of `proceed` and `charge_compound`.
    pub(crate) fn pin(
        address: usize,
        size: usize,
        writable: bool,
        proceed: impl Fn() -> Result,
        mut charge_compound: impl FnMut(CompoundPage, usize) -> Result,
    ) -> Result<Self> {
        let offset = address % PAGE_SIZE;
        let count = Self::count(address, size).ok_or(EFAULT)?;
        let task = current!();
        let mm: &Mm = task.mm().ok_or(EFAULT)?;
        // INVARIANT: No page is pinned yet. `size` is only read when all of them are.
        let mut pinned = Self {
            pages: KVVec::with_capacity(count, GFP_ACCOUNT_MAYFAIL)?,
            offset,
            size,
            writable,
            mm: mm.into(),
        };
        while pinned.pages.len() < count {
            proceed()?;
            let done = pinned.pages.len();
            // The sum does not overflow, because the end of the last page does not.
            let next = address - offset + done * PAGE_SIZE;
            let max = Self::CHUNK.min(count - done);
            match pinned.pin_chunk(next, max, bindings::FOLL_NOFAULT) {
                // The first page has to be loaded. It is loaded alone: otherwise, it would be
                // pinned, and not charged, while the next one is loaded.
                Err(e) if e == EFAULT => pinned.pin_chunk(next, 1, 0)?,
                result => result?,
            }
            pinned.charge_compound(done, &mut charge_compound)?;
        }
        Ok(pinned)
    }

    /// Returns the number of pages that contain the `size` bytes at `address`, or [`None`] if they
    /// are not within the address space.
    pub(crate) fn count(address: usize, size: usize) -> Option<usize> {
        let whole = address
            .checked_add(size)?
            .checked_next_multiple_of(PAGE_SIZE)?;
        Some((whole - (address - address % PAGE_SIZE)) / PAGE_SIZE)
    }

    /// Calls `charge` for each compound page among the pinned pages from number `begin` on, with
    /// the number of these that belong to it. Calls it once for each contiguous part.
    fn charge_compound(
        &self,
        begin: usize,
        mut charge: impl FnMut(CompoundPage, usize) -> Result,
    ) -> Result {
        let mut rest = &self.pages[begin..];
        while !rest.is_empty() {
            let (mut pfn, mut pages) = (0, 0);
            // SAFETY: By the type invariants, the pages are pinned, so that their compound pages
            // are not split or freed.
            let part = unsafe {
                let first = rest.as_ptr().cast_mut().cast();
                rdma_helper_compound_part(first, rest.len(), &mut pfn, &mut pages)
            };
            if pages > 1 {
                charge(CompoundPage { pfn, pages }, part)?;
            }
            rest = &rest[part..];
        }
        Ok(())
    }

    /// Pins up to `max` more pages from `address` on, at least one, with these additional flags.
    /// `max` must not exceed the spare capacity.
    fn pin_chunk(&mut self, address: usize, max: usize, flags: c_uint) -> Result {
        let flags = if self.writable {
            flags | bindings::FOLL_LONGTERM | bindings::FOLL_WRITE
        } else {
            flags | bindings::FOLL_LONGTERM
        };
        let spare = self.pages.spare_capacity_mut();
        let max = max.min(spare.len());
        // CAST: `max` is at most `CHUNK`.
        // SAFETY: `spare` has room for `max` pointers.
        let pinned = unsafe {
            bindings::pin_user_pages_fast(
                address,
                max as c_int,
                flags,
                spare.as_mut_ptr().cast::<*mut bindings::page>(),
            )
        };
        // CAST: A positive number, which is at most `max`.
        let pinned = match pinned {
            0 => return Err(EFAULT),
            ..0 => {
                // The kernel does not pin memory of DAX files for long (EOPNOTSUPP), nor that of
                // PCI devices (EREMOTEIO).
                let error = Error::from_errno(pinned);
                let is_special = error == EOPNOTSUPP || error == EREMOTEIO;
                return Err(if is_special { EFAULT } else { error });
            }
            _ => pinned as usize,
        };
        // INVARIANT: The function has pinned these pages.
        // SAFETY: It has written this number of pointers into the spare capacity.
        unsafe { self.pages.inc_len(pinned) };
        // CAST: As above.
        self.account().add(pinned as i64, Relaxed);
        Ok(())
    }

    /// Returns the number of pinned pages of the address space.
    fn account(&self) -> &Atomic<i64> {
        // SAFETY: `mm` is valid for as long as `self`.
        let pinned = unsafe { &raw mut (*self.mm.as_raw()).__bindgen_anon_1.pinned_vm };
        // CAST: `atomic64_t` has the size and alignment of `i64`.
        // SAFETY: As above; the kernel accesses this count only atomically.
        unsafe { Atomic::from_ptr(pinned.cast()) }
    }
}

impl Drop for PinnedPages {
    fn drop(&mut self) {
        let count = self.pages.len();
        // CAST: `usize` is at most 64 bits.
        // SAFETY: By the type invariants, these pages are pinned. They are not used after this.
        unsafe {
            bindings::unpin_user_pages_dirty_lock(
                self.pages.as_mut_ptr(),
                count,
                self.writable, //
            )
        };
        // CAST: A number of pages is less than `i64::MAX`.
        self.account().fetch_sub(count as i64, Relaxed);
    }
}

/// Pinned pages that are mapped for DMA of a device.
///
/// # Invariants
///
/// `table` consists of `pages`. Its device is bound during `'bound`.
pub(crate) struct PinnedMemory<'bound> {
    _bound: PhantomData<&'bound Device<Bound>>,
    // Dropped before `pages`: unmapped, then unpinned.
    table: DmaTable,
    pages: PinnedPages,
}

impl<'bound> PinnedMemory<'bound> {
    /// Maps pages for DMA of `dev`.
    ///
    /// # Errors
    ///
    /// [`EOPNOTSUPP`] if the device cannot access them, or not coherently; [`ENOMEM`]. Neither is
    /// logged.
    pub(crate) fn new(dev: &'bound Device<Bound>, pages: PinnedPages) -> Result<Self> {
        let bytes = Bytes {
            pages: &pages.pages,
            offset: pages.offset,
            size: pages.size,
        };
        let direction = dma_table::direction(pages.writable);
        // SAFETY: The pages are pinned for as long as `self` exists, and the device is bound during
        // `'bound`.
        let table = unsafe { DmaTable::map(dev, &bytes, direction, RAW_GFP_ACCOUNT_MAYFAIL)? };
        // INVARIANT: The table was made of these pages.
        Ok(Self {
            _bound: PhantomData,
            table,
            pages,
        })
    }

    /// Removes the lifetime of the memory.
    ///
    /// # Safety
    ///
    /// The memory must be dropped while the device is bound, or never.
    pub(in crate::kernel_ext) unsafe fn into_static(self) -> PinnedMemory<'static> {
        // SAFETY: A lifetime does not change the layout; by the safety requirement, the memory is
        // not unmapped after the device was unbound.
        unsafe { core::mem::transmute(self) }
    }

    /// Returns the device that the memory is mapped for.
    pub(in crate::kernel_ext) fn device(&self) -> &Device {
        self.table.device()
    }

    /// Returns the bus addresses. The layout has no frames: the driver does not map the pages.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; [`EIO`] if the DMA API does not map all bytes.
    pub(in crate::kernel_ext) fn layout(&self) -> Result<Layout> {
        let bus = self.table.bus()?;
        // CAST: `usize` is at most 64 bits.
        if bus.end() != self.size() as u64 {
            return Err(EIO);
        }
        Ok(Layout::new(bus, Extents::new()))
    }

    /// Returns the size in bytes.
    pub(in crate::kernel_ext) fn size(&self) -> usize {
        self.pages.size
    }
}
