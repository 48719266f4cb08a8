// SPDX-License-Identifier: GPL-2.0

//! The device memory, as the contents of the file.

use super::Context;
use crate::{
    engines::{
        request::{
            Operation,
            Span, //
        },
        transfer::DeviceRange, //
    },
    memory::{
        handle::Handle,
        hold::BufferHold, //
    }, //
};
use kernel::prelude::*;

impl Context {
    /// Reads device memory from `position` on, up to the size of `to` or the end of the memory.
    ///
    /// Returns the number of bytes, which is 0 at the end.
    ///
    /// # Errors
    ///
    /// [`EAGAIN`] if a transfer is needed, and `nonblocking` is true; those of
    /// [`Buffer::new`](crate::memory::buffer::Buffer::new) and
    /// [`Client::transfer`](crate::device::Client::transfer).
    pub(crate) fn read(&self, nonblocking: bool, position: u64, to: &mut [u8]) -> Result<usize> {
        let Some((range, bytes)) = self.device_memory(position, to.len()) else {
            return Ok(0);
        };
        if nonblocking {
            return Err(EAGAIN);
        }
        // It is not in `Handles`: only this call uses the buffer.
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
        // It is not in `Handles`: only this call uses the buffer.
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
