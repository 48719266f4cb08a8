// SPDX-License-Identifier: GPL-2.0

//! The descriptors of a channel, which form a ring in memory, and the word that the channel writes
//! its status to.
//!
//! Source: Linux, `drivers/dma/ioat/hw.h`, `struct ioat_dma_descriptor`.

use super::regs;
use crate::{
    engines::{
        engine::PostFlags,
        transfer::DirectTransfer, //
    },
    kernel_ext::mm::{
        coherent::CoherentMemory,
        leakable::Leakable, //
    }, //
};
use kernel::{
    device::{
        Bound,
        Device, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

/// Number of slots.
pub(super) const SLOTS: usize = 128;

/// Number of descriptors. There are more than slots, so that the descriptor that was completed last
/// is not that of a transfer in a slot: see [`is_completed`](DescriptorRing::is_completed).
const DESCRIPTORS: usize = 2 * SLOTS;

/// Size of a descriptor in bytes.
const DESCRIPTOR_SIZE: usize = 64;

/// Offset of the bus address of the next descriptor in a descriptor. The words before it are
/// written for each transfer; those behind it are 0.
const NEXT_OFFSET: usize = 24;

/// Added to the number of a descriptor whose end raises an interrupt.
const RAISES_INTERRUPT: u32 = 1 << 31;

/// Control field of a descriptor: raise an interrupt at its end.
const INTERRUPT: u64 = 1 << 0;
/// Control field of a descriptor: write the status to the completion address at its end.
const WRITE_COMPLETION: u64 = 1 << 3;
/// Control field of a descriptor: the next one is begun when all writes of this one have been done.
/// Otherwise the channel may read the source of the next one before.
const FENCE: u64 = 1 << 4;

/// The descriptors of a channel.
///
/// All functions but [`new`](Self::new) and [`leak`](Self::leak) are called under the queue's lock,
/// or when the channel is started, while no transfer is posted and no end is handled.
pub(super) struct DescriptorRing<'bound> {
    /// [`DESCRIPTORS`] descriptors, each with the bus address of the next one.
    descriptors: Leakable<CoherentMemory<'bound>>,
    /// A page, of which the first word is the status that the channel has written.
    completion: Leakable<CoherentMemory<'bound>>,
    /// The number of the next descriptor.
    next: Atomic<u32>,
    /// The numbers of the descriptors in the slots, and [`RAISES_INTERRUPT`].
    numbers: [Atomic<u32>; SLOTS],
}

impl<'bound> DescriptorRing<'bound> {
    /// Allocates a ring.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(super) fn new(dev: &'bound Device<Bound>) -> Result<Self> {
        let ring = Self {
            descriptors: Self::allocate(dev, DESCRIPTORS * DESCRIPTOR_SIZE)?,
            completion: Self::allocate(dev, PAGE_SIZE)?,
            next: Atomic::new(0),
            numbers: [const { Atomic::new(0) }; SLOTS],
        };
        for number in 0..DESCRIPTORS {
            let next = ring.address((number + 1) % DESCRIPTORS);
            let at = number * DESCRIPTOR_SIZE + NEXT_OFFSET;
            ring.descriptors.write_words(at, &[next]);
        }
        Ok(ring)
    }

    fn allocate(
        dev: &'bound Device<Bound>,
        size: usize,
    ) -> Result<Leakable<CoherentMemory<'bound>>> {
        CoherentMemory::new_contiguous(dev, size).map(Leakable::new)
    }

    /// Leaks the memory, because the device may still access it.
    pub(super) fn leak(&self) {
        self.descriptors.leak();
        self.completion.leak();
    }

    fn number_and_flag(&self, slot: usize) -> u32 {
        let number = self.numbers.get(slot);
        number.map_or(0, |number| number.load(Relaxed))
    }

    fn number_of(&self, slot: usize) -> usize {
        // CAST: `u32` fits into `usize`.
        (self.number_and_flag(slot) & !RAISES_INTERRUPT) as usize
    }

    /// Returns whether the end of the transfer in this slot raises an interrupt.
    pub(super) fn raises_interrupt(&self, slot: usize) -> bool {
        self.number_and_flag(slot) & RAISES_INTERRUPT != 0
    }

    /// Returns the bus address of a descriptor.
    fn address(&self, number: usize) -> u64 {
        // CAST: `usize` is at most 64 bits.
        self.descriptors.address() + (number * DESCRIPTOR_SIZE) as u64
    }

    /// Returns the bus address of the word that the channel writes its status to.
    pub(super) fn completion_address(&self) -> u64 {
        self.completion.address()
    }

    /// Returns the number of the next descriptor.
    fn next(&self) -> usize {
        // CAST: `u32` fits into `usize`.
        self.next.load(Relaxed) as usize
    }

    /// Writes the descriptor of a transfer in this slot, and returns its bus address.
    pub(super) fn write(&self, slot: usize, copy: DirectTransfer, flags: PostFlags) -> u64 {
        let number = self.next();
        let control = WRITE_COMPLETION
            | u64::from(flags.interrupt) * INTERRUPT
            | u64::from(flags.fence) * FENCE;
        let words = [copy.length | control << 32, copy.from, copy.to];
        self.descriptors
            .write_words(number * DESCRIPTOR_SIZE, &words);
        if let Some(of_slot) = self.numbers.get(slot) {
            let flag = u32::from(flags.interrupt) * RAISES_INTERRUPT;
            // CAST: `number` was converted from `u32`.
            of_slot.store(number as u32 | flag, Relaxed);
        }
        // CAST: The number is small.
        self.next
            .store(((number + 1) % DESCRIPTORS) as u32, Relaxed);
        self.address(number)
    }

    /// Prepares the ring for a channel that was reset: overwrites the status that the channel has
    /// written, and continues after the descriptor in `status`, its register. A channel may still
    /// report that one after the reset. Because the ring continues after it, it is not taken for
    /// the end of a new transfer.
    pub(super) fn reset(&self, status: regs::CHANNEL_STATUS) {
        self.completion.write_words(0, &[regs::state::ACTIVE]);
        if let Some(last) = self.last_completed(status) {
            // CAST: The number is small.
            let next = ((last + 1) % DESCRIPTORS) as u32;
            self.next.store(next, Relaxed);
        }
    }

    /// Returns the status that the channel has written last.
    pub(super) fn status(&self) -> regs::CHANNEL_STATUS {
        regs::CHANNEL_STATUS::from(self.completion.read_word(0))
    }

    /// Returns the number of the descriptor that was completed last by `status`, which can be any
    /// value, because the device writes it. [`None`] if it is none of this ring.
    fn last_completed(&self, status: regs::CHANNEL_STATUS) -> Option<usize> {
        let address = status.completed().get() << 6;
        // CAST: The value is compared with a small number.
        let number =
            (address.wrapping_sub(self.descriptors.address()) / DESCRIPTOR_SIZE as u64) as usize;
        (number < DESCRIPTORS).then_some(number)
    }

    /// Returns whether `status` shows that the oldest transfer, which is in this slot, was
    /// completed.
    ///
    /// The descriptor that was completed last must be one of those between that of the oldest
    /// transfer and the next one to be written.
    pub(super) fn is_completed(&self, status: regs::CHANNEL_STATUS, slot: usize) -> bool {
        let oldest = self.number_of(slot);
        let after_oldest = |number| (number + DESCRIPTORS - oldest) % DESCRIPTORS;
        self.last_completed(status)
            .is_some_and(|last| after_oldest(last) < after_oldest(self.next()))
    }
}
