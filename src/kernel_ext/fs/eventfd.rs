// SPDX-License-Identifier: GPL-2.0

//! References to eventfds of userspace, which the kernel signals.
//!
//! C header: `include/linux/eventfd.h`

use core::ptr::NonNull;
use kernel::{
    bindings,
    error::from_err_ptr,
    prelude::*, //
};

/// A reference to an eventfd. It may be dropped in any context.
///
/// # Invariants
///
/// The pointer is valid, and this holds a reference to the eventfd.
pub(crate) struct EventFd(NonNull<bindings::eventfd_ctx>);

// SAFETY: A reference to an eventfd may be used and put by any thread.
unsafe impl Send for EventFd {}
// SAFETY: As above; the eventfd has its own lock.
unsafe impl Sync for EventFd {}

impl EventFd {
    /// Returns the eventfd of a file descriptor of the calling process.
    ///
    /// # Errors
    ///
    /// [`EBADF`] if the descriptor is not open, [`EINVAL`] if it is not an eventfd.
    pub(crate) fn from_fd(fd: i32) -> Result<Self> {
        // SAFETY: The function accepts any number.
        let eventfd = from_err_ptr(unsafe { bindings::eventfd_ctx_fdget(fd) })?;
        // INVARIANT: `eventfd_ctx_fdget` has taken a reference.
        NonNull::new(eventfd).map(Self).ok_or(EINVAL)
    }

    /// Adds 1 to the counter, unless it has its maximum, and wakes the threads that wait for it.
    /// May be called in interrupt handlers and under a spinlock.
    ///
    /// Must not be called by the wake function of a wait queue, because an eventfd can call such a
    /// function itself, and the kernel warns about the recursion. This driver's wake functions do
    /// not call it.
    pub(crate) fn signal(&self) {
        // SAFETY: By the type invariant, the eventfd is valid.
        unsafe { bindings::eventfd_signal_mask(self.0.as_ptr(), 0) };
    }
}

impl Drop for EventFd {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, this holds a reference, which is not used after this call.
        unsafe { bindings::eventfd_ctx_put(self.0.as_ptr()) };
    }
}
