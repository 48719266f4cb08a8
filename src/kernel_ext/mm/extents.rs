// SPDX-License-Identifier: GPL-2.0

//! Maps a range of positions to extents, each of which is contiguous: the bytes of a buffer to bus
//! addresses, or its pages to page frames.

use crate::kernel_ext::gfp::GFP_ACCOUNT_MAYFAIL;
use kernel::prelude::*;

/// Maps the positions from `start` on to the values from `base` on.
#[derive(Clone, Copy)]
struct Extent {
    start: u64,
    base: u64,
}

/// Maps the positions from 0 to `end`, which is exclusive.
///
/// # Invariants
///
/// `first` starts at 0. The other extents are sorted by `start`, and start below `end`.
pub(in crate::kernel_ext) struct Extents {
    /// Stored separately, because most ranges have one extent only.
    first: Extent,
    others: KVVec<Extent>,
    end: u64,
}

impl Extents {
    /// Creates an empty range.
    pub(in crate::kernel_ext) fn new() -> Self {
        // INVARIANT: `first` starts at 0, and there are no other extents.
        Self {
            first: Extent { start: 0, base: 0 },
            others: KVVec::new(),
            end: 0,
        }
    }

    /// Makes the range empty.
    pub(in crate::kernel_ext) fn clear(&mut self) {
        // INVARIANT: There are no other extents. `first` does not change.
        self.others.clear();
        self.end = 0;
    }

    /// Appends `length` positions, which must not be 0, and maps them to the values from `base` on.
    pub(in crate::kernel_ext) fn push(&mut self, base: u64, length: u64) -> Result {
        let last = self.others.last().unwrap_or(&self.first);
        if self.end == 0 {
            self.first.base = base;
        } else if last.base + (self.end - last.start) != base {
            let extent = Extent {
                start: self.end,
                base,
            };
            self.others.push(extent, GFP_ACCOUNT_MAYFAIL)?;
        }
        // INVARIANT: The extent that was added starts at the former end.
        self.end += length;
        Ok(())
    }

    /// Returns the number of positions.
    pub(in crate::kernel_ext) fn end(&self) -> u64 {
        self.end
    }

    /// Returns the value of a position, and the number of contiguous positions from it on, itself
    /// included. This number is 0 for a position outside of the range.
    pub(in crate::kernel_ext) fn find(&self, position: u64) -> (u64, u64) {
        // The common case; each page fault calls this.
        if self.others.is_empty() {
            return (
                self.first.base + position,
                self.end.saturating_sub(position),
            );
        }
        let after = self
            .others
            .partition_point(|extent| extent.start <= position);
        let extent = match after.checked_sub(1).and_then(|i| self.others.get(i)) {
            Some(extent) => extent,
            None => &self.first,
        };
        let end = self
            .others
            .get(after)
            .map_or(self.end, |extent| extent.start);
        (
            extent.base + (position - extent.start),
            end.saturating_sub(position),
        )
    }
}

#[kunit_tests(rdma_extents)]
mod tests {
    use super::*;

    #[test]
    fn empty_range() {
        let extents = Extents::new();
        assert_eq!(extents.end(), 0);
        assert_eq!(extents.find(0).1, 0);
        assert_eq!(extents.find(u64::MAX).1, 0);
    }

    #[test]
    fn cleared_range() -> Result {
        let mut extents = Extents::new();
        extents.push(100, 5)?;
        extents.push(106, 2)?;
        extents.clear();
        assert_eq!(extents.end(), 0);
        assert_eq!(extents.find(0).1, 0);
        assert_eq!(extents.find(6).1, 0);
        extents.push(7, 1)?;
        assert_eq!(extents.find(0), (7, 1));
        Ok(())
    }

    #[test]
    fn contiguous_positions_are_one_extent() -> Result {
        let mut extents = Extents::new();
        extents.push(100, 5)?;
        extents.push(105, 5)?;
        assert!(extents.others.is_empty());
        assert_eq!(extents.find(0), (100, 10));
        assert_eq!(extents.find(9), (109, 1));
        assert_eq!(extents.find(10).1, 0);
        Ok(())
    }

    #[test]
    fn both_sides_of_a_gap() -> Result {
        let mut extents = Extents::new();
        extents.push(100, 5)?;
        extents.push(106, 2)?;
        extents.push(0, 3)?;
        assert_eq!(extents.end(), 10);
        assert_eq!(extents.find(4), (104, 1));
        assert_eq!(extents.find(5), (106, 2));
        assert_eq!(extents.find(6), (107, 1));
        assert_eq!(extents.find(7), (0, 3));
        assert_eq!(extents.find(9), (2, 1));
        assert_eq!(extents.find(10).1, 0);
        Ok(())
    }
}
