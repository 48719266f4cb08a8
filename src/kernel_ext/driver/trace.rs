// SPDX-License-Identifier: GPL-2.0

//! The tracepoints of `trace.h`, which tells their fields. In any context; without anyone who
//! looks, each is a call and a branch that is not taken.
//!
//! `dev` is the N of `/dev/rdmaN`.

use kernel::prelude::*;

extern "C" {
    fn rdma_trace_submit(dev: u32, context: u64, cookie: u64, operation: u32, length: u64);
    fn rdma_trace_start(dev: u32, direction: u32, device_offset: u64, bytes: u64);
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

/// How far taking a device down has come. `trace.h` has the same numbers.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Teardown {
    /// Nothing is taken any more, and what waited has failed.
    Closed = 0,
    /// No page is mapped any more.
    Zapped = 1,
    /// No transfer runs any more.
    AtRest = 2,
    /// A transfer does not end; its memory is left to it.
    Stuck = 3,
    /// All other memory is freed.
    Freed = 4,
}

/// 0, or a negative errno.
fn status(outcome: Result) -> c_int {
    outcome.map_or_else(Error::to_errno, |()| 0)
}

/// Whether anyone looks at [`submit`].
pub(crate) fn submit_enabled() -> bool {
    // SAFETY: Takes nothing.
    unsafe { rdma_trace_submit_enabled() }
}

/// A request was put into the queue. `operation` is that of `uapi/rdma.h`.
pub(crate) fn submit(dev: u32, context: u64, cookie: u64, operation: u32, length: u64) {
    // SAFETY: Takes numbers only.
    unsafe { rdma_trace_submit(dev, context, cookie, operation, length) }
}

/// The engine was given a transfer. `direction` is an operation of `uapi/rdma.h`.
pub(crate) fn start(dev: u32, direction: u32, device_offset: u64, bytes: u64) {
    // SAFETY: Takes numbers only.
    unsafe { rdma_trace_start(dev, direction, device_offset, bytes) }
}

/// The interrupt handler was called.
pub(crate) fn interrupt(dev: u32, ours: bool) {
    // SAFETY: Takes numbers only.
    unsafe { rdma_trace_interrupt(dev, ours) }
}

/// A request has ended that was submitted at this time ([`now`](crate::kernel_ext::sync::clock::now)).
pub(crate) fn complete(
    dev: u32,
    context: u64,
    cookie: u64,
    outcome: Result,
    bytes: u64,
    submitted: u64,
) {
    // SAFETY: Takes numbers only.
    unsafe { rdma_trace_complete(dev, context, cookie, status(outcome), bytes, submitted) }
}

/// A buffer was mapped: so many pages, from its page `offset` on.
pub(crate) fn map(dev: u32, handle: u32, offset: u64, pages: u64) {
    // SAFETY: Takes numbers only.
    unsafe { rdma_trace_map(dev, handle, offset, pages) }
}

/// A page of a buffer was touched, and so many were loaded.
pub(crate) fn fault(dev: u32, handle: u32, page: u64, loaded: u64, outcome: Result) {
    // SAFETY: Takes numbers only.
    unsafe { rdma_trace_fault(dev, handle, page, loaded, status(outcome)) }
}

/// All mappings of the device are emptied.
pub(crate) fn zap(dev: u32) {
    // SAFETY: Takes numbers only.
    unsafe { rdma_trace_zap(dev) }
}

/// Taking the device down has come so far.
pub(crate) fn teardown(dev: u32, step: Teardown) {
    // CAST: the enum's numbers.
    // SAFETY: Takes numbers only.
    unsafe { rdma_trace_teardown(dev, step as u32) }
}
