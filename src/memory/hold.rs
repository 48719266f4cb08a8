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
    /// [`None`] after [`release`](Backing::release).
    buffer: Option<Arc<Buffer>>,
    counted: bool,
}

impl BufferHold {
    /// Creates a reference, and counts the request.
    pub(crate) fn new(buffer: Arc<Buffer>) -> Self {
        buffer.requests.add(1, Relaxed);
        // INVARIANT: just counted.
        Self {
            buffer: Some(buffer),
            counted: true,
        }
    }

    /// Creates a second reference, for a request that the buffer counts already.
    pub(crate) fn uncounted(buffer: Arc<Buffer>) -> Self {
        // INVARIANT: not counted.
        Self {
            buffer: Some(buffer),
            counted: false,
        }
    }

    fn buffer(&self) -> Option<&Buffer> {
        self.buffer.as_deref()
    }

    /// Leaks the memory of the buffer, because the device may still write to it.
    pub(crate) fn leak(&self) {
        if let Some(buffer) = self.buffer() {
            buffer.leak();
        }
    }
}

impl Backing for BufferHold {
    type Deferred = Option<Arc<Buffer>>;

    fn size(&self) -> u64 {
        // CAST: `usize` is at most 64 bits.
        self.buffer()
            .map_or(0, |buffer| buffer.shared.size() as u64)
    }

    fn bus(&self, offset: u64) -> (u64, u64) {
        self.buffer()
            .map_or((0, 0), |buffer| buffer.shared.bus(offset))
    }

    #[inline]
    fn ended(&mut self) {
        let counted = core::mem::take(&mut self.counted);
        if let Some(buffer) = self.buffer().filter(|_| counted) {
            // By the type invariant, the count is not 0.
            buffer.requests.fetch_sub(1, Relaxed);
        }
    }

    #[inline]
    fn release(&mut self, deferred: &mut Fifo<Self::Deferred>) {
        if let Some(buffer) = self.buffer.take() {
            Buffer::release(buffer, deferred);
        }
    }
}

impl Drop for BufferHold {
    #[inline]
    fn drop(&mut self) {
        self.ended();
    }
}
