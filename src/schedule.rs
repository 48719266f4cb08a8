// SPDX-License-Identifier: GPL-2.0

//! Who gets the engine next, and what has become of each request.
//!
//! No hardware and no bindings: also compiled and tested on the host.

mod job;
mod lane;
mod lanes;
mod power;
mod queue;
mod ring;
mod running;
mod stats;

pub(crate) use job::{
    Answer,
    Caller,
    Change,
    Job,
    Owner,
    QueueTypes,
    Request,
    SyncId, //
};
pub(crate) use lane::{
    CancelScan,
    Lane,
    LaneId,
    LaneState,
    UserId,
    DEPTH, //
};
pub(crate) use lanes::{
    Growth,
    LaneCursor, //
};
pub(crate) use queue::{
    GivenUp,
    Notice,
    Queue,
    Step, //
};
pub(crate) use running::Piece;
pub(crate) use stats::{
    PageFaults,
    Stats, //
};
