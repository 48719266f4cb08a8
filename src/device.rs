// SPDX-License-Identifier: GPL-2.0

//! One device: its engine, the queue for it, its buffers and mappings, and the guard that unbinding
//! closes.
//!
//! A [`Device`] lives for as long as the device is bound or a file of it is open; the [`Engine`]
//! only while it is bound, and is reached through the guard.
//!
//! Lock order: address space of a process → making of a context's first buffer → handles of a
//! context, cancelling in a lane → guard (entered, not waited for) → memory of a buffer → registry of
//! buffers; users of the device → the queue's lock. That one, `Work`, comes last, and nothing is
//! allocated, freed or waited for under it. Innermost, under `Work`: the lock of `Call::answer`. Those
//! of wait queues and of an eventfd are taken when `Work` is dropped.

mod bound;
mod call;
mod client;
mod debugfs;
mod engine;
mod snapshot;
mod traced;
mod users;

pub(crate) use bound::{
    BoundEngine,
    EngineGuard, //
};
pub(crate) use client::{
    Lane,
    Reserved, //
};
pub(crate) use engine::{
    Engine,
    InterruptKind, //
};
pub(crate) use snapshot::Activity;

use crate::{
    engines::{
        request,
        HardwarePlan, //
    },
    kernel_ext::{
        driver::work::Delayed,
        sync::clock, //
    },
    memory::{
        hold::BufferHold,
        pool::Pool, //
    },
    schedule::{
        self,
        LaneCursor,
        Notice,
        Step, //
    },
    uapi, //
};
use call::Call;
use kernel::{
    prelude::*,
    sync::{
        new_spinlock_irq,
        Arc,
        SpinLockIrq, //
    }, //
};
use users::Users;

/// A request as this driver has it.
pub(crate) type Request = request::Request<BufferHold>;

/// What goes through the queue of a device, and to whom.
pub(crate) struct Types;

impl schedule::QueueTypes for Types {
    type Request = Request;
    type Plan = HardwarePlan;
    type Owner = client::Owner;
    type Caller = Arc<Call>;
}

/// A request on its way through the queue.
pub(crate) type Job = schedule::Job<Types>;
type Queue = schedule::Queue<Types>;

/// The queue, and the time of what the engine does.
struct Work {
    queue: Queue,
    /// When it began with its oldest transfer.
    since: u64,
    /// When the watchdog's timer expires, if it is armed.
    checked_at: Option<u64>,
}

/// One device.
#[pin_data]
pub(crate) struct Device {
    /// The N of `/dev/rdmaN`.
    number: u32,
    /// The way to the engine: open while the device is bound.
    guard: EngineGuard,
    /// The queue; an interrupt handler takes this lock, too. Closed while the device is not bound.
    #[pin]
    work: SpinLockIrq<Work>,
    /// What its buffers share. Their memory is freed before the device is unbound.
    pool: Arc<Pool>,
    /// What the device can do; does not change.
    info: uapi::rdma_device_info,
    /// Each user who has a file of the device open, once.
    #[pin]
    users: Users,
}

impl Device {
    /// The device of this node, that answers [`ENODEV`] to everything until its guard is opened.
    pub(crate) fn new(
        number: u32,
        guard: EngineGuard,
        pool: Arc<Pool>,
        info: uapi::rdma_device_info,
    ) -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Self {
                number,
                guard,
                work <- new_spinlock_irq!(
                    Work {
                        queue: Queue::new(),
                        since: clock::now(),
                        checked_at: None,
                    },
                    "rdma::Work"
                ),
                pool,
                info,
                users <- Users::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// The N of `/dev/rdmaN`.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Does `f` with the engine, which does not go away meanwhile.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if it is gone.
    pub(crate) fn enter<R>(&self, f: impl FnOnce(&Delayed<Engine<'_>>) -> R) -> Result<R> {
        self.guard.enter(|engine| f(engine))
    }

    /// What the device can do.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if it is gone.
    pub(crate) fn info(&self) -> Result<uapi::rdma_device_info> {
        self.enter(|_| self.info)
    }

    /// Bytes of memory that the device has.
    pub(crate) fn memory_size(&self) -> u64 {
        self.info.device_memory_size
    }

    /// What its buffers share.
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Accepts no requests any more, for this reason, and fails those that wait.
    fn close(&self, error: Error) {
        self.work.lock().queue.close(error);
        self.fail_waiting();
    }

    /// Aborts what the engine has had, which is gone.
    fn abort_active(&self) {
        self.in_steps(|queue| queue.abort_one(clock::now()));
    }

    /// Fails what waits in the queue, if it accepts no requests.
    fn fail_waiting(&self) {
        let mut cursor = LaneCursor::default();
        self.in_steps(|queue| queue.fail_batch(&mut cursor));
    }

    /// Fails the requests that are linked to one that has failed.
    fn fail_links(&self) {
        self.in_steps(Queue::fail_links);
    }

    /// Does something to the queue step by step: between two steps, others get the lock.
    fn in_steps(&self, mut step: impl FnMut(&mut Queue) -> Step<Types>) {
        loop {
            let done = step(&mut self.work.lock().queue);
            deliver(done.notice);
            if !done.more {
                return;
            }
        }
    }
}

/// Does what a step of the queue has left to do. Not under the queue's lock.
fn deliver(notice: Option<Notice<Types>>) {
    match notice {
        None => {}
        Some(Notice::Owner(notice)) => notice.deliver(),
        Some(Notice::Caller(call)) => call.wake(),
    }
}
