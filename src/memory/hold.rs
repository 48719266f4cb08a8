// SPDX-License-Identifier: GPL-2.0

//! A buffer that a request is at work on.

use crate::engines::request::Backing;
use crate::memory::buffer::Buffer;
use kernel::sync::{
    atomic::Relaxed,
    Arc, //
};

/// Holds a buffer for a request, which is counted there until it is over.
///
/// # Invariants
///
/// While `counted`, the buffer counts one request for it.
pub(crate) struct BufferHold {
    buffer: Arc<Buffer>,
    counted: bool,
}

impl BufferHold {
    /// For a request that begins.
    pub(crate) fn new(buffer: Arc<Buffer>) -> Self {
        buffer.requests.add(1, Relaxed);
        // INVARIANT: just counted.
        Self {
            buffer,
            counted: true,
        }
    }

    /// For a request that begins, and that is counted already.
    pub(crate) fn uncounted(buffer: Arc<Buffer>) -> Self {
        // INVARIANT: not counted.
        Self {
            buffer,
            counted: false,
        }
    }

    /// The buffer.
    pub(crate) fn buffer(&self) -> &Buffer {
        &self.buffer
    }
}

impl Backing for BufferHold {
    fn size(&self) -> u64 {
        // CAST: `usize` is at most 64 bits.
        self.buffer.memory.size() as u64
    }

    fn bus(&self, offset: u64) -> (u64, u64) {
        self.buffer.memory.bus(offset)
    }

    #[inline]
    fn ended(&mut self) {
        if core::mem::take(&mut self.counted) {
            // By the type invariant there is one to be taken away.
            self.buffer.requests.fetch_sub(1, Relaxed);
        }
    }
}

impl Drop for BufferHold {
    #[inline]
    fn drop(&mut self) {
        self.ended();
    }
}
