// SPDX-License-Identifier: GPL-2.0

//! Messages that userspace can cause at will, limited.
//!
//! C header: `include/linux/printk.h`

use kernel::{
    bindings,
    prelude::*,
    types::Opaque, //
};

/// Lets one message through, and then none for some seconds.
pub(crate) struct Ratelimit(Opaque<c_ulong>);

// SAFETY: `printk_timed_ratelimit` reads and writes one word, and a race costs one message.
unsafe impl Send for Ratelimit {}
// SAFETY: As above.
unsafe impl Sync for Ratelimit {}

impl Ratelimit {
    /// Between two messages.
    const INTERVAL_MS: c_uint = 5_000;

    /// Lets the next message through.
    pub(crate) const fn new() -> Self {
        Self(Opaque::new(0))
    }

    /// Whether a message may be written now.
    pub(crate) fn allows(&self) -> bool {
        // SAFETY: The word is valid and used for nothing else.
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
        // Each has its own.
        assert!(Ratelimit::new().allows());
    }
}
