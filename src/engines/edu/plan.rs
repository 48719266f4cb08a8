// SPDX-License-Identifier: GPL-2.0

//! Divides requests into pieces: one transfer, or two for a copy through the device memory. A scrub
//! of the device memory precedes a piece that would show another user's bytes.
//!
//! No hardware and no bindings: also compiled and tested on the host.

use super::device_memory::{
    Access,
    Contents,
    SIZE,
    WHOLE, //
};
use crate::engines::{
    plan::{
        Cut,
        Plan, //
    },
    request::{
        Backing,
        Operation,
        Request, //
    },
    transfer::{
        DeviceRange,
        DeviceTransfer,
        Direction,
        Transfer, //
    }, //
};

/// The transfers of a request that the engine executes without another request in between.
#[derive(Clone, Copy)]
pub(crate) enum Piece {
    /// One transfer.
    One(DeviceTransfer),
    /// Two transfers: from one bus address to the device memory, and on to another.
    Copy {
        from: u64,
        to: u64,
        through: DeviceRange,
    },
}

impl Piece {
    /// Returns the piece of a request that comes after `issued` bytes of it; [`None`] if nothing is
    /// left.
    fn of<B: Backing>(request: &Request<B>, issued: u64) -> Option<Self> {
        match request.operation() {
            Operation::ToDevice(source, device) => {
                let (address, run) = source.bus(issued);
                Some(Self::One(DeviceTransfer {
                    direction: Direction::ToDevice,
                    address,
                    device: device.remainder(issued, run)?,
                }))
            }
            Operation::FromDevice(device, destination) => {
                let (address, run) = destination.bus(issued);
                Some(Self::One(DeviceTransfer {
                    direction: Direction::FromDevice,
                    address,
                    device: device.remainder(issued, run)?,
                }))
            }
            Operation::Copy(source, destination) => {
                let (from, readable) = source.bus(issued);
                let (to, writable) = destination.bus(issued);
                Some(Self::Copy {
                    from,
                    to,
                    through: DeviceRange::first(readable.min(writable), SIZE)?,
                })
            }
        }
    }

    fn access(self) -> Access {
        match self {
            Self::One(transfer) => Access::Transfer(transfer.direction, transfer.device),
            Self::Copy { through, .. } => Access::PassThrough(through),
        }
    }
}

/// Which transfer of a piece comes next.
#[derive(Default)]
pub(crate) enum Stage {
    /// The first one of the next piece.
    #[default]
    Begin,
    /// The one after the scrub.
    Scrubbed(Piece),
    /// The second one of a copy.
    Staged { to: u64, through: DeviceRange },
}

/// Divides requests for one `edu` device.
pub(crate) struct EduPlan {
    /// The contents of the device memory after the transfers that were cut.
    contents: Contents,
    /// Bus address of zeros, as many as there is device memory.
    zeros: u64,
}

impl EduPlan {
    /// Creates the plan of a device whose memory contains zeros. `zeros` is the bus address of
    /// memory of the same size that also contains zeros.
    pub(crate) fn new(zeros: u64) -> Self {
        Self {
            contents: Contents::Zeros,
            zeros,
        }
    }

    /// Returns whether the device memory must be scrubbed before a piece, and records its contents
    /// after the piece. Transfers are executed in the order in which they are cut, so that each
    /// later one finds these contents.
    fn needs_scrub<B: Backing>(&mut self, request: &Request<B>, piece: Piece) -> bool {
        let (user, access) = (request.user(), piece.access());
        let scrub = self.contents.needs_scrub(user, access);
        self.contents = self.contents.after(user, access);
        scrub
    }

    fn cut_scrub(&self) -> Cut<Transfer> {
        let transfer = DeviceTransfer {
            direction: Direction::ToDevice,
            address: self.zeros,
            device: WHOLE,
        };
        Self::cut_inner(transfer)
    }

    /// Returns a transfer that is not the last one of its piece.
    fn cut_inner(transfer: DeviceTransfer) -> Cut<Transfer> {
        Cut {
            transfer: Transfer::Device(transfer),
            moves: transfer.device.length(),
            completes: 0,
            cost: 0,
            ends_piece: false,
        }
    }

    /// Returns the last transfer of a piece. Its cost is the whole quantum, because each transfer
    /// takes 100 ms, regardless of its length.
    fn cut_last(transfer: DeviceTransfer) -> Cut<Transfer> {
        Cut {
            transfer: Transfer::Device(transfer),
            moves: transfer.device.length(),
            completes: transfer.device.length(),
            cost: SIZE,
            ends_piece: true,
        }
    }

    fn cut_first(piece: Piece, stage: &mut Stage) -> Cut<Transfer> {
        match piece {
            Piece::One(transfer) => Self::cut_last(transfer),
            Piece::Copy { from, to, through } => {
                *stage = Stage::Staged { to, through };
                Self::cut_inner(DeviceTransfer {
                    direction: Direction::ToDevice,
                    address: from,
                    device: through,
                })
            }
        }
    }

    fn cut_second(to: u64, through: DeviceRange) -> Cut<Transfer> {
        Self::cut_last(DeviceTransfer {
            direction: Direction::FromDevice,
            address: to,
            device: through,
        })
    }
}

impl<B: Backing> Plan<Request<B>> for EduPlan {
    type Transfer = Transfer;
    type Stage = Stage;

    fn quantum(&self) -> u64 {
        SIZE
    }

    fn cut(
        &mut self,
        request: &Request<B>,
        issued: u64,
        stage: &mut Stage,
        _max_cost: u64,
    ) -> Option<Cut<Transfer>> {
        match *stage {
            Stage::Begin => {
                let piece = Piece::of(request, issued)?;
                if self.needs_scrub(request, piece) {
                    *stage = Stage::Scrubbed(piece);
                    Some(self.cut_scrub())
                } else {
                    Some(Self::cut_first(piece, stage))
                }
            }
            Stage::Scrubbed(piece) => {
                *stage = Stage::Begin;
                Some(Self::cut_first(piece, stage))
            }
            Stage::Staged { to, through } => {
                *stage = Stage::Begin;
                Some(Self::cut_second(to, through))
            }
        }
    }

    fn invalidate(&mut self) {
        self.contents = Contents::Mixed;
    }
}
