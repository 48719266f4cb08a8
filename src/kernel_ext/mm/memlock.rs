// SPDX-License-Identifier: GPL-2.0

//! Locked memory: the kernel's count per user, and the limit of the calling process.
//!
//! io_uring, perf and others use the same count, so that all of them share one limit. The count of
//! an address space (`mm->locked_vm`, used by mlock(2)) cannot be used: its updates take the lock
//! of the address space, and a buffer may be freed by another process, by a kernel thread, or under
//! the lock of another address space.
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
    /// Returns a `struct user_struct *` with a reference.
    fn rdma_helper_current_user() -> *mut c_void;
    fn rdma_helper_memlock_limit() -> c_ulong;
}

/// A reference to a user with its count of locked memory. It may be dropped in any context.
///
/// # Invariants
///
/// The pointer is valid, and this holds a reference to the user.
pub(crate) struct MemlockUser(NonNull<bindings::user_struct>);

// SAFETY: A reference to a user may be used and put by any thread.
unsafe impl Send for MemlockUser {}
// SAFETY: As above; the count is atomic.
unsafe impl Sync for MemlockUser {}

impl MemlockUser {
    /// Returns the user of the calling process and its limit of locked pages, or [`None`] if it has
    /// no limit (`CAP_IPC_LOCK`).
    pub(crate) fn limited() -> Option<(Self, usize)> {
        // CAST: The constant is small.
        // SAFETY: `CAP_IPC_LOCK` is a valid capability.
        if unsafe { bindings::capable(bindings::CAP_IPC_LOCK as c_int) } {
            return None;
        }
        // SAFETY: The function has no arguments and may be called in any process context.
        let limit = unsafe { rdma_helper_memlock_limit() };
        // SAFETY: As above.
        let user = unsafe { rdma_helper_current_user() };
        // INVARIANT: The helper has taken a reference. A task always has a user.
        let user = NonNull::new(user.cast()).map(Self)?;
        Some((user, limit >> PAGE_SHIFT))
    }

    /// Returns the count of pages that the user has locked.
    pub(crate) fn locked(&self) -> &Atomic<usize> {
        // SAFETY: By the type invariant, the user is valid.
        let locked = unsafe { &raw mut (*self.0.as_ptr()).locked_vm };
        // CAST: `atomic_long_t` has the size and alignment of `usize`.
        // SAFETY: The user lives at least as long as `self`, and the kernel accesses this count
        // only atomically.
        unsafe { Atomic::from_ptr(locked.cast()) }
    }
}

impl Drop for MemlockUser {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, this holds a reference, which is not used after this call.
        unsafe { bindings::free_uid(self.0.as_ptr()) };
    }
}
