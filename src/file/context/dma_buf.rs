// SPDX-License-Identifier: GPL-2.0

//! Buffers that a context shares with other drivers.

use super::Context;
use crate::{
    kernel_ext::dma_buf::import::Importable,
    memory::{
        buffer::Buffer,
        handle::Handle, //
    }, //
};
use kernel::{
    fs::file::{
        flags,
        FileDescriptorReservation, //
    },
    prelude::*, //
};

impl Context {
    /// Exports a buffer as a file for other drivers, with this access mode. Calls `report` to write
    /// the descriptor to user memory. If `report` fails, the descriptor is not used.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if the handle is not valid; [`EMFILE`]; those of [`Buffer::export`]; the error of
    /// `report`.
    pub(crate) fn export(
        &self,
        handle: Handle,
        access: u32,
        report: impl FnOnce(i32) -> Result,
    ) -> Result {
        self.device.info()?;
        let buffer = self.buffer(handle)?;
        let descriptor = FileDescriptorReservation::get_unused_fd_flags(flags::O_CLOEXEC)?;
        let file = buffer.as_arc_borrow().export(access)?;
        // CAST: A descriptor is not negative.
        report(descriptor.reserved_fd() as i32)?;
        descriptor.fd_install(file);
        Ok(())
    }

    /// Creates a buffer of the memory of another driver. `report` is called as by
    /// [`allocate`](Self::allocate).
    ///
    /// # Errors
    ///
    /// As [`Buffer::import`], and the error of `report`.
    pub(crate) fn import(
        &self,
        dma_buf: &Importable,
        writable: bool,
        report: impl FnOnce(Handle, &Buffer) -> Result,
    ) -> Result {
        let pool = self.device.pool();
        let new = |handle| {
            self.retry(|| Buffer::import(pool, &self.quota, dma_buf.clone(), writable, handle))
        };
        self.add_buffer(new, report)
    }
}
