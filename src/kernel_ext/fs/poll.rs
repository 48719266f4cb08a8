// SPDX-License-Identifier: GPL-2.0

//! What poll(2), select(2) and epoll(7) wait for.
//!
//! The crate's `PollCondVar` waits for a grace period when it is dropped. Here what polls a file keeps
//! the file, and so the queue, alive: [`chrdev::File::poll_queue`](super::chrdev::File::poll_queue).
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

/// What poll(2) says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Events(bindings::__poll_t);

impl Events {
    /// Nothing.
    pub(crate) const NONE: Self = Self(0);

    /// There is something to fetch.
    pub(crate) const READABLE: Self = Self(bindings::POLLIN | bindings::POLLRDNORM);

    /// There is room for more.
    pub(crate) const WRITABLE: Self = Self(bindings::POLLOUT | bindings::POLLWRNORM);

    /// The device is gone.
    pub(crate) const GONE: Self = Self(bindings::POLLHUP | bindings::POLLERR);

    /// As the kernel has them.
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

/// Those who poll a file.
#[pin_data]
pub(crate) struct PollQueue {
    #[pin]
    queue: WaitQueue,
}

impl PollQueue {
    /// A queue without pollers.
    pub(crate) fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            queue <- WaitQueue::new(name, key),
        })
    }

    /// Wakes those who poll for one of these events; with `EPOLLEXCLUSIVE`, one of them. Also in
    /// interrupt handlers.
    pub(crate) fn notify(&self, events: Events) {
        if !self.queue.has_sleeper() {
            return;
        }
        // CAST: the kernel passes the bits of events as a pointer (`poll_to_key`).
        let key = core::ptr::without_provenance_mut(events.0 as usize);
        // SAFETY: The queue is initialised. What poll(2) and epoll(7) put in takes such a key.
        unsafe { bindings::__wake_up(self.queue.as_ptr(), TASK_NORMAL, 1, key) };
    }

    /// The queue, for `poll_wait`.
    pub(in crate::kernel_ext) fn as_ptr(&self) -> *mut bindings::wait_queue_head {
        self.queue.as_ptr()
    }
}
