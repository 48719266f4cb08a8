// SPDX-License-Identifier: GPL-2.0

//! What interrupts the sleep of a thread, and whether that is a signal.
//!
//! An interruptible sleep is also interrupted by what a thread only has to do on its way to
//! userspace, and that changes nothing for the program: task work (io_uring has its timers and
//! completions run so), a trap for a tracer, the freezer of a control group, live patching. A system
//! call that can be restarted as if nothing had been returns [`ERESTARTSYS`] for these. One that
//! cannot, for what it has begun would be done twice, [sleeps on](SleepOn).
//!
//! C headers: `include/linux/sched/signal.h`, `include/linux/task_work.h`

use core::marker::PhantomData;
use kernel::{
    prelude::*,
    types::NotThreadSafe, //
};

extern "C" {
    fn rdma_helper_fatal_signal_pending() -> bool;

    /// Which kind of signal is pending: a [`Pending`].
    fn rdma_helper_pending() -> c_int;

    /// Clears those flags of the calling thread that keep it from sleeping, unless a signal is
    /// pending, and returns which.
    fn rdma_helper_sleep_on() -> c_uint;

    /// Sets them again.
    fn rdma_helper_sleep_on_end(cleared: c_uint);
}

/// Whether the calling process is being killed.
pub(crate) fn is_fatal() -> bool {
    // SAFETY: Takes nothing, and may be called by any process.
    unsafe { rdma_helper_fatal_signal_pending() }
}

/// Which signal is pending for the calling thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pending {
    /// None: what has interrupted the thread is no signal.
    Nothing,
    /// One that stops the process, with no handler.
    Stop,
    /// One that runs a handler, or ends the process.
    Signal,
}

impl Pending {
    /// That of the calling thread.
    pub(crate) fn now() -> Self {
        // SAFETY: Takes nothing, and may be called by any process.
        match unsafe { rdma_helper_pending() } {
            0 => Self::Nothing,
            1 => Self::Stop,
            _ => Self::Signal,
        }
    }
}

/// Lets the calling thread sleep on when what has interrupted it is no signal; dropping it has the
/// thread do that on its way to userspace.
///
/// # Invariants
///
/// `cleared` are the flags of this thread that [`sleep_on`](Self::sleep_on) has cleared.
pub(crate) struct SleepOn {
    cleared: c_uint,
    _thread: PhantomData<NotThreadSafe>,
}

impl SleepOn {
    /// Nothing has interrupted the thread yet.
    pub(crate) fn new() -> Self {
        // INVARIANT: none.
        Self {
            cleared: 0,
            _thread: PhantomData,
        }
    }

    /// Lets the thread sleep until something else interrupts it, or the same again.
    pub(crate) fn sleep_on(&mut self) {
        // INVARIANT: as it returns.
        // SAFETY: `drop` sets the flags again, in the same thread.
        self.cleared |= unsafe { rdma_helper_sleep_on() };
    }
}

impl Drop for SleepOn {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, and this is the thread that has called `sleep_on`.
        unsafe { rdma_helper_sleep_on_end(self.cleared) };
    }
}
