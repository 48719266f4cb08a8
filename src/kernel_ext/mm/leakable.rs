// SPDX-License-Identifier: GPL-2.0

//! Memory that is never freed if the device may still access it.

use core::{
    mem::ManuallyDrop,
    ops::Deref, //
};
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// Memory that a device accesses. Dropping this frees it, unless it was [leaked](Self::leak).
pub(crate) struct Leakable<M> {
    memory: ManuallyDrop<M>,
    leaked: Atomic<bool>,
}

impl<M> Leakable<M> {
    /// Owns memory that is not leaked.
    pub(crate) fn new(memory: M) -> Self {
        Self {
            memory: ManuallyDrop::new(memory),
            leaked: Atomic::new(false),
        }
    }

    /// Prevents the memory from being freed, unpinned or unmapped when this is dropped, because the
    /// device may still write to it. All references that it holds are leaked, too.
    pub(crate) fn leak(&self) {
        self.leaked.store(true, Relaxed);
    }
}

impl<M> Deref for Leakable<M> {
    type Target = M;

    #[inline]
    fn deref(&self) -> &M {
        &self.memory
    }
}

impl<M> Drop for Leakable<M> {
    fn drop(&mut self) {
        if !self.leaked.load(Relaxed) {
            // SAFETY: The memory is dropped once, and is not used after this.
            unsafe { ManuallyDrop::drop(&mut self.memory) };
        }
    }
}
