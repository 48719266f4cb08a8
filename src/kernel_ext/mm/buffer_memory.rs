// SPDX-License-Identifier: GPL-2.0

//! The memory of a buffer: coherent memory of the driver, pinned pages of a program, or memory of
//! another driver.

use crate::kernel_ext::{
    dma_buf::import::ImportedMemory,
    mm::{
        coherent::CoherentMemory,
        layout::Layout,
        pinned::PinnedMemory, //
    }, //
};
use kernel::{
    device::Device,
    prelude::*, //
};

/// The memory of a buffer, which the device can access.
pub(crate) enum BufferMemory<'bound> {
    /// Coherent memory, which can be mapped into programs.
    Coherent(CoherentMemory<'bound>),
    /// Pinned pages of a program.
    Pinned(PinnedMemory<'bound>),
    /// Memory of another driver.
    Imported(ImportedMemory<'bound>),
}

impl BufferMemory<'_> {
    /// Returns the coherent memory, if it is that.
    pub(crate) fn coherent(&self) -> Option<&CoherentMemory<'_>> {
        match self {
            Self::Coherent(memory) => Some(memory),
            Self::Pinned(_) | Self::Imported(_) => None,
        }
    }

    /// Returns whether it is memory of another driver.
    pub(super) fn is_imported(&self) -> bool {
        matches!(self, Self::Imported(_))
    }

    /// Removes the lifetime of the memory.
    ///
    /// # Safety
    ///
    /// The memory must be dropped while the device is bound, or never.
    pub(super) unsafe fn into_static(self) -> BufferMemory<'static> {
        // SAFETY: The safety requirement is the same.
        unsafe {
            match self {
                Self::Coherent(memory) => BufferMemory::Coherent(memory.into_static()),
                Self::Pinned(memory) => BufferMemory::Pinned(memory.into_static()),
                Self::Imported(memory) => BufferMemory::Imported(memory.into_static()),
            }
        }
    }

    /// Returns the device that can access the memory.
    pub(super) fn device(&self) -> &Device {
        match self {
            Self::Coherent(memory) => memory.device(),
            Self::Pinned(memory) => memory.device(),
            Self::Imported(memory) => memory.device(),
        }
    }

    /// Returns the bus addresses and page frames.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; [`EIO`] if the DMA API does not return all of them.
    pub(super) fn layout(&self) -> Result<Layout> {
        match self {
            Self::Coherent(memory) => memory.layout(),
            Self::Pinned(memory) => memory.layout(),
            Self::Imported(memory) => memory.layout(),
        }
    }

    /// Returns the size in bytes.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Coherent(memory) => memory.size(),
            Self::Pinned(memory) => memory.size(),
            Self::Imported(memory) => memory.size(),
        }
    }
}
