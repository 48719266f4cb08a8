// SPDX-License-Identifier: GPL-2.0

//! Divides copies into transfers: ranges that are contiguous on the bus at both ends.
//!
//! No hardware and no bindings: also compiled and tested on the host.

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
        DirectTransfer,
        Transfer, //
    }, //
};

/// The number of bytes that a turn may copy.
const QUANTUM: u64 = 256 << 10;

/// The cost of a short transfer in bytes: fetching its descriptor takes as long as copying these.
const SHORT: u64 = 4096;

/// Divides requests for an engine that copies at most `largest` bytes at a time.
pub(crate) struct IoatPlan {
    largest: u64,
}

impl IoatPlan {
    /// Creates a plan for an engine that copies at most `largest` bytes at a time.
    pub(crate) fn new(largest: u64) -> Self {
        Self { largest }
    }
}

impl<B: Backing> Plan<Request<B>> for IoatPlan {
    type Transfer = Transfer;
    type Stage = ();

    fn quantum(&self) -> u64 {
        QUANTUM
    }

    fn cut(
        &mut self,
        request: &Request<B>,
        issued: u64,
        _stage: &mut (),
        max_cost: u64,
    ) -> Option<Cut<Transfer>> {
        // Other operations are refused when they are submitted, because the device has no memory.
        let Operation::Copy(source, destination) = request.operation() else {
            return None;
        };
        let (from, readable) = source.bus(issued);
        let (to, writable) = destination.bus(issued);
        // A shorter transfer does not cost less.
        let max_length = max_cost.max(SHORT);
        let length = readable.min(writable).min(self.largest).min(max_length);
        if length == 0 {
            return None;
        }
        Some(Cut {
            transfer: Transfer::Direct(DirectTransfer { from, to, length }),
            moves: length,
            completes: length,
            cost: length.max(SHORT),
            ends_piece: true,
        })
    }

    fn invalidate(&mut self) {}
}
