// SPDX-License-Identifier: GPL-2.0

//! A map from small, reusable numbers to values. (The crate's `IdPool` has no values.)
//!
//! All operations are O(1) except [`IdMap::grow`]. Memory is allocated separately from insertion,
//! so that a map that a spinlock protects is given memory that was allocated outside of the lock.
//!
//! This file uses no bindings; it is also compiled and tested on the host.

use crate::kernel_ext::gfp::GFP_ACCOUNT_MAYFAIL;
use kernel::prelude::*;

/// An entry of a map.
enum MapEntry<T> {
    Taken(T),
    /// Contains the number of the next vacant entry.
    Vacant(Option<usize>),
}

/// Memory for a larger map; see [`IdMap::grow`].
pub(crate) struct IdMapGrowth<T>(KVVec<MapEntry<T>>);

impl<T> IdMapGrowth<T> {
    /// Allocates memory for a map of `capacity` values. May sleep.
    pub(crate) fn new(capacity: usize) -> Result<Self> {
        Ok(Self(KVVec::with_capacity(capacity, GFP_ACCOUNT_MAYFAIL)?))
    }
}

/// Maps small, reusable numbers to values.
///
/// # Invariants
///
/// `vacant` is the head of a list of all vacant entries; `taken` is the number of the other
/// entries.
pub(crate) struct IdMap<T> {
    entries: KVVec<MapEntry<T>>,
    vacant: Option<usize>,
    taken: usize,
}

impl<T> IdMap<T> {
    /// Creates an empty map.
    pub(crate) const fn new() -> Self {
        Self {
            entries: KVVec::new(),
            vacant: None,
            taken: 0,
        }
    }

    /// Returns the capacity of the [`IdMapGrowth`] that is needed before the next insertion, or
    /// [`None`] if there is a vacant entry.
    pub(crate) fn grow_request(&self) -> Option<usize> {
        let full = self.vacant.is_none() && self.entries.len() == self.entries.capacity();
        full.then(|| (self.entries.len() * 2).max(4))
    }

    /// Moves the values into the memory of `growth`, if that is larger, and returns the old memory,
    /// which the caller frees after it has released its lock.
    pub(crate) fn grow(&mut self, mut growth: IdMapGrowth<T>) -> IdMapGrowth<T> {
        if growth.0.capacity() > self.entries.capacity() {
            for entry in self.entries.drain_all() {
                // The new capacity is larger than the old one, so this cannot fail.
                let _ = growth.0.push_within_capacity(entry);
            }
            core::mem::swap(&mut self.entries, &mut growth.0);
        }
        growth
    }

    /// Inserts `value` and returns its number. Returns `value` as the error if the map is full.
    pub(crate) fn insert(&mut self, value: T) -> Result<usize, T> {
        let Some(number) = self.vacant else {
            if self.grow_request().is_some() {
                return Err(value);
            }
            // INVARIANT: The capacity was just checked, so this cannot fail and adds a taken entry.
            self.taken += 1;
            let _ = self.entries.push_within_capacity(MapEntry::Taken(value));
            return Ok(self.entries.len() - 1);
        };
        match self.entries.get_mut(number) {
            Some(entry) => {
                // INVARIANT: The list continues with the entry after the one that is now taken.
                if let MapEntry::Vacant(next) = core::mem::replace(entry, MapEntry::Taken(value)) {
                    self.vacant = next;
                    self.taken += 1;
                }
                Ok(number)
            }
            None => Err(value),
        }
    }

    /// Removes the value with this number and returns it.
    pub(crate) fn remove(&mut self, number: usize) -> Option<T> {
        let entry = self.entries.get_mut(number)?;
        if matches!(entry, MapEntry::Vacant(_)) {
            return None;
        }
        // INVARIANT: The entry is now vacant and is the head of the list.
        self.taken -= 1;
        match core::mem::replace(entry, MapEntry::Vacant(self.vacant.replace(number))) {
            MapEntry::Taken(value) => Some(value),
            MapEntry::Vacant(_) => None,
        }
    }

    /// Returns the value with this number.
    pub(crate) fn get(&self, number: usize) -> Option<&T> {
        match self.entries.get(number)? {
            MapEntry::Taken(value) => Some(value),
            MapEntry::Vacant(_) => None,
        }
    }

    /// Returns a mutable reference to the value with this number.
    pub(crate) fn get_mut(&mut self, number: usize) -> Option<&mut T> {
        match self.entries.get_mut(number)? {
            MapEntry::Taken(value) => Some(value),
            MapEntry::Vacant(_) => None,
        }
    }

    /// Returns the number of values.
    pub(crate) fn len(&self) -> usize {
        self.taken
    }

    /// Returns an exclusive upper bound of all numbers in use.
    pub(crate) fn end(&self) -> usize {
        self.entries.len()
    }
}
