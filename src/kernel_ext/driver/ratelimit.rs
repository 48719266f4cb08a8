// SPDX-License-Identifier: GPL-2.0

//! A rate limit for log messages that userspace can cause.
//!
//! C header: `include/linux/printk.h`

use kernel::{
    bindings,
    prelude::*,
    types::Opaque, //
};

/// Allows one message per [`INTERVAL_MS`](Self::INTERVAL_MS).
pub(crate) struct Ratelimit(Opaque<c_ulong>);

// SAFETY: `printk_timed_ratelimit` reads and writes one word; a race changes the number of messages
// only.
unsafe impl Send for Ratelimit {}
// SAFETY: As above.
unsafe impl Sync for Ratelimit {}

impl Ratelimit {
    /// The minimum time between two messages.
    const INTERVAL_MS: c_uint = 5_000;

    /// Creates a limit that allows the next message.
    pub(crate) const fn new() -> Self {
        Self(Opaque::new(0))
    }

    /// Returns whether a message may be logged now.
    pub(crate) fn allows(&self) -> bool {
        // SAFETY: The word is valid and is used by this function only.
        unsafe { bindings::printk_timed_ratelimit(self.0.get(), Self::INTERVAL_MS) }
    }
}

#[kunit_tests(rdma_ratelimit)]
mod tests {
    use super::*;

    #[test]
    fn one_and_then_none() {
        let limit = Ratelimit::new();
        assert!(limit.allows());
        for _ in 0..100 {
            assert!(!limit.allows());
        }
        // Another limit is independent.
        assert!(Ratelimit::new().allows());
    }
}
