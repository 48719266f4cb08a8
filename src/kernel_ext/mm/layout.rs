// SPDX-License-Identifier: GPL-2.0

//! The layout of a buffer's memory: where it is on the bus, and which page frames it has.

use crate::kernel_ext::mm::extents::Extents;
#[cfg(CONFIG_KUNIT = "y")]
use kernel::prelude::*;

/// The bus addresses and page frames of memory. These are numbers, which keep no memory alive.
pub(in crate::kernel_ext) struct Layout {
    bus: Extents,
    frames: Extents,
}

impl Layout {
    /// Creates the layout of memory with these bus addresses, by byte, and frames, by page. Memory
    /// without frames cannot be mapped.
    pub(in crate::kernel_ext) fn new(bus: Extents, frames: Extents) -> Self {
        Self { bus, frames }
    }

    /// Makes this the layout of no memory.
    pub(in crate::kernel_ext) fn clear(&mut self) {
        self.bus.clear();
        self.frames.clear();
    }

    /// Creates a layout from extents of frames: the first frame, and the number of pages.
    #[cfg(CONFIG_KUNIT = "y")]
    pub(in crate::kernel_ext) fn from_frames(extents: &[(usize, usize)]) -> Result<Self> {
        let mut frames = Extents::new();
        for (pfn, pages) in extents {
            // CAST: `usize` is at most 64 bits.
            frames.push(*pfn as u64, *pages as u64)?;
        }
        Ok(Self {
            bus: Extents::new(),
            frames,
        })
    }

    /// Returns the bus address of the byte at `offset`, and the number of contiguous bytes from it
    /// on, itself included. This number is 0 beyond the end.
    pub(in crate::kernel_ext) fn bus(&self, offset: u64) -> (u64, u64) {
        self.bus.find(offset)
    }

    /// Returns the frame number of this page, and the number of contiguous frames from it on,
    /// itself included. This number is 0 beyond the end.
    pub(in crate::kernel_ext) fn frames(&self, page: usize) -> (usize, usize) {
        // CAST: `usize` has 64 bits here, and these values were converted from `usize`.
        let (pfn, frames) = self.frames.find(page as u64);
        (pfn as usize, frames as usize)
    }
}
