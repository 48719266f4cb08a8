// SPDX-License-Identifier: GPL-2.0

//! `/proc/PID/fdinfo/FD`: what an open file has. Lines only come, and none goes.

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

/// What a file has.
struct Fdinfo<'a> {
    node: u32,
    context: u64,
    gone: bool,
    buffers: usize,
    lane: LaneState,
    quota: &'a Quota,
}

/// Writes it all down. Memory is in bytes.
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
        // As the tracepoints have it.
        seq_print!(to, "rdma-context:\t{}\n", self.context);
        seq_print!(to, "rdma-device:\t{state}\n");
        seq_print!(to, "rdma-buffers:\t{}\n", self.buffers);
        seq_print!(to, "rdma-queued:\t{}\n", self.lane.waiting);
        seq_print!(to, "rdma-in-flight:\t{}\n", self.lane.running);
        seq_print!(to, "rdma-completed:\t{}\n", self.lane.completed);
        seq_print!(to, "rdma-memory:\t{}\n", bytes(self.quota.used()));
        seq_print!(to, "rdma-memory-limit:\t{}\n", bytes(self.quota.limit()));
        // What of it counts against RLIMIT_MEMLOCK.
        seq_print!(to, "rdma-memlock:\t{}\n", bytes(self.quota.locked()));
    }
}
