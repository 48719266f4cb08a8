// SPDX-License-Identifier: GPL-2.0

//! Notices of changes of a lane, which wake the threads in WAIT and `poll`, and signal the eventfd.

use super::trace_ids::TraceIds;
use crate::{
    kernel_ext::{
        fs::{
            eventfd::EventFd,
            poll::{
                Events,
                PollQueue, //
            }, //
        },
        gfp::GFP_ACCOUNT_MAYFAIL,
        sync::wait::WaitQueue, //
    },
    schedule::{
        Change,
        Job,
        LaneOwner,
        QueueTypes, //
    }, //
};
use kernel::{
    prelude::*,
    static_lock_class,
    sync::Arc, //
};

/// The threads that wait for changes of one lane.
#[pin_data]
pub(crate) struct LaneWaitQueues {
    /// Threads in WAIT.
    #[pin]
    pub(super) collectors: WaitQueue,
    /// Threads in `poll`.
    #[pin]
    pub(super) pollers: PollQueue,
}

impl LaneWaitQueues {
    /// Creates wait queues without threads.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(super) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                collectors <- WaitQueue::new(c"rdma::collectors", static_lock_class!()),
                pollers <- PollQueue::new(c"rdma::pollers", static_lock_class!()),
            }),
            GFP_ACCOUNT_MAYFAIL,
        )
    }
}

/// The owner of a lane: the client's tracepoints, waiting threads and eventfd.
pub(crate) struct Notifier {
    pub(super) trace_ids: TraceIds,
    /// The threads to wake. The client shares them.
    pub(super) wait_queues: Arc<LaneWaitQueues>,
    /// The eventfd to signal, which the program has set.
    pub(super) eventfd: Option<Arc<EventFd>>,
}

/// A notice of a change of a lane, for the threads that wait for it. It is created under the
/// queue's lock, and delivered without it, because many threads may be waiting.
pub(crate) struct LaneNotice {
    change: Change,
    /// The number of completions that are not collected.
    completed: usize,
    wait_queues: Arc<LaneWaitQueues>,
    eventfd: Option<Arc<EventFd>>,
}

impl<T: QueueTypes> LaneOwner<T> for Notifier {
    type Notice = LaneNotice;

    fn completed(&self, job: &Job<T>) {
        self.trace_ids.completed(job);
    }

    fn notice(&self, change: Change, completed: usize) -> LaneNotice {
        LaneNotice {
            change,
            completed,
            wait_queues: self.wait_queues.clone(),
            eventfd: self.eventfd.clone(),
        }
    }
}

impl LaneNotice {
    /// Wakes the threads, and signals the eventfd.
    pub(super) fn deliver(self) {
        let wait_queues = &*self.wait_queues;
        match self.change {
            Change::Completed | Change::PutBack => {
                wait_queues.collectors.wake_satisfied(self.completed);
                wait_queues.pollers.notify(Events::READABLE);
            }
            Change::Room => wait_queues.pollers.notify(Events::WRITABLE),
            Change::Closed => {
                wait_queues.collectors.wake_all();
                wait_queues.pollers.notify(Events::READABLE | Events::GONE);
            }
        }
        if let (Change::Completed | Change::Closed, Some(eventfd)) = (self.change, self.eventfd) {
            eventfd.signal();
        }
    }
}
