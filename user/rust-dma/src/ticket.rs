//! The right to one completion.

use std::{
    sync::Arc,
    task::{Poll, Waker},
    thread,
    time::Instant,
};

use rustix::io::Errno;

use crate::{
    error::INHERITED,
    inbox::Polled,
    shared::Shared,
    slots::{Outcome, Slot},
    sys,
};

/// The right to one completion. When it is dropped, the request is cancelled if the engine has not started it.
#[derive(Debug)]
pub(crate) struct Ticket {
    context: Arc<Shared>,
    key: usize,
    cookie: u64,
    /// The request is neither waited for nor cancelled when this is dropped.
    detached: bool,
}

impl Ticket {
    /// For a request that is about to be submitted.
    pub(crate) fn new(context: Arc<Shared>) -> Self {
        let (key, cookie) = context.inbox().with(|state| {
            let key = state.slots.insert(Slot::Waiting(None));
            (key, state.cookie(key))
        });
        Self { context, key, cookie, detached: false }
    }

    /// Whether it belongs to this context.
    pub(crate) fn is_of(&self, context: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.context, context)
    }

    /// The position of its request in the inbox.
    pub(crate) fn key(&self) -> usize {
        self.key
    }

    /// The cookie of the request.
    pub(crate) fn cookie(&self) -> u64 {
        self.cookie
    }

    /// The request was refused: there is no completion.
    pub(crate) fn never_submitted(self) {
        self.context.inbox().with(|state| state.slots[self.key] = Slot::Done(Outcome { status: 0, bytes: 0 }));
    }

    /// The request continues when this is dropped.
    pub(crate) fn detach(mut self) {
        self.detached = true;
    }

    /// The result, if it is completed; collects existing completions.
    pub(crate) fn look(&self) -> Option<Outcome> {
        self.inherited().or_else(|| {
            self.context.inbox().with(|state| {
                state.outcome(self.key).or_else(|| {
                    state.collect(self.context.fd());
                    state.outcome(self.key)
                })
            })
        })
    }

    /// Waits until it is completed, without a limit if there is no deadline.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Option<Outcome> {
        let wait = || self.context.inbox().wait(self.context.fd(), deadline, |state| state.outcome(self.key));
        self.inherited().or_else(wait)
    }

    /// Polls the result; the task is woken when it is completed. A thread collects for the tasks if no reader does.
    pub(crate) fn poll(&self, task: &Waker) -> Poll<Outcome> {
        if let Some(outcome) = self.inherited() {
            return Poll::Ready(outcome);
        }
        match self.context.inbox().poll(self.context.fd(), self.key, task) {
            Polled::Done(outcome) => Poll::Ready(outcome),
            Polled::Later => Poll::Pending,
            Polled::Serve => self.serve(),
        }
    }

    /// Collects in a thread, as long as tasks wait.
    fn serve(&self) -> Poll<Outcome> {
        let context = Arc::clone(&self.context);
        let serve = move || {
            context.inbox().serve(context.fd(), None, |state| (!state.has_tasks()).then_some(()));
        };
        if thread::Builder::new().name("rust-dma".to_owned()).spawn(serve).is_ok() {
            return Poll::Pending;
        }
        // There are too many threads: this one collects.
        let end = self.context.inbox().serve(self.context.fd(), None, |state| state.outcome(self.key));
        end.map_or(Poll::Pending, Poll::Ready)
    }

    /// Cancels the request, as [`Pending::cancel`](crate::Pending::cancel); returns whether it is cancelled.
    pub(crate) fn cancel(&self) -> Result<bool, Errno> {
        match sys::cancel(self.context.own_fd()?, self.cookie) {
            Ok(count) => Ok(count > 0),
            Err(Errno::ALREADY | Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// The result in a child of fork(2), which cannot know the real one.
    fn inherited(&self) -> Option<Outcome> {
        self.context.is_inherited().then(|| Outcome::error(INHERITED))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // The request is the parent's. A thread that does not exist in this process may have locked the inbox.
        if self.context.is_inherited() {
            return;
        }
        let (inbox, fd) = (self.context.inbox(), self.context.fd());
        if !self.detached && inbox.with(|state| state.outcome(self.key)).is_none() {
            // If the device is removed, nothing is left to cancel.
            let _ = self.cancel();
        }
        drop(inbox.with(|state| state.leave(self.key)));
        inbox.tidy(fd);
    }
}
