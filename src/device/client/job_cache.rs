// SPDX-License-Identifier: GPL-2.0

//! A cache of jobs and of a waiter, for further requests.

use crate::{
    device::{
        thread_waiter::ThreadWaiter,
        trace_ids::TraceIds, //
        types::{
            DeviceTypes,
            Job, //
        },
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

/// Blank jobs and a waiter for further requests. A client that submits requests repeatedly
/// allocates no more jobs.
#[pin_data]
pub(super) struct JobCache {
    #[pin]
    spare: Mutex<Spare>,
}

/// Objects that are not in use.
struct Spare {
    jobs: Fifo<Job>,
    waiter: Option<Pin<UniqueArc<ThreadWaiter<DeviceTypes>>>>,
}

impl JobCache {
    /// The maximum number of cached jobs, of about 200 bytes each: the depth of a lane.
    const CAPACITY: usize = schedule::LANE_DEPTH;

    /// Creates an empty cache.
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

    /// Takes up to `max` jobs.
    pub(super) fn take(&self, max: usize) -> Fifo<Job> {
        let jobs = &mut self.spare.lock().jobs;
        if jobs.len() <= max {
            core::mem::replace(jobs, Fifo::new())
        } else {
            jobs.take_front(max)
        }
    }

    /// Takes a job and a waiter. Allocates them if the cache has none.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(super) fn take_with_waiter(
        &self,
        trace_ids: TraceIds,
    ) -> Result<(Entry<Job>, Arc<ThreadWaiter<DeviceTypes>>)> {
        let mut spare = self.spare.lock();
        let (job, waiter) = (spare.jobs.pop_front(), spare.waiter.take());
        drop(spare);
        Ok((
            job.map_or_else(Job::blank, Ok)?,
            waiter.map_or_else(
                || ThreadWaiter::<DeviceTypes>::new(trace_ids),
                |waiter| Ok(waiter.into()),
            )?,
        ))
    }

    /// Puts blank jobs back.
    pub(super) fn put(&self, mut blank: Fifo<Job>) {
        let mut spare = self.spare.lock();
        if spare.jobs.len() + blank.len() <= Self::CAPACITY {
            spare.jobs.append(&mut blank);
        }
        drop(spare);
        // If the jobs exceed the capacity, they are freed here.
    }

    /// Puts back a blank job and a waiter that has been answered.
    pub(super) fn put_with_waiter(
        &self,
        blank: Entry<Job>,
        waiter: Arc<ThreadWaiter<DeviceTypes>>,
    ) {
        // If the queue has not dropped its reference yet, the waiter is not cached.
        let waiter = Arc::into_unique_or_drop(waiter);
        let mut spare = self.spare.lock();
        if spare.jobs.len() < Self::CAPACITY {
            spare.jobs.push_front(blank);
        }
        let old = core::mem::replace(&mut spare.waiter, waiter);
        drop(spare);
        drop(old);
    }
}
