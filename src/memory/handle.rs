// SPDX-License-Identifier: GPL-2.0

//! Handles of buffers, and where in the file each buffer is.

use crate::uapi;
use kernel::{
    page::PAGE_SHIFT,
    prelude::*, //
};

/// Names a buffer within its context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle(pub(crate) u32);

impl Handle {
    /// That of the buffer which the first mapping at offset 0 makes.
    pub(crate) const FIRST: Self = Self(uapi::FIRST_BUFFER);

    /// Pages of the file that belong to each handle: the file is cut into windows of the size of
    /// the largest buffer.
    pub(crate) const WINDOW: usize = uapi::MAX_BUFFER_SIZE as usize >> PAGE_SHIFT;

    /// The handle whose window this page of the file is in.
    pub(crate) fn of_page(page: usize) -> Result<Self> {
        Ok(Self(u32::try_from(page / Self::WINDOW)?))
    }

    /// First page of the handle's window.
    pub(crate) fn first_page(self) -> usize {
        // CAST: `u32` fits into `usize`.
        self.0 as usize * Self::WINDOW
    }

    /// Where the buffer is in the slab. All but the first one are.
    pub(crate) fn index(self) -> Option<usize> {
        // CAST: `u32` fits into `usize`.
        (self.0 as usize).checked_sub(1)
    }
}
