// SPDX-License-Identifier: GPL-2.0

//! The context of an open file: its buffers, by handle, and its client of the device.

mod dma_buf;

use crate::{
    device::{
        Client,
        Device, //
    },
    engines::{
        request::{
            Operation,
            Span, //
        },
        transfer::DeviceRange, //
    },
    kernel_ext::{
        collections::slab::{
            Slab,
            SlabGrowth, //
        },
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
use kernel::{
    page::PAGE_SHIFT,
    prelude::*,
    sync::{
        new_mutex,
        Arc,
        Mutex, //
    },
    types::ScopeGuard, //
};

/// The buffers of a context, by handle.
struct Handles {
    first: Option<Arc<Buffer>>,
    /// All buffers but the first one. [`None`]: the handle is [reserved](Context::reserve).
    others: Slab<Option<Arc<Buffer>>>,
}

impl Handles {
    fn get(&self, handle: Handle) -> Option<&Arc<Buffer>> {
        match handle.index() {
            None => self.first.as_ref(),
            Some(index) => self.others.get(index)?.as_ref(),
        }
    }

    fn take(&mut self, handle: Handle) -> Option<Arc<Buffer>> {
        self.get(handle)?;
        match handle.index() {
            None => self.first.take(),
            Some(index) => self.others.remove(index)?,
        }
    }

    /// Assigns a buffer to a handle that was [reserved](Context::reserve).
    fn publish(&mut self, handle: Handle, buffer: Arc<Buffer>) {
        let index = handle.index();
        if let Some(reserved) = index.and_then(|index| self.others.get_mut(index)) {
            *reserved = Some(buffer);
        }
    }

    /// Releases a handle that was [reserved](Context::reserve).
    fn unreserve(&mut self, handle: Handle) {
        if let Some(index) = handle.index() {
            self.others.remove(index);
        }
    }
}

/// The context of an open file.
#[pin_data]
pub(crate) struct Context {
    device: Arc<Device>,
    quota: Arc<Quota>,
    #[pin]
    client: Client,
    /// Held while the first buffer is created.
    #[pin]
    first_buffer: Mutex<()>,
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
                first_buffer <- new_mutex!((), "rdma::FirstBuffer"),
                handles <- new_mutex!(
                    Handles {
                        first: None,
                        others: Slab::new(),
                    },
                    "rdma::Handles"
                ),
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

    /// Creates a buffer. If there is no memory for it, frees the buffers that requests were the last
    /// to refer to, and retries once if buffers were freed meanwhile, here or by a kernel thread.
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
        // The slab grows without the lock, so that another thread may use the new entries.
        while let Some(capacity) = handles.others.grow_request() {
            drop(handles);
            let growth = SlabGrowth::new(capacity)?;
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

    /// Frees a handle. The buffer is freed when its mappings and requests have ended, too.
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

    /// Creates a span of a buffer that a request writes. `holder` creates the request's reference
    /// to the buffer.
    ///
    /// # Errors
    ///
    /// As [`source`](Self::source); [`EACCES`] if the buffer is read-only.
    pub(crate) fn destination(
        &self,
        handle: Handle,
        holder: fn(Arc<Buffer>) -> BufferHold,
        offset: u64,
        length: u64,
    ) -> Result<Span<BufferHold>> {
        let buffer = self.buffer(handle)?;
        if !buffer.is_writable() {
            return Err(EACCES);
        }
        Span::new(holder(buffer), offset, length)
    }

    /// Returns the quota of the context.
    pub(crate) fn quota(&self) -> &Arc<Quota> {
        &self.quota
    }

    /// Returns the number of handles, including reserved ones.
    pub(crate) fn buffers(&self) -> usize {
        let handles = self.handles.lock();
        let others = handles.others.len() - usize::from(handles.others.get(Handle::RING).is_some());
        others + usize::from(handles.first.is_some())
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
    /// The memory is allocated without the lock of the handles, because this may take long.
    ///
    /// # Errors
    ///
    /// Those of [`Buffer::new`].
    fn create_first(&self, pages: usize) -> Result<Arc<Buffer>> {
        // Two threads must not both allocate: the second buffer would be charged without need.
        let _one_at_a_time = self.first_buffer.lock();
        if let Ok(buffer) = self.buffer(Handle::FIRST) {
            return Ok(buffer);
        }
        let bytes = pages << PAGE_SHIFT;
        let buffer = self.new_buffer(bytes, Handle::FIRST)?;
        self.handles.lock().first = Some(buffer.clone());
        Ok(buffer)
    }

    /// Reads device memory from `position` on, up to the size of `to` or the end of the memory.
    ///
    /// Returns the number of bytes, which is 0 at the end.
    ///
    /// # Errors
    ///
    /// [`EAGAIN`] if a transfer is needed, and `nonblocking` is true; those of [`Buffer::new`] and
    /// [`Client::transfer`].
    pub(crate) fn read(&self, nonblocking: bool, position: u64, to: &mut [u8]) -> Result<usize> {
        let Some((range, bytes)) = self.device_memory(position, to.len()) else {
            return Ok(0);
        };
        if nonblocking {
            return Err(EAGAIN);
        }
        let buffer = self.new_buffer(bytes, Handle::FIRST)?;
        let span = Span::new(BufferHold::new(buffer.clone()), 0, range.length())?;
        self.client.transfer(Operation::FromDevice(range, span))?;
        buffer.copy_to(&mut to[..bytes])?;
        Ok(bytes)
    }

    /// Writes device memory from `position` on, up to the size of `from` or the end of the memory.
    ///
    /// Returns the number of bytes.
    ///
    /// # Errors
    ///
    /// [`ENOSPC`] at the end; those of [`read`](Self::read).
    pub(crate) fn write(&self, nonblocking: bool, position: u64, from: &[u8]) -> Result<usize> {
        if from.is_empty() {
            return Ok(0);
        }
        let (range, bytes) = self.device_memory(position, from.len()).ok_or(ENOSPC)?;
        if nonblocking {
            return Err(EAGAIN);
        }
        let buffer = self.new_buffer(bytes, Handle::FIRST)?;
        buffer.copy_from(&from[..bytes])?;
        let span = Span::new(BufferHold::new(buffer), 0, range.length())?;
        self.client.transfer(Operation::ToDevice(span, range))?;
        Ok(bytes)
    }

    /// Returns the range of `length` bytes of the device memory at `offset`.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if the range is empty or not within the device memory.
    pub(crate) fn device_range(&self, offset: u64, length: u64) -> Result<DeviceRange> {
        DeviceRange::new(offset, length, self.device.memory_size())
    }

    /// Returns the range of the device memory from `position` on, of up to `max` bytes, and its
    /// length. Returns [`None`] if the range is empty.
    fn device_memory(&self, position: u64, max: usize) -> Option<(DeviceRange, usize)> {
        let left = self.device.memory_size().checked_sub(position)?;
        // CAST: The minimum is at most `max`, which is a `usize`.
        let bytes = left.min(max as u64) as usize;
        let range = self.device_range(position, bytes as u64).ok()?;
        Some((range, bytes))
    }
}
