// SPDX-License-Identifier: GPL-2.0

//! `/proc/PID/fdinfo/FD`: the state of a context. Lines may be added, but are never removed.

use crate::{
    file::context::Context,
    memory::{
        pages::bytes,
        quota::Quota, //
    },
    schedule::LaneState, //
};
use kernel::seq_file::{
    seq_print,
    SeqFile, //
};

/// The state of a context.
struct Fdinfo<'a> {
    node: u32,
    context: u64,
    gone: bool,
    buffers: usize,
    lane: LaneState,
    quota: &'a Quota,
}

/// Writes the state of `context`. Memory is in bytes.
pub(super) fn show(context: &Context, to: &SeqFile) {
    let device = context.device();
    let info = Fdinfo {
        node: device.number(),
        context: context.client().context_number(),
        gone: device.info().is_err(),
        buffers: context.buffers(),
        lane: context.client().state(),
        quota: context.quota(),
    };
    info.show(to);
}

impl Fdinfo<'_> {
    fn show(&self, to: &SeqFile) {
        let state = if self.gone { "gone" } else { "bound" };
        seq_print!(to, "rdma-node:\trdma{}\n", self.node);
        // The number that identifies the context in the tracepoints.
        seq_print!(to, "rdma-context:\t{}\n", self.context);
        seq_print!(to, "rdma-device:\t{state}\n");
        seq_print!(to, "rdma-buffers:\t{}\n", self.buffers);
        seq_print!(to, "rdma-queued:\t{}\n", self.lane.waiting);
        seq_print!(to, "rdma-in-flight:\t{}\n", self.lane.in_flight);
        seq_print!(to, "rdma-completed:\t{}\n", self.lane.completed);
        seq_print!(to, "rdma-memory:\t{}\n", bytes(self.quota.used()));
        seq_print!(to, "rdma-memory-limit:\t{}\n", bytes(self.quota.limit()));
        // The part of `rdma-memory` that is charged to RLIMIT_MEMLOCK.
        seq_print!(to, "rdma-memlock:\t{}\n", bytes(self.quota.locked()));
    }
}
