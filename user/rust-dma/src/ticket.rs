//! The right to one completion.

use std::{sync::Arc, time::Instant};

use rustix::io::Errno;

use crate::{
    shared::Shared,
    slots::{Outcome, Slot},
    sys,
};

/// The right to one completion.
#[derive(Debug)]
pub(crate) struct Ticket {
    context: Arc<Shared>,
    key: usize,
}

impl Ticket {
    /// For a request that is about to be submitted.
    pub(crate) fn new(context: Arc<Shared>) -> Self {
        let key = context.inbox().lock().slots.insert(Slot::Waiting(None));
        Self { context, key }
    }

    /// Whether it belongs to this context.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_of(&self, context: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.context, context)
    }

    /// The cookie of the request.
    pub(crate) fn cookie(&self) -> u64 {
        self.key as u64
    }

    /// The request was refused: there is no completion.
    pub(crate) fn never_submitted(self) {
        let gone = Outcome { status: 0, bytes: 0 };
        self.context.inbox().lock().done(self.key, gone);
    }

    /// The result, if it is completed; collects existing completions.
    pub(crate) fn look(&self) -> Option<Outcome> {
        self.outcome().or_else(|| {
            self.context.inbox().collect(self.context.fd());
            self.outcome()
        })
    }

    /// Waits until it is completed, without a limit if there is no deadline.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Option<Outcome> {
        self.context.inbox().wait(self.context.fd(), self.key, deadline)
    }

    /// Polls the result; the task is woken when it must poll again for another reason than a readable file.
    #[cfg(feature = "tokio")]
    pub(crate) fn poll(&self, task: &std::task::Context<'_>) -> std::task::Poll<Outcome> {
        if let Slot::Waiting(waker) = &mut self.context.inbox().lock().slots[self.key] {
            *waker = Some(task.waker().clone());
        }
        self.look().map_or(std::task::Poll::Pending, std::task::Poll::Ready)
    }

    /// Cancels the request if the engine has not started it; returns whether it has.
    pub(crate) fn cancel(&self) -> Result<bool, Errno> {
        match sys::cancel(self.context.fd(), self.cookie()) {
            Ok(count) => Ok(count > 0),
            Err(Errno::ALREADY | Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    fn outcome(&self) -> Option<Outcome> {
        self.context.inbox().lock().outcome(self.key)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.context.inbox().lock();
        match state.slots[self.key] {
            Slot::Done(_) => drop(state.slots.remove(self.key)),
            _ => state.slots[self.key] = Slot::Abandoned,
        }
    }
}
