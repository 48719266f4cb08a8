// SPDX-License-Identifier: GPL-2.0

//! One device: its engine, the queue for it, its buffers and mappings, and the guard that unbinding
//! closes.
//!
//! A [`Device`] lives for as long as the device is bound or a file of it is open; the [`Engine`]
//! only while it is bound, and is reached through the guard.
//!
//! Lock order: address space of a process → handles of a context → guard (entered, not waited for)
//! → memory of a buffer → registry of buffers. The queue's lock is taken last, and nothing is
//! allocated, freed or waited for under it.

mod engine;

pub(crate) use engine::Engine;

use crate::{
    buffer::{
        Buffer,
        Registry, //
    },
    device_memory::User,
    driver,
    kernel_ext::{
        attach::BoundOf,
        guard::Guard,
        mapping::Mappings, //
    },
    queue::{
        self,
        GivenUp,
        Job,
        LaneId,
        Status,
        Ticket,
        Wake, //
    },
    request::{
        self,
        Operation, //
    },
    slab::Room,
    uapi, //
};
use kernel::{
    prelude::*,
    sync::{
        new_condvar,
        new_spinlock_irq,
        Arc,
        CondVar,
        SpinLockIrq, //
    },
    task::Kuid,
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// A request as this driver has it.
pub(crate) type Request = request::Request<Arc<Buffer>>;

type Queue = queue::Queue<Request, Arc<Waiters>>;

/// Those who wait for a request of one lane.
#[pin_data]
pub(crate) struct Waiters {
    #[pin]
    changed: CondVar,
}

impl Wake for Arc<Waiters> {
    fn wake(&self) {
        self.changed.notify_all();
    }
}

/// The queue, and since when the engine is at work on what it was given last.
struct Work {
    queue: Queue,
    since: Instant<Monotonic>,
}

/// One device.
#[pin_data]
pub(crate) struct Device {
    #[pin]
    guard: Guard<BoundOf<driver::Edu>>,
    #[pin]
    work: SpinLockIrq<Work>,
    #[pin]
    buffers: Registry,
    mappings: Mappings,
    info: uapi::Info,
}

impl Device {
    /// A device that answers [`ENODEV`] to everything until its guard is opened.
    pub(crate) fn new(info: uapi::Info) -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Self {
                guard <- Guard::new(),
                work <- new_spinlock_irq!(
                    Work {
                        queue: Queue::new(),
                        since: Instant::now(),
                    },
                    "rdma::Work"
                ),
                buffers <- Registry::new(),
                mappings: Mappings::new()?,
                info,
            }),
            GFP_KERNEL,
        )
    }

    /// The guard that unbinding closes.
    pub(crate) fn guard(&self) -> &Guard<BoundOf<driver::Edu>> {
        &self.guard
    }

    /// Does `f` with the engine, which does not go away meanwhile.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if it is gone.
    pub(crate) fn enter<R>(&self, f: impl FnOnce(&driver::Bound<'_>) -> R) -> Result<R> {
        self.guard.enter(|engine| f(engine))
    }

    /// What the device can do.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if it is gone.
    pub(crate) fn info(&self) -> Result<uapi::Info> {
        self.enter(|_| self.info)
    }

    /// All buffers.
    pub(crate) fn buffers(&self) -> &Registry {
        &self.buffers
    }

    /// All mappings.
    pub(crate) fn mappings(&self) -> &Mappings {
        &self.mappings
    }
}

/// A context's place in the queue of its device; dropping it gives up all that is in it.
pub(crate) struct Lane {
    device: Arc<Device>,
    id: LaneId,
    waiters: Arc<Waiters>,
}

impl Lane {
    /// A lane with nothing in it.
    pub(crate) fn new(device: Arc<Device>) -> Result<Self> {
        let waiters = Arc::pin_init(
            pin_init!(Waiters { changed <- new_condvar!("rdma::Waiters") }),
            GFP_KERNEL,
        )?;
        let id = loop {
            // Room is made outside of the lock, where one may sleep; somebody else may take it.
            let wanted = device.work.lock().queue.wants();
            if let Some(capacity) = wanted {
                let room = Room::new(capacity)?;
                let old = device.work.lock().queue.grow(room);
                drop(old);
            }
            let added = device.work.lock().queue.add_lane(waiters.clone());
            if let Ok(id) = added {
                break id;
            }
        };
        Ok(Self {
            device,
            id,
            waiters,
        })
    }

    /// Has the engine do an operation, and waits until it is done.
    ///
    /// # Errors
    ///
    /// As in `uapi/rdma.h`, `struct rdma_request`, from `EINTR` on.
    pub(crate) fn transfer(&self, operation: Operation<Arc<Buffer>>) -> Result {
        let user = User(Kuid::current_euid().into_raw().val);
        let job = Job::new(Request::new(operation, user))?;
        let ticket = self
            .device
            .enter(|engine| engine.submit(self.id, job))?
            .map_err(|(error, job)| {
                drop(job);
                error
            })?;
        self.wait(ticket)
    }

    fn wait(&self, ticket: Ticket) -> Result {
        let mut work = self.device.work.lock();
        loop {
            match work.queue.status(self.id, ticket) {
                Status::Pending => {}
                Status::Failed(error) => return Err(error),
                Status::Done(job) => {
                    // The job, and perhaps a buffer with it, is dropped outside of the lock.
                    drop(work);
                    return job.outcome();
                }
            }
            if !self.waiters.changed.wait_interruptible(&mut work) {
                continue;
            }
            let given_up = work.queue.give_up(self.id, ticket);
            drop(work);
            return match given_up {
                GivenUp::Done(job) => job.outcome(),
                // Nothing has happened yet.
                GivenUp::Waiting(job) if !job.request().is_begun() => Err(ERESTARTSYS),
                // All operations can be done again, but not each time that a handler has run: a
                // timer could keep a transfer from ever ending.
                GivenUp::Waiting(_) | GivenUp::Begun => Err(ERESTARTNOHAND),
            };
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let left = self.device.work.lock().queue.remove_lane(self.id);
        drop(left);
    }
}
