// SPDX-License-Identifier: GPL-2.0

//! The tracepoints of `trace.h`, which describes their fields. They may be used in any context. A
//! disabled tracepoint is a function call and a branch that is not taken.
//!
//! `dev` is the N of `/dev/rdmaN`.

use kernel::prelude::*;

extern "C" {
    fn rdma_trace_submit(dev: u32, context: u64, cookie: u64, operation: u32, length: u64);
    fn rdma_trace_start(dev: u32, operation: u32, device_offset: u64, bytes: u64);
    fn rdma_trace_interrupt(dev: u32, ours: bool);
    fn rdma_trace_complete(
        dev: u32,
        context: u64,
        cookie: u64,
        status: c_int,
        bytes: u64,
        submitted: u64,
    );
    fn rdma_trace_submit_enabled() -> bool;
    fn rdma_trace_map(dev: u32, handle: u32, offset: u64, pages: u64);
    fn rdma_trace_fault(dev: u32, handle: u32, page: u64, loaded: u64, result: c_int);
    fn rdma_trace_zap(dev: u32);
    fn rdma_trace_teardown(dev: u32, step: u32);
}

/// The steps of the teardown of a device. The numbers are those of `trace.h`.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Teardown {
    /// The queue accepts no requests, and waiting requests have failed.
    Closed = 0,
    /// All mappings have been zapped.
    Zapped = 1,
    /// All engines are idle.
    Idle = 2,
    /// A transfer does not end. Its memory is never freed.
    Stuck = 3,
    /// All other memory has been freed.
    Freed = 4,
}

/// Returns 0 or a negative errno.
fn status(outcome: Result) -> c_int {
    outcome.map_or_else(Error::to_errno, |()| 0)
}

/// Returns whether the tracepoint of [`submit`] is enabled.
pub(crate) fn submit_enabled() -> bool {
    // SAFETY: The function has no arguments.
    unsafe { rdma_trace_submit_enabled() }
}

/// A request is about to be queued; if it is refused, [`complete`] follows. `operation` is that of
/// `uapi/rdma.h`.
pub(crate) fn submit(dev: u32, context: u64, cookie: u64, operation: u32, length: u64) {
    // SAFETY: The function has numbers as arguments only.
    unsafe { rdma_trace_submit(dev, context, cookie, operation, length) }
}

/// A transfer was started. `operation` is one of `uapi/rdma.h`.
pub(crate) fn start(dev: u32, operation: u32, device_offset: u64, bytes: u64) {
    // SAFETY: The function has numbers as arguments only.
    unsafe { rdma_trace_start(dev, operation, device_offset, bytes) }
}

/// The interrupt handler was called.
pub(crate) fn interrupt(dev: u32, ours: bool) {
    // SAFETY: The function has numbers as arguments only.
    unsafe { rdma_trace_interrupt(dev, ours) }
}

/// A request has ended. `submitted` is the time of its submission
/// ([`now`](crate::kernel_ext::sync::clock::now)).
pub(crate) fn complete(
    dev: u32,
    context: u64,
    cookie: u64,
    outcome: Result,
    bytes: u64,
    submitted: u64,
) {
    // SAFETY: The function has numbers as arguments only.
    unsafe { rdma_trace_complete(dev, context, cookie, status(outcome), bytes, submitted) }
}

/// `pages` pages of a buffer were mapped, from its page `offset` on.
pub(crate) fn map(dev: u32, handle: u32, offset: u64, pages: u64) {
    // SAFETY: The function has numbers as arguments only.
    unsafe { rdma_trace_map(dev, handle, offset, pages) }
}

/// A page fault for `page` of a buffer has inserted `loaded` pages.
pub(crate) fn fault(dev: u32, handle: u32, page: u64, loaded: u64, outcome: Result) {
    // SAFETY: The function has numbers as arguments only.
    unsafe { rdma_trace_fault(dev, handle, page, loaded, status(outcome)) }
}

/// All mappings of the device are being zapped.
pub(crate) fn zap(dev: u32) {
    // SAFETY: The function has numbers as arguments only.
    unsafe { rdma_trace_zap(dev) }
}

/// A step of the teardown of the device is complete.
pub(crate) fn teardown(dev: u32, step: Teardown) {
    // CAST: The enum has these numbers.
    // SAFETY: The function has numbers as arguments only.
    unsafe { rdma_trace_teardown(dev, step as u32) }
}
