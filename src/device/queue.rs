// SPDX-License-Identifier: GPL-2.0

//! The queue of a device: its types, and the delivery of its notices.

use super::{
    notices,
    sync_waiter::SyncWaiter, //
};
use crate::{
    engines::{
        request,
        HardwarePlan, //
    },
    kernel_ext::sync::clock,
    memory::hold::BufferHold,
    schedule::{
        self,
        Notice,
        QueueTypes, //
    }, //
};
use kernel::sync::Arc;

/// A request on buffers.
pub(crate) type Request = request::Request<BufferHold>;

/// The types of a device's queue.
pub(crate) struct Types;

impl QueueTypes for Types {
    type Request = Request;
    type Plan = HardwarePlan;
    type Owner = notices::Owner;
    type Caller = Arc<SyncWaiter<Self>>;
}

/// A request in the queue.
pub(crate) type Job = schedule::Job<Types>;

/// The queue of a device.
pub(super) type Queue = schedule::Queue<Types>;

/// The queue, and the times that the watchdog needs.
pub(super) struct Work {
    /// The queue.
    pub(super) queue: Queue,
    /// The time at which the oldest transfer was started, in nanoseconds.
    pub(super) since: u64,
    /// The time at which the watchdog's timer expires, in nanoseconds; [`None`] if it is not armed.
    pub(super) checked_at: Option<u64>,
}

impl Work {
    /// Creates a queue that is closed with [`ENODEV`](kernel::error::code::ENODEV).
    pub(super) fn new() -> Self {
        Self {
            queue: Queue::new(),
            since: clock::now(),
            checked_at: None,
        }
    }
}

/// Delivers a notice. The caller must not hold the queue's lock.
pub(super) fn deliver(notice: Option<Notice<Types>>) {
    match notice {
        None => {}
        Some(Notice::Owner(notice)) => notice.deliver(),
        Some(Notice::Caller(waiter)) => waiter.wake(),
    }
}
