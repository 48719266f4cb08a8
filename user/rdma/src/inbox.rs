//! Completions, from the one queue of a context to whoever waits for each.
//!
//! At most one thread at a time collects, and hands out what it has got; the others wait for it. Were there two, one could
//! take what the other one is waiting for in the kernel.

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

/// How a request has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// 0, or an errno as a negative number.
    pub(crate) status: i32,
    /// Bytes that have arrived.
    pub(crate) bytes: u64,
}

/// The completions of a context.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    /// Something was handed out, or nobody collects any more.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Of each request that was submitted, by its cookie.
    slots: Slab<Slot>,
    /// Whether somebody collects.
    collecting: bool,
}

#[derive(Debug)]
enum Slot {
    /// Not completed; who to wake then.
    Waiting(Option<Waker>),
    /// Nobody will ask.
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
    /// Collects what is there, if nobody else does; answers how many completions.
    pub(crate) fn collect(&self, fd: BorrowedFd<'_>) -> usize {
        let mut state = self.lock();
        if state.collecting {
            return 0;
        }
        state.collect(fd)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that holds it panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a request is completed, or the time is over. One thread waits in the kernel, for all.
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

    /// The same, for the one that nobody else collects beside.
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
        // Whoever collects next is one of those who have just been told, or one whose waker comes back to look.
        state.collecting = false;
        state.wake_all();
        outcome
    }
}

/// The time until then; none if it is for ever.
fn time_left(deadline: Option<Instant>) -> Option<Duration> {
    deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
}

impl State {
    /// Collects all that is there.
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

    /// Hands out what was collected; answers how many.
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
            // A signal: whoever waits goes on to do so.
            Err(Errno::INTR | Errno::AGAIN) => 0,
            // The device is gone, and no more will come. Nothing else is ever answered to these arguments.
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

    /// Wakes all who have left a waker: not each of them has to look, but one has to.
    fn wake_all(&mut self) {
        let wakers = self.slots.iter_mut().filter_map(|(_, slot)| match slot {
            Slot::Waiting(waker) => waker.take(),
            _ => None,
        });
        wakers.for_each(Waker::wake);
    }
}

impl Ticket {
    /// For a request that is to be submitted.
    pub(crate) fn new(context: Arc<Shared>) -> Self {
        let key = context.inbox().lock().slots.insert(Slot::Waiting(None));
        Self { context, key }
    }

    /// Whether it is this context's.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_of(&self, context: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.context, context)
    }

    /// What the request is to carry.
    pub(crate) fn cookie(&self) -> u64 {
        self.key as u64
    }

    /// It was not accepted: no completion will come.
    pub(crate) fn never_submitted(self) {
        let gone = Outcome { status: 0, bytes: 0 };
        self.context.inbox().lock().done(self.key, gone);
    }

    /// Whether it is completed, and how; collects what is there.
    pub(crate) fn look(&self) -> Option<Outcome> {
        self.outcome().or_else(|| {
            self.context.inbox().collect(self.context.fd());
            self.outcome()
        })
    }

    /// Waits until it is completed, for ever without a deadline.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Option<Outcome> {
        self.context.inbox().wait(self.context.fd(), self.key, deadline)
    }

    /// Looks; the task is woken when there is reason to look again, other than that the file is readable.
    #[cfg(feature = "tokio")]
    pub(crate) fn poll(&self, task: &std::task::Context<'_>) -> std::task::Poll<Outcome> {
        if let Slot::Waiting(waker) = &mut self.context.inbox().lock().slots[self.key] {
            *waker = Some(task.waker().clone());
        }
        self.look().map_or(std::task::Poll::Pending, std::task::Poll::Ready)
    }

    /// Takes the request back if the engine has not begun with it; answers whether it has.
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
