// SPDX-License-Identifier: GPL-2.0

//! The chain of descriptors of a channel: whether the next one begins it, and their number.

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

/// The chain that a channel executes.
///
/// All functions but [`new`](Self::new) are called under the queue's lock, or when the channel is
/// started, while no transfer is posted and no end is handled.
pub(super) struct Chain {
    /// The next descriptor begins the chain.
    is_empty: Atomic<bool>,
    /// Number of descriptors, which wraps around.
    count: Atomic<u32>,
}

impl Chain {
    /// Creates an empty chain.
    pub(super) const fn new() -> Self {
        Self {
            is_empty: Atomic::new(true),
            count: Atomic::new(0),
        }
    }

    /// Makes the chain empty, because the channel was reset.
    pub(super) fn clear(&self) {
        self.is_empty.store(true, Relaxed);
    }

    /// Adds a descriptor. Returns whether it begins the chain.
    #[inline]
    pub(super) fn add(&self) -> bool {
        let begins = self.is_empty.load(Relaxed);
        let count = if begins {
            self.is_empty.store(false, Relaxed);
            0
        } else {
            self.count.load(Relaxed)
        };
        self.count.store(count.wrapping_add(1), Relaxed);
        begins
    }

    /// Returns the number of descriptors, modulo 2^16, as the channel counts them.
    #[inline]
    pub(super) fn count(&self) -> u16 {
        // CAST: The lower 16 bits.
        self.count.load(Relaxed) as u16
    }
}

#[kunit_tests(rdma_ioat_chain)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_begins_it() {
        let chain = Chain::new();
        assert!(chain.add() && !chain.add());
        assert_eq!(chain.count(), 2);
        chain.clear();
        assert!(chain.add());
        assert_eq!(chain.count(), 1);
    }

    #[test]
    fn the_count_wraps_around() {
        let chain = Chain::new();
        assert!(chain.add());
        for count in [u32::from(u16::MAX), u32::MAX] {
            chain.count.store(count, Relaxed);
            assert_eq!(chain.count(), u16::MAX);
            assert!(!chain.add());
            assert_eq!(chain.count(), 0);
        }
    }
}
