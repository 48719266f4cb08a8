// SPDX-License-Identifier: GPL-2.0

//! The handles of a context.

use crate::{
    kernel_ext::collections::id_map::IdMap,
    memory::{
        buffer::Buffer,
        handle::Handle, //
    }, //
};
use kernel::sync::Arc;

/// The buffers of a context, by handle.
pub(super) struct Handles {
    /// The buffer with the handle [`Handle::FIRST`].
    pub(super) first: Option<Arc<Buffer>>,
    /// All buffers but the first one. [`None`]: the handle is [reserved](super::Context::reserve).
    pub(super) others: IdMap<Option<Arc<Buffer>>>,
}

impl Handles {
    /// Creates a set without buffers.
    pub(super) fn new() -> Self {
        Self {
            first: None,
            others: IdMap::new(),
        }
    }

    /// Returns the buffer with this handle.
    pub(super) fn get(&self, handle: Handle) -> Option<&Arc<Buffer>> {
        match handle.index() {
            None => self.first.as_ref(),
            Some(index) => self.others.get(index)?.as_ref(),
        }
    }

    /// Removes the buffer with this handle, and returns it.
    pub(super) fn take(&mut self, handle: Handle) -> Option<Arc<Buffer>> {
        self.get(handle)?;
        match handle.index() {
            None => self.first.take(),
            Some(index) => self.others.remove(index)?,
        }
    }

    /// Assigns a buffer to a handle that was [reserved](super::Context::reserve).
    pub(super) fn publish(&mut self, handle: Handle, buffer: Arc<Buffer>) {
        let index = handle.index();
        if let Some(reserved) = index.and_then(|index| self.others.get_mut(index)) {
            *reserved = Some(buffer);
        }
    }

    /// Releases a handle that was [reserved](super::Context::reserve).
    pub(super) fn unreserve(&mut self, handle: Handle) {
        if let Some(index) = handle.index() {
            self.others.remove(index);
        }
    }

    /// Returns the number of handles, including reserved ones, but not that of the completion ring.
    pub(super) fn count(&self) -> usize {
        let others = self.others.len() - usize::from(self.others.get(Handle::RING).is_some());
        others + usize::from(self.first.is_some())
    }
}
