// SPDX-License-Identifier: GPL-2.0

//! Circular lists of values in a [`IdMap`], each with the numbers of its neighbours.
//!
//! Everything is O(1), and nothing is allocated: each value has room for its own [`Neighbours`]. A
//! value is in one list at most.

use crate::kernel_ext::collections::id_map::IdMap;

/// The neighbours of a value in a list.
#[derive(Clone, Copy)]
pub(super) struct Neighbours {
    before: usize,
    after: usize,
}

/// A value that can be in a list.
pub(super) trait Listed {
    /// Returns its neighbours; [`None`] if it is in no list.
    fn neighbours(&mut self) -> &mut Option<Neighbours>;
}

/// A list, and which of its values comes next.
///
/// # Invariants
///
/// `next` is [`None`], or the number of a value from which following [`Neighbours::after`] leads
/// through all values of the list and back; [`Neighbours::before`] leads the other way.
pub(super) struct CircularList {
    next: Option<usize>,
}

impl CircularList {
    /// Creates an empty list.
    pub(super) const fn new() -> Self {
        // INVARIANT: empty.
        Self { next: None }
    }

    /// Returns the number of the next value.
    pub(super) fn next(&self) -> Option<usize> {
        self.next
    }

    /// Puts a value that is in no list in front of `before`, if that is in this list, or else as
    /// the last one.
    pub(super) fn join<V: Listed>(
        &mut self,
        map: &mut IdMap<V>,
        number: usize,
        before: Option<usize>,
    ) {
        if self.next.is_none() {
            // INVARIANT: the list leads from the value to itself.
            Self::put(map, number, number, number);
            self.next = Some(number);
            return;
        }
        let before = before.filter(|before| Self::neighbours_of(map, *before).is_some());
        let after = before.or(self.next).unwrap_or(number);
        let last = Self::neighbours_of(map, after).map_or(after, |neighbours| neighbours.before);
        // INVARIANT: the list leads from `last` through `number` to `after`, which were
        // neighbours.
        Self::set(map, last, |neighbours| neighbours.after = number);
        Self::set(map, after, |neighbours| neighbours.before = number);
        Self::put(map, number, last, after);
        if self.next == before {
            self.next = Some(number);
        }
    }

    /// Takes a value out that is in this list.
    pub(super) fn leave<V: Listed>(&mut self, map: &mut IdMap<V>, number: usize) {
        let neighbours = map
            .get_mut(number)
            .and_then(|value| value.neighbours().take());
        let Some(Neighbours { before, after }) = neighbours else {
            return;
        };
        if after == number {
            // INVARIANT: it was the only one.
            self.next = None;
            return;
        }
        // INVARIANT: the list is closed around the value.
        Self::set(map, before, |neighbours| neighbours.after = after);
        Self::set(map, after, |neighbours| neighbours.before = before);
        if self.next == Some(number) {
            self.next = Some(after);
        }
    }

    /// Makes the next value the last one.
    pub(super) fn rotate<V: Listed>(&mut self, map: &mut IdMap<V>) {
        let neighbours = self.next.and_then(|next| Self::neighbours_of(map, next));
        if let Some(neighbours) = neighbours {
            self.next = Some(neighbours.after);
        }
    }

    fn put<V: Listed>(map: &mut IdMap<V>, number: usize, before: usize, after: usize) {
        if let Some(value) = map.get_mut(number) {
            *value.neighbours() = Some(Neighbours { before, after });
        }
    }

    fn neighbours_of<V: Listed>(map: &mut IdMap<V>, number: usize) -> Option<Neighbours> {
        *map.get_mut(number)?.neighbours()
    }

    fn set<V: Listed>(map: &mut IdMap<V>, number: usize, change: impl FnOnce(&mut Neighbours)) {
        let neighbours = map
            .get_mut(number)
            .and_then(|value| value.neighbours().as_mut());
        if let Some(neighbours) = neighbours {
            change(neighbours);
        }
    }
}
