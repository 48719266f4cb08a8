// SPDX-License-Identifier: GPL-2.0

//! A singly linked list of boxed values, which is used as a queue. (The crate's `List` needs a
//! reference count in each value.)
//!
//! Each [`Entry`] is allocated in process context, before it is inserted. Insertion and removal
//! take a few instructions and cannot fail, so that an interrupt handler can do them under a
//! spinlock.
//!
//! Of the kernel, this file uses `KBox` only; it is also compiled and tested on the host.

use crate::kernel_ext::gfp::GFP_ACCOUNT_MAYFAIL;
use core::{
    marker::PhantomData,
    ops::{
        Deref,
        DerefMut, //
    },
    ptr, //
};
use kernel::prelude::*;

struct ListNode<T> {
    value: T,
    next: *mut ListNode<T>,
}

/// Owns a value that can be inserted into a [`Fifo`].
pub(crate) struct Entry<T>(KBox<ListNode<T>>);

// SAFETY: An entry owns its value, and `next` is not dereferenced while the entry is outside a
// `Fifo`.
unsafe impl<T: Send> Send for Entry<T> {}
// SAFETY: A shared reference to an entry gives access to its value only.
unsafe impl<T: Sync> Sync for Entry<T> {}

impl<T> Entry<T> {
    /// Allocates an entry, which is charged to the memory cgroup of the caller. May sleep.
    pub(crate) fn new(value: T) -> Result<Self> {
        let node = ListNode {
            value,
            next: ptr::null_mut(),
        };
        Ok(Self(KBox::new(node, GFP_ACCOUNT_MAYFAIL)?))
    }
}

impl<T> Deref for Entry<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> DerefMut for Entry<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0.value
    }
}

/// A first-in-first-out list of entries.
///
/// # Invariants
///
/// `head` is null or the first of a chain of nodes, which are linked by `next`; the `next` of the
/// last one is null. All nodes come from `KBox::into_raw` and are owned by this list alone. Unless
/// `head` is null, `tail` is the last node. `length` is the number of nodes.
pub(crate) struct Fifo<T> {
    head: *mut ListNode<T>,
    tail: *mut ListNode<T>,
    length: usize,
    _owns: PhantomData<KBox<ListNode<T>>>,
}

// SAFETY: By the type invariant the list owns its nodes as a vector of boxes would.
unsafe impl<T: Send> Send for Fifo<T> {}

impl<T> Fifo<T> {
    /// Creates an empty list.
    pub(crate) const fn new() -> Self {
        // INVARIANT: `head` is null, and there are no nodes.
        Self {
            head: ptr::null_mut(),
            tail: ptr::null_mut(),
            length: 0,
            _owns: PhantomData,
        }
    }

    /// Returns whether the list is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    /// Returns the number of entries.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Returns the first value.
    pub(crate) fn front(&self) -> Option<&T> {
        // SAFETY: By the type invariant, `head` is null or a valid node, which `self` owns and
        // borrows.
        unsafe { self.head.as_ref() }.map(|node| &node.value)
    }

    /// Returns a mutable reference to the first value.
    pub(crate) fn front_mut(&mut self) -> Option<&mut T> {
        // SAFETY: By the type invariant, `head` is null or a valid node, which `self` owns and
        // borrows.
        unsafe { self.head.as_mut() }.map(|node| &mut node.value)
    }

    /// Appends an entry.
    pub(crate) fn push_back(&mut self, entry: Entry<T>) {
        let node = KBox::into_raw(entry.0);
        // SAFETY: `node` was just returned by `KBox::into_raw`, so it is valid and not shared.
        unsafe { (*node).next = ptr::null_mut() };
        if self.head.is_null() {
            self.head = node;
        } else {
            // SAFETY: `head` is not null, so by the type invariant, `tail` is a valid node that
            // `self` owns.
            unsafe { (*self.tail).next = node };
        }
        // INVARIANT: `node` came from `KBox::into_raw`, is linked from the former last node or from
        // `head`, and is the last of the chain.
        self.tail = node;
        self.length += 1;
    }

    /// Prepends an entry.
    pub(crate) fn push_front(&mut self, entry: Entry<T>) {
        let node = KBox::into_raw(entry.0);
        // SAFETY: `node` was just returned by `KBox::into_raw`, so it is valid and not shared.
        unsafe { (*node).next = self.head };
        if self.head.is_null() {
            self.tail = node;
        }
        // INVARIANT: `node` came from `KBox::into_raw` and is followed by the former chain.
        self.head = node;
        self.length += 1;
    }

    /// Appends all entries of `other`, which is empty afterwards.
    pub(crate) fn append(&mut self, other: &mut Self) {
        let other = core::mem::replace(other, Self::new());
        if other.head.is_null() {
            return;
        }
        if self.head.is_null() {
            self.head = other.head;
        } else {
            // SAFETY: `head` is not null, so by the type invariant, `tail` is a valid node that
            // `self` owns.
            unsafe { (*self.tail).next = other.head };
        }
        // INVARIANT: The chain of `other` follows the chain of `self`, and `other` no longer owns
        // it.
        self.tail = other.tail;
        self.length += other.length;
        core::mem::forget(other);
    }

    /// Removes up to `max` entries from the front and returns them as a list.
    pub(crate) fn take_front(&mut self, max: usize) -> Self {
        let mut taken = Self::new();
        while taken.len() < max {
            let Some(entry) = self.pop_front() else {
                break;
            };
            taken.push_back(entry);
        }
        taken
    }

    /// Returns an iterator over the values, from first to last.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        let mut next = self.head;
        core::iter::from_fn(move || {
            // SAFETY: By the type invariant, `next` is null or a node of the chain, which `self`
            // owns and borrows.
            let node = unsafe { next.as_ref() }?;
            next = node.next;
            Some(&node.value)
        })
    }

    /// Removes the first entry and returns it.
    pub(crate) fn pop_front(&mut self) -> Option<Entry<T>> {
        self.unlink(ptr::null_mut())
    }

    /// Removes the first entry for which `wanted` returns true, and returns it.
    ///
    /// This is O(n), for lists that are short, or outside of the hot path.
    pub(crate) fn take(&mut self, mut wanted: impl FnMut(&T) -> bool) -> Option<Entry<T>> {
        let mut before = ptr::null_mut();
        let mut node = self.head;
        while !node.is_null() {
            // SAFETY: By the type invariant, `node`, which is in the chain, is valid and owned by
            // `self`.
            if wanted(unsafe { &(*node).value }) {
                return self.unlink(before);
            }
            before = node;
            // SAFETY: As above.
            node = unsafe { (*node).next };
        }
        None
    }

    /// Removes the node after `before`, or the first node if `before` is null, and returns it.
    ///
    /// `before` must be null or a node in the chain.
    fn unlink(&mut self, before: *mut ListNode<T>) -> Option<Entry<T>> {
        let link = if before.is_null() {
            &mut self.head
        } else {
            // SAFETY: `before` is in the chain, so it is valid and owned by `self`, by the type
            // invariant.
            unsafe { &mut (*before).next }
        };
        let node = *link;
        if node.is_null() {
            return None;
        }
        // SAFETY: `node` is in the chain, so it is valid and owned by `self`, by the type
        // invariant.
        // INVARIANT: The chain continues after `node`, which is no longer part of it.
        *link = unsafe { (*node).next };
        if self.tail == node {
            self.tail = before;
        }
        self.length -= 1;
        // SAFETY: By the type invariant, `node` came from `KBox::into_raw`; it was just unlinked,
        // so there is no other pointer to it.
        Some(Entry(unsafe { KBox::from_raw(node) }))
    }
}

impl<T> Drop for Fifo<T> {
    fn drop(&mut self) {
        while self.pop_front().is_some() {}
    }
}
