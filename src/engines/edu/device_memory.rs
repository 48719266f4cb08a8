// SPDX-License-Identifier: GPL-2.0

//! The owner of the bytes in the device memory, and when the memory must be scrubbed.
//!
//! The device memory is never cleared, not even by a reset of the machine, and all users of the
//! node share it. It belongs to the user who wrote it last. It is scrubbed before another user can
//! read any of it.
//!
//! No hardware and no bindings: also compiled and tested on the host.

use crate::engines::{
    request::Uid,
    transfer::{
        DeviceRange,
        Direction, //
    }, //
};

/// Size of the device memory in bytes. Source: QEMU, `docs/specs/edu.rst`, "DMA".
pub(crate) const SIZE: u64 = 4096;

/// The whole device memory.
pub(crate) const WHOLE: DeviceRange = match DeviceRange::first(SIZE, SIZE) {
    Some(whole) => whole,
    None => panic!(),
};

/// How a request accesses the device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// One transfer between the device memory and a buffer.
    Transfer(Direction, DeviceRange),
    /// A copy between two buffers passes through this range.
    PassThrough(DeviceRange),
}

/// The owner of the bytes in the device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contents {
    /// Zeros, which all users may read.
    Zeros,
    /// Bytes of this user, which no other user may read.
    Of(Uid),
    /// Bytes of several users, or unknown bytes, which no user may read.
    Mixed,
}

impl Contents {
    /// Returns whether the device memory must be scrubbed before `user` gets `access`.
    ///
    /// A partial write needs a scrub, too, because the user can read the rest afterwards.
    pub(crate) fn needs_scrub(self, user: Uid, access: Access) -> bool {
        let foreign = match self {
            Self::Zeros => false,
            Self::Of(owner) => owner != user,
            Self::Mixed => true,
        };
        let shows = match access {
            Access::Transfer(Direction::FromDevice, _) => true,
            Access::Transfer(Direction::ToDevice, range) => range != WHOLE,
            Access::PassThrough(_) => false,
        };
        foreign && shows
    }

    /// Returns the contents after `user` had `access`, and after the scrub if one was needed.
    pub(crate) fn after(self, user: Uid, access: Access) -> Self {
        let before = if self.needs_scrub(user, access) {
            Self::Zeros
        } else {
            self
        };
        match access {
            Access::Transfer(Direction::FromDevice, _) => before,
            Access::Transfer(Direction::ToDevice, _) => Self::Of(user),
            Access::PassThrough(range) => match before {
                _ if range == WHOLE => Self::Of(user),
                Self::Zeros => Self::Of(user),
                Self::Of(owner) if owner == user => Self::Of(user),
                _ => Self::Mixed,
            },
        }
    }
}
