// SPDX-License-Identifier: GPL-2.0

//! Wait queues for poll(2), select(2) and epoll(7).
//!
//! The crate's `PollCondVar` waits for an RCU grace period when it is dropped. A [`PollQueue`] does
//! not need to, because it lives as long as the file, and a poller holds a reference to the file;
//! see [`chrdev::File::poll_queue`](super::chrdev::File::poll_queue).
//!
//! C header: `include/linux/poll.h`

use crate::kernel_ext::sync::wait::WaitQueue;
use core::ops::BitOr;
use kernel::{
    bindings,
    prelude::*,
    sync::LockClassKey,
    task::TASK_NORMAL, //
};

/// The events that poll(2) reports for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Events(bindings::__poll_t);

impl Events {
    /// No events.
    pub(crate) const NONE: Self = Self(0);

    /// Reading returns data without blocking.
    pub(crate) const READABLE: Self = Self(bindings::POLLIN | bindings::POLLRDNORM);

    /// Writing does not block.
    pub(crate) const WRITABLE: Self = Self(bindings::POLLOUT | bindings::POLLWRNORM);

    /// The driver was unbound from the device.
    pub(crate) const GONE: Self = Self(bindings::POLLHUP | bindings::POLLERR);

    /// Returns the bits of the kernel.
    pub(in crate::kernel_ext) fn bits(self) -> bindings::__poll_t {
        self.0
    }
}

impl BitOr for Events {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The queue of the threads that poll a file.
#[pin_data]
pub(crate) struct PollQueue {
    #[pin]
    queue: WaitQueue,
}

impl PollQueue {
    /// Creates an empty queue.
    pub(crate) fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            queue <- WaitQueue::new(name, key),
        })
    }

    /// Wakes the threads that poll for one of these events; with `EPOLLEXCLUSIVE`, one of them. May
    /// be called in interrupt handlers.
    pub(crate) fn notify(&self, events: Events) {
        if !self.queue.has_sleeper() {
            return;
        }
        // CAST: The kernel passes the bits of events as a pointer (`poll_to_key`).
        let key = core::ptr::without_provenance_mut(events.0 as usize);
        // SAFETY: The queue is initialised. Only poll(2) and epoll(7) add entries to it, because
        // `PollQueue` provides no function to sleep, and their wake functions accept such a key.
        unsafe { bindings::__wake_up(self.queue.as_ptr(), TASK_NORMAL, 1, key) };
    }

    /// Returns the C wait queue, for `poll_wait`.
    pub(in crate::kernel_ext) fn as_ptr(&self) -> *mut bindings::wait_queue_head {
        self.queue.as_ptr()
    }
}
