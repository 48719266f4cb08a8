// SPDX-License-Identifier: GPL-2.0

//! A request: the operation, and the user who submitted it.
//!
//! No hardware and no bindings: also compiled and tested on the host.

use super::{
    plan::SchedulableRequest,
    transfer::DeviceRange, //
};
use crate::kernel_ext::collections::fifo::Fifo;
use kernel::prelude::*;

/// Memory that a request reads or writes: that of a buffer, mapped for the device.
pub(crate) trait Backing {
    /// Returns the size in bytes.
    fn size(&self) -> u64;

    /// Returns the bus address of the byte at `offset`, and how many bytes follow it without a gap
    /// on the bus, itself included.
    ///
    /// `offset` is less than [`size`](Self::size).
    fn bus(&self, offset: u64) -> (u64, u64);

    /// Memory that can be freed in process context only.
    type Deferred;

    /// Records that a request on it has ended. The request still holds it.
    fn ended(&mut self);

    /// Drops the request's reference, after [`ended`](Self::ended). May be called in interrupt
    /// handlers: a last reference is not dropped but appended to `deferred`, which the caller drops
    /// in process context.
    fn release(&mut self, deferred: &mut Fifo<Self::Deferred>);
}

/// A part of the memory of a buffer, which the request holds.
///
/// # Invariants
///
/// `offset + length` is at most `memory.size()`, and `length` is not 0.
pub(crate) struct Span<B> {
    memory: B,
    offset: u64,
    length: u64,
}

impl<B: Backing> Span<B> {
    /// Creates the span of the `length` bytes at `offset` of `memory`; [`EINVAL`] if there are no
    /// such bytes.
    pub(crate) fn new(memory: B, offset: u64, length: u64) -> Result<Self> {
        match offset.checked_add(length) {
            // INVARIANT: just checked.
            Some(end) if length > 0 && end <= memory.size() => Ok(Self {
                memory,
                offset,
                length,
            }),
            _ => Err(EINVAL),
        }
    }

    /// Returns whether two parts of the same memory overlap.
    pub(crate) fn overlap(one: &Self, other: &Self) -> bool {
        one.offset < other.offset + other.length && other.offset < one.offset + one.length
    }

    /// Returns the number of bytes, at least 1.
    fn length(&self) -> u64 {
        self.length
    }

    /// Returns the bus address of the byte after `done` bytes, and how many bytes can be moved from
    /// there.
    pub(crate) fn bus(&self, done: u64) -> (u64, u64) {
        let (address, run) = self.memory.bus(self.offset + done);
        (address, run.min(self.length - done))
    }
}

/// What a request does.
pub(crate) enum Operation<B> {
    /// Buffer to device memory. Both are of the same length.
    ToDevice(Span<B>, DeviceRange),
    /// Device memory to buffer. Both are of the same length.
    FromDevice(DeviceRange, Span<B>),
    /// Buffer to buffer, on `edu` through the device memory. Both are of the same length.
    Copy(Span<B>, Span<B>),
}

/// A user, by the kernel's own number (not that of a user namespace).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Uid(pub(crate) u32);

/// An operation, and the user who submitted it.
pub(crate) struct Request<B> {
    operation: Operation<B>,
    user: Uid,
}

impl<B: Backing> Request<B> {
    /// Creates a request of `user`.
    pub(crate) fn new(operation: Operation<B>, user: Uid) -> Self {
        Self { operation, user }
    }

    /// Returns the memory that it reads or writes.
    pub(crate) fn memories(&self) -> impl Iterator<Item = &B> {
        let (one, other) = match &self.operation {
            Operation::ToDevice(span, _) | Operation::FromDevice(_, span) => (&span.memory, None),
            Operation::Copy(source, destination) => (&source.memory, Some(&destination.memory)),
        };
        [Some(one), other].into_iter().flatten()
    }

    /// Returns what is moved, from where to where.
    pub(crate) fn operation(&self) -> &Operation<B> {
        &self.operation
    }

    /// Returns the user who submitted it.
    pub(crate) fn user(&self) -> Uid {
        self.user
    }
}

impl<B: Backing> SchedulableRequest for Request<B> {
    type Deferred = B::Deferred;

    fn length(&self) -> u64 {
        match &self.operation {
            Operation::ToDevice(span, _)
            | Operation::FromDevice(_, span)
            | Operation::Copy(span, _) => span.length(),
        }
    }

    fn ended(&mut self) {
        match &mut self.operation {
            Operation::ToDevice(span, _) | Operation::FromDevice(_, span) => span.memory.ended(),
            Operation::Copy(source, destination) => {
                source.memory.ended();
                destination.memory.ended();
            }
        }
    }

    fn release(&mut self, deferred: &mut Fifo<Self::Deferred>) {
        match &mut self.operation {
            Operation::ToDevice(span, _) | Operation::FromDevice(_, span) => {
                span.memory.release(deferred);
            }
            Operation::Copy(source, destination) => {
                source.memory.release(deferred);
                destination.memory.release(deferred);
            }
        }
    }
}
