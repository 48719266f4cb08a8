// SPDX-License-Identifier: GPL-2.0

//! Circular lists of values in a [`IdMap`], each linked to its neighbours by their numbers.
//!
//! Everything is O(1), and nothing is allocated: each value has room for its own [`Link`]. A value
//! is in one list at most.

use crate::kernel_ext::collections::id_map::IdMap;

/// The neighbours of a value in a list.
#[derive(Clone, Copy)]
pub(super) struct Link {
    before: usize,
    after: usize,
}

/// A value that can be in a list.
pub(super) trait Linked {
    /// Returns its neighbours; [`None`] if it is in no list.
    fn link(&mut self) -> &mut Option<Link>;
}

/// A list, and which of its values comes next.
///
/// # Invariants
///
/// `next` is [`None`], or the number of a value from which following [`Link::after`] leads through
/// all values of the list and back; [`Link::before`] leads the other way.
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
    pub(super) fn join<V: Linked>(
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
        let before = before.filter(|before| Self::link_of(map, *before).is_some());
        let after = before.or(self.next).unwrap_or(number);
        let last = Self::link_of(map, after).map_or(after, |link| link.before);
        // INVARIANT: the list leads from `last` through `number` to `after`, which were
        // neighbours.
        Self::set(map, last, |link| link.after = number);
        Self::set(map, after, |link| link.before = number);
        Self::put(map, number, last, after);
        if self.next == before {
            self.next = Some(number);
        }
    }

    /// Takes a value out that is in this list.
    pub(super) fn leave<V: Linked>(&mut self, map: &mut IdMap<V>, number: usize) {
        let Some(link) = map.get_mut(number).and_then(|value| value.link().take()) else {
            return;
        };
        if link.after == number {
            // INVARIANT: it was the only one.
            self.next = None;
            return;
        }
        // INVARIANT: the list is closed around the value.
        Self::set(map, link.before, |before| before.after = link.after);
        Self::set(map, link.after, |after| after.before = link.before);
        if self.next == Some(number) {
            self.next = Some(link.after);
        }
    }

    /// Makes the next value the last one.
    pub(super) fn rotate<V: Linked>(&mut self, map: &mut IdMap<V>) {
        let link = self.next.and_then(|next| Self::link_of(map, next));
        if let Some(link) = link {
            self.next = Some(link.after);
        }
    }

    fn put<V: Linked>(map: &mut IdMap<V>, number: usize, before: usize, after: usize) {
        if let Some(value) = map.get_mut(number) {
            *value.link() = Some(Link { before, after });
        }
    }

    fn link_of<V: Linked>(map: &mut IdMap<V>, number: usize) -> Option<Link> {
        *map.get_mut(number)?.link()
    }

    fn set<V: Linked>(map: &mut IdMap<V>, number: usize, change: impl FnOnce(&mut Link)) {
        let link = map.get_mut(number).and_then(|value| value.link().as_mut());
        if let Some(link) = link {
            change(link);
        }
    }
}
