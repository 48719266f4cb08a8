// SPDX-License-Identifier: GPL-2.0

//! A coherent buffer and who holds it.
//!
//! A buffer is held by its handle, by each mapping and by each request: it is freed with the last
//! of them. Its memory goes earlier if the device does, for memory of a device must be freed before
//! that is unbound; whoever still holds the buffer then finds it empty.

use crate::{
    kernel_ext::mm::{
        shared::Shared,
        vma::Mappable, //
    },
    memory::{
        handle::Handle,
        pool::Pool,
        quota::{
            Charge,
            Quota, //
        }, //
    }, //
};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

/// A coherent buffer.
pub(crate) struct Buffer {
    pool: Arc<Pool>,
    pub(super) memory: Shared<Charge>,
    id: u64,
    pub(super) requests: Atomic<u32>,
    handle: Handle,
}

impl Buffer {
    /// Allocates `size` bytes, rounded up to whole pages and zeroed, which a context with this
    /// quota calls `handle`.
    ///
    /// # Errors
    ///
    /// [`EDQUOT`] and [`ENOMEM`], and the reason is in the log; [`EINTR`] if the process is being
    /// killed; [`ENODEV`] if the device is gone.
    pub(crate) fn new(
        pool: &Arc<Pool>,
        quota: &Arc<Quota>,
        size: usize,
        handle: Handle,
    ) -> Result<Arc<Self>> {
        let (memory, id) = pool.allocate(quota, size, handle.first_page())?;
        let buffer = Self {
            pool: pool.clone(),
            memory,
            id,
            requests: Atomic::new(0),
            handle,
        };
        Ok(Arc::new(buffer, GFP_KERNEL_ACCOUNT)?)
    }

    /// Bytes, whole pages.
    pub(crate) fn size(&self) -> usize {
        self.memory.size()
    }

    /// Where the buffer begins in the file, in pages.
    pub(crate) fn first_page(&self) -> usize {
        self.memory.first_page()
    }

    /// How many mappings of it there are.
    pub(crate) fn mappings(&self) -> u32 {
        self.memory.count()
    }

    /// Requests on it that are not over.
    pub(crate) fn requests(&self) -> u32 {
        self.requests.load(Relaxed)
    }

    /// Copies its first bytes out, as many as `to` has.
    pub(crate) fn copy_to(&self, to: &mut [u8]) -> Result {
        self.memory.memory().with(|memory| memory.copy_to(to))
    }

    /// Copies `from` over its first bytes.
    pub(crate) fn copy_from(&self, from: &[u8]) -> Result {
        self.memory.memory().with(|memory| memory.copy_from(from))
    }

    /// Has the memory never freed: the device may still write to it.
    pub(crate) fn abandon(&self) {
        let _ = self.memory.memory().with(|memory| memory.abandon());
    }
}

impl Drop for Buffer {
    #[inline]
    fn drop(&mut self) {
        self.pool.free(&mut self.memory, self.id);
    }
}

impl Mappable for Buffer {
    type Charge = Charge;

    fn memory(&self) -> &Shared<Charge> {
        &self.memory
    }

    fn faulted(&self, page: usize, loaded: Result<usize>) {
        self.pool.faulted(self.handle, page, loaded);
    }
}
