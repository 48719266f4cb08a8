// SPDX-License-Identifier: GPL-2.0

//! Whose memory is locked: the kernel's count for each user, and the limit of the caller.
//!
//! The count is what io_uring, perf and others go by, so that one limit holds for all of them. The
//! one of an address space (`mm->locked_vm`, mlock's) would not do: changing that takes the lock of
//! the address space, and a buffer may be given back under somebody else's, by another process, or
//! by a kernel thread.
//!
//! C headers: `include/linux/sched/user.h`, `include/linux/cred.h`

use core::ptr::NonNull;
use kernel::{
    bindings,
    page::PAGE_SHIFT,
    prelude::*,
    sync::atomic::Atomic, //
};

extern "C" {
    /// A `struct user_struct *` with a reference.
    fn rdma_helper_current_user() -> *mut c_void;
    fn rdma_helper_memlock_limit() -> c_ulong;
}

/// A user; dropping it gives the reference back, in any context.
///
/// # Invariants
///
/// The pointer is that of a user that we hold a reference to.
pub(crate) struct User(NonNull<bindings::user_struct>);

// SAFETY: A reference to a user may be used and put by any thread.
unsafe impl Send for User {}
// SAFETY: As above; the count is atomic.
unsafe impl Sync for User {}

impl User {
    /// The caller, and the pages that it may have locked; [`None`] if it may have any number
    /// (`CAP_IPC_LOCK`).
    pub(crate) fn limited() -> Option<(Self, usize)> {
        // CAST: a small constant.
        // SAFETY: Takes any capability there is.
        if unsafe { bindings::capable(bindings::CAP_IPC_LOCK as c_int) } {
            return None;
        }
        // SAFETY: Takes nothing.
        let limit = unsafe { rdma_helper_memlock_limit() };
        // SAFETY: As above.
        let user = unsafe { rdma_helper_current_user() };
        // INVARIANT: a reference was just taken. A task always has a user.
        let user = NonNull::new(user.cast()).map(Self)?;
        Some((user, limit >> PAGE_SHIFT))
    }

    /// Pages that the user has locked.
    pub(crate) fn locked(&self) -> &Atomic<usize> {
        // SAFETY: By the type invariant the user is there.
        let locked = unsafe { &raw mut (*self.0.as_ptr()).locked_vm };
        // CAST: `atomic_long_t` is a `long`, of the size and alignment of `usize`.
        // SAFETY: The user is there for as long as `self`, and all of the kernel accesses this
        // count atomically.
        unsafe { Atomic::from_ptr(locked.cast()) }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        // SAFETY: By the type invariant we hold a reference, which nobody uses after this.
        unsafe { bindings::free_uid(self.0.as_ptr()) };
    }
}
