// SPDX-License-Identifier: GPL-2.0

//! A first-in-first-out list that takes no memory of its own.
//!
//! Each [`Entry`] is allocated before it is put in, where one may sleep; putting in and taking out
//! is a few instructions and cannot fail, so that an interrupt handler can do it under a spinlock.
//!
//! Uses the kernel's boxes only: also compiled and tested on the host.

use core::{
    marker::PhantomData,
    ops::{
        Deref,
        DerefMut, //
    },
    ptr, //
};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    prelude::*, //
};

struct Node<T> {
    value: T,
    next: *mut Node<T>,
}

/// A value that can be put into a [`Fifo`], owned by whoever has it.
pub(crate) struct Entry<T>(KBox<Node<T>>);

// SAFETY: An entry owns its value; `next` is meaningless outside a `Fifo`.
unsafe impl<T: Send> Send for Entry<T> {}

impl<T> Entry<T> {
    /// Allocates an entry, which is charged to the caller's control group; may sleep.
    pub(crate) fn new(value: T) -> Result<Self> {
        let node = Node {
            value,
            next: ptr::null_mut(),
        };
        Ok(Self(KBox::new(node, GFP_KERNEL_ACCOUNT)?))
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
/// `head` is null or begins a chain, linked by `next` and ended by null, of nodes that came from
/// `KBox::into_raw` and that this list alone owns. Unless `head` is null, `tail` is the last of
/// them. `length` is how many they are.
pub(crate) struct Fifo<T> {
    head: *mut Node<T>,
    tail: *mut Node<T>,
    length: usize,
    _owns: PhantomData<KBox<Node<T>>>,
}

// SAFETY: By the type invariant the list owns its nodes as a vector of boxes would.
unsafe impl<T: Send> Send for Fifo<T> {}

impl<T> Fifo<T> {
    /// An empty list.
    pub(crate) const fn new() -> Self {
        // INVARIANT: empty.
        Self {
            head: ptr::null_mut(),
            tail: ptr::null_mut(),
            length: 0,
            _owns: PhantomData,
        }
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    /// How many are in it.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// The first value.
    pub(crate) fn front(&self) -> Option<&T> {
        // SAFETY: By the type invariant `head` is null or a node of ours, which `self` borrows.
        unsafe { self.head.as_ref() }.map(|node| &node.value)
    }

    /// The first value, to change it.
    pub(crate) fn front_mut(&mut self) -> Option<&mut T> {
        // SAFETY: By the type invariant `head` is null or a node of ours, which `self` borrows.
        unsafe { self.head.as_mut() }.map(|node| &mut node.value)
    }

    /// Puts an entry in as the last one.
    pub(crate) fn push_back(&mut self, entry: Entry<T>) {
        let node = KBox::into_raw(entry.0);
        // SAFETY: `node` was just taken out of its box, and so is valid and ours.
        unsafe { (*node).next = ptr::null_mut() };
        if self.head.is_null() {
            self.head = node;
        } else {
            // SAFETY: `head` is not null, so by the type invariant `tail` is a node of ours.
            unsafe { (*self.tail).next = node };
        }
        // INVARIANT: `node` is ours, linked from the former last node or `head`, and ends the
        // chain.
        self.tail = node;
        self.length += 1;
    }

    /// Puts an entry in as the first one.
    pub(crate) fn push_front(&mut self, entry: Entry<T>) {
        let node = KBox::into_raw(entry.0);
        // SAFETY: `node` was just taken out of its box, and so is valid and ours.
        unsafe { (*node).next = self.head };
        if self.head.is_null() {
            self.tail = node;
        }
        // INVARIANT: `node` is ours and is followed by the former chain.
        self.head = node;
        self.length += 1;
    }

    /// Puts all entries of another list behind those of this one, and leaves that empty.
    pub(crate) fn append(&mut self, other: &mut Self) {
        let other = core::mem::replace(other, Self::new());
        if other.head.is_null() {
            return;
        }
        if self.head.is_null() {
            self.head = other.head;
        } else {
            // SAFETY: `head` is not null, so by the type invariant `tail` is a node of ours.
            unsafe { (*self.tail).next = other.head };
        }
        // INVARIANT: the other chain goes on where ours ended, and is not the other list's any more.
        self.tail = other.tail;
        self.length += other.length;
        core::mem::forget(other);
    }

    /// Takes the first `most` entries out, or all if there are fewer.
    pub(crate) fn take_front(&mut self, most: usize) -> Self {
        let mut taken = Self::new();
        while taken.len() < most {
            let Some(entry) = self.pop_front() else {
                break;
            };
            taken.push_back(entry);
        }
        taken
    }

    /// The values, from the first one on.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        let mut next = self.head;
        core::iter::from_fn(move || {
            // SAFETY: By the type invariant `next`, being in the chain or its end, is null or a
            // node of ours, which `self` borrows.
            let node = unsafe { next.as_ref() }?;
            next = node.next;
            Some(&node.value)
        })
    }

    /// Takes the first entry out.
    pub(crate) fn pop_front(&mut self) -> Option<Entry<T>> {
        self.unlink(ptr::null_mut())
    }

    /// Takes the first entry out for which `wanted` says so.
    ///
    /// Looks at one entry after the other: for lists that are short, or off the hot path.
    pub(crate) fn take(&mut self, mut wanted: impl FnMut(&T) -> bool) -> Option<Entry<T>> {
        let mut before = ptr::null_mut();
        let mut node = self.head;
        while !node.is_null() {
            // SAFETY: By the type invariant `node`, being in the chain, is a node of ours.
            if wanted(unsafe { &(*node).value }) {
                return self.unlink(before);
            }
            before = node;
            // SAFETY: As above.
            node = unsafe { (*node).next };
        }
        None
    }

    /// Takes out the node after `before`, or the first one if `before` is null.
    ///
    /// `before` is null or a node in the chain.
    fn unlink(&mut self, before: *mut Node<T>) -> Option<Entry<T>> {
        let link = if before.is_null() {
            &mut self.head
        } else {
            // SAFETY: `before` is in the chain, so by the type invariant it is a node of ours.
            unsafe { &mut (*before).next }
        };
        let node = *link;
        if node.is_null() {
            return None;
        }
        // SAFETY: `node` is in the chain, so by the type invariant it is a node of ours.
        // INVARIANT: the chain goes on behind `node`, which no longer belongs to it.
        *link = unsafe { (*node).next };
        if self.tail == node {
            self.tail = before;
        }
        self.length -= 1;
        // SAFETY: By the type invariant `node` came from `KBox::into_raw`, and it was just
        // unlinked, so that nobody else has it.
        Some(Entry(unsafe { KBox::from_raw(node) }))
    }
}

impl<T> Drop for Fifo<T> {
    fn drop(&mut self) {
        while self.pop_front().is_some() {}
    }
}
