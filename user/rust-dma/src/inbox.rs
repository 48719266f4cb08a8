//! Distributes completions from the queue of a context to the threads and tasks that wait for them.
//!
//! At most one thread at a time collects, and distributes what it has collected; the others wait for it. Two threads that collect
//! could each take the completion that the other one waits for in the kernel.

use std::{
    os::fd::BorrowedFd,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::Waker,
    time::{Duration, Instant},
};

use rustix::io::Errno;
use slab::Slab;

use crate::{abi, context::Shared, sys};

/// Completions to collect in one call.
const AT_ONCE: usize = 64;

/// The result of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// 0, or a negative errno.
    pub(crate) status: i32,
    /// Number of bytes that were transferred.
    pub(crate) bytes: u64,
}

/// The completions of a context.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    /// A completion was distributed, or the collector has stopped.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The state of each submitted request, by its cookie.
    slots: Slab<Slot>,
    /// Whether a thread collects.
    collecting: bool,
}

#[derive(Debug)]
enum Slot {
    /// Not completed; the waker of its task.
    Waiting(Option<Waker>),
    /// Dropped: its completion is discarded.
    Abandoned,
    Done(Outcome),
}

/// The right to one completion.
#[derive(Debug)]
pub(crate) struct Ticket {
    context: Arc<Shared>,
    key: usize,
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

    fn lock(&self) -> MutexGuard<'_, State> {
        // The lock is never poisoned: nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a request is completed, or for the timeout. One thread waits in the kernel, for all.
    fn wait(&self, fd: BorrowedFd<'_>, key: usize, deadline: Option<Instant>) -> Option<Outcome> {
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

impl State {
    /// Collects all existing completions.
    fn collect(&mut self, fd: BorrowedFd<'_>) -> usize {
        let mut sum = 0;
        loop {
            let mut completions = [abi::rdma_completion::default(); AT_ONCE];
            let collected = sys::wait(fd, &mut completions, Some(Duration::ZERO));
            let count = self.hand_out(&completions, collected);
            sum += count;
            if count < AT_ONCE {
                return sum;
            }
        }
    }

    /// Distributes collected completions; returns their number.
    fn hand_out(&mut self, completions: &[abi::rdma_completion], collected: Result<usize, Errno>) -> usize {
        match collected {
            Ok(count) => {
                for completion in &completions[..count] {
                    if let Ok(key) = usize::try_from(completion.cookie) {
                        let (status, bytes) = (completion.status, completion.bytes);
                        self.done(key, Outcome { status, bytes });
                    }
                }
                count
            }
            // A signal: the caller repeats the call.
            Err(Errno::INTR | Errno::AGAIN) => 0,
            // The device is removed, and there are no more completions. These arguments have no other error.
            Err(errno) => {
                let keys: Vec<_> = self.slots.iter().map(|(key, _)| key).collect();
                for key in keys {
                    let status = -errno.raw_os_error();
                    self.done(key, Outcome { status, bytes: 0 });
                }
                0
            }
        }
    }

    fn done(&mut self, key: usize, outcome: Outcome) {
        match self.slots.get_mut(key) {
            Some(slot @ Slot::Waiting(_)) => {
                if let Slot::Waiting(Some(waker)) = std::mem::replace(slot, Slot::Done(outcome)) {
                    waker.wake();
                }
            }
            Some(Slot::Abandoned) => drop(self.slots.remove(key)),
            Some(Slot::Done(_)) | None => {}
        }
    }

    fn outcome(&self, key: usize) -> Option<Outcome> {
        match self.slots[key] {
            Slot::Done(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// Wakes all tasks: at least one of them must collect.
    fn wake_all(&mut self) {
        let wakers = self.slots.iter_mut().filter_map(|(_, slot)| match slot {
            Slot::Waiting(waker) => waker.take(),
            _ => None,
        });
        wakers.for_each(Waker::wake);
    }
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
