// SPDX-License-Identifier: GPL-2.0

//! The time, as a number.
//!
//! C header: `include/linux/timekeeping.h`

use kernel::bindings;

/// Nanoseconds in a millisecond.
pub(crate) const NSEC_PER_MSEC: u64 = 1_000_000;

/// Nanoseconds since the machine started, not counting sleep (`CLOCK_MONOTONIC`).
pub(crate) fn now() -> u64 {
    // CAST: never negative.
    // SAFETY: May be called by anyone, in interrupt handlers too.
    unsafe { bindings::ktime_get() as u64 }
}
