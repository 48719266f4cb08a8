// SPDX-License-Identifier: GPL-2.0

//! What waits for one request: a thread or a command.

use super::{
    command_waiter::CommandWaiter,
    thread_waiter::ThreadWaiter, //
};
use crate::schedule::{
    Answer,
    QueueTypes,
    RequestWaiter, //
};
use kernel::sync::Arc;

/// A thread or a command that waits for one request.
pub(crate) enum AnyWaiter<T: QueueTypes> {
    /// A thread in TRANSFER, read(2) or write(2).
    Thread(Arc<ThreadWaiter<T>>),
    /// A command of io_uring.
    Command(Arc<CommandWaiter<T>>),
}

impl<T: QueueTypes> AnyWaiter<T> {
    /// Wakes the thread, or ends the command. The caller must not hold the queue's lock.
    pub(super) fn wake(&self) {
        match self {
            Self::Thread(waiter) => waiter.wake(),
            Self::Command(waiter) => waiter.wake(),
        }
    }
}

impl<T: QueueTypes> RequestWaiter<T> for AnyWaiter<T> {
    fn is_thread(&self) -> bool {
        matches!(self, Self::Thread(_))
    }

    fn answer(&self, answer: Answer<T>) {
        match self {
            Self::Thread(waiter) => waiter.answer(answer),
            Self::Command(waiter) => waiter.answer(answer),
        }
    }
}
