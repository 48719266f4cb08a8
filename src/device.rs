// SPDX-License-Identifier: GPL-2.0

//! A device: the gate of its engines, their queues, and its properties.
//!
//! A [`Device`] exists while the device is bound or a file of it is open. Its engines
//! ([`BoundEngine`]) exist only while the device is bound, and are accessed through the gate. Each
//! has an [`EngineQueue`], which serves a part of the open files.
//!
//! Lock order: address space of a process → `FirstBuffer` of a context → `Handles` of a context,
//! `Client::cancel`, `Client::collect`, `Users` of an engine, `EngineQueue::restarting` → gate
//! (entered, not waited for) → reservation of a dma-buf → gate (entered again) → memory of a
//! buffer, its dma-buf → `Registry` of buffers, `CompoundCharges` → `EngineQueue::state`. No other
//! lock is taken under `JobCache`. Nothing is allocated, freed or waited for under
//! `EngineQueue::state`. Under it, only these are taken: the locks of `ThreadWaiter` and
//! `CommandWaiter`, that of the wait queue that the thread joins, and the kernel's own locks of
//! timers, workqueues and PCI configuration. Threads are woken and eventfds are signalled after it
//! is released.

mod bound;
mod client;
mod command_waiter;
mod debugfs;
mod engine;
mod engine_queue;
mod failure;
mod notices;
mod snapshot;
mod thread_waiter;
mod trace_ids;
mod types;
mod users;
mod waiter;

pub(crate) use bound::{
    BoundEngines,
    EngineGate, //
};
pub(crate) use client::{
    collect::completion,
    command::CommandState,
    reservation::Reservation,
    Client, //
};
pub(crate) use engine::BoundEngine;
pub(crate) use engine_queue::EngineQueue;
pub(crate) use snapshot::Activity;
pub(crate) use types::Job;

use crate::{
    kernel_ext::driver::work::WithWork,
    memory::pool::Pool,
    uapi, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

/// What the engines and the open files of a node share.
pub(crate) struct Device {
    /// The gate of the engines. It is open while the device is bound.
    gate: EngineGate,
    /// The N of the node `/dev/rdmaN`.
    number: u32,
    pool: Arc<Pool>,
    /// The queues of the engines, at least one.
    engine_queues: KVec<Arc<EngineQueue>>,
    /// The number of files that have been opened.
    opened: Atomic<usize>,
    /// The properties of the device, which are constant.
    info: uapi::rdma_device_info,
}

impl Device {
    /// Creates the device with the node `number`, and this number of engines. All calls return
    /// [`ENODEV`] until its gate is opened.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(
        number: u32,
        gate: EngineGate,
        pool: Arc<Pool>,
        engines: usize,
        info: uapi::rdma_device_info,
    ) -> Result<Arc<Self>> {
        let mut engine_queues = KVec::with_capacity(engines, GFP_KERNEL)?;
        for index in 0..engines {
            let engine_queue = EngineQueue::new(number, index, pool.clone())?;
            engine_queues.push(engine_queue, GFP_KERNEL)?;
        }
        let device = Self {
            gate,
            number,
            pool,
            engine_queues,
            opened: Atomic::new(0),
            info,
        };
        Ok(Arc::new(device, GFP_KERNEL)?)
    }

    /// Returns the number N of the node `/dev/rdmaN`.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Returns the queues of the engines.
    pub(crate) fn engine_queues(&self) -> &[Arc<EngineQueue>] {
        &self.engine_queues
    }

    /// Returns the queue for another open file. The files are distributed over the engines.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if there is no engine.
    fn next_engine_queue(&self) -> Result<Arc<EngineQueue>> {
        let opened = self.opened.fetch_add(1, Relaxed);
        let index = opened.checked_rem(self.engine_queues.len()).unwrap_or(0);
        self.engine_queues.get(index).cloned().ok_or(ENODEV)
    }

    /// Calls `f` with the engine of this queue, which is not removed before `f` returns.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the device is gone.
    fn enter<R>(
        &self,
        engine_queue: &EngineQueue,
        f: impl FnOnce(&WithWork<BoundEngine<'_>>) -> R,
    ) -> Result<R> {
        self.gate
            .enter(|engines| engines.get(engine_queue.index()).map(|engine| f(engine)))?
            .ok_or(ENODEV)
    }

    /// Frees the buffers whose last references were those of requests that have ended. Sleeps.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the device is gone.
    pub(crate) fn free_released(&self) -> Result {
        self.gate
            .enter(|engines| engines.iter().for_each(|engine| engine.free_released()))
    }

    /// Returns the properties of the device.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the device is gone.
    pub(crate) fn info(&self) -> Result<uapi::rdma_device_info> {
        self.gate.enter(|_| self.info)
    }

    /// Returns the size of the device memory, in bytes.
    pub(crate) fn memory_size(&self) -> u64 {
        self.info.device_memory_size
    }

    /// Returns whether a request that the engine has begun can be cancelled.
    fn cancels_in_flight(&self) -> bool {
        self.info.capabilities & u64::from(uapi::RDMA_CAP_ABORT) != 0
    }

    /// Returns the state that the buffers of the device share.
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }
}

#[cfg(CONFIG_FAULT_INJECTION)]
impl Device {
    /// Injects a device fault into the first engine.
    fn inject(&self, command: &str) -> Result {
        let engine_queue = self.engine_queues.first().ok_or(ENODEV)?;
        self.enter(engine_queue, |engine| engine.inject(command))?
    }
}
