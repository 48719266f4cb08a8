// SPDX-License-Identifier: GPL-2.0

//! `/sys/kernel/debug/rust_dma/rdmaN`: the state, counters and latencies of a device.
//!
//! These files are for debugging. The files and their lines may change. They contain no addresses.

use crate::{
    device::{
        Activity,
        Device, //
    },
    kernel_ext::fs::debugfs::{
        Attribute,
        DebugFiles, //
    },
    memory::pages::bytes, //
};
use kernel::seq_file::{
    seq_print,
    SeqFile, //
};

#[cfg(CONFIG_FAULT_INJECTION)]
use crate::kernel_ext::fs::debugfs::command::FileCommand;

impl DebugFiles for Device {
    const ATTRIBUTES: &'static [Attribute<Self>] = &[
        Attribute {
            name: c"state",
            show: state,
        },
        Attribute {
            name: c"counters",
            show: counters,
        },
        Attribute {
            name: c"latency",
            show: latency,
        },
    ];

    #[cfg(CONFIG_FAULT_INJECTION)]
    const COMMANDS: &'static [FileCommand<Self>] = &[FileCommand {
        name: c"inject",
        run: |device, command| device.inject(command),
    }];
}

/// Writes the current state to the file `state`: a name and a value in each line.
fn state(device: &Device, to: &SeqFile) {
    let (snapshot, pool) = (device.snapshot(), device.pool());
    match snapshot.activity {
        Activity::Idle => seq_print!(to, "engine idle\n"),
        Activity::Busy(ms) => seq_print!(to, "engine busy for {ms} ms\n"),
        Activity::Stuck(ms) => seq_print!(to, "engine stuck for {ms} ms\n"),
        Activity::Gone => seq_print!(to, "engine gone\n"),
    }
    seq_print!(to, "contexts {}\n", snapshot.contexts);
    seq_print!(to, "queued {}\n", device.waiting());
    seq_print!(to, "buffers {}\n", pool.buffers());
    seq_print!(to, "memory {}\n", bytes(pool.quota().used()));
    seq_print!(to, "memory_limit {}\n", bytes(pool.quota().limit()));
}

/// Writes the counters to the file `counters`: a name and a value in each line.
fn counters(device: &Device, to: &SeqFile) {
    for (name, value) in device.snapshot().stats.counters.named() {
        seq_print!(to, "{name} {value}\n");
    }
    seq_print!(to, "page_faults {}\n", device.pool().page_faults());
}

/// Writes the latencies to the file `latency`. Each line is a class that is not empty: its lower
/// bound in nanoseconds, and the number of requests in it.
fn latency(device: &Device, to: &SeqFile) {
    for (from, count) in device.snapshot().stats.latency.non_empty() {
        seq_print!(to, "{from} {count}\n");
    }
}
