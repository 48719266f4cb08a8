// SPDX-License-Identifier: GPL-2.0

//! Signals of the calling process.
//!
//! C header: `include/linux/sched/signal.h`

extern "C" {
    fn rdma_helper_dies() -> bool;
}

/// Whether the calling process is being killed.
pub(crate) fn is_fatal() -> bool {
    // SAFETY: Takes nothing, and may be called by any process.
    unsafe { rdma_helper_dies() }
}
