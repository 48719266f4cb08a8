// SPDX-License-Identifier: GPL-2.0

//! Coherent memory, with what a mapping needs: the page frames.
//!
//! The frames come from the DMA API's own description of the allocation, so that they are right
//! with an IOMMU too, where memory that is in one piece for the device is in many for the CPU.
//!
//! C header: `include/linux/dma-mapping.h`

use core::ptr::NonNull;
use kernel::{
    bindings,
    device::{
        Bound,
        Device,
        DeviceContext, //
    },
    error::to_result,
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        }, //
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
/// (The crate's `Coherent` takes no allocation flags but its own, and the strongest of them calls
/// the OOM killer for whatever userspace asks for.)
///
/// # Invariants
///
/// - `cpu` and `bus` are what `dma_alloc_attrs` returned for `size` bytes for `dev`, and nothing
///   has freed them.
/// - `extents` describes all pages of it, in their order, and begins with page 0.
pub(crate) struct Memory {
    dev: ARef<Device>,
    cpu: NonNull<u8>,
    bus: bindings::dma_addr_t,
    size: usize,
    extents: KVec<Extent>,
    abandoned: Atomic<bool>,
}

// SAFETY: The memory may be used and freed by any thread.
unsafe impl Send for Memory {}
// SAFETY: What is shared is copied as a whole, whatever anyone else does to it; see `copy_to`.
unsafe impl Sync for Memory {}

impl Memory {
    /// As `GFP_KERNEL`, but fails where that would call the OOM killer. Zeroed.
    const FLAGS: bindings::gfp_t =
        bindings::GFP_KERNEL | bindings::__GFP_ZERO | 1 << bindings::___GFP_RETRY_MAYFAIL_BIT;

    // CAST: a small constant.
    const ATTRS: c_ulong = bindings::DMA_ATTR_NO_WARN as c_ulong;

    /// Allocates `size` bytes, rounded up to whole pages.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`] if there is no such memory within the device's reach. Nothing is logged.
    pub(crate) fn new(dev: &Device<Bound>, size: usize) -> Result<Self> {
        let size = size.checked_next_multiple_of(PAGE_SIZE).ok_or(ENOMEM)?;
        let mut bus = 0;
        // SAFETY: The device is valid and bound, and `bus` can be written.
        let cpu = unsafe {
            bindings::dma_alloc_attrs(raw(dev), size, &mut bus, Self::FLAGS, Self::ATTRS)
        };
        // INVARIANT: just allocated; the extents follow before anyone asks for a page.
        let mut memory = Self {
            dev: dev.into(),
            cpu: NonNull::new(cpu.cast()).ok_or(ENOMEM)?,
            bus,
            size,
            extents: KVec::new(),
            abandoned: Atomic::new(false),
        };
        memory.extents = memory.describe()?;
        Ok(memory)
    }

    fn describe(&self) -> Result<KVec<Extent>> {
        let mut table = bindings::sg_table::default();
        // SAFETY: By the type invariant, this is what was allocated; the device is bound, `self`
        // being new.
        to_result(unsafe {
            bindings::dma_get_sgtable_attrs(
                raw(&self.dev),
                &mut table,
                self.cpu.as_ptr().cast(),
                self.bus,
                self.size,
                Self::ATTRS,
            )
        })?;
        let table = ScopeGuard::new_with_data(table, |mut table| {
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
        if first_page << PAGE_SHIFT < self.size {
            return Err(EIO);
        }
        Ok(extents)
    }

    /// Bytes.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Bus address of the first byte; the others follow without a gap.
    pub(crate) fn address(&self) -> u64 {
        self.bus
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
        unsafe { core::ptr::copy_nonoverlapping(self.cpu.as_ptr(), to.as_mut_ptr(), bytes) }
    }

    /// Copies `from` over its first bytes, as many as there are of both.
    pub(crate) fn copy_from(&self, from: &[u8]) {
        let bytes = from.len().min(self.size());
        // SAFETY: Both are valid for `bytes` and do not overlap. The device or userspace may read
        // meanwhile, and sees any mixture.
        unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), self.cpu.as_ptr(), bytes) }
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
            // SAFETY: By the type invariant, this is what was allocated, and nothing has freed it.
            unsafe {
                bindings::dma_free_attrs(
                    raw(&self.dev),
                    self.size,
                    self.cpu.as_ptr().cast(),
                    self.bus,
                    Self::ATTRS,
                )
            };
        }
    }
}

fn raw<Ctx: DeviceContext>(dev: &Device<Ctx>) -> *mut bindings::device {
    // CAST: `Device` is a transparent wrapper of `Opaque<struct device>`.
    core::ptr::from_ref(dev).cast_mut().cast()
}
