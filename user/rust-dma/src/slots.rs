//! The state of each submitted request of a context, by its cookie.

use std::{mem, os::fd::BorrowedFd, task::Waker, time::Duration};

use rustix::io::Errno;
use slab::Slab;

use crate::{abi, sys};

/// Completions to collect in one call.
pub(crate) const AT_ONCE: usize = 64;

/// The result of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// 0, or a negative errno.
    pub(crate) status: i32,
    /// Number of bytes that were transferred.
    pub(crate) bytes: u64,
}

impl Outcome {
    pub(crate) fn error(errno: Errno) -> Self {
        Self { status: -errno.raw_os_error(), bytes: 0 }
    }
}

/// The requests of a context, and who collects their completions.
#[derive(Debug)]
pub(crate) struct State {
    /// The upper half of the cookies.
    number: u32,
    /// The state of each submitted request, by the lower half of its cookie.
    pub(crate) slots: Slab<Slot>,
    /// Number of the slots that are abandoned.
    abandoned: usize,
    /// Whether a thread collects.
    pub(crate) collecting: bool,
    /// Number of tasks that collect whenever the file is readable.
    pub(crate) readers: usize,
    /// Number of the completions that were collected.
    pub(crate) collected: u64,
    /// To be woken when the lock is free.
    woken: Vec<Waker>,
    source: Source,
}

/// Where completions are collected from.
#[derive(Debug)]
enum Source {
    /// Nothing has been submitted.
    Unknown,
    /// WAIT.
    Calls,
    /// The completion ring: WAIT only waits.
    Ring(sys::Ring),
}

/// The state of a request.
#[derive(Debug)]
pub(crate) enum Slot {
    /// Not completed; the waker of its task.
    Waiting(Option<Waker>),
    /// Dropped: its completion is discarded.
    Abandoned,
    /// Completed.
    Done(Outcome),
}

impl State {
    pub(crate) fn new(number: u32) -> Self {
        Self {
            number,
            slots: Slab::new(),
            abandoned: 0,
            collecting: false,
            readers: 0,
            collected: 0,
            woken: Vec::new(),
            source: Source::Unknown,
        }
    }

    /// Decides where completions are collected from, before the first request is submitted: from a ring, if the driver has one.
    pub(crate) fn prepare(&mut self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        if let Source::Unknown = self.source {
            self.source = sys::Ring::create(fd)?.map_or(Source::Calls, Source::Ring);
        }
        Ok(())
    }

    /// From now on, completions are collected from this ring.
    #[cfg(test)]
    pub(crate) fn collect_from(&mut self, ring: sys::Ring) {
        self.source = Source::Ring(ring);
    }

    /// Whether there is a completion ring.
    pub(crate) fn has_ring(&self) -> bool {
        matches!(self.source, Source::Ring(_))
    }

    /// The cookie of a request.
    pub(crate) fn cookie(&self, key: usize) -> u64 {
        // A slab does not grow to 2^32: the queue has an end.
        (u64::from(self.number) << 32) | key as u64
    }

    /// The slot of a cookie, unless it is another inbox's.
    fn key(&self, cookie: u64) -> Option<usize> {
        let key = u32::try_from(cookie ^ (u64::from(self.number) << 32)).ok()?;
        usize::try_from(key).ok()
    }

    /// Collects all existing completions, if no thread collects.
    pub(crate) fn collect(&mut self, fd: BorrowedFd<'_>) {
        while !self.collecting {
            let mut completions = [abi::rdma_completion::default(); AT_ONCE];
            let count = match &mut self.source {
                Source::Ring(_) => self.gather(),
                Source::Unknown | Source::Calls => {
                    let collected = sys::wait(fd, &mut completions, Some(Duration::ZERO));
                    self.hand_out(&completions, collected)
                }
            };
            if count < AT_ONCE {
                break;
            }
        }
    }

    /// Collects completions from the ring, if there is one; returns their number.
    pub(crate) fn gather(&mut self) -> usize {
        let mut completions = [abi::rdma_completion::default(); AT_ONCE];
        match &mut self.source {
            Source::Ring(ring) => {
                let count = ring.take(&mut completions);
                self.hand_out(&completions, Ok(count))
            }
            Source::Unknown | Source::Calls => 0,
        }
    }

    /// Distributes collected completions; returns their number.
    pub(crate) fn hand_out(&mut self, completions: &[abi::rdma_completion], collected: Result<usize, Errno>) -> usize {
        match collected {
            Ok(count) => {
                self.collected += count as u64;
                for completion in &completions[..count] {
                    if let Some(key) = self.key(completion.cookie) {
                        let (status, bytes) = (completion.status, completion.bytes);
                        self.done(key, Outcome { status, bytes });
                    }
                }
                count
            }
            // The device is removed, and there are no more completions.
            Err(errno @ Errno::NODEV) => {
                let keys: Vec<_> = self.slots.iter().map(|(key, _)| key).collect();
                for key in keys {
                    self.done(key, Outcome::error(errno));
                }
                0
            }
            // A signal, or the call failed: the requests continue, and the caller repeats the call.
            Err(_) => 0,
        }
    }

    fn done(&mut self, key: usize, outcome: Outcome) {
        match self.slots.get_mut(key) {
            Some(slot @ Slot::Waiting(_)) => {
                if let Slot::Waiting(Some(waker)) = mem::replace(slot, Slot::Done(outcome)) {
                    self.woken.push(waker);
                }
            }
            Some(Slot::Abandoned) => {
                self.slots.remove(key);
                self.abandoned -= 1;
            }
            Some(Slot::Done(_)) | None => {}
        }
    }

    pub(crate) fn outcome(&self, key: usize) -> Option<Outcome> {
        match self.slots[key] {
            Slot::Done(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// The ticket of a request is gone. Returns what was kept for it, to be dropped when the lock is free.
    pub(crate) fn leave(&mut self, key: usize) -> Slot {
        if let Slot::Done(_) = self.slots[key] {
            return self.slots.remove(key);
        }
        self.abandoned += 1;
        mem::replace(&mut self.slots[key], Slot::Abandoned)
    }

    /// Whether completions are expected that no thread or task waits for.
    pub(crate) fn has_abandoned(&self) -> bool {
        self.abandoned > 0
    }

    /// Whether tasks wait.
    pub(crate) fn has_tasks(&self) -> bool {
        self.slots.iter().any(|(_, slot)| matches!(slot, Slot::Waiting(Some(_))))
    }

    /// Wakes all tasks: at least one of them must collect.
    pub(crate) fn wake_all(&mut self) {
        let wakers = self.slots.iter_mut().filter_map(|(_, slot)| match slot {
            Slot::Waiting(waker) => waker.take(),
            _ => None,
        });
        self.woken.extend(wakers);
    }

    /// The tasks to wake.
    pub(crate) fn take_woken(&mut self) -> Vec<Waker> {
        mem::take(&mut self.woken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_removal_ends_requests() {
        let mut state = State::new(7);
        let key = state.slots.insert(Slot::Waiting(None));
        let dropped = state.slots.insert(Slot::Waiting(None));
        state.leave(dropped);
        for errno in [Errno::INTR, Errno::AGAIN, Errno::NOMEM, Errno::PERM, Errno::NOSYS] {
            assert_eq!(state.hand_out(&[], Err(errno)), 0);
            assert!(state.outcome(key).is_none(), "{errno}");
            assert!(state.has_abandoned(), "{errno}");
        }
        state.hand_out(&[], Err(Errno::NODEV));
        assert_eq!(state.outcome(key).unwrap().status, -Errno::NODEV.raw_os_error());
        assert!(!state.has_abandoned());
    }
}
