// SPDX-License-Identifier: GPL-2.0

//! TRANSFER, read(2) and write(2): a thread sleeps until its request has ended.

use super::trace_ids::TraceIds;
use crate::{
    kernel_ext::{
        gfp::GFP_ACCOUNT_MAYFAIL,
        sync::{
            signal::{
                DeferredNotifications,
                Pending, //
            },
            wait::{
                WaitQueue,
                Woken, //
            }, //
        }, //
    },
    schedule::{
        Answer,
        QueueTypes, //
    }, //
};
use kernel::{
    prelude::*,
    static_lock_class,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        new_spinlock_irq,
        Arc,
        SpinLockIrq, //
    }, //
};

/// A thread that waits for one request.
#[pin_data]
pub(crate) struct ThreadWaiter<T: QueueTypes> {
    trace_ids: TraceIds,
    /// The time at which the request was submitted, in nanoseconds.
    submitted: Atomic<u64>,
    /// The result of the request, until the thread takes it.
    #[pin]
    answer: SpinLockIrq<Option<Answer<T>>>,
    /// Where the thread sleeps until there is an answer.
    #[pin]
    answered: WaitQueue,
}

impl<T: QueueTypes> ThreadWaiter<T> {
    /// Creates a waiter without an answer.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(super) fn new(trace_ids: TraceIds) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                trace_ids,
                submitted: Atomic::new(0),
                answer <- new_spinlock_irq!(None, "rdma::ThreadWaiter"),
                answered <- WaitQueue::new(c"rdma::ThreadWaiter", static_lock_class!()),
            }),
            GFP_ACCOUNT_MAYFAIL,
        )
    }

    /// Records `now` as the time at which the request was submitted, in nanoseconds.
    pub(super) fn begin(&self, now: u64) {
        self.submitted.store(now, Relaxed);
    }

    /// Sleeps until there is an answer.
    ///
    /// Only a signal ends the sleep early: the engine may have begun the request, and a restart of
    /// the call would repeat it.
    ///
    /// # Errors
    ///
    /// [`EINTR`] if a signal is delivered first.
    pub(super) fn wait(&self) -> Result<Answer<T>> {
        let mut interrupted = None;
        loop {
            let mut answer = self.answer.lock();
            if let Some(answer) = answer.take() {
                return Ok(answer);
            }
            if self.answered.sleep(answer) != Woken::Interrupted {
                continue;
            }
            match Pending::now() {
                Pending::Nothing => interrupted
                    .get_or_insert_with(DeferredNotifications::new)
                    .defer(),
                Pending::Stop | Pending::Signal => return self.take_answer().ok_or(EINTR),
            }
        }
    }

    /// Stores the result of the request. [`wake`](Self::wake) then wakes the thread.
    pub(super) fn answer(&self, answer: Answer<T>) {
        match &answer {
            Answer::Ended(job) => self.trace_ids.completed(job),
            Answer::Failed(error) => self
                .trace_ids
                .failed(0, *error, self.submitted.load(Relaxed)),
        }
        *self.answer.lock() = Some(answer);
    }

    /// Wakes the thread.
    pub(super) fn wake(&self) {
        self.answered.wake_all();
    }

    /// Takes the answer, if there is one.
    pub(super) fn take_answer(&self) -> Option<Answer<T>> {
        self.answer.lock().take()
    }
}
