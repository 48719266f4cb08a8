// SPDX-License-Identifier: GPL-2.0

//! Waiting for one request.

use super::{
    traced::Traced,
    Types, //
};
use crate::{
    kernel_ext::sync::{
        signal::{
            DeferredNotifications,
            Pending, //
        },
        wait::{
            WaitQueue,
            Woken, //
        }, //
    },
    schedule::{
        Answer,
        Caller, //
    }, //
};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
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
pub(crate) struct Call {
    traced: Traced,
    began: Atomic<u64>,
    #[pin]
    answer: SpinLockIrq<Option<Answer<Types>>>,
    #[pin]
    answered: WaitQueue,
}

impl Call {
    /// Without an answer.
    pub(super) fn new(traced: Traced) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                traced,
                began: Atomic::new(0),
                answer <- new_spinlock_irq!(None, "rdma::Call"),
                answered <- WaitQueue::new(c"rdma::Call", static_lock_class!()),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Begins at the time `now`, in nanoseconds.
    pub(super) fn begin(&self, now: u64) {
        self.began.store(now, Relaxed);
    }

    /// Sleeps until the answer is there.
    ///
    /// What is no signal does not end the sleep: the engine may have begun, and to restart the call
    /// would be to do it twice.
    ///
    /// # Errors
    ///
    /// [`EINTR`] if a signal comes first.
    pub(super) fn wait(&self) -> Result<Answer<Types>> {
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
                Pending::Stop | Pending::Signal => return self.answer().ok_or(EINTR),
            }
        }
    }

    /// Wakes the thread.
    pub(super) fn wake(&self) {
        self.answered.wake_all();
    }

    /// Takes the answer, if it is there.
    pub(super) fn answer(&self) -> Option<Answer<Types>> {
        self.answer.lock().take()
    }
}

impl Caller<Types> for Arc<Call> {
    fn answer(&self, answer: Answer<Types>) {
        match &answer {
            Answer::Ended(job) => self.traced.completed(job),
            Answer::Failed(error) => self.traced.failed(*error, self.began.load(Relaxed)),
        }
        *self.answer.lock() = Some(answer);
    }
}
