// SPDX-License-Identifier: GPL-2.0

//! Jobs and waiters that are kept for further requests.

use crate::{
    device::{
        queue::{
            Job,
            Types, //
        },
        sync_waiter::SyncWaiter,
        traced::Traced, //
    },
    kernel_ext::collections::fifo::{
        Entry,
        Fifo, //
    },
    schedule, //
};
use kernel::{
    prelude::*,
    sync::{
        new_mutex,
        Arc,
        Mutex,
        UniqueArc, //
    }, //
};

/// Blank jobs and a waiter for further requests: a client that submits repeatedly allocates no more.
#[pin_data]
pub(super) struct JobCache {
    #[pin]
    spare: Mutex<Spare>,
}

/// What is not in use.
struct Spare {
    jobs: Fifo<Job>,
    waiter: Option<Pin<UniqueArc<Waiter>>>,
}

/// A thread that waits for a request of a device.
type Waiter = SyncWaiter<Types>;

impl JobCache {
    /// The number of jobs that are kept, some 200 bytes each: as many as there can be in a lane.
    const MOST: usize = schedule::DEPTH;

    /// Empty.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            spare <- new_mutex!(
                Spare {
                    jobs: Fifo::new(),
                    waiter: None,
                },
                "rdma::JobCache"
            ),
        })
    }

    /// Takes up to `most` jobs.
    pub(super) fn take(&self, most: usize) -> Fifo<Job> {
        let jobs = &mut self.spare.lock().jobs;
        if jobs.len() <= most {
            core::mem::replace(jobs, Fifo::new())
        } else {
            jobs.take_front(most)
        }
    }

    /// Takes a job and a waiter, or allocates them.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(super) fn take_for_sync(&self, traced: Traced) -> Result<(Entry<Job>, Arc<Waiter>)> {
        let mut spare = self.spare.lock();
        let (job, waiter) = (spare.jobs.pop_front(), spare.waiter.take());
        drop(spare);
        Ok((
            job.map_or_else(Job::blank, Ok)?,
            waiter.map_or_else(|| Waiter::new(traced), |waiter| Ok(waiter.into()))?,
        ))
    }

    /// Puts blank jobs back.
    pub(super) fn put(&self, mut blank: Fifo<Job>) {
        let mut spare = self.spare.lock();
        if spare.jobs.len() + blank.len() <= Self::MOST {
            spare.jobs.append(&mut blank);
        }
        drop(spare);
        // Jobs beyond the limit are freed here.
    }

    /// Puts back a blank job and a waiter that has been answered.
    pub(super) fn put_from_sync(&self, blank: Entry<Job>, waiter: Arc<Waiter>) {
        // If the queue has not dropped its reference yet, the waiter is not kept.
        let waiter = Arc::into_unique_or_drop(waiter);
        let mut spare = self.spare.lock();
        if spare.jobs.len() < Self::MOST {
            spare.jobs.push_front(blank);
        }
        let old = core::mem::replace(&mut spare.waiter, waiter);
        drop(spare);
        drop(old);
    }
}
