// SPDX-License-Identifier: GPL-2.0

//! One open file: its buffers, by handle, and its client of the device.

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
        transfer::{
            DeviceRange, //
        }, //
    },
    kernel_ext::collections::slab::{
        Slab,
        SlabGrowth, //
    },
    memory::{
        buffer::Buffer,
        handle::Handle,
        hold::BufferHold,
        pages,
        quota::Quota, //
    }, //
};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    page::PAGE_SHIFT,
    prelude::*,
    sync::{
        new_mutex,
        Arc,
        Mutex, //
    },
    types::ScopeGuard, //
};

/// The buffers that have a handle.
struct Handles {
    first: Option<Arc<Buffer>>,
    /// [`None`]: a buffer is being made for it.
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

    /// Puts a buffer in for a handle that was [reserved](Context::reserve).
    fn publish(&mut self, handle: Handle, buffer: Arc<Buffer>) {
        let index = handle.index();
        if let Some(reserved) = index.and_then(|index| self.others.get_mut(index)) {
            *reserved = Some(buffer);
        }
    }

    /// Gives a handle back that was [reserved](Context::reserve).
    fn unreserve(&mut self, handle: Handle) {
        if let Some(index) = handle.index() {
            self.others.remove(index);
        }
    }
}

/// One open file.
#[pin_data]
pub(crate) struct Context {
    device: Arc<Device>,
    quota: Arc<Quota>,
    #[pin]
    client: Client,
    /// Held while the first buffer is made.
    #[pin]
    making_first: Mutex<()>,
    #[pin]
    handles: Mutex<Handles>,
}

impl Context {
    /// A context without buffers.
    pub(crate) fn new(device: Arc<Device>) -> Result<Arc<Self>> {
        // Not for a device that is going.
        device.info()?;
        Arc::pin_init(
            try_pin_init!(Self {
                quota: device.pool().context_quota()?,
                client <- Client::new(device.clone()),
                device,
                making_first <- new_mutex!((), "rdma::FirstBuffer"),
                handles <- new_mutex!(
                    Handles {
                        first: None,
                        others: Slab::new(),
                    },
                    "rdma::Handles"
                ),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// The device of the file.
    pub(crate) fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// Makes a buffer of at least `size` bytes, which is not 0, and gives it a handle, once `tell`
    /// has told the caller of it. Until then nobody can use the handle, and so not free it, either:
    /// if `tell` fails, it is still this buffer's.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`] and [`ENODEV`], as [`Buffer::new`]; that of `tell`.
    pub(crate) fn allocate(
        &self,
        size: usize,
        tell: impl FnOnce(Handle, &Buffer) -> Result,
    ) -> Result {
        let handle = self.reserve()?;
        let unused = ScopeGuard::new(|| self.handles.lock().unreserve(handle));
        // Outside of the lock: both may take long.
        let buffer = Buffer::new(self.device.pool(), &self.quota, size, handle)?;
        tell(handle, &buffer)?;
        unused.dismiss();
        self.handles.lock().publish(handle, buffer);
        Ok(())
    }

    /// Sets a handle aside, for which there is no buffer yet.
    fn reserve(&self) -> Result<Handle> {
        let mut handles = self.handles.lock();
        // The memory is allocated, and freed, outside of the lock; others may take it meanwhile.
        while let Some(capacity) = handles.others.grow_request() {
            drop(handles);
            let growth = SlabGrowth::new(capacity)?;
            handles = self.handles.lock();
            let old = handles.others.grow(growth);
            drop(handles);
            drop(old);
            handles = self.handles.lock();
        }
        let index = handles.others.insert(None).map_err(|_| ENOMEM)?;
        Handle::of_index(index)
    }

    /// Gives a handle back. The buffer stays for as long as something else holds it.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if no buffer has it; [`ENODEV`] if the device is gone, and the memory with it.
    pub(crate) fn free(&self, handle: Handle) -> Result {
        self.device.info()?;
        let buffer = self.handles.lock().take(handle);
        // Outside of the lock.
        buffer.map(drop).ok_or(EINVAL)
    }

    /// The buffer with this handle.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if there is none.
    pub(crate) fn buffer(&self, handle: Handle) -> Result<Arc<Buffer>> {
        self.handles.lock().get(handle).cloned().ok_or(EINVAL)
    }

    /// A part of a buffer, for a request that holds it by `holder`.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if there is no such handle or no such part.
    pub(crate) fn span(
        &self,
        handle: Handle,
        holder: fn(Arc<Buffer>) -> BufferHold,
        offset: u64,
        length: u64,
    ) -> Result<Span<BufferHold>> {
        Span::new(holder(self.buffer(handle)?), offset, length)
    }

    /// What it may have in buffers.
    pub(crate) fn quota(&self) -> &Arc<Quota> {
        &self.quota
    }

    /// How many buffers have a handle.
    pub(crate) fn buffers(&self) -> usize {
        let handles = self.handles.lock();
        handles.others.len() + usize::from(handles.first.is_some())
    }

    /// Its place in the queue.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The buffer that these pages of the file belong to. The first mapping at offset 0 makes the
    /// first buffer.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if there is no such part of a buffer; those of [`Buffer::new`].
    pub(crate) fn map(&self, first: usize, pages: usize) -> Result<Arc<Buffer>> {
        let handle = Handle::of_page(first)?;
        if pages > Handle::WINDOW {
            return Err(EINVAL);
        }

        let buffer = match self.buffer(handle) {
            Err(_) if first == 0 => self.make_first(pages)?,
            buffer => buffer?,
        };
        let offset = first - buffer.first_page();
        if offset + pages > pages::pages(buffer.size()) {
            return Err(EINVAL);
        }
        // Also a device that is gone has its buffers' handles; there is nothing to see in them.
        self.device.info()?;
        self.device.pool().mapped(handle, offset, pages);
        Ok(buffer)
    }

    /// Makes the first buffer, unless somebody else has just done so.
    ///
    /// The memory is allocated outside of the handles' lock: that may take long, and who looks at
    /// the handles meanwhile does not wait for it.
    ///
    /// # Errors
    ///
    /// Those of [`Buffer::new`].
    fn make_first(&self, pages: usize) -> Result<Arc<Buffer>> {
        // One at a time: a second one would be charged for a buffer that is not needed.
        let _making = self.making_first.lock();
        if let Ok(buffer) = self.buffer(Handle::FIRST) {
            return Ok(buffer);
        }
        let bytes = pages << PAGE_SHIFT;
        let buffer = Buffer::new(self.device.pool(), &self.quota, bytes, Handle::FIRST)?;
        self.handles.lock().first = Some(buffer.clone());
        Ok(buffer)
    }

    /// Reads device memory from `position` on, as many bytes as `to` has room for and there are.
    ///
    /// Returns how many; 0 at the end.
    ///
    /// # Errors
    ///
    /// [`EAGAIN`] if it would take a transfer, and is `nonblocking`; those of [`Client::transfer`].
    pub(crate) fn read(&self, nonblocking: bool, position: u64, to: &mut [u8]) -> Result<usize> {
        let Some((range, bytes)) = self.device_memory(position, to.len()) else {
            return Ok(0);
        };
        if nonblocking {
            return Err(EAGAIN);
        }
        let buffer = Buffer::new(self.device.pool(), &self.quota, bytes, Handle::FIRST)?;
        let span = Span::new(BufferHold::new(buffer.clone()), 0, range.length())?;
        self.client.transfer(Operation::FromDevice(range, span))?;
        buffer.copy_to(&mut to[..bytes])?;
        Ok(bytes)
    }

    /// Writes device memory from `position` on, as many bytes as `from` has and there is room for.
    ///
    /// Returns how many.
    ///
    /// # Errors
    ///
    /// [`ENOSPC`] at the end; as [`read`](Self::read).
    pub(crate) fn write(&self, nonblocking: bool, position: u64, from: &[u8]) -> Result<usize> {
        if from.is_empty() {
            return Ok(0);
        }
        let (range, bytes) = self.device_memory(position, from.len()).ok_or(ENOSPC)?;
        if nonblocking {
            return Err(EAGAIN);
        }
        let buffer = Buffer::new(self.device.pool(), &self.quota, bytes, Handle::FIRST)?;
        buffer.copy_from(&from[..bytes])?;
        let span = Span::new(BufferHold::new(buffer), 0, range.length())?;
        self.client.transfer(Operation::ToDevice(span, range))?;
        Ok(bytes)
    }

    /// The `length` bytes at `offset` of the device memory.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] where there are no such bytes.
    pub(crate) fn device_range(&self, offset: u64, length: u64) -> Result<DeviceRange> {
        DeviceRange::new(offset, length, self.device.memory_size())
    }

    /// The part of the device memory from `position` on, of at most so many bytes, and how many it
    /// has.
    fn device_memory(&self, position: u64, most: usize) -> Option<(DeviceRange, usize)> {
        let left = self.device.memory_size().checked_sub(position)?;
        // CAST: no more than `most`.
        let bytes = left.min(most as u64) as usize;
        let range = self.device_range(position, bytes as u64).ok()?;
        Some((range, bytes))
    }
}
