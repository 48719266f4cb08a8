// SPDX-License-Identifier: GPL-2.0

//! The transfers of an engine, and ranges of the device memory.
//!
//! No hardware and no bindings: also compiled and tested on the host.

use kernel::prelude::*;

/// A part of the device memory.
///
/// # Invariants
///
/// `length` is not 0, and all of the range is inside the device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceRange {
    offset: u64,
    length: u64,
}

impl DeviceRange {
    /// Creates the range of the `length` bytes at `offset` of the `memory` bytes that a device has;
    /// [`EINVAL`] if there are no such bytes.
    pub(crate) fn new(offset: u64, length: u64, memory: u64) -> Result<Self> {
        match offset.checked_add(length) {
            // INVARIANT: just checked.
            Some(end) if length > 0 && end <= memory => Ok(Self { offset, length }),
            _ => Err(EINVAL),
        }
    }

    /// Returns the first `length` bytes of the `memory` bytes that a device has; at most all.
    /// [`None`] for no bytes.
    pub(crate) const fn first(length: u64, memory: u64) -> Option<Self> {
        let length = if length < memory { length } else { memory };
        if length == 0 {
            return None;
        }
        // INVARIANT: not 0, and at most all.
        Some(Self { offset: 0, length })
    }

    /// Returns the range without its first `done` bytes, cut to at most `max` bytes.
    ///
    /// Returns [`None`] if nothing is left.
    pub(crate) fn remainder(self, done: u64, max: u64) -> Option<Self> {
        let length = self.length.checked_sub(done)?.min(max);

        // INVARIANT: a part of a range that is inside the device memory, and not empty.
        (length > 0).then_some(Self {
            offset: self.offset + done,
            length,
        })
    }

    /// Returns the number of bytes before it in the device memory.
    pub(crate) fn offset(self) -> u64 {
        self.offset
    }

    /// Returns the number of bytes, at least 1.
    pub(crate) fn length(self) -> u64 {
        self.length
    }
}

/// The direction of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From a buffer to device memory.
    ToDevice,
    /// From device memory to a buffer.
    FromDevice,
}

/// A transfer between a buffer and the device memory.
///
/// The bytes at `address` must be mapped for this device. The address is one of a
/// [`Backing`](crate::engines::request::Backing), or of the engine's own memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceTransfer {
    pub(crate) direction: Direction,
    /// Bus address of the first byte in the buffer.
    pub(crate) address: u64,
    /// The range of the device memory.
    pub(crate) device: DeviceRange,
}

/// A transfer from buffer to buffer, which does not use the device memory.
///
/// All bytes must be mapped for this device, as those of [`DeviceTransfer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DirectTransfer {
    /// Bus address of the first byte to read.
    pub(crate) from: u64,
    /// Bus address of the first byte to write.
    pub(crate) to: u64,
    /// Length in bytes, at least 1.
    pub(crate) length: u64,
}

/// One transfer of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transfer {
    /// From or to the device memory.
    Device(DeviceTransfer),
    /// From memory to memory.
    Direct(DirectTransfer),
}

impl Transfer {
    /// Returns the length in bytes.
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Device(transfer) => transfer.device.length(),
            Self::Direct(transfer) => transfer.length,
        }
    }
}
