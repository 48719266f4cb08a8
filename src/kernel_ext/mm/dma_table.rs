// SPDX-License-Identifier: GPL-2.0

//! Tables of pages that are mapped for DMA of a device.
//!
//! C headers: `include/linux/scatterlist.h`, `include/linux/dma-mapping.h`

use crate::kernel_ext::{
    device::raw,
    mm::extents::Extents, //
};
use kernel::{
    bindings,
    device::Device,
    dma::DataDirection,
    error::to_result,
    page::PAGE_SIZE,
    prelude::*,
    scatterlist::SGTable,
    sync::aref::ARef,
    types::ScopeGuard, //
};

extern "C" {
    /// `dev` is a `struct device *`.
    fn rdma_helper_device_reaches(dev: *mut c_void, table: *mut bindings::sg_table) -> bool;
    /// `dev` is a `struct device *`.
    fn rdma_helper_max_segment(dev: *mut c_void) -> c_uint;
}

/// The bytes in an array of pages that a table is made of.
pub(in crate::kernel_ext) struct Bytes<'a> {
    /// The pages.
    pub(in crate::kernel_ext) pages: &'a [*mut bindings::page],
    /// The first byte, in the first page.
    pub(in crate::kernel_ext) offset: usize,
    /// The number of bytes, all of which are in the pages.
    pub(in crate::kernel_ext) size: usize,
}

/// Returns the direction of the transfers with memory that the device reads, and may write to if it
/// is `writable`.
pub(in crate::kernel_ext) fn direction(writable: bool) -> bindings::dma_data_direction {
    // The type of the C constants is not the same in all releases of the kernel crate.
    if writable {
        DataDirection::Bidirectional.into()
    } else {
        DataDirection::ToDevice.into()
    }
}

/// A table of pages that is mapped for DMA of a device. Dropping it unmaps them.
///
/// # Invariants
///
/// `table` is mapped for `dev` in this direction. A pointer to `table` is one to `Self`.
#[repr(C)]
pub(in crate::kernel_ext) struct DmaTable {
    table: bindings::sg_table,
    dev: ARef<Device>,
    direction: bindings::dma_data_direction,
}

// SAFETY: A table may be unmapped by any thread.
unsafe impl Send for DmaTable {}
// SAFETY: Shared references only read the table.
unsafe impl Sync for DmaTable {}

impl DmaTable {
    /// The mapping uses no bounce buffer, and needs no synchronisation before and after a transfer.
    // CAST: The constants are small.
    const ATTRS: c_ulong =
        (bindings::DMA_ATTR_REQUIRE_COHERENT | bindings::DMA_ATTR_NO_WARN) as c_ulong;

    /// Maps pages for DMA of `dev`. The entries have whole pages, but for the first and the last
    /// byte. The table is allocated with these flags.
    ///
    /// # Errors
    ///
    /// [`EOPNOTSUPP`] if the device cannot access them, or not coherently; [`ENOMEM`]. Neither is
    /// logged.
    ///
    /// # Safety
    ///
    /// The pages must be valid, and `dev` must be a device for which memory can be mapped for DMA,
    /// as a device that is bound to a driver is, until the table is dropped.
    pub(in crate::kernel_ext) unsafe fn map(
        dev: &Device,
        bytes: &Bytes<'_>,
        direction: bindings::dma_data_direction,
        gfp: bindings::gfp_t,
    ) -> Result<Self> {
        let mut table = bindings::sg_table::default();
        // CAST: The offset is less than a page; the pages are those of a buffer of limited size.
        // SAFETY: By the safety requirement, the pages are valid. The table keeps no reference to
        // the array.
        to_result(unsafe {
            bindings::sg_alloc_table_from_pages_segment(
                &mut table,
                bytes.pages.as_ptr().cast_mut(),
                bytes.pages.len() as c_uint,
                bytes.offset as c_uint,
                bytes.size,
                rdma_helper_max_segment(raw(dev).cast()).max(PAGE_SIZE as c_uint),
                gfp,
            )
        })?;
        let mut table = ScopeGuard::new_with_data(table, |mut table| {
            // SAFETY: The table was allocated above.
            unsafe { bindings::sg_free_table(&mut table) }
        });

        // SAFETY: `dev` is a valid device, and the table has entries for valid pages.
        if !unsafe { rdma_helper_device_reaches(raw(dev).cast(), &mut *table) } {
            return Err(EOPNOTSUPP);
        }
        // SAFETY: By the safety requirement, memory can be mapped for `dev`, and the table has
        // entries for valid pages.
        to_result(unsafe {
            bindings::dma_map_sgtable(raw(dev), &mut *table, direction, Self::ATTRS)
        })
        .map_err(|error| match error {
            ENOMEM => ENOMEM,
            _ => EOPNOTSUPP,
        })?;
        // INVARIANT: The table was mapped above.
        Ok(Self {
            table: table.dismiss(),
            dev: dev.into(),
            direction,
        })
    }

    /// Returns the device that the table is mapped for.
    pub(in crate::kernel_ext) fn device(&self) -> &Device {
        &self.dev
    }

    /// Returns the bus addresses.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(in crate::kernel_ext) fn bus(&self) -> Result<Extents> {
        // SAFETY: By the type invariants, the table is mapped.
        unsafe { bus(&self.table) }
    }

    /// Returns the pointer to the table.
    #[cfg(CONFIG_DMA_SHARED_BUFFER)]
    pub(in crate::kernel_ext) fn into_raw(self: KBox<Self>) -> *mut bindings::sg_table {
        // By the type invariants, this is also the pointer to the table.
        KBox::into_raw(self).cast()
    }

    /// Returns the table of a pointer.
    ///
    /// # Safety
    ///
    /// The pointer must be from [`into_raw`](Self::into_raw), and must not be used after this.
    #[cfg(CONFIG_DMA_SHARED_BUFFER)]
    pub(in crate::kernel_ext) unsafe fn from_raw(table: *mut bindings::sg_table) -> KBox<Self> {
        // SAFETY: By the safety requirement.
        unsafe { KBox::from_raw(table.cast()) }
    }
}

impl Drop for DmaTable {
    fn drop(&mut self) {
        // CAST: The number of entries is that of a table of `dma_map_sgtable`.
        // SAFETY: By the type invariants, the table is mapped with these attributes. It is freed
        // once.
        unsafe {
            bindings::dma_unmap_sg_attrs(
                raw(&self.dev),
                self.table.sgl,
                self.table.orig_nents as c_int,
                self.direction,
                Self::ATTRS,
            );
            bindings::sg_free_table(&mut self.table);
        }
    }
}

/// Returns the bus addresses of a table.
///
/// # Errors
///
/// [`ENOMEM`].
///
/// # Safety
///
/// The table must be mapped for a device.
pub(in crate::kernel_ext) unsafe fn bus(table: &bindings::sg_table) -> Result<Extents> {
    // SAFETY: The table is valid, and is not modified during the call.
    let table = unsafe { SGTable::from_raw(core::ptr::from_ref(table).cast_mut()) };
    let mut bus = Extents::new();
    for entry in table.iter() {
        bus.push(entry.dma_address(), entry.dma_len())?;
    }
    Ok(bus)
}
