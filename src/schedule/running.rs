// SPDX-License-Identifier: GPL-2.0

//! The request that the engine is at work on, a piece of it at a time.

use super::{
    job::{
        Job,
        QueueTypes, //
    },
    lane::LaneId, //
};
use crate::{
    engines::{
        device_memory::Access,
        transfer::{
            DeviceRange,
            Direction,
            Transfer, //
        }, //
    },
    kernel_ext::collections::fifo::Entry, //
};

/// What one lane does on the engine before the next lane has its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// One transfer.
    One(Transfer),
    /// Two transfers: from one bus address to the device memory, and on to another.
    Copy {
        /// Bus address to read.
        from: u64,
        /// Bus address to write.
        to: u64,
        /// The part of the device memory that the bytes go through.
        through: DeviceRange,
    },
}

impl Piece {
    pub(super) fn access(self) -> Access {
        match self {
            Self::One(transfer) => Access::Transfer(transfer.direction, transfer.device),
            Self::Copy { through, .. } => Access::PassThrough(through),
        }
    }

    pub(super) fn bytes(self) -> u64 {
        match self {
            Self::One(transfer) => transfer.device.length(),
            Self::Copy { through, .. } => through.length(),
        }
    }
}

/// Which transfer of a piece the engine is at. Each is followed by the next one that the piece has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Scrub,
    First,
    Second,
}

/// The request that the engine is at work on.
pub(crate) struct Running<T: QueueTypes> {
    pub(super) job: Entry<Job<T>>,
    /// The lane that it comes from; [`None`] if it has no owner any more.
    pub(super) lane: Option<LaneId>,
    pub(super) piece: Piece,
    pub(super) stage: Stage,
    /// Whether the engine has the transfer of `stage`, or is to be given it.
    pub(super) started: bool,
    /// The transfer should have ended long ago.
    pub(super) overdue: bool,
}

impl<T: QueueTypes> Running<T> {
    /// The request.
    pub(crate) fn request(&self) -> Option<&T::Request> {
        self.job.request()
    }

    /// The transfer that it is at; `zeros` is the bus address of as many as there is device memory.
    pub(super) fn transfer(&self, zeros: u64) -> Transfer {
        match (self.stage, self.piece) {
            (Stage::Scrub, _) => Transfer {
                direction: Direction::ToDevice,
                address: zeros,
                device: DeviceRange::WHOLE,
            },
            (_, Piece::One(transfer)) => transfer,
            (Stage::First, Piece::Copy { from, through, .. }) => Transfer {
                direction: Direction::ToDevice,
                address: from,
                device: through,
            },
            (Stage::Second, Piece::Copy { to, through, .. }) => Transfer {
                direction: Direction::FromDevice,
                address: to,
                device: through,
            },
        }
    }

    /// Whether it is of this lane, can be collected, and has this cookie ([`None`]: any).
    pub(super) fn matches(&self, lane: LaneId, cookie: Option<u64>) -> bool {
        self.lane == Some(lane) && self.job.matches(cookie)
    }
}
