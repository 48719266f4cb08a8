// SPDX-License-Identifier: GPL-2.0

//! Coherent memory, with what a mapping needs: the page frames.
//!
//! The frames come from the DMA API's own description of the allocation, so that they are right
//! with an IOMMU too, where memory that is in one piece for the device is in many for the CPU.
//!
//! C header: `include/linux/dma-mapping.h`

use crate::kernel_ext::mm::runs::Runs;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
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
    /// Of a `struct device *`.
    fn rdma_helper_dma_by_page(dev: *mut c_void) -> bool;
}

/// What one call of the DMA API allocated.
///
/// # Invariants
///
/// `cpu` and `bus` are what `dma_alloc_attrs` returned for `size` bytes.
struct Piece {
    cpu: NonNull<u8>,
    bus: bindings::dma_addr_t,
    size: usize,
}

/// Where memory is, on the bus and for the CPU. These are numbers: they keep nothing alive.
pub(in crate::kernel_ext) struct Layout {
    bus: Runs,
    frames: Runs,
}

impl Layout {
    /// Memory of these frames, each with how many follow it.
    #[cfg(CONFIG_KUNIT = "y")]
    pub(in crate::kernel_ext) fn of_frames(runs: &[(usize, usize)]) -> Result<Self> {
        let mut frames = Runs::new();
        for (pfn, pages) in runs {
            // CAST: `usize` is at most 64 bits.
            frames.push(*pfn as u64, *pages as u64)?;
        }
        Ok(Self {
            bus: Runs::new(),
            frames,
        })
    }

    /// Bus address of the byte at `offset`, and how many bytes follow it without a gap, itself
    /// included; none beyond the end.
    pub(in crate::kernel_ext) fn bus(&self, offset: u64) -> (u64, u64) {
        self.bus.find(offset)
    }

    /// Number of the frame of this page, and how many frames follow it without a gap, itself
    /// included; none beyond the end.
    pub(in crate::kernel_ext) fn frames(&self, page: usize) -> (usize, usize) {
        // CAST: `usize` and `u64` are the same here, and these came from `usize`.
        let (pfn, run) = self.frames.find(page as u64);
        (pfn as usize, run as usize)
    }
}

/// Coherent memory of whole pages, zeroed when it is made, which takes no more pages than it has. In
/// one piece for the device where such is to be had, otherwise in as few as possible.
///
/// (The crate's `Coherent` takes no allocation flags but its own, and the strongest of them calls
/// the OOM killer for whatever userspace asks for.)
///
/// # Invariants
///
/// All `pieces` were allocated for `dev`, which is bound for as long as `'bound`, and nothing has freed
/// them.
pub(crate) struct Memory<'bound> {
    dev: ARef<Device>,
    _bound: PhantomData<&'bound Device<Bound>>,
    pieces: KVVec<Piece>,
    flags: bindings::gfp_t,
    abandoned: Atomic<bool>,
}

// SAFETY: The memory may be used and freed by any thread.
unsafe impl Send for Memory<'_> {}
// SAFETY: What is shared is copied as a whole, whatever anyone else does to it; see `copy_to`.
unsafe impl Sync for Memory<'_> {}

impl<'bound> Memory<'bound> {
    // CAST: a small constant.
    const ATTRS: c_ulong = bindings::DMA_ATTR_NO_WARN as c_ulong;

    /// The largest piece that the page allocator has.
    const LARGEST: usize = PAGE_SIZE << bindings::MAX_PAGE_ORDER;

    /// Allocates `size` bytes, which is not 0, rounded up to whole pages. They count in the memory
    /// cgroup of the caller, except for those from an area that was set aside for DMA (CMA), which
    /// no cgroup counts.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`] if there is no such memory within the device's reach, or the cgroup may have no
    /// more; what `proceed` says, which is asked before each further piece. Nothing is logged.
    pub(crate) fn new(
        dev: &'bound Device<Bound>,
        size: usize,
        proceed: impl Fn() -> Result,
    ) -> Result<Self> {
        Self::with_flags(dev, size, bindings::GFP_KERNEL_ACCOUNT, proceed)
    }

    /// As [`new`](Self::new), for the driver itself: no cgroup counts it.
    pub(crate) fn of_the_driver(dev: &'bound Device<Bound>, size: usize) -> Result<Self> {
        Self::with_flags(dev, size, bindings::GFP_KERNEL, || Ok(()))
    }

    fn with_flags(
        dev: &'bound Device<Bound>,
        size: usize,
        flags: bindings::gfp_t,
        proceed: impl Fn() -> Result,
    ) -> Result<Self> {
        let size = size.checked_next_multiple_of(PAGE_SIZE).ok_or(ENOMEM)?;
        // INVARIANT: no pieces.
        let mut memory = Self {
            dev: dev.into(),
            _bound: PhantomData,
            pieces: KVVec::new(),
            flags,
            abandoned: Atomic::new(false),
        };
        if Self::is_exact(dev, size) {
            match memory.add(dev, size) {
                Ok(()) => return Ok(memory),
                Err(e) if size == PAGE_SIZE => return Err(e),
                Err(_) => (),
            }
        }
        memory.add_pieces(dev, size, proceed)?;
        Ok(memory)
    }

    /// Whether `size` bytes in one piece take no more than that: the page allocator has powers of
    /// two, and rounds up. An IOMMU puts the piece together of pages; what is larger than anything
    /// that the page allocator has can only be of an area set aside, which is cut to the page.
    fn is_exact(dev: &Device<Bound>, size: usize) -> bool {
        size.is_power_of_two()
            || size > Self::LARGEST
            // SAFETY: The device is valid.
            || unsafe { rdma_helper_dma_by_page(raw(dev).cast()) }
    }

    /// What is not to be cut any smaller: single pages are to be had here and there, but taking and
    /// giving back many of them leaves the page allocator with few large ones within reach.
    const SMALLEST: usize = 64 << 10;

    /// Adds `size` bytes in pieces of powers of two, the larger ones first: so each is aligned to
    /// its own size in the whole, too, and can be mapped by huge pages.
    fn add_pieces(
        &mut self,
        dev: &Device<Bound>,
        size: usize,
        proceed: impl Fn() -> Result,
    ) -> Result {
        let mut largest = Self::LARGEST.min(size.next_power_of_two() / 2);
        let mut left = size;
        while left > 0 {
            proceed()?;
            let piece = largest.min(1 << left.ilog2());
            match self.add(dev, piece) {
                Ok(()) => left -= piece,
                Err(e) if piece <= Self::SMALLEST => return Err(e),
                Err(_) => largest = piece / 2,
            }
        }
        Ok(())
    }

    fn add(&mut self, dev: &Device<Bound>, size: usize) -> Result {
        self.pieces.reserve(1, GFP_KERNEL)?;
        let flags = self.flags | Self::effort(size);
        let mut bus = 0;
        // SAFETY: The device is valid and bound, and `bus` can be written.
        let cpu =
            unsafe { bindings::dma_alloc_attrs(raw(dev), size, &mut bus, flags, Self::ATTRS) };
        // INVARIANT: just allocated, for `dev`.
        let piece = Piece {
            cpu: NonNull::new(cpu.cast()).ok_or(ENOMEM)?,
            bus,
            size,
        };
        // There is room: this does not fail.
        Ok(self.pieces.push(piece, GFP_KERNEL)?)
    }

    /// Fails where the OOM killer would be called, in a memory cgroup as well; and for more than
    /// the smallest piece, where others' memory would have to be reclaimed.
    fn effort(size: usize) -> bindings::gfp_t {
        let tries = if size > Self::SMALLEST {
            bindings::___GFP_NORETRY_BIT
        } else {
            bindings::___GFP_RETRY_MAYFAIL_BIT
        };
        bindings::__GFP_ZERO | 1 << tries
    }

    /// The same, for as long as anyone likes.
    ///
    /// # Safety
    ///
    /// It must be dropped while the device is bound, or [abandoned](Self::abandon).
    pub(in crate::kernel_ext) unsafe fn into_static(self) -> Memory<'static> {
        // SAFETY: A lifetime does not change the layout. What it stands for is the caller's.
        unsafe { core::mem::transmute(self) }
    }

    /// The device that it was allocated for.
    pub(in crate::kernel_ext) fn device(&self) -> &Device {
        &self.dev
    }

    /// Where it is.
    pub(in crate::kernel_ext) fn layout(&self) -> Result<Layout> {
        let mut layout = Layout {
            bus: Runs::new(),
            frames: Runs::new(),
        };
        for piece in &self.pieces {
            // CAST: `usize` is at most 64 bits.
            layout.bus.push(piece.bus, piece.size as u64)?;
            self.describe(piece, &mut layout.frames)?;
        }
        // CAST: as above.
        if layout.frames.end() << PAGE_SHIFT < self.size() as u64 {
            return Err(EIO);
        }
        Ok(layout)
    }

    fn describe(&self, piece: &Piece, frames: &mut Runs) -> Result {
        let mut table = bindings::sg_table::default();
        // SAFETY: By the type invariants, this is what was allocated for the device.
        to_result(unsafe {
            bindings::dma_get_sgtable_attrs(
                raw(&self.dev),
                &mut table,
                piece.cpu.as_ptr().cast(),
                piece.bus,
                piece.size,
                Self::ATTRS,
            )
        })?;
        let table = ScopeGuard::new_with_data(table, |mut table| {
            // SAFETY: The table was just filled, and is freed once.
            unsafe { bindings::sg_free_table(&mut table) }
        });

        let mut sg = table.sgl;
        for _ in 0..table.orig_nents {
            // SAFETY: `sg` is one of the `orig_nents` entries of the table.
            let (pfn, length) = unsafe { (rdma_helper_sg_pfn(sg), (*sg).length) };
            frames.push(pfn as u64, u64::from(length) >> PAGE_SHIFT)?;
            // SAFETY: As above; what follows the last entry is not looked at.
            sg = unsafe { bindings::sg_next(sg) };
        }
        Ok(())
    }

    /// Bytes.
    pub(crate) fn size(&self) -> usize {
        self.pieces.iter().map(|piece| piece.size).sum()
    }

    /// Bus address of the first byte. As many others follow as the first piece has, a page at
    /// least.
    pub(crate) fn address(&self) -> u64 {
        self.pieces.first().map_or(0, |piece| piece.bus)
    }

    /// Copies the first bytes of the first page out, as many as `to` has.
    pub(crate) fn copy_to(&self, to: &mut [u8]) {
        if let Some(first) = self.pieces.first() {
            let bytes = to.len().min(PAGE_SIZE);
            // SAFETY: Both are valid for `bytes` and do not overlap, `to` being exclusive. The
            // device or userspace may write meanwhile: whatever is read then is as good as
            // anything else.
            unsafe { core::ptr::copy_nonoverlapping(first.cpu.as_ptr(), to.as_mut_ptr(), bytes) }
        }
    }

    /// Copies `from` over the first bytes of the first page, as many as there are of both.
    pub(crate) fn copy_from(&self, from: &[u8]) {
        if let Some(first) = self.pieces.first() {
            let bytes = from.len().min(PAGE_SIZE);
            // SAFETY: Both are valid for `bytes` and do not overlap. The device or userspace may
            // read meanwhile, and sees any mixture.
            unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), first.cpu.as_ptr(), bytes) }
        }
    }

    /// Has the memory never freed, also when this is dropped: the device may still write to it, and
    /// a leak is better than that.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Relaxed);
    }
}

impl Drop for Memory<'_> {
    fn drop(&mut self) {
        if self.abandoned.load(Relaxed) {
            return;
        }
        for piece in &self.pieces {
            // SAFETY: By the type invariants, this is what was allocated for the device, and
            // nothing has freed it.
            unsafe {
                bindings::dma_free_attrs(
                    raw(&self.dev),
                    piece.size,
                    piece.cpu.as_ptr().cast(),
                    piece.bus,
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

#[kunit_tests(rdma_coherent)]
mod tests {
    use super::*;
    use kernel::{
        dma::DmaMask,
        faux, //
    };

    /// A device that reaches so many bits of a bus address.
    struct Reach(faux::Registration);

    impl Reach {
        fn new(bits: u32) -> Result<Self> {
            let reach = Self(faux::Registration::new(c"rdma-kunit", None)?);
            let mask = DmaMask::try_new(bits)?.value();
            // SAFETY: The device is ours alone, and nothing is allocated for it yet; one on the faux
            // bus has no mask of its own.
            unsafe {
                let dev = raw(reach.dev());
                (*dev).dma_mask = &raw mut (*dev).coherent_dma_mask;
                to_result(bindings::dma_set_mask(dev, mask))?;
                to_result(bindings::dma_set_coherent_mask(dev, mask))?;
            }
            Ok(reach)
        }

        fn dev(&self) -> &Device<Bound> {
            self.0.as_ref().as_ref()
        }
    }

    /// Looks at all of the memory, page by page: returns whether each is below `limit` on the bus,
    /// has a frame, and is zeroed as far as can be seen.
    fn is_in_order(memory: &Memory<'_>, limit: u64) -> Result<bool> {
        let layout = memory.layout()?;
        let pages = memory.size() >> PAGE_SHIFT;
        let end = memory.size() as u64;
        let mut bytes = KVec::from_elem(0xffu8, PAGE_SIZE, GFP_KERNEL)?;
        memory.copy_to(&mut bytes);
        let reached = (0..pages).all(|page| {
            let (bus, run) = layout.bus((page << PAGE_SHIFT) as u64);
            let (_, frames) = layout.frames(page);
            run >= PAGE_SIZE as u64 && bus + run <= limit && (1..=pages - page).contains(&frames)
        });
        let nothing_follows = layout.bus(end).1 == 0 && layout.frames(pages).1 == 0;
        Ok(reached && nothing_follows && bytes.iter().all(|byte| *byte == 0))
    }

    #[test]
    fn below_the_mask() -> Result {
        for bits in [24, 28, 32] {
            let reach = Reach::new(bits)?;
            for size in [1, PAGE_SIZE, 64 << 10, 1 << 20] {
                let memory = Memory::new(reach.dev(), size, || Ok(()))?;
                assert_eq!(memory.size(), size.next_multiple_of(PAGE_SIZE));
                assert!(is_in_order(&memory, 1 << bits)?);
                assert!(memory.address() + memory.size() as u64 <= 1 << bits);
            }
        }
        Ok(())
    }

    #[test]
    fn in_pieces_where_there_is_no_larger_one() -> Result {
        let reach = Reach::new(32)?;
        let size = Memory::LARGEST + 3 * PAGE_SIZE;
        let memory = Memory::new(reach.dev(), size, || Ok(()))?;
        assert_eq!(memory.size(), size);
        assert!(memory.pieces.len() > 1);
        assert!(is_in_order(&memory, 1 << 32)?);
        Ok(())
    }

    #[test]
    fn more_than_the_mask_reaches() -> Result {
        let reach = Reach::new(24)?;
        let memory = Memory::new(reach.dev(), (1 << 24) + PAGE_SIZE, || Ok(()));
        assert!(memory.is_err_and(|e| e == ENOMEM));
        Ok(())
    }

    #[test]
    fn stops_when_it_is_told_to() -> Result {
        let reach = Reach::new(32)?;
        let asked = Atomic::new(0u32);
        let memory = Memory::new(reach.dev(), 4 * Memory::LARGEST, || {
            asked.add(1, Relaxed);
            Err(EINTR)
        });
        assert!(memory.is_err_and(|e| e == EINTR));
        assert_eq!(asked.load(Relaxed), 1);
        Ok(())
    }
}
