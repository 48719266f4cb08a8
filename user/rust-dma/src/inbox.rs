//! Distributes completions from the queue of a context to the threads and tasks that wait for them.
//!
//! At most one thread at a time collects, and distributes what it has collected; the others wait for it. Two threads that collect
//! could each take the completion that the other one waits for in the kernel.
//!
//! Wakers are code of others: they are called and dropped only when the lock is free.

use std::{
    os::fd::BorrowedFd,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    task::Waker,
    thread,
    time::{Duration, Instant},
};

use rustix::io::Errno;

use crate::{
    abi,
    slots::{AT_ONCE, Outcome, Slot, State},
    sys,
};

/// The time between two attempts to wait, if WAIT fails for a reason that may last: no memory, or a filter of system calls.
const PAUSE: Duration = Duration::from_millis(10);

/// The time in which the thread that collects distributes completions for which the kernel has woken it.
const WAKING: Duration = Duration::from_millis(10);

/// The completions of a context.
#[derive(Debug)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    /// A completion was distributed, or the collector has stopped.
    changed: Condvar,
}

/// What a task that has polled a request does next.
pub(crate) enum Polled {
    /// The request is completed.
    Done(Outcome),
    /// The task will be woken.
    Later,
    /// The caller now is the collector, and calls [`Inbox::serve`] in a thread, without which no task would be woken.
    Serve,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        // Two inboxes of one file, made from duplicated descriptors, must not take each other's completions for their own.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let state = State::new(NEXT.fetch_add(1, Ordering::Relaxed));
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Changes the state; wakes the tasks whose requests this has completed.
    pub(crate) fn with<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let result = change(&mut state);
        let woken = state.take_woken();
        drop(state);
        wake_all(woken);
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The lock is never poisoned: nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Collects existing completions, if no other thread does.
    #[cfg(feature = "tokio")]
    pub(crate) fn collect(&self, fd: BorrowedFd<'_>) {
        self.with(|state| state.collect(fd));
    }

    /// Number of the completions that were collected.
    pub(crate) fn collected(&self) -> u64 {
        self.lock().collected
    }

    /// Collects existing completions, or waits a moment for the thread that collects; returns whether any were collected since `before`.
    pub(crate) fn collects_since(&self, before: u64, fd: BorrowedFd<'_>) -> bool {
        // The kernel may have woken that thread for completions that it has not distributed yet.
        let is_expected = |state: &mut State| state.collecting && state.collected == before;
        drop(self.changed.wait_timeout_while(self.lock(), WAKING, is_expected));
        self.with(|state| {
            state.collect(fd);
            state.collected != before
        })
    }

    /// Collects existing completions, if some may be of requests that were dropped.
    pub(crate) fn tidy(&self, fd: BorrowedFd<'_>) {
        self.with(|state| {
            if state.has_abandoned() {
                state.collect(fd);
            }
        });
    }

    /// Waits until `end` returns a value, or for the timeout. One thread waits in the kernel, for all.
    pub(crate) fn wait<R>(
        &self,
        fd: BorrowedFd<'_>,
        deadline: Option<Instant>,
        end: impl Fn(&State) -> Option<R>,
    ) -> Option<R> {
        let mut state = self.lock();
        while state.collecting {
            if let Some(result) = end(&state) {
                return Some(result);
            }
            state = match time_left(deadline) {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return None,
                Some(left) => self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        if let Some(result) = end(&state) {
            return Some(result);
        }
        state.collecting = true;
        drop(state);
        self.serve(fd, deadline, end)
    }

    /// The same, for the thread that collects.
    pub(crate) fn serve<R>(
        &self,
        fd: BorrowedFd<'_>,
        deadline: Option<Instant>,
        end: impl Fn(&State) -> Option<R>,
    ) -> Option<R> {
        // Whether there is a ring does not change while a request can be waited for.
        let has_ring = self.lock().has_ring();
        let mut successor = Successor { inbox: self, is_needed: true };
        loop {
            let mut completions = [abi::rdma_completion::default(); AT_ONCE];
            let collected = if has_ring {
                // The ring has them: none are collected here.
                sys::wait_for_ring(fd, time_left(deadline)).map(|_| 0)
            } else {
                sys::wait(fd, &mut completions, time_left(deadline))
            };
            let over = self.with(|state| {
                let count = state.hand_out(&completions, collected) + state.gather();
                let mut result = end(state);
                let over = result.is_some() || time_left(deadline) == Some(Duration::ZERO);
                if over {
                    // The next collector is one of the threads that are woken, or a task whose waker is called.
                    state.collecting = false;
                    // Without time for another round, all that have been completed are collected in this one.
                    if result.is_none() && count == AT_ONCE {
                        state.collect(fd);
                        result = end(state);
                    }
                    state.wake_all();
                    successor.is_needed = false;
                }
                self.changed.notify_all();
                over.then_some(result)
            });
            if let Some(result) = over {
                return result;
            }
            if collected.is_err_and(|errno| errno != Errno::INTR) {
                thread::sleep(time_left(deadline).map_or(PAUSE, |left| left.min(PAUSE)));
            }
        }
    }

    /// Polls a request, for a task that is woken when it is completed or must be polled again.
    pub(crate) fn poll(&self, fd: BorrowedFd<'_>, key: usize, task: &Waker) -> Polled {
        let mut waker = Some(task.clone());
        // In one step: what completes later is distributed by a collector or by a reader, which need the lock for it.
        self.with(|state| {
            if state.outcome(key).is_none() {
                state.collect(fd);
            }
            match &mut state.slots[key] {
                Slot::Done(outcome) => return Polled::Done(*outcome),
                Slot::Waiting(known) => std::mem::swap(known, &mut waker),
                Slot::Abandoned => unreachable!("it has a ticket"),
            }
            if state.collecting || state.readers > 0 {
                return Polled::Later;
            }
            state.collecting = true;
            Polled::Serve
        })
    }

    /// A reader begins to collect whenever there are completions.
    #[cfg(feature = "tokio")]
    pub(crate) fn reader_begins(&self) {
        self.with(|state| state.readers += 1);
    }

    /// A reader has ended: tasks must poll again, because it no longer wakes them.
    #[cfg(feature = "tokio")]
    pub(crate) fn reader_ends(&self) {
        self.with(|state| {
            state.readers -= 1;
            state.wake_all();
        });
    }
}

/// Lets another thread collect if this one panics, which wakers can make it do.
struct Successor<'a> {
    inbox: &'a Inbox,
    is_needed: bool,
}

impl Drop for Successor<'_> {
    fn drop(&mut self) {
        if self.is_needed {
            let hand_over = |state: &mut State| {
                state.collecting = false;
                state.wake_all();
                self.inbox.changed.notify_all();
            };
            // A second panic would end the process.
            let _ = catch_unwind(AssertUnwindSafe(|| self.inbox.with(hand_over)));
        }
    }
}

/// Wakes tasks. If a waker panics, the others are woken before the panic continues.
fn wake_all(wakers: Vec<Waker>) {
    let mut panic = None;
    for waker in wakers {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
            panic.get_or_insert(payload);
        }
    }
    if let Some(payload) = panic {
        resume_unwind(payload);
    }
}

/// The time that remains; none without a deadline.
fn time_left(deadline: Option<Instant>) -> Option<Duration> {
    deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsFd};

    use super::*;
    use crate::sys::Ring;

    /// A thread that collects has returned from the kernel, and distributes only now.
    #[test]
    fn room_that_another_thread_makes() {
        let (inbox, file) = (Inbox::new(), File::open("/dev/null").unwrap());
        inbox.with(|state| state.collecting = true);
        assert!(!inbox.collects_since(0, file.as_fd()));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| (0..1000).any(|_| inbox.collects_since(0, file.as_fd())));
            inbox.with(|state| state.hand_out(&[abi::rdma_completion::default()], Ok(1)));
            inbox.changed.notify_all();
            assert!(waiting.join().unwrap());
        });
        assert!(!inbox.collects_since(inbox.collected(), file.as_fd()));
    }

    #[test]
    fn more_than_are_collected_at_once_and_no_time() {
        let (inbox, file) = (Inbox::new(), File::open("/dev/null").unwrap());
        for count in [1, AT_ONCE, AT_ONCE + 1, 3 * AT_ONCE] {
            let last = inbox.with(|state| {
                let keys: Vec<_> = (0..count).map(|_| state.slots.insert(Slot::Waiting(None))).collect();
                state.collect_from(Ring::of(keys.iter().map(|&key| state.cookie(key))));
                keys[count - 1]
            });
            let outcome = inbox.wait(file.as_fd(), Some(Instant::now()), |state| state.outcome(last));
            assert!(outcome.is_some(), "{count} completions");
        }
    }
}
