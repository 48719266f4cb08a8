// SPDX-License-Identifier: GPL-2.0

//! Conversions between pages and bytes.

use kernel::page::PAGE_SHIFT;

/// Returns the number of whole pages in `bytes` bytes.
pub(crate) fn pages(bytes: usize) -> usize {
    bytes >> PAGE_SHIFT
}

/// Returns the number of bytes in `pages` pages.
pub(crate) fn bytes(pages: usize) -> u64 {
    // CAST: `usize` is at most 64 bits.
    (pages as u64) << PAGE_SHIFT
}
