// SPDX-License-Identifier: GPL-2.0

//! The monotonic clock.

use kernel::time::{
    ClockSource,
    Monotonic, //
};

/// Nanoseconds in a millisecond.
pub(crate) const NSEC_PER_MSEC: u64 = 1_000_000;

/// Returns the time of `CLOCK_MONOTONIC` in nanoseconds.
pub(crate) fn now() -> u64 {
    // CAST: The time is never negative.
    Monotonic::ktime_get() as u64
}
