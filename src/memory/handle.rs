// SPDX-License-Identifier: GPL-2.0

//! Handles of buffers, and the positions of the buffers in the file.

use crate::uapi;
use kernel::{
    page::PAGE_SHIFT,
    prelude::*, //
};

/// Identifies a buffer within its context.
///
/// # Invariants
///
/// The number is not `RDMA_NO_BUFFER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle(u32);

impl Handle {
    /// The handle of the buffer that the first mapping at offset 0 creates.
    // INVARIANT: asserted below.
    pub(crate) const FIRST: Self = Self(uapi::RDMA_FIRST_BUFFER);

    /// The handle of the first buffer in the map.
    const FIRST_IN_MAP: u32 = uapi::RDMA_FIRST_BUFFER + 1;

    /// The index in the map at which there is no buffer: its part of the file has the completion
    /// ring. It is the last one that 32-bit programs can map, whose offsets have 44 bits.
    pub(crate) const RING: usize = (1 << 44) / uapi::RDMA_MAX_BUFFER_SIZE as usize - 2;

    /// The first page of the completion ring in the file.
    // CAST: The index is small.
    // INVARIANT: The number is not 0.
    pub(crate) const RING_PAGE: usize = Self(Self::FIRST_IN_MAP + Self::RING as u32).first_page();

    /// The number of pages of the file that belong to each handle. The file is divided into ranges
    /// of the size of the largest buffer.
    pub(crate) const PAGES: usize = uapi::RDMA_MAX_BUFFER_SIZE as usize >> PAGE_SHIFT;

    /// Creates the handle with this number.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if the number is `RDMA_NO_BUFFER`.
    pub(crate) fn new(number: u32) -> Result<Self> {
        if number == uapi::RDMA_NO_BUFFER {
            return Err(EINVAL);
        }
        // INVARIANT: just checked.
        Ok(Self(number))
    }

    /// Returns the number.
    pub(crate) fn number(self) -> u32 {
        self.0
    }

    /// Returns the handle whose range contains this page of the file.
    pub(crate) fn of_page(page: usize) -> Result<Self> {
        // CAST: `u32` fits into `usize`.
        Self::new(u32::try_from(page / Self::PAGES + Self::FIRST.0 as usize)?)
    }

    /// Returns the first page of the handle's range.
    pub(crate) const fn first_page(self) -> usize {
        // CAST: `u32` fits into `usize`.
        (self.0 - Self::FIRST.0) as usize * Self::PAGES
    }

    /// Returns the handle of the buffer at this index of the map.
    pub(crate) fn of_index(index: usize) -> Result<Self> {
        // CAST: `u32` fits into `usize`.
        Self::new(u32::try_from(index + Self::FIRST_IN_MAP as usize)?)
    }

    /// Returns the index of the buffer in the map, or [`None`] for the first buffer, which is not
    /// in it.
    pub(crate) fn index(self) -> Option<usize> {
        // CAST: `u32` fits into `usize`.
        Some(self.0.checked_sub(Self::FIRST_IN_MAP)? as usize)
    }
}

// `of_page` and `first_page` number the ranges from the first handle on.
static_assert!(uapi::RDMA_NO_BUFFER < uapi::RDMA_FIRST_BUFFER);
