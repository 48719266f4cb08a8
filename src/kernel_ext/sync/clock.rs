// SPDX-License-Identifier: GPL-2.0

//! The monotonic clock.

use kernel::time::{
    ClockSource,
    Monotonic, //
};

/// Nanoseconds in a millisecond.
pub(crate) const NSEC_PER_MSEC: u64 = 1_000_000;

extern "C" {
    fn rdma_helper_monotonic_to_host(ns: i64) -> i64;
}

/// Returns a time of `CLOCK_MONOTONIC` that a program has read, which its time namespace may
/// offset, as a time of the kernel. Times beyond its range become the first or the last one of it.
pub(crate) fn from_program(ns: i64) -> i64 {
    // SAFETY: The function may be called in any process context, with any value.
    unsafe { rdma_helper_monotonic_to_host(ns) }
}

/// Returns the time of `CLOCK_MONOTONIC` in nanoseconds.
pub(crate) fn now() -> u64 {
    // CAST: The time is never negative.
    Monotonic::ktime_get() as u64
}
