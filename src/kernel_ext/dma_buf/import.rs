// SPDX-License-Identifier: GPL-2.0

//! Imports dma-bufs of other drivers: memory that requests can access.
//!
//! The import is static: the exporter does not move the memory while it is mapped, and cannot ask
//! the importer to stop. An exporter that needs this refuses the import.
//!
//! C header: `include/linux/dma-buf.h`

use super::reference::DmaBuf;
use crate::kernel_ext::{
    device::raw,
    mm::{
        dma_table,
        extents::Extents,
        layout::Layout, //
    }, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    device::{
        Bound,
        Device, //
    },
    error::from_err_ptr,
    fs::file::flags,
    prelude::*,
    sync::aref::ARef, //
};

extern "C" {
    /// `dev` is a `struct device *`.
    fn rdma_helper_reaches_all_memory(dev: *mut c_void) -> bool;
}

/// A dma-buf that a program passes.
#[derive(Clone)]
pub(crate) struct Importable(DmaBuf);

impl Importable {
    /// Returns the dma-buf of a file descriptor of the calling process.
    ///
    /// # Errors
    ///
    /// [`EBADF`] if the descriptor is not open, [`EINVAL`] if it is not a dma-buf, [`EACCES`] if it
    /// is not open for reading, or not for writing and `writable` is true.
    pub(crate) fn from_fd(fd: i32, writable: bool) -> Result<Self> {
        // SAFETY: The function accepts any number.
        let dma_buf = from_err_ptr(unsafe { bindings::dma_buf_get(fd) })?;
        let dma_buf = NonNull::new(dma_buf).ok_or(EINVAL)?;
        // SAFETY: `dma_buf_get` has taken a reference.
        let dma_buf = unsafe { DmaBuf::from_raw(dma_buf) };
        match dma_buf.file().flags() & flags::O_ACCMODE {
            flags::O_RDWR => Ok(Self(dma_buf)),
            flags::O_RDONLY if !writable => Ok(Self(dma_buf)),
            _ => Err(EACCES),
        }
    }

    /// Returns the size in bytes.
    pub(crate) fn size(&self) -> usize {
        // SAFETY: The dma-buf is valid; its size is constant.
        unsafe { (*self.0.as_ptr()).size }
    }

    /// Returns whether this driver has exported it.
    fn is_own(&self) -> bool {
        let module = kernel::module::this_module::<crate::LocalModule>();
        // SAFETY: The dma-buf is valid; its owner is constant.
        core::ptr::eq(unsafe { (*self.0.as_ptr()).owner }, module.as_ptr())
    }
}

/// The memory of a dma-buf that is mapped for DMA of a device.
///
/// # Invariants
///
/// `table` is the mapping of `attachment` in this direction, which is one of `dma_buf` for `dev`.
/// `dev` is bound during `'bound`.
pub(crate) struct ImportedMemory<'bound> {
    dev: ARef<Device>,
    _bound: PhantomData<&'bound Device<Bound>>,
    dma_buf: Importable,
    attachment: NonNull<bindings::dma_buf_attachment>,
    table: NonNull<bindings::sg_table>,
    direction: bindings::dma_data_direction,
    size: usize,
}

// SAFETY: The memory may be unmapped by any thread.
unsafe impl Send for ImportedMemory<'_> {}
// SAFETY: Shared references only read the table.
unsafe impl Sync for ImportedMemory<'_> {}

impl<'bound> ImportedMemory<'bound> {
    /// Maps a dma-buf for DMA of `dev`, for writing if `writable` is true.
    ///
    /// # Errors
    ///
    /// [`EOPNOTSUPP`] if the device does not access all memory, so that the exporter could use
    /// bounce buffers or could fail with a warning; [`EINTR`] if a signal is received while the
    /// exporter prepares the memory; those of the exporter.
    pub(crate) fn new(
        dev: &'bound Device<Bound>,
        dma_buf: Importable,
        writable: bool,
    ) -> Result<Self> {
        // The driver's own dma-bufs need no bounce buffers, and fail without a warning.
        // SAFETY: `dev` is a valid device.
        if !dma_buf.is_own() && !unsafe { rdma_helper_reaches_all_memory(raw(dev).cast()) } {
            return Err(EOPNOTSUPP);
        }
        // SAFETY: The dma-buf and the device are valid.
        let attachment = unsafe { bindings::dma_buf_attach(dma_buf.0.as_ptr(), raw(dev)) };
        let attachment = NonNull::new(from_err_ptr(attachment)?).ok_or(ENOMEM)?;
        let direction = dma_table::direction(writable);
        // SAFETY: The attachment is valid, and the lock is not held.
        let table = from_err_ptr(unsafe {
            bindings::dma_buf_map_attachment_unlocked(attachment.as_ptr(), direction)
        });
        let table = table
            .and_then(|table| NonNull::new(table).ok_or(ENOMEM))
            .inspect_err(|_| {
                // SAFETY: The attachment is valid, and is not used any more.
                unsafe { bindings::dma_buf_detach(dma_buf.0.as_ptr(), attachment.as_ptr()) };
            })?;
        // INVARIANT: The dma-buf was attached and mapped above.
        Ok(Self {
            dev: dev.into(),
            _bound: PhantomData,
            size: dma_buf.size(),
            dma_buf,
            attachment,
            table,
            direction,
        })
    }

    /// Removes the lifetime of the memory.
    ///
    /// # Safety
    ///
    /// The memory must be dropped while the device is bound, or never.
    pub(in crate::kernel_ext) unsafe fn into_static(self) -> ImportedMemory<'static> {
        // SAFETY: A lifetime does not change the layout; by the safety requirement, the memory is
        // not unmapped after the device was unbound.
        unsafe { core::mem::transmute(self) }
    }

    /// Returns the device that the memory is mapped for.
    pub(in crate::kernel_ext) fn device(&self) -> &Device {
        &self.dev
    }

    /// Returns the bus addresses. The layout has no frames: the exporter maps the pages.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; [`EIO`] if the exporter has not mapped all bytes.
    pub(in crate::kernel_ext) fn layout(&self) -> Result<Layout> {
        // SAFETY: By the type invariants, the table is mapped.
        let bus = unsafe { dma_table::bus(self.table.as_ref())? };
        // CAST: `usize` is at most 64 bits.
        if bus.end() < self.size as u64 {
            return Err(EIO);
        }
        Ok(Layout::new(bus, Extents::new()))
    }

    /// Returns the size in bytes.
    pub(in crate::kernel_ext) fn size(&self) -> usize {
        self.size
    }
}

impl Drop for ImportedMemory<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, the attachment is mapped, for a device that is bound. It
        // is unmapped and detached once, and the reference to the dma-buf is dropped after it.
        unsafe {
            bindings::dma_buf_unmap_attachment_unlocked(
                self.attachment.as_ptr(),
                self.table.as_ptr(),
                self.direction,
            );
            bindings::dma_buf_detach(self.dma_buf.0.as_ptr(), self.attachment.as_ptr());
        }
    }
}
