// SPDX-License-Identifier: GPL-2.0

//! A reference to an eventfd(2) of userspace, to be signalled by the kernel.
//!
//! C header: `include/linux/eventfd.h`

use core::ptr::NonNull;
use kernel::{
    bindings,
    error::from_err_ptr,
    prelude::*, //
};

/// An eventfd; dropping it gives the reference back, in any context.
///
/// # Invariants
///
/// The pointer is that of an eventfd that we hold a reference to.
pub(crate) struct EventFd(NonNull<bindings::eventfd_ctx>);

// SAFETY: A reference to an eventfd may be used and put by any thread.
unsafe impl Send for EventFd {}
// SAFETY: As above; the eventfd has its own lock.
unsafe impl Sync for EventFd {}

impl EventFd {
    /// The eventfd that this descriptor of the caller stands for.
    ///
    /// # Errors
    ///
    /// [`EBADF`] if the descriptor is not open, [`EINVAL`] if it is no eventfd.
    pub(crate) fn from_fd(fd: i32) -> Result<Self> {
        // SAFETY: Takes any number.
        let eventfd = from_err_ptr(unsafe { bindings::eventfd_ctx_fdget(fd) })?;
        // INVARIANT: a reference was just taken.
        NonNull::new(eventfd).map(Self).ok_or(EINVAL)
    }

    /// Adds 1 to the counter, unless that is full, and wakes whoever waits for it. Also in
    /// interrupt handlers, and under a spinlock.
    ///
    /// Not for a wait queue's wake-up function, which an eventfd could have called: the kernel
    /// warns of such a recursion. Nothing of ours is one.
    pub(crate) fn signal(&self) {
        // SAFETY: By the type invariant the eventfd is there.
        unsafe { bindings::eventfd_signal_mask(self.0.as_ptr(), 0) };
    }
}

impl Drop for EventFd {
    fn drop(&mut self) {
        // SAFETY: By the type invariant we hold a reference, which nobody uses after this.
        unsafe { bindings::eventfd_ctx_put(self.0.as_ptr()) };
    }
}
