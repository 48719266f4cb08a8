// SPDX-License-Identifier: GPL-2.0

//! Coherent memory, with what a mapping needs: the page frames.
//!
//! The frames come from the DMA API's own description of the allocation, so that they are right
//! with an IOMMU too, where memory that is in one piece for the device is in many for the CPU.
//!
//! C header: `include/linux/dma-mapping.h`

use core::mem::ManuallyDrop;
use kernel::{
    bindings,
    device::{
        Bound,
        Device, //
    },
    dma::{
        attrs::DMA_ATTR_NO_WARN,
        Coherent, //
    },
    error::to_result,
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    types::ScopeGuard, //
};

extern "C" {
    fn rdma_helper_sg_pfn(sg: *mut bindings::scatterlist) -> c_ulong;
}

/// A page frame of coherent memory.
#[derive(Clone, Copy)]
pub(crate) struct Frame(usize);

impl Frame {
    /// Its number.
    pub(super) fn pfn(self) -> usize {
        self.0
    }
}

/// Page frames that follow each other.
struct Extent {
    first_page: usize,
    pfn: usize,
}

/// Coherent memory of whole pages, zeroed when it is made.
///
/// # Invariants
///
/// `extents` describes all pages of `coherent`, in their order, and begins with page 0.
pub(crate) struct Memory {
    coherent: ManuallyDrop<Coherent<[u8]>>,
    extents: KVec<Extent>,
    abandoned: Atomic<bool>,
}

impl Memory {
    /// Allocates `size` bytes, rounded up to whole pages.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`] if there is no such memory within the device's reach. Nothing is logged.
    pub(crate) fn new(dev: &Device<Bound>, size: usize) -> Result<Self> {
        let size = size.checked_next_multiple_of(PAGE_SIZE).ok_or(ENOMEM)?;
        let coherent = Coherent::zeroed_slice_with_attrs(dev, size, GFP_KERNEL, DMA_ATTR_NO_WARN)?;
        let extents = Self::describe(dev, &coherent)?;

        // INVARIANT: just described.
        Ok(Self {
            coherent: ManuallyDrop::new(coherent),
            extents,
            abandoned: Atomic::new(false),
        })
    }

    fn describe(dev: &Device<Bound>, coherent: &Coherent<[u8]>) -> Result<KVec<Extent>> {
        let mut table = bindings::sg_table::default();
        // SAFETY: The device is valid and bound, and the rest is what `coherent` was allocated
        // with.
        // CAST: `Device` is a transparent wrapper of `struct device`.
        to_result(unsafe {
            bindings::dma_get_sgtable_attrs(
                core::ptr::from_ref(dev).cast_mut().cast(),
                &mut table,
                coherent.as_mut_ptr().cast(),
                coherent.dma_address(),
                coherent.size(),
                bindings::DMA_ATTR_NO_WARN as c_ulong,
            )
        })?;
        let mut table = ScopeGuard::new_with_data(table, |mut table| {
            // SAFETY: The table was just filled, and is freed once.
            unsafe { bindings::sg_free_table(&mut table) }
        });

        let mut extents = KVec::with_capacity(1, GFP_KERNEL)?;
        let mut first_page = 0;
        let mut sg = table.sgl;
        for _ in 0..table.orig_nents {
            // SAFETY: `sg` is one of the `orig_nents` entries of the table.
            let (pfn, length) = unsafe { (rdma_helper_sg_pfn(sg), (*sg).length) };
            extents.push(Extent { first_page, pfn }, GFP_KERNEL)?;
            // CAST: `unsigned int` fits into `usize`.
            first_page += length as usize >> PAGE_SHIFT;
            // SAFETY: As above; what follows the last entry is not looked at.
            sg = unsafe { bindings::sg_next(sg) };
        }
        table.nents = 0;
        if first_page << PAGE_SHIFT < coherent.size() {
            return Err(EIO);
        }
        Ok(extents)
    }

    /// Bytes.
    pub(crate) fn size(&self) -> usize {
        self.coherent.size()
    }

    /// Bus address of the first byte; the others follow without a gap.
    pub(crate) fn address(&self) -> u64 {
        self.coherent.dma_address()
    }

    /// The frame of this page, if there is such a page.
    pub(crate) fn frame(&self, page: usize) -> Option<Frame> {
        if page >= self.size() >> PAGE_SHIFT {
            return None;
        }
        let after = self.extents.partition_point(|e| e.first_page <= page);
        let extent = self.extents.get(after.checked_sub(1)?)?;
        Some(Frame(extent.pfn + (page - extent.first_page)))
    }

    /// Copies its first bytes out, as many as `to` has.
    pub(crate) fn copy_to(&self, to: &mut [u8]) {
        let bytes = to.len().min(self.size());
        // SAFETY: Both are valid for `bytes` and do not overlap, `to` being exclusive. The device
        // or userspace may write meanwhile: whatever is read then is as good as anything else.
        unsafe {
            core::ptr::copy_nonoverlapping(self.coherent.as_ptr().cast(), to.as_mut_ptr(), bytes)
        }
    }

    /// Copies `from` over its first bytes, as many as there are of both.
    pub(crate) fn copy_from(&self, from: &[u8]) {
        let bytes = from.len().min(self.size());
        // SAFETY: Both are valid for `bytes` and do not overlap. The device or userspace may read
        // meanwhile, and sees any mixture.
        unsafe {
            core::ptr::copy_nonoverlapping(from.as_ptr(), self.coherent.as_mut_ptr().cast(), bytes)
        }
    }

    /// Has the memory never freed, also when this is dropped: the device may still write to it, and
    /// a leak is better than that.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Relaxed);
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if !self.abandoned.load(Relaxed) {
            // SAFETY: Dropped here only, and not used after this.
            unsafe { ManuallyDrop::drop(&mut self.coherent) };
        }
    }
}
