// SPDX-License-Identifier: GPL-2.0

//! The scheduler: which request gets the engine next, and how requests end.
//!
//! No hardware and no bindings: also compiled and tested on the host.

mod cancel;
mod circular_list;
mod completion_ring;
mod flight;
mod job;
mod lane;
mod lanes;
mod queue;
mod recovery;
mod scan;
mod stats;
mod turns;

pub(crate) use completion_ring::{
    RingMemory,
    LANE_DEPTH,
    RING_START, //
};
pub(crate) use flight::{
    Flight,
    Issue, //
};
pub(crate) use job::{
    Answer,
    Change,
    Job,
    LaneOwner,
    QueueTypes,
    RequestWaiter,
    WaiterId, //
};
pub(crate) use lane::{
    Lane,
    LaneId,
    LaneState,
    UserId, //
};
pub(crate) use lanes::{
    Growth,
    LaneCursor, //
};
pub(crate) use queue::{
    AbandonedWait,
    Notice,
    Queue,
    Recipient,
    Step, //
};
pub(crate) use scan::Cancellation;
pub(crate) use stats::Stats;
