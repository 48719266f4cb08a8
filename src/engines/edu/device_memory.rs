// SPDX-License-Identifier: GPL-2.0

//! Whose bytes are in the device memory, and who may see them.
//!
//! The device memory outlives everything (not even a reset of the machine clears it) and is shared
//! by all users of the node. It belongs to the user who wrote it last; before anyone else sees any
//! of it, it is scrubbed.
//!
//! No hardware and no bindings: also compiled and tested on the host.

use crate::engines::{
    request::Uid,
    transfer::{
        DeviceRange,
        Direction, //
    }, //
};

/// Bytes of it. Source: QEMU, `docs/specs/edu.rst`, "DMA".
pub(crate) const SIZE: u64 = 4096;

/// All of it.
pub(crate) const WHOLE: DeviceRange = match DeviceRange::first(SIZE, SIZE) {
    Some(whole) => whole,
    None => panic!(),
};

/// What a request wants with the device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// One transfer between it and a buffer.
    Transfer(Direction, DeviceRange),
    /// The bytes go in and out again on their way between two buffers.
    PassThrough(DeviceRange),
}

/// Whose bytes are in the device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contents {
    /// Zeros: anyone may see them.
    Zeros,
    /// Bytes that this user alone may see.
    Of(Uid),
    /// Bytes of more than one user, or unknown ones: nobody may see them.
    Mixed,
}

impl Contents {
    /// Whether the device memory must be scrubbed before `user` gets `access`.
    ///
    /// Also a partial write needs it: the writer could read the rest afterwards.
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

    /// What there is after `user` had `access` (and the scrub that it needed).
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
