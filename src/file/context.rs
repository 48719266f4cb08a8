// SPDX-License-Identifier: GPL-2.0

//! The context of an open file: its buffers, by handle, and its client of the device.

mod device_memory;
mod dma_buf;
mod handles;

use crate::{
    device::{
        Client,
        Device, //
    },
    engines::request::Span,
    kernel_ext::{
        collections::id_map::IdMapGrowth,
        gfp::GFP_ACCOUNT_MAYFAIL, //
    },
    memory::{
        buffer::Buffer,
        handle::Handle,
        hold::BufferHold,
        pages,
        pool::UserRange,
        quota::Quota, //
    }, //
};
use handles::Handles;
use kernel::{
    page::PAGE_SHIFT,
    prelude::*,
    sync::{
        new_condvar,
        new_mutex,
        Arc,
        CondVar,
        Mutex, //
    },
    types::ScopeGuard, //
};

/// The context of an open file.
#[pin_data]
pub(crate) struct Context {
    device: Arc<Device>,
    /// The quota that the buffers are charged to.
    quota: Arc<Quota>,
    #[pin]
    client: Client,
    /// A thread creates the first buffer.
    #[pin]
    creates_first: Mutex<bool>,
    /// Notified when it has, or has failed.
    #[pin]
    first_created: CondVar,
    /// No buffer is created or freed under this lock.
    #[pin]
    handles: Mutex<Handles>,
}

impl Context {
    /// Creates a context without buffers.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the device is gone; [`ENOMEM`].
    pub(crate) fn new(device: Arc<Device>) -> Result<Arc<Self>> {
        device.info()?;
        Arc::pin_init(
            try_pin_init!(Self {
                quota: device.pool().context_quota()?,
                client <- Client::new(device.clone()),
                device,
                creates_first <- new_mutex!(false, "rdma::FirstBuffer"),
                first_created <- new_condvar!("rdma::FirstBuffer"),
                handles <- new_mutex!(Handles::new(), "rdma::Handles"),
            }),
            GFP_ACCOUNT_MAYFAIL,
        )
    }

    /// Returns the device of the file.
    pub(crate) fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// Allocates a buffer of at least `size` bytes, which must not be 0. Calls `report` to write
    /// the handle to user memory. If `report` fails, the buffer is freed.
    ///
    /// # Errors
    ///
    /// As [`Buffer::new`], and the error of `report`.
    pub(crate) fn allocate(
        &self,
        size: usize,
        report: impl FnOnce(Handle, &Buffer) -> Result,
    ) -> Result {
        self.add_buffer(|handle| self.new_buffer(size, handle), report)
    }

    /// Creates a buffer of memory of the calling process, which is pinned. `report` is called as by
    /// [`allocate`](Self::allocate).
    ///
    /// # Errors
    ///
    /// As [`Buffer::register`], and the error of `report`.
    pub(crate) fn register(
        &self,
        range: &UserRange,
        report: impl FnOnce(Handle) -> Result,
    ) -> Result {
        let new = |handle| {
            self.retry(|| Buffer::register(self.device.pool(), &self.quota, range, handle))
        };
        self.add_buffer(new, |handle, _| report(handle))
    }

    /// Adds a buffer. The handle is not valid before `report` has succeeded: if another thread
    /// could free it before, it could belong to another buffer when `report` fails.
    fn add_buffer(
        &self,
        new: impl FnOnce(Handle) -> Result<Arc<Buffer>>,
        report: impl FnOnce(Handle, &Buffer) -> Result,
    ) -> Result {
        let handle = self.reserve()?;
        let unused = ScopeGuard::new(|| self.handles.lock().unreserve(handle));
        // Not under the lock, because the allocation and `report` may take long.
        let buffer = new(handle)?;
        report(handle, &buffer)?;
        unused.dismiss();
        self.handles.lock().publish(handle, buffer);
        Ok(())
    }

    /// Allocates the memory of a buffer.
    ///
    /// # Errors
    ///
    /// As [`Buffer::new`].
    fn new_buffer(&self, size: usize, handle: Handle) -> Result<Arc<Buffer>> {
        self.retry(|| Buffer::new(self.device.pool(), &self.quota, size, handle))
    }

    /// Creates a buffer. If there is no memory for it, frees the buffers that requests were the
    /// last to refer to, and retries once if buffers were freed meanwhile, here or by a kernel
    /// thread.
    fn retry(&self, new: impl Fn() -> Result<Arc<Buffer>>) -> Result<Arc<Buffer>> {
        let pool = self.device.pool();
        let freed = pool.freed();
        match new() {
            Err(error @ (EDQUOT | ENOMEM)) => {
                self.device.free_released()?;
                if pool.freed() == freed {
                    return Err(error);
                }
                new()
            }
            buffer => buffer,
        }
    }

    /// Reserves a handle. It is not valid until a buffer is [published](Handles::publish) for it.
    fn reserve(&self) -> Result<Handle> {
        let mut handles = self.handles.lock();
        // The map grows without the lock, so that another thread may use the new entries.
        while let Some(capacity) = handles.others.grow_request() {
            drop(handles);
            let growth = IdMapGrowth::new(capacity)?;
            handles = self.handles.lock();
            let old = handles.others.grow(growth);
            drop(handles);
            drop(old);
            handles = self.handles.lock();
        }
        let mut index = handles.others.insert(None).map_err(|_| ENOMEM)?;
        if index == Handle::RING {
            // This one stays reserved.
            index = handles.others.insert(None).map_err(|_| ENOMEM)?;
        }
        Handle::of_index(index)
    }

    /// Frees a handle. The buffer is freed when its mappings, its requests and its dma-buf have
    /// ended, too.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if the handle is not valid; [`ENODEV`] if the device is gone, which frees the
    /// memory.
    pub(crate) fn free(&self, handle: Handle) -> Result {
        self.device.info()?;
        let buffer = self.handles.lock().take(handle);
        // Outside of the lock.
        buffer.map(drop).ok_or(EINVAL)
    }

    /// Returns the buffer with this handle.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if there is none.
    pub(crate) fn buffer(&self, handle: Handle) -> Result<Arc<Buffer>> {
        self.handles.lock().get(handle).cloned().ok_or(EINVAL)
    }

    /// Creates a span of a buffer that a request reads.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if the handle is not valid, or the range is not within the buffer.
    pub(crate) fn source(
        &self,
        handle: Handle,
        offset: u64,
        length: u64,
    ) -> Result<Span<BufferHold>> {
        Span::new(BufferHold::new(self.buffer(handle)?), offset, length)
    }

    /// Creates a span of a buffer that a request writes.
    ///
    /// # Errors
    ///
    /// As [`source`](Self::source); [`EACCES`] if the buffer is read-only.
    pub(crate) fn destination(
        &self,
        handle: Handle,
        offset: u64,
        length: u64,
    ) -> Result<Span<BufferHold>> {
        let buffer = self.buffer(handle)?;
        if !buffer.is_writable() {
            return Err(EACCES);
        }
        Span::new(BufferHold::new(buffer), offset, length)
    }

    /// Creates the spans of a request that copies within one buffer, which counts one request: the
    /// span that it reads, and the one that it writes. The handle is looked up once, because
    /// another thread may free it, and allocate another buffer with it.
    ///
    /// # Errors
    ///
    /// As [`destination`](Self::destination).
    pub(crate) fn within(
        &self,
        handle: Handle,
        source_offset: u64,
        destination_offset: u64,
        length: u64,
    ) -> Result<(Span<BufferHold>, Span<BufferHold>)> {
        let buffer = self.buffer(handle)?;
        let source = Span::new(BufferHold::new(buffer.clone()), source_offset, length)?;
        if !buffer.is_writable() {
            return Err(EACCES);
        }
        let hold = BufferHold::uncounted(buffer);
        Ok((source, Span::new(hold, destination_offset, length)?))
    }

    /// Returns the quota of the context.
    pub(crate) fn quota(&self) -> &Arc<Quota> {
        &self.quota
    }

    /// Returns the number of handles, including reserved ones.
    pub(crate) fn buffers(&self) -> usize {
        self.handles.lock().count()
    }

    /// Returns the client of the context.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the buffer that contains these pages of the file. The first mapping at offset 0
    /// creates the first buffer.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if no buffer contains all of the pages; those of [`Buffer::new`].
    pub(crate) fn map(&self, first: usize, pages: usize) -> Result<Arc<Buffer>> {
        let handle = Handle::of_page(first)?;
        if pages > Handle::PAGES {
            return Err(EINVAL);
        }

        let buffer = match self.buffer(handle) {
            Err(_) if first == 0 => self.create_first(pages)?,
            buffer => buffer?,
        };
        let offset = first - buffer.first_page();
        if !buffer.is_mappable() || offset + pages > pages::pages(buffer.size()) {
            return Err(EINVAL);
        }
        // Handles stay valid when the device is gone, but the buffers have no memory.
        self.device.info()?;
        self.device.pool().mapped(handle, offset, pages);
        Ok(buffer)
    }

    /// Creates the first buffer, or returns the one that another thread has created.
    ///
    /// The memory is allocated without a lock, because this may take long. A signal ends the wait
    /// for another thread.
    ///
    /// # Errors
    ///
    /// Those of [`Buffer::new`]; [`ERESTARTNOINTR`] after a signal: the system call is restarted.
    fn create_first(&self, pages: usize) -> Result<Arc<Buffer>> {
        let mut creates = self.creates_first.lock();
        while *creates {
            if self.first_created.wait_interruptible(&mut creates) {
                return Err(ERESTARTNOINTR);
            }
        }
        if let Ok(buffer) = self.buffer(Handle::FIRST) {
            return Ok(buffer);
        }
        // Two threads must not both allocate: the second buffer would be charged without need.
        *creates = true;
        drop(creates);
        let _created = ScopeGuard::new(|| {
            *self.creates_first.lock() = false;
            self.first_created.notify_all();
        });
        let bytes = pages << PAGE_SHIFT;
        let buffer = self.new_buffer(bytes, Handle::FIRST)?;
        self.handles.lock().first = Some(buffer.clone());
        Ok(buffer)
    }
}
