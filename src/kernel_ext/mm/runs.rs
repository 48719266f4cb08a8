// SPDX-License-Identifier: GPL-2.0

//! A range that is put together of runs, each of which goes on without a gap somewhere else: the
//! bytes of a buffer on the bus, or its pages in memory.

use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    prelude::*, //
};

/// From `at` on, positions are found from `base` on.
#[derive(Clone, Copy)]
struct Run {
    at: u64,
    base: u64,
}

/// Shows the positions 0 to `end` where they are found.
///
/// # Invariants
///
/// `first` begins at 0, and the others follow in their order, all below `end`.
pub(in crate::kernel_ext) struct Runs {
    /// Apart from the others, which most ranges have not.
    first: Run,
    others: KVVec<Run>,
    end: u64,
}

impl Runs {
    /// An empty range.
    pub(in crate::kernel_ext) fn new() -> Self {
        // INVARIANT: nothing follows the first.
        Self {
            first: Run { at: 0, base: 0 },
            others: KVVec::new(),
            end: 0,
        }
    }

    /// Adds `length` positions, not 0, that are found from `base` on.
    pub(in crate::kernel_ext) fn push(&mut self, base: u64, length: u64) -> Result {
        let last = self.others.last().unwrap_or(&self.first);
        if self.end == 0 {
            self.first.base = base;
        } else if last.base + (self.end - last.at) != base {
            let run = Run { at: self.end, base };
            self.others.push(run, GFP_KERNEL_ACCOUNT)?;
        }
        // INVARIANT: what was just added begins where all ended.
        self.end += length;
        Ok(())
    }

    /// All positions.
    pub(in crate::kernel_ext) fn end(&self) -> u64 {
        self.end
    }

    /// Where a position is found, and how many follow it without a gap, itself included: none if
    /// there is no such position.
    pub(in crate::kernel_ext) fn find(&self, position: u64) -> (u64, u64) {
        // As for most; this is called for each page fault.
        if self.others.is_empty() {
            return (
                self.first.base + position,
                self.end.saturating_sub(position),
            );
        }
        let after = self.others.partition_point(|run| run.at <= position);
        let run = match after.checked_sub(1).and_then(|i| self.others.get(i)) {
            Some(run) => run,
            None => &self.first,
        };
        let end = self.others.get(after).map_or(self.end, |run| run.at);
        (run.base + (position - run.at), end.saturating_sub(position))
    }
}

#[kunit_tests(rdma_runs)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_an_empty_range() {
        let runs = Runs::new();
        assert_eq!(runs.end(), 0);
        assert_eq!(runs.find(0).1, 0);
        assert_eq!(runs.find(u64::MAX).1, 0);
    }

    #[test]
    fn what_goes_on_without_a_gap_is_one_run() -> Result {
        let mut runs = Runs::new();
        runs.push(100, 5)?;
        runs.push(105, 5)?;
        assert!(runs.others.is_empty());
        assert_eq!(runs.find(0), (100, 10));
        assert_eq!(runs.find(9), (109, 1));
        assert_eq!(runs.find(10).1, 0);
        Ok(())
    }

    #[test]
    fn each_side_of_a_gap() -> Result {
        let mut runs = Runs::new();
        runs.push(100, 5)?;
        runs.push(106, 2)?;
        runs.push(0, 3)?;
        assert_eq!(runs.end(), 10);
        assert_eq!(runs.find(4), (104, 1));
        assert_eq!(runs.find(5), (106, 2));
        assert_eq!(runs.find(6), (107, 1));
        assert_eq!(runs.find(7), (0, 3));
        assert_eq!(runs.find(9), (2, 1));
        assert_eq!(runs.find(10).1, 0);
        Ok(())
    }
}
