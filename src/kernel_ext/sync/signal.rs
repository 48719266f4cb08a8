// SPDX-License-Identifier: GPL-2.0

//! Interrupted sleeps: pending signals, and notifications that are not signals.
//!
//! A notification is work that a thread does when it returns to userspace and that the program does
//! not see: task work (used by the timers and completions of io_uring), a trap for a tracer, the
//! freezer of a cgroup, live patching. It interrupts an interruptible sleep like a signal does. A
//! system call that can be restarted without a visible effect returns [`ERESTARTSYS`] in this
//! case. A system call that cannot be restarted, because it would start its transfer twice,
//! [defers the notification](DeferredNotifications) and sleeps again.
//!
//! C headers: `include/linux/sched/signal.h`, `include/linux/task_work.h`

use core::marker::PhantomData;
use kernel::{
    prelude::*,
    types::NotThreadSafe, //
};

extern "C" {
    fn rdma_helper_fatal_signal_pending() -> bool;

    /// Returns the kind of the pending signals, as a number of [`Pending`].
    fn rdma_helper_pending_signal() -> c_int;

    /// Clears the notification flags of the calling thread, which prevent it from sleeping, and
    /// returns the flags that it cleared. `TIF_SIGPENDING` is cleared only if no signal is pending.
    fn rdma_helper_defer_notifications() -> c_uint;

    /// Sets these flags again.
    fn rdma_helper_restore_notifications(cleared: c_uint);
}

/// Returns whether a fatal signal is pending for the calling thread.
pub(crate) fn fatal_signal_pending() -> bool {
    // SAFETY: The function has no arguments and may be called in any process context.
    unsafe { rdma_helper_fatal_signal_pending() }
}

/// The most severe signal that is pending for a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pending {
    /// No signal: a notification has interrupted the thread.
    Nothing,
    /// A signal without a handler that stops the process.
    Stop,
    /// A signal that runs a handler or terminates the process.
    Signal,
}

impl Pending {
    /// Returns the state of the calling thread.
    pub(crate) fn now() -> Self {
        // SAFETY: The function has no arguments and may be called in any process context.
        match unsafe { rdma_helper_pending_signal() } {
            0 => Self::Nothing,
            1 => Self::Stop,
            _ => Self::Signal,
        }
    }
}

/// The deferred notifications of the calling thread. While they are deferred, the thread can sleep;
/// dropping this sets their flags again, so that they are handled at the return to userspace.
///
/// # Invariants
///
/// `cleared` contains the flags of this thread that [`defer`](Self::defer) has cleared.
pub(crate) struct DeferredNotifications {
    cleared: c_uint,
    _thread: PhantomData<NotThreadSafe>,
}

impl DeferredNotifications {
    /// Creates an empty set of deferred notifications.
    pub(crate) fn new() -> Self {
        // INVARIANT: `defer` has cleared no flags yet.
        Self {
            cleared: 0,
            _thread: PhantomData,
        }
    }

    /// Defers the pending notifications, so that the thread can sleep until the next one.
    pub(crate) fn defer(&mut self) {
        // INVARIANT: The flags that the helper has cleared are added.
        // SAFETY: `drop` sets the flags again, in the same thread.
        self.cleared |= unsafe { rdma_helper_defer_notifications() };
    }
}

impl Drop for DeferredNotifications {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, `defer` has cleared these flags; the type is not `Send`,
        // so it did so in this thread.
        unsafe { rdma_helper_restore_notifications(self.cleared) };
    }
}
