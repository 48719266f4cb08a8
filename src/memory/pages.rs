// SPDX-License-Identifier: GPL-2.0

//! Pages and bytes.

use kernel::page::PAGE_SHIFT;

/// Pages of this many bytes.
pub(crate) fn pages(bytes: usize) -> usize {
    bytes >> PAGE_SHIFT
}

/// Bytes of this many pages.
pub(crate) fn bytes(pages: usize) -> u64 {
    // CAST: `usize` is at most 64 bits.
    (pages as u64) << PAGE_SHIFT
}
