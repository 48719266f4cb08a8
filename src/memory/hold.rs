// SPDX-License-Identifier: GPL-2.0

//! References of requests to buffers.

use crate::{
    engines::request::Backing,
    kernel_ext::collections::fifo::Fifo,
    memory::buffer::Buffer, //
};
use kernel::sync::{
    atomic::Relaxed,
    Arc, //
};

/// A request's reference to a buffer. The buffer counts the request until it has ended.
///
/// # Invariants
///
/// If `counted` is true, the buffer counts one request for this reference.
pub(crate) struct BufferHold {
    buffer: Arc<Buffer>,
    counted: bool,
}

impl BufferHold {
    /// Creates a reference, and counts the request.
    pub(crate) fn new(buffer: Arc<Buffer>) -> Self {
        buffer.requests.add(1, Relaxed);
        // INVARIANT: just counted.
        Self {
            buffer,
            counted: true,
        }
    }

    /// Creates a second reference, for a request that the buffer counts already.
    pub(crate) fn uncounted(buffer: Arc<Buffer>) -> Self {
        // INVARIANT: not counted.
        Self {
            buffer,
            counted: false,
        }
    }

    /// Returns the buffer.
    pub(crate) fn buffer(&self) -> &Buffer {
        &self.buffer
    }
}

impl Backing for BufferHold {
    type Remains = Option<Arc<Buffer>>;

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
            // By the type invariant, the count is not 0.
            self.buffer.requests.fetch_sub(1, Relaxed);
        }
    }

    fn release(self, remains: &mut Fifo<Self::Remains>) {
        let buffer = self.buffer.clone();
        drop(self);
        Buffer::release(buffer, remains);
    }
}

impl Drop for BufferHold {
    #[inline]
    fn drop(&mut self) {
        self.ended();
    }
}
