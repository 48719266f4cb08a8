// SPDX-License-Identifier: GPL-2.0

//! Coherent DMA memory and its page frames, which mappings need.
//!
//! The page frames are taken from the scatter-gather table that the DMA API returns for an
//! allocation. This is also correct behind an IOMMU, where memory that is contiguous on the bus is
//! not contiguous in physical memory.
//!
//! C header: `include/linux/dma-mapping.h`

use crate::kernel_ext::{
    device::raw,
    gfp::GFP_ACCOUNT_MAYFAIL,
    mm::{
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
    error::to_result,
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        barrier::{
            dma_mb,
            Read, //
        }, //
    },
    types::ScopeGuard, //
};

extern "C" {
    fn rdma_helper_sg_pfn(sg: *mut bindings::scatterlist) -> c_ulong;
    /// `dev` is a `struct device *`.
    fn rdma_helper_uses_dma_iommu(dev: *mut c_void) -> bool;
    /// Copies memory that may be accessed concurrently by others than Rust code.
    fn rdma_helper_copy(to: *mut u8, from: *const u8, size: usize);
}

/// Memory from one call of `dma_alloc_attrs`.
///
/// # Invariants
///
/// `cpu` and `bus` are the addresses that `dma_alloc_attrs` returned for `size` bytes.
struct Block {
    cpu: NonNull<u8>,
    bus: bindings::dma_addr_t,
    size: usize,
}

/// Coherent memory of whole pages, zeroed at the allocation. It is contiguous on the bus if
/// possible, otherwise it consists of as few blocks as possible. It takes no more pages than its
/// size.
///
/// (The crate's `Coherent` accepts a fixed set of allocation flags, and can call the OOM killer for
/// any size that userspace requests.)
///
/// # Invariants
///
/// The blocks were allocated for `dev`, which is bound during `'bound`, and have not been freed.
pub(crate) struct CoherentMemory<'bound> {
    dev: ARef<Device>,
    _bound: PhantomData<&'bound Device<Bound>>,
    /// Stored separately, because most memory is one block.
    first: Option<Block>,
    others: KVVec<Block>,
    flags: bindings::gfp_t,
}

// SAFETY: The DMA API and the page allocator accept the memory from any thread.
unsafe impl Send for CoherentMemory<'_> {}
// SAFETY: No references to the contents are made, which the device and userspace may change at any
// time. Shared references access the contents by `rdma_helper_copy`, or as aligned words by
// volatile accesses, which are as READ_ONCE and WRITE_ONCE.
unsafe impl Sync for CoherentMemory<'_> {}

impl<'bound> CoherentMemory<'bound> {
    // CAST: The constant is small.
    const ATTRS: c_ulong = bindings::DMA_ATTR_NO_WARN as c_ulong;

    /// The largest block of the page allocator.
    const MAX_BLOCK: usize = PAGE_SIZE << bindings::MAX_PAGE_ORDER;

    /// Allocates `size` bytes, which must not be 0, rounded up to whole pages. The memory is
    /// charged to the memory cgroup of the caller, except for memory from a contiguous memory area
    /// (CMA), which is not charged to any cgroup.
    ///
    /// If the memory cannot be allocated as one block, `proceed` is called before the allocation of
    /// each block; an error of it ends the allocation.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`] if no memory is available below the device's DMA mask or in the cgroup; the error
    /// of `proceed`. Neither is logged.
    pub(crate) fn new(
        dev: &'bound Device<Bound>,
        size: usize,
        proceed: impl Fn() -> Result,
    ) -> Result<Self> {
        let size = size.checked_next_multiple_of(PAGE_SIZE).ok_or(ENOMEM)?;
        let mut memory = Self::empty(dev, bindings::GFP_KERNEL_ACCOUNT);
        if Self::may_be_one_block(dev, size) {
            match memory.add(dev, size) {
                Ok(()) => return Ok(memory),
                Err(e) if size == PAGE_SIZE => return Err(e),
                Err(_) => (),
            }
        }
        memory.add_blocks(dev, size, proceed)?;
        Ok(memory)
    }

    /// Allocates memory for the driver itself, as one block: it is contiguous on the bus. It is not
    /// charged to a cgroup.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new_contiguous(dev: &'bound Device<Bound>, size: usize) -> Result<Self> {
        let size = size.checked_next_multiple_of(PAGE_SIZE).ok_or(ENOMEM)?;
        let mut memory = Self::empty(dev, bindings::GFP_KERNEL);
        memory.add(dev, size)?;
        Ok(memory)
    }

    fn empty(dev: &'bound Device<Bound>, flags: bindings::gfp_t) -> Self {
        // INVARIANT: There are no blocks.
        Self {
            dev: dev.into(),
            _bound: PhantomData,
            first: None,
            others: KVVec::new(),
            flags,
        }
    }

    /// Returns whether to try one block of `size` bytes: it takes no more memory than that, and no
    /// longer than one block of the page allocator, between two of which `proceed` is called.
    ///
    /// With an IOMMU, a block consists of single pages. Without, the page allocator rounds up to a
    /// power of two. A block larger than [`MAX_BLOCK`](Self::MAX_BLOCK) can then only be from a
    /// contiguous memory area (CMA), which allocates whole pages.
    fn may_be_one_block(dev: &Device<Bound>, size: usize) -> bool {
        // SAFETY: `dev` is a valid device.
        if unsafe { rdma_helper_uses_dma_iommu(raw(dev).cast()) } {
            size <= Self::MAX_BLOCK
        } else {
            size.is_power_of_two() || size > Self::MAX_BLOCK
        }
    }

    /// The smallest block of memory that is split. Smaller ones are more often available, but
    /// fragment the zone that the device can address.
    const MIN_BLOCK: usize = 64 << 10;

    /// Adds `size` bytes in blocks whose sizes are powers of two, in descending order. Thus the
    /// offset of each block is aligned to its size, as needed for mappings with huge pages.
    fn add_blocks(
        &mut self,
        dev: &Device<Bound>,
        size: usize,
        proceed: impl Fn() -> Result,
    ) -> Result {
        let mut largest = Self::MAX_BLOCK.min(size.next_power_of_two() / 2);
        let mut left = size;
        while left > 0 {
            proceed()?;
            let block = largest.min(1 << left.ilog2());
            match self.add(dev, block) {
                Ok(()) => left -= block,
                Err(e) if block <= Self::MIN_BLOCK => return Err(e),
                Err(_) => largest = block / 2,
            }
        }
        Ok(())
    }

    fn add(&mut self, dev: &Device<Bound>, size: usize) -> Result {
        if self.first.is_some() {
            self.others.reserve(1, GFP_ACCOUNT_MAYFAIL)?;
        }
        let flags = self.flags | Self::retry_flags(size);
        let mut bus = 0;
        // SAFETY: `dev` is valid and bound, and `bus` is valid for writing.
        let cpu =
            unsafe { bindings::dma_alloc_attrs(raw(dev), size, &mut bus, flags, Self::ATTRS) };
        // INVARIANT: These are the addresses of an allocation for `dev`.
        let block = Block {
            cpu: NonNull::new(cpu.cast()).ok_or(ENOMEM)?,
            bus,
            size,
        };
        if self.first.is_none() {
            self.first = Some(block);
            return Ok(());
        }
        // The capacity was reserved above, so this does not fail.
        Ok(self.others.push(block, GFP_KERNEL)?)
    }

    fn blocks(&self) -> impl Iterator<Item = &Block> {
        Iterator::chain(self.first.iter(), &self.others)
    }

    /// Returns the flags for zeroed memory without the OOM killer, that of the memory cgroup
    /// included. A block larger than the smallest one also fails instead of reclaiming memory
    /// repeatedly.
    fn retry_flags(size: usize) -> bindings::gfp_t {
        let tries = if size > Self::MIN_BLOCK {
            bindings::___GFP_NORETRY_BIT
        } else {
            bindings::___GFP_RETRY_MAYFAIL_BIT
        };
        bindings::__GFP_ZERO | 1 << tries
    }

    /// Removes the lifetime of the memory.
    ///
    /// # Safety
    ///
    /// The memory must be dropped while the device is bound, or never.
    pub(in crate::kernel_ext) unsafe fn into_static(self) -> CoherentMemory<'static> {
        // SAFETY: A lifetime does not change the layout; by the safety requirement, the memory is
        // not freed after the device was unbound.
        unsafe { core::mem::transmute(self) }
    }

    /// Returns the device that the memory was allocated for.
    pub(in crate::kernel_ext) fn device(&self) -> &Device {
        &self.dev
    }

    /// Returns the bus addresses and page frames.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; [`EIO`] if the DMA API does not return all frames.
    pub(in crate::kernel_ext) fn layout(&self) -> Result<Layout> {
        let (mut bus, mut frames) = (Extents::new(), Extents::new());
        for block in self.blocks() {
            // CAST: `usize` is at most 64 bits.
            bus.push(block.bus, block.size as u64)?;
            self.append_frames(block, &mut frames)?;
        }
        // CAST: As above.
        if frames.end() << PAGE_SHIFT < self.size() as u64 {
            return Err(EIO);
        }
        Ok(Layout::new(bus, frames))
    }

    fn append_frames(&self, block: &Block, frames: &mut Extents) -> Result {
        let mut table = bindings::sg_table::default();
        // SAFETY: By the type invariants, these are the values of an allocation for the device.
        to_result(unsafe {
            bindings::dma_get_sgtable_attrs(
                raw(&self.dev),
                &mut table,
                block.cpu.as_ptr().cast(),
                block.bus,
                block.size,
                Self::ATTRS,
            )
        })?;
        let table = ScopeGuard::new_with_data(table, |mut table| {
            // SAFETY: `dma_get_sgtable_attrs` has initialised the table, which is freed once.
            unsafe { bindings::sg_free_table(&mut table) }
        });

        let mut sg = table.sgl;
        for _ in 0..table.orig_nents {
            // SAFETY: `sg` is one of the `orig_nents` entries of the table.
            let (pfn, length) = unsafe { (rdma_helper_sg_pfn(sg), (*sg).length) };
            frames.push(pfn as u64, u64::from(length) >> PAGE_SHIFT)?;
            // SAFETY: As above; the result for the last entry is not dereferenced.
            sg = unsafe { bindings::sg_next(sg) };
        }
        Ok(())
    }

    /// Returns the size in bytes.
    pub(crate) fn size(&self) -> usize {
        self.blocks().map(|block| block.size).sum()
    }

    /// Returns the bus address of the first byte. The first block is contiguous, and at least a
    /// page long.
    pub(crate) fn address(&self) -> u64 {
        self.first.as_ref().map_or(0, |block| block.bus)
    }

    /// Copies the memory to `to`, up to the size of the smaller one.
    pub(crate) fn copy_to(&self, mut to: &mut [u8]) {
        for block in self.blocks() {
            let (part, rest) = to.split_at_mut(to.len().min(block.size));
            // SAFETY: Both are valid for the length of `part`, which is at most `block.size`, and
            // do not overlap, because `to` is exclusive. The device or userspace may write
            // concurrently; any value of the bytes is valid.
            unsafe { rdma_helper_copy(part.as_mut_ptr(), block.cpu.as_ptr(), part.len()) };
            to = rest;
        }
    }

    /// Copies `from` to the memory, up to the size of the smaller one.
    pub(crate) fn copy_from(&self, mut from: &[u8]) {
        for block in self.blocks() {
            let (part, rest) = from.split_at(from.len().min(block.size));
            // SAFETY: Both are valid for the length of `part`, which is at most `block.size`, and
            // do not overlap. The device or userspace may read or write concurrently; any value of
            // the bytes is valid.
            unsafe { rdma_helper_copy(block.cpu.as_ptr(), part.as_ptr(), part.len()) };
            from = rest;
        }
    }

    /// Writes `words` at the byte `offset` of the first block, each of them at once, for a device
    /// that may read them concurrently. Nothing is written if they are not inside the block.
    /// `offset` must be a multiple of 8.
    #[inline]
    pub(crate) fn write_words(&self, offset: usize, words: &[u64]) {
        let Some(first) = self.words(offset, words.len()) else {
            return;
        };
        for (number, word) in words.iter().enumerate() {
            // SAFETY: `words` returns the address of this number of words in memory that is not
            // freed while `self` exists.
            unsafe { first.add(number).write_volatile(word.to_le()) };
        }
    }

    /// Reads the word at the byte `offset` of the first block at once. It may be written by the
    /// device concurrently. Later reads of memory return what the device has written before this
    /// word. The result is 0 beyond the end of the block. `offset` must be a multiple of 8.
    #[inline]
    pub(crate) fn read_word(&self, offset: usize) -> u64 {
        let Some(word) = self.words(offset, 1) else {
            return 0;
        };
        // SAFETY: `words` returns the address of a word in memory that is not freed while `self`
        // exists.
        let word = u64::from_le(unsafe { word.read_volatile() });
        dma_mb(Read);
        word
    }

    /// Returns the address of `count` words at the byte `offset` of the first block, if they are
    /// inside the block and aligned.
    #[inline]
    fn words(&self, offset: usize, count: usize) -> Option<*mut u64> {
        let first = self.first.as_ref()?;
        let end = count.checked_mul(size_of::<u64>())?.checked_add(offset)?;
        // Blocks are aligned to pages.
        let is_valid = end <= first.size && offset % size_of::<u64>() == 0;
        // `wrapping_add` stays within the block.
        is_valid.then(|| first.cpu.as_ptr().wrapping_add(offset).cast())
    }
}

impl Drop for CoherentMemory<'_> {
    fn drop(&mut self) {
        for block in self.blocks() {
            // SAFETY: By the type invariants, these are the values of an allocation for the device,
            // which has not been freed.
            unsafe {
                bindings::dma_free_attrs(
                    raw(&self.dev),
                    block.size,
                    block.cpu.as_ptr().cast(),
                    block.bus,
                    Self::ATTRS,
                )
            };
        }
    }
}

#[kunit_tests(rdma_coherent)]
mod tests {
    use super::*;
    use kernel::{
        dma::DmaMask,
        faux,
        sync::atomic::{
            Atomic,
            Relaxed, //
        }, //
    };

    /// A device with a DMA mask.
    struct MaskedDevice(faux::Registration);

    impl MaskedDevice {
        fn new(bits: u32) -> Result<Self> {
            let device = Self(faux::Registration::new(c"rdma-kunit", None)?);
            let mask = DmaMask::try_new(bits)?.value();
            // SAFETY: No other code uses this device, and nothing is allocated for it yet; a device
            // on the faux bus has no mask storage of its own.
            unsafe {
                let dev = raw(device.dev());
                (*dev).dma_mask = &raw mut (*dev).coherent_dma_mask;
                to_result(bindings::dma_set_mask(dev, mask))?;
                to_result(bindings::dma_set_coherent_mask(dev, mask))?;
            }
            Ok(device)
        }

        fn dev(&self) -> &Device<Bound> {
            self.0.as_ref().as_ref()
        }
    }

    /// Returns whether each page of the memory is below `limit` on the bus and has a frame, and
    /// whether the first page is zeroed.
    fn is_valid(memory: &CoherentMemory<'_>, limit: u64) -> Result<bool> {
        let layout = memory.layout()?;
        let pages = memory.size() >> PAGE_SHIFT;
        let end = memory.size() as u64;
        let mut contents = KVec::from_elem(0xffu8, PAGE_SIZE, GFP_KERNEL)?;
        memory.copy_to(&mut contents);
        let pages_valid = (0..pages).all(|page| {
            let (bus, bytes) = layout.bus((page << PAGE_SHIFT) as u64);
            let (_, frames) = layout.frames(page);
            bytes >= PAGE_SIZE as u64
                && bus + bytes <= limit
                && (1..=pages - page).contains(&frames)
        });
        let ends_there = layout.bus(end).1 == 0 && layout.frames(pages).1 == 0;
        Ok(pages_valid && ends_there && contents.iter().all(|byte| *byte == 0))
    }

    #[test]
    fn below_the_mask() -> Result {
        for bits in [24, 28, 32] {
            let device = MaskedDevice::new(bits)?;
            for size in [1, PAGE_SIZE, 64 << 10, 1 << 20] {
                let memory = CoherentMemory::new(device.dev(), size, || Ok(()))?;
                assert_eq!(memory.size(), size.next_multiple_of(PAGE_SIZE));
                assert!(is_valid(&memory, 1 << bits)?);
                assert!(memory.address() + memory.size() as u64 <= 1 << bits);
            }
        }
        Ok(())
    }

    #[test]
    fn in_blocks_above_the_largest_one() -> Result {
        let device = MaskedDevice::new(32)?;
        let size = CoherentMemory::MAX_BLOCK + 3 * PAGE_SIZE;
        let memory = CoherentMemory::new(device.dev(), size, || Ok(()))?;
        assert_eq!(memory.size(), size);
        assert!(!memory.others.is_empty());
        assert!(is_valid(&memory, 1 << 32)?);
        Ok(())
    }

    #[test]
    fn as_one_block_or_not_at_all() -> Result {
        let device = MaskedDevice::new(32)?;
        let memory = CoherentMemory::new_contiguous(device.dev(), 3 * PAGE_SIZE)?;
        assert!(memory.others.is_empty());
        assert!(is_valid(&memory, 1 << 32)?);
        let size = CoherentMemory::MAX_BLOCK + 3 * PAGE_SIZE;
        let memory = CoherentMemory::new_contiguous(device.dev(), size);
        assert!(memory.is_err_and(|e| e == ENOMEM));
        Ok(())
    }

    #[test]
    fn larger_than_the_mask() -> Result {
        let device = MaskedDevice::new(24)?;
        let memory = CoherentMemory::new(device.dev(), (1 << 24) + PAGE_SIZE, || Ok(()));
        assert!(memory.is_err_and(|e| e == ENOMEM));
        Ok(())
    }

    #[test]
    fn stops_if_proceed_fails() -> Result {
        let device = MaskedDevice::new(32)?;
        let calls = Atomic::new(0u32);
        let memory = CoherentMemory::new(device.dev(), 4 * CoherentMemory::MAX_BLOCK, || {
            calls.add(1, Relaxed);
            Err(EINTR)
        });
        assert!(memory.is_err_and(|e| e == EINTR));
        assert_eq!(calls.load(Relaxed), 1);
        Ok(())
    }
}
