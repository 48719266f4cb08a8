// SPDX-License-Identifier: GPL-2.0

//! A device: the guard of its engine, its channel, its properties and its users.
//!
//! A [`Device`] exists while the device is bound or a file of it is open. Its [`Engine`] exists
//! only while the device is bound, and is accessed through the guard.
//!
//! Lock order: address space of a process → `FirstBuffer` of a context → `Handles` of a context,
//! `Client::cancel`, `Client::collect` → guard (entered, not waited for) → memory of a buffer →
//! `Registry` of buffers; `Users` of the device → `Channel::state`. Nothing is allocated, freed or
//! waited for under `Channel::state`. Under it, only these are taken: the lock of `SyncWaiter`, that
//! of the wait queue that the thread joins, and the kernel's own locks of timers, workqueues and PCI
//! configuration. Threads are woken and eventfds are signalled after it is released.

mod bound;
mod channel;
mod client;
mod debugfs;
mod engine;
mod notices;
mod queue;
mod snapshot;
mod sync_waiter;
mod traced;
mod users;

pub(crate) use bound::{
    BoundEngine,
    EngineGuard, //
};
pub(crate) use channel::Channel;
pub(crate) use client::{
    reservation::Reservation,
    Client, //
};
pub(crate) use engine::{
    Engine,
    InterruptKind, //
};
pub(crate) use queue::Job;
pub(crate) use snapshot::Activity;

use crate::{
    kernel_ext::driver::work::Delayed,
    memory::pool::Pool,
    uapi, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use users::Users;

/// A device.
#[pin_data]
pub(crate) struct Device {
    /// The guard of the engine. It is open while the device is bound.
    guard: EngineGuard,
    /// The queue that the engine works on.
    channel: Arc<Channel>,
    /// The properties of the device, which are constant.
    info: uapi::rdma_device_info,
    /// The users with an open file of the device.
    #[pin]
    users: Users,
}

impl Device {
    /// Creates the device with the node `number`. All calls return [`ENODEV`] until its guard is
    /// opened.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(
        number: u32,
        guard: EngineGuard,
        pool: Arc<Pool>,
        info: uapi::rdma_device_info,
    ) -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Self {
                guard,
                channel: Channel::new(number, pool)?,
                info,
                users <- Users::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// Returns the number N of the node `/dev/rdmaN`.
    pub(crate) fn number(&self) -> u32 {
        self.channel.number()
    }

    /// Returns the queue that the engine works on.
    pub(crate) fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }

    /// Calls `f` with the engine, which is not removed before `f` returns.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the device is gone.
    pub(crate) fn enter<R>(&self, f: impl FnOnce(&Delayed<Engine<'_>>) -> R) -> Result<R> {
        self.guard.enter(|engine| f(engine))
    }

    /// Returns the properties of the device.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the device is gone.
    pub(crate) fn info(&self) -> Result<uapi::rdma_device_info> {
        self.enter(|_| self.info)
    }

    /// Returns the size of the device memory, in bytes.
    pub(crate) fn memory_size(&self) -> u64 {
        self.info.device_memory_size
    }

    /// Returns the state that the buffers of the device share.
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        self.channel.pool()
    }
}
