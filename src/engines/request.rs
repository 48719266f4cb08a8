// SPDX-License-Identifier: GPL-2.0

//! One request, and how it is cut into pieces that the engine can do.
//!
//! No hardware and no bindings: also compiled and tested on the host.

use crate::{
    engines::{
        device_memory::User,
        transfer::{
            DeviceRange,
            Direction,
            Transfer, //
        }, //
    },
    schedule, //
};
use kernel::prelude::*;

/// Coherent memory that a request reads or writes.
pub(crate) trait Backing {
    /// Bytes of it.
    fn size(&self) -> u64;

    /// Bus address of the byte at `offset`, and how many bytes follow it without a gap on the bus,
    /// itself included.
    ///
    /// `offset` is less than [`size`](Self::size).
    fn bus(&self, offset: u64) -> (u64, u64);

    /// Takes note that a request on it is over, which still holds it.
    fn ended(&mut self);
}

/// A part of some coherent memory, held for as long as the request lives.
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
    /// The `length` bytes at `offset` of `memory`; [`EINVAL`] where there are no such bytes.
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

    /// Whether two parts of the same memory have a byte in common.
    pub(crate) fn overlap(one: &Self, other: &Self) -> bool {
        one.offset < other.offset + other.length && other.offset < one.offset + one.length
    }

    /// Bytes, at least 1.
    fn length(&self) -> u64 {
        self.length
    }

    /// Bus address of the byte after `done` bytes, and how many bytes can be moved from there.
    fn bus(&self, done: u64) -> (u64, u64) {
        let (address, run) = self.memory.bus(self.offset + done);
        (address, run.min(self.length - done))
    }
}

/// What is to be done.
pub(crate) enum Operation<B> {
    /// Coherent memory to device memory. Both are of the same length.
    ToDevice(Span<B>, DeviceRange),
    /// Device memory to coherent memory. Both are of the same length.
    FromDevice(DeviceRange, Span<B>),
    /// Coherent memory to coherent memory, through the device memory. Both are of the same length.
    Copy(Span<B>, Span<B>),
}

/// An operation, who asked for it, and how far it has come.
pub(crate) struct Request<B> {
    operation: Operation<B>,
    user: User,
    done: u64,
}

impl<B: Backing> Request<B> {
    /// A request of `user`, of which nothing is done yet.
    pub(crate) fn new(operation: Operation<B>, user: User) -> Self {
        Self {
            operation,
            user,
            done: 0,
        }
    }

    /// The memory that it reads or writes.
    pub(crate) fn memories(&self) -> impl Iterator<Item = &B> {
        let (one, other) = match &self.operation {
            Operation::ToDevice(span, _) | Operation::FromDevice(_, span) => (&span.memory, None),
            Operation::Copy(source, destination) => (&source.memory, Some(&destination.memory)),
        };
        [Some(one), other].into_iter().flatten()
    }

    /// What is to be done.
    pub(crate) fn operation(&self) -> &Operation<B> {
        &self.operation
    }

    /// Bytes to move, at least 1.
    pub(crate) fn length(&self) -> u64 {
        match &self.operation {
            Operation::ToDevice(span, _)
            | Operation::FromDevice(_, span)
            | Operation::Copy(span, _) => span.length(),
        }
    }
}

impl<B: Backing> schedule::Request for Request<B> {
    fn user(&self) -> User {
        self.user
    }

    fn piece(&self) -> Option<schedule::Piece> {
        match &self.operation {
            Operation::ToDevice(source, device) => {
                let (address, run) = source.bus(self.done);
                Some(schedule::Piece::One(Transfer {
                    direction: Direction::ToDevice,
                    address,
                    device: device.rest(self.done, run)?,
                }))
            }
            Operation::FromDevice(device, destination) => {
                let (address, run) = destination.bus(self.done);
                Some(schedule::Piece::One(Transfer {
                    direction: Direction::FromDevice,
                    address,
                    device: device.rest(self.done, run)?,
                }))
            }
            Operation::Copy(source, destination) => {
                let (from, readable) = source.bus(self.done);
                let (to, writable) = destination.bus(self.done);
                Some(schedule::Piece::Copy {
                    from,
                    to,
                    through: DeviceRange::staging(readable.min(writable))?,
                })
            }
        }
    }

    fn advance(&mut self, bytes: u64) -> bool {
        self.done += bytes;
        self.done >= self.length()
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
}
