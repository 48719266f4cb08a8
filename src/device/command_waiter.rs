// SPDX-License-Identifier: GPL-2.0

//! Commands of io_uring: one request each, whose result ends the command.

use super::trace_ids::TraceIds;
use crate::{
    kernel_ext::{
        fs::chrdev::uring::Command,
        gfp::GFP_ACCOUNT_MAYFAIL, //
    },
    schedule::{
        Answer,
        QueueTypes,
        WaiterId, //
    }, //
};
use kernel::{
    prelude::*,
    sync::{
        new_spinlock_irq,
        Arc,
        SpinLockIrq, //
    }, //
};

/// A command of io_uring that waits for one request.
#[pin_data]
pub(crate) struct CommandWaiter<T: QueueTypes> {
    trace_ids: TraceIds,
    cookie: u64,
    /// The time at which the request was submitted, in nanoseconds.
    submitted: u64,
    #[pin]
    state: SpinLockIrq<State<T>>,
}

struct State<T: QueueTypes> {
    /// The command, until it ends.
    command: Option<Command>,
    /// The result of the request, until the command returns it.
    answer: Option<Answer<T>>,
    submission: Submission,
}

/// The progress of the submission.
#[derive(Clone, Copy)]
enum Submission {
    /// The request is being submitted.
    Submitting,
    /// The request is in the queue, or has ended.
    Submitted(WaiterId),
    /// The command was cancelled before the request was in the queue.
    Cancelled,
}

impl<T: QueueTypes> CommandWaiter<T> {
    /// Creates a waiter without a command, for a request with this cookie that is submitted at the
    /// time `now` in nanoseconds.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(super) fn new(trace_ids: TraceIds, cookie: u64, now: u64) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                trace_ids,
                cookie,
                submitted: now,
                state <- new_spinlock_irq!(
                    State {
                        command: None,
                        answer: None,
                        submission: Submission::Submitting,
                    },
                    "rdma::CommandWaiter"
                ),
            }),
            GFP_ACCOUNT_MAYFAIL,
        )
    }

    /// Sets the command that waits.
    pub(super) fn set_command(&self, command: Command) {
        self.state.lock().command = Some(command);
    }

    /// Records that the request is in the queue. Returns whether the command was cancelled.
    pub(super) fn set_submitted(&self, id: WaiterId) -> bool {
        let mut state = self.state.lock();
        let cancelled = matches!(state.submission, Submission::Cancelled);
        state.submission = Submission::Submitted(id);
        cancelled
    }

    /// Returns the id of the request that is to be cancelled. If it is not in the queue yet,
    /// [`set_submitted`](Self::set_submitted) returns that the command was cancelled.
    pub(super) fn cancel(&self) -> Option<WaiterId> {
        let mut state = self.state.lock();
        match state.submission {
            Submission::Submitted(id) => Some(id),
            Submission::Submitting | Submission::Cancelled => {
                state.submission = Submission::Cancelled;
                None
            }
        }
    }

    /// Stores the result of the request. [`wake`](Self::wake) then ends the command.
    pub(super) fn answer(&self, answer: Answer<T>) {
        match &answer {
            Answer::Ended(job) => self.trace_ids.completed(job),
            Answer::Failed(error) => self.trace_ids.failed(self.cookie, *error, self.submitted),
        }
        self.state.lock().answer = Some(answer);
    }

    /// Ends the command with an error. The queue must not have the request.
    pub(super) fn fail(&self, error: Error) {
        self.answer(Answer::Failed(error));
        self.wake();
    }

    /// Ends the command, whose request is answered.
    pub(super) fn wake(&self) {
        // Not under the lock.
        let command = self.state.lock().command.take();
        if let Some(command) = command {
            command.end_in_task();
        }
    }

    /// Takes the answer, if there is one.
    pub(super) fn take_answer(&self) -> Option<Answer<T>> {
        self.state.lock().answer.take()
    }
}
