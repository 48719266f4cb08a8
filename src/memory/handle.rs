// SPDX-License-Identifier: GPL-2.0

//! Handles of buffers, and where in the file each buffer is.

use crate::uapi;
use kernel::{
    page::PAGE_SHIFT,
    prelude::*, //
};

/// Names a buffer within its context.
///
/// # Invariants
///
/// It is not `RDMA_NO_BUFFER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle(u32);

impl Handle {
    /// That of the buffer which the first mapping at offset 0 makes.
    // INVARIANT: asserted below.
    pub(crate) const FIRST: Self = Self(uapi::RDMA_FIRST_BUFFER);

    /// The handle of the first buffer in the slab.
    const FIRST_IN_SLAB: u32 = uapi::RDMA_FIRST_BUFFER + 1;

    /// Pages of the file that belong to each handle: the file is cut into windows of the size of
    /// the largest buffer.
    pub(crate) const WINDOW: usize = uapi::RDMA_MAX_BUFFER_SIZE as usize >> PAGE_SHIFT;

    /// The handle of this number.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if it is `RDMA_NO_BUFFER`.
    pub(crate) fn new(number: u32) -> Result<Self> {
        if number == uapi::RDMA_NO_BUFFER {
            return Err(EINVAL);
        }
        // INVARIANT: just checked.
        Ok(Self(number))
    }

    /// Its number.
    pub(crate) fn number(self) -> u32 {
        self.0
    }

    /// The handle whose window this page of the file is in.
    pub(crate) fn of_page(page: usize) -> Result<Self> {
        // CAST: `u32` fits into `usize`.
        Self::new(u32::try_from(page / Self::WINDOW + Self::FIRST.0 as usize)?)
    }

    /// First page of the handle's window.
    pub(crate) fn first_page(self) -> usize {
        // CAST: `u32` fits into `usize`.
        (self.0 - Self::FIRST.0) as usize * Self::WINDOW
    }

    /// The handle of the buffer that is here in the slab.
    pub(crate) fn of_index(index: usize) -> Result<Self> {
        // CAST: `u32` fits into `usize`.
        Self::new(u32::try_from(index + Self::FIRST_IN_SLAB as usize)?)
    }

    /// Where the buffer is in the slab. All but the first one are.
    pub(crate) fn index(self) -> Option<usize> {
        // CAST: `u32` fits into `usize`.
        Some(self.0.checked_sub(Self::FIRST_IN_SLAB)? as usize)
    }
}

// Handles are numbered from the first one on.
static_assert!(uapi::RDMA_NO_BUFFER < uapi::RDMA_FIRST_BUFFER);
