// SPDX-License-Identifier: GPL-2.0

//! The completion ring of a lane, in memory that a program maps.
//!
//! The driver writes completions, and stores their number, the *tail*. The program reads them, and
//! stores the number of those that it has read, the *head*. Both are modulo 2^32. The program can
//! write to all of this memory at any time: the driver reads only the head from it, and ignores one
//! that is not between the last head and the tail.

use kernel::prelude::*;

/// The number of requests that a lane accepts before completions must be collected, and of entries
/// of its ring: `RDMA_QUEUE_DEPTH`.
pub(crate) const LANE_DEPTH: usize = 1024;

/// The first head and tail. They wrap around soon, so that a program that does not handle this
/// fails in its first tests, as with the kernel's `INITIAL_JIFFIES`.
// CAST: a small number.
pub(crate) const RING_START: u32 = (4 * LANE_DEPTH as u32).wrapping_neg();

/// The memory of a ring of [`LANE_DEPTH`] completions.
pub(crate) trait RingMemory {
    /// Reads the head. What the program has read before it stored the head can be overwritten after
    /// this.
    fn head(&self) -> u32;

    /// Writes a completion at this index, which is less than [`LANE_DEPTH`].
    fn write(&self, index: usize, cookie: u64, bytes: u64, outcome: Result);

    /// Stores the tail. A program that reads it sees the completions that were written before.
    fn publish(&self, tail: u32);
}

// The tail passes through all indices when it wraps around.
static_assert!(LANE_DEPTH.is_power_of_two());

/// A completion ring.
///
/// # Invariants
///
/// `tail - head` is at most [`LANE_DEPTH`], because a lane has at most that many requests whose
/// completions are not collected.
pub(super) struct CompletionRing<M> {
    memory: M,
    /// The number of completions that were written.
    tail: u32,
    /// The number of completions whose room is freed.
    head: u32,
}

impl<M: RingMemory> CompletionRing<M> {
    /// Creates a ring in memory whose head and tail are [`RING_START`].
    pub(super) fn new(memory: M) -> Self {
        // INVARIANT: empty.
        Self {
            memory,
            tail: RING_START,
            head: RING_START,
        }
    }

    /// Writes a completion.
    pub(super) fn push(&mut self, cookie: u64, bytes: u64, outcome: Result) {
        // CAST: `u32` fits into `usize`.
        let index = self.tail as usize % LANE_DEPTH;
        self.memory.write(index, cookie, bytes, outcome);
        self.tail = self.tail.wrapping_add(1);
        self.memory.publish(self.tail);
    }

    /// Returns the number of completions that the program has not collected, and of those whose
    /// room is not freed.
    // Cold, so that lanes without a ring do not pay for it.
    #[cold]
    pub(super) fn counts(&self) -> (usize, usize) {
        // CAST: `u32` fits into `usize`.
        let held = self.tail.wrapping_sub(self.head) as usize;
        // CAST: As above.
        let left = self.tail.wrapping_sub(self.memory.head()) as usize;
        (left.min(held), held)
    }

    /// Frees the room of the completions that the program has collected, and returns their number.
    pub(super) fn free_collected(&mut self) -> usize {
        let (uncollected, held) = self.counts();
        let freed = held - uncollected;
        // CAST: at most `LANE_DEPTH`.
        // INVARIANT: the head is not beyond the tail.
        self.head = self.head.wrapping_add(freed as u32);
        freed
    }
}
