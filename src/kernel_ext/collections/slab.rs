// SPDX-License-Identifier: GPL-2.0

//! Values named by small numbers that are used again.
//!
//! Everything is O(1). Room is made apart from putting in, so that a slab behind a spinlock grows
//! outside of it.
//!
//! No hardware and no bindings: also compiled and tested on the host.

use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    prelude::*, //
};

enum Slot<T> {
    Taken(T),
    /// The next vacant slot.
    Vacant(Option<usize>),
}

/// Room for some more values; see [`Slab::grow`].
pub(crate) struct Room<T>(KVVec<Slot<T>>);

impl<T> Room<T> {
    /// Allocates room for `capacity` values in all; may sleep.
    pub(crate) fn new(capacity: usize) -> Result<Self> {
        Ok(Self(KVVec::with_capacity(capacity, GFP_KERNEL_ACCOUNT)?))
    }
}

/// Values named by small numbers.
///
/// # Invariants
///
/// `vacant` begins a chain of all vacant slots; `taken` counts the others.
pub(crate) struct Slab<T> {
    slots: KVVec<Slot<T>>,
    vacant: Option<usize>,
    taken: usize,
}

impl<T> Slab<T> {
    /// An empty slab.
    pub(crate) const fn new() -> Self {
        Self {
            slots: KVVec::new(),
            vacant: None,
            taken: 0,
        }
    }

    /// How much [`Room`] it needs before the next value can be put in; [`None`] if it has some.
    pub(crate) fn wants(&self) -> Option<usize> {
        let full = self.vacant.is_none() && self.slots.len() == self.slots.capacity();
        full.then(|| (self.slots.len() * 2).max(4))
    }

    /// Moves into the larger `room`, and gives the old one back to be freed where one may sleep.
    pub(crate) fn grow(&mut self, mut room: Room<T>) -> Room<T> {
        if room.0.capacity() > self.slots.capacity() {
            for slot in self.slots.drain_all() {
                // There is more room than there was, so that no slot is ever refused.
                let _ = room.0.push_within_capacity(slot);
            }
            core::mem::swap(&mut self.slots, &mut room.0);
        }
        room
    }

    /// Puts `value` in and returns its number, or gives it back if there is no room.
    pub(crate) fn insert(&mut self, value: T) -> Result<usize, T> {
        let Some(number) = self.vacant else {
            if self.wants().is_some() {
                return Err(value);
            }
            // INVARIANT: there is room, as was just checked, so that nothing is refused.
            self.taken += 1;
            let _ = self.slots.push_within_capacity(Slot::Taken(value));
            return Ok(self.slots.len() - 1);
        };
        match self.slots.get_mut(number) {
            Some(slot) => {
                // INVARIANT: the chain goes on behind the slot that is now taken.
                if let Slot::Vacant(next) = core::mem::replace(slot, Slot::Taken(value)) {
                    self.vacant = next;
                    self.taken += 1;
                }
                Ok(number)
            }
            None => Err(value),
        }
    }

    /// Takes out the value with this number.
    pub(crate) fn remove(&mut self, number: usize) -> Option<T> {
        let slot = self.slots.get_mut(number)?;
        if matches!(slot, Slot::Vacant(_)) {
            return None;
        }
        // INVARIANT: the slot is vacant, and the chain begins with it.
        self.taken -= 1;
        match core::mem::replace(slot, Slot::Vacant(self.vacant.replace(number))) {
            Slot::Taken(value) => Some(value),
            Slot::Vacant(_) => None,
        }
    }

    /// The value with this number.
    pub(crate) fn get(&self, number: usize) -> Option<&T> {
        match self.slots.get(number)? {
            Slot::Taken(value) => Some(value),
            Slot::Vacant(_) => None,
        }
    }

    /// The value with this number, to change it.
    pub(crate) fn get_mut(&mut self, number: usize) -> Option<&mut T> {
        match self.slots.get_mut(number)? {
            Slot::Taken(value) => Some(value),
            Slot::Vacant(_) => None,
        }
    }

    /// How many values there are.
    pub(crate) fn len(&self) -> usize {
        self.taken
    }

    /// All numbers are less than this.
    pub(crate) fn end(&self) -> usize {
        self.slots.len()
    }
}
