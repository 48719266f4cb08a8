//! Distributes completions from the queue of a context to the threads and tasks that wait for them.
//!
//! At most one thread at a time collects, and distributes what it has collected; the others wait for it. Two threads that collect
//! could each take the completion that the other one waits for in the kernel.

use std::{
    os::fd::BorrowedFd,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    abi,
    slots::{AT_ONCE, Outcome, State},
    sys,
};

/// The completions of a context.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    /// A completion was distributed, or the collector has stopped.
    changed: Condvar,
}

impl Inbox {
    /// Collects existing completions, if no other thread does; returns their number.
    pub(crate) fn collect(&self, fd: BorrowedFd<'_>) -> usize {
        let mut state = self.lock();
        if state.collecting {
            return 0;
        }
        state.collect(fd)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // The lock is never poisoned: nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a request is completed, or for the timeout. One thread waits in the kernel, for all.
    pub(crate) fn wait(&self, fd: BorrowedFd<'_>, key: usize, deadline: Option<Instant>) -> Option<Outcome> {
        let mut state = self.lock();
        loop {
            if let Some(outcome) = state.outcome(key) {
                return Some(outcome);
            }
            if !state.collecting {
                return self.wait_for_all(state, fd, key, deadline);
            }
            state = match time_left(deadline) {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return None,
                Some(left) => self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }

    /// The same, for the thread that collects.
    fn wait_for_all<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        fd: BorrowedFd<'_>,
        key: usize,
        deadline: Option<Instant>,
    ) -> Option<Outcome> {
        state.collecting = true;
        let outcome = loop {
            let left = time_left(deadline);
            match state.outcome(key) {
                None if left != Some(Duration::ZERO) => {}
                outcome => break outcome,
            }
            drop(state);
            let mut completions = [abi::rdma_completion::default(); AT_ONCE];
            let collected = sys::wait(fd, &mut completions, left);
            state = self.lock();
            state.hand_out(&completions, collected);
            self.changed.notify_all();
        };
        // The next collector is one of the threads that have just been woken, or a task whose waker is called.
        state.collecting = false;
        state.wake_all();
        outcome
    }
}

/// The time that remains; none without a deadline.
fn time_left(deadline: Option<Instant>) -> Option<Duration> {
    deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
}
