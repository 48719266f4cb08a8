//! What has become of each request of a context.

use std::{os::fd::BorrowedFd, task::Waker, time::Duration};

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

#[derive(Debug, Default)]
pub(crate) struct State {
    /// The state of each submitted request, by its cookie.
    pub(crate) slots: Slab<Slot>,
    /// Whether a thread collects.
    pub(crate) collecting: bool,
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
    /// Collects all existing completions.
    pub(crate) fn collect(&mut self, fd: BorrowedFd<'_>) -> usize {
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
    pub(crate) fn hand_out(&mut self, completions: &[abi::rdma_completion], collected: Result<usize, Errno>) -> usize {
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

    pub(crate) fn done(&mut self, key: usize, outcome: Outcome) {
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

    pub(crate) fn outcome(&self, key: usize) -> Option<Outcome> {
        match self.slots[key] {
            Slot::Done(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// Wakes all tasks: at least one of them must collect.
    pub(crate) fn wake_all(&mut self) {
        let wakers = self.slots.iter_mut().filter_map(|(_, slot)| match slot {
            Slot::Waiting(waker) => waker.take(),
            _ => None,
        });
        wakers.for_each(Waker::wake);
    }
}
