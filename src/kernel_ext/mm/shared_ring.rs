// SPDX-License-Identifier: GPL-2.0

//! A ring of entries in the kernel's own memory, which programs map, read and change at any time.
//!
//! The device does not access this memory, so that it outlives the binding of the device. Each page
//! is reference-counted: a page table, or a system call that has pinned the page, keeps it.
//!
//! C header: `include/linux/vmalloc.h`

use crate::kernel_ext::gfp::GFP_ACCOUNT_MAYFAIL;
use core::{
    mem::offset_of,
    ptr::NonNull, //
};
use kernel::{
    alloc::{
        allocator::Vmalloc,
        flags::__GFP_ZERO, //
    },
    page::{
        BorrowedPage,
        PAGE_SIZE, //
    },
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Relaxed,
        Release, //
    }, //
};

/// The number of entries.
const ENTRIES: usize = 1024;

/// The number of words of an entry.
const WORDS: usize = 4;

/// An index on a cache line of its own.
#[repr(C, align(64))]
struct Index {
    value: Atomic<u32>,
    _unused: [Atomic<u32>; 15],
}

/// The contents of the memory. All fields are atomics, because programs can change them at any
/// time, and there is no padding.
#[repr(C)]
struct RingContents {
    head: Index,
    tail: Index,
    flags: Index,
    entries: [[Atomic<u64>; WORDS]; ENTRIES],
}

/// A ring that can be mapped.
pub(crate) struct SharedRing(VBox<RingContents>);

impl SharedRing {
    /// The number of entries.
    pub(crate) const ENTRIES: usize = ENTRIES;

    /// The size of an entry in bytes.
    pub(crate) const ENTRY_SIZE: usize = WORDS * size_of::<u64>();

    /// The position of the head in bytes. The program stores it.
    pub(crate) const HEAD: usize = offset_of!(RingContents, head);

    /// The position of the tail in bytes. The driver stores it.
    pub(crate) const TAIL: usize = offset_of!(RingContents, tail);

    /// The position of the flags in bytes, which are 0.
    pub(crate) const FLAGS: usize = offset_of!(RingContents, flags);

    /// The position of the first entry in bytes.
    pub(crate) const FIRST_ENTRY: usize = offset_of!(RingContents, entries);

    /// The size in bytes, a multiple of the page size.
    pub(crate) const SIZE: usize = size_of::<RingContents>().next_multiple_of(PAGE_SIZE);

    /// Creates a ring of zeros, whose head and tail are `start`. It is charged to the memory cgroup
    /// of the caller.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(start: u32) -> Result<Self> {
        // The rest of the last page is zero, too.
        let contents = VBox::<RingContents>::new_uninit(GFP_ACCOUNT_MAYFAIL | __GFP_ZERO)?;
        // SAFETY: Zeros are valid values of all atomics.
        let contents = unsafe { contents.assume_init() };
        contents.head.value.store(start, Relaxed);
        contents.tail.value.store(start, Relaxed);
        Ok(Self(contents))
    }

    /// Reads the head. Entries that the program has read before it stored the head can be
    /// overwritten after this.
    pub(crate) fn head(&self) -> u32 {
        self.0.head.value.load(Acquire)
    }

    /// Stores the tail. A program that reads it sees the entries that were written before.
    pub(crate) fn set_tail(&self, tail: u32) {
        self.0.tail.value.store(tail, Release);
    }

    /// Writes the first words of the entry at `index`, if there is such an entry.
    pub(crate) fn write<const N: usize>(&self, index: usize, words: [u64; N]) {
        const { assert!(N <= WORDS) };
        if let Some(entry) = self.0.entries.get(index) {
            for (at, word) in entry.iter().zip(words) {
                at.store(word, Relaxed);
            }
        }
    }

    /// Returns whether the ring has `count` pages from `first` on.
    pub(in crate::kernel_ext) fn has_pages(first: usize, count: usize) -> bool {
        let pages = Self::SIZE / PAGE_SIZE;
        first < pages && count <= pages - first
    }

    /// Returns a page, if the ring has it.
    pub(in crate::kernel_ext) fn page(&self, number: usize) -> Option<BorrowedPage<'_>> {
        if !Self::has_pages(number, 1) {
            return None;
        }
        let first = NonNull::from(&*self.0).cast::<u8>();
        // SAFETY: The allocation consists of whole pages, and has this one, as checked above.
        let start = unsafe { first.add(number * PAGE_SIZE) };
        // SAFETY: `start` is in the allocation, which lives as long as `self`.
        Some(unsafe { Vmalloc::to_page(start) })
    }
}

static_assert!(size_of::<RingContents>() == 3 * 64 + ENTRIES * SharedRing::ENTRY_SIZE);
