// SPDX-License-Identifier: GPL-2.0

//! The types of the queue of an engine, and the delivery of its notices.

use super::{
    notices,
    waiter::AnyWaiter, //
};
use crate::{
    engines::{
        request,
        AnyPlan, //
    },
    kernel_ext::mm::shared_ring::SharedRing,
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

/// The types of the queue of an engine.
pub(crate) struct DeviceTypes;

impl QueueTypes for DeviceTypes {
    type Request = Request;
    type Plan = AnyPlan;
    type Owner = notices::Notifier;
    type Ring = Arc<SharedRing>;
    type Waiter = AnyWaiter<Self>;
}

/// A request in the queue.
pub(crate) type Job = schedule::Job<DeviceTypes>;

/// The queue of an engine, without its lock.
pub(super) type Queue = schedule::Queue<DeviceTypes>;

/// Delivers a notice. The caller must not hold the queue's lock.
pub(super) fn deliver(notice: Option<Notice<DeviceTypes>>) {
    match notice {
        None => {}
        Some(Notice::Lane(notice)) => notice.deliver(),
        Some(Notice::Waiter(waiter)) => waiter.wake(),
    }
}
