// SPDX-License-Identifier: GPL-2.0

//! Memory of buffers, which is revoked when the driver is unbound. Coherent memory is also mapped
//! into programs.
//!
//! Safe code cannot free a page that is mapped: each mapping holds a reference to its memory. The
//! only other way to free the memory, at unbind, requires a proof that all mappings have been
//! zapped and stay empty.

use crate::kernel_ext::{
    dma_buf::exported::Exported,
    gfp::GFP_ACCOUNT_MAYFAIL,
    mm::{
        address_space::{
            AddressSpace,
            Zapped, //
        }, //
        buffer_memory::BufferMemory,
        layout::Layout,
        leakable::Leakable, //
    }, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        new_mutex,
        Arc,
        Mutex, //
    }, //
};

/// Memory of a device, which is freed before the driver is unbound, and its charge.
///
/// # Invariants
///
/// The memory was allocated for the device of `address_space`. It is freed inside the gate, or when
/// the mappings are permanently empty, and otherwise never.
#[pin_data(PinnedDrop)]
pub(crate) struct RevocableMemory<C: Unpin> {
    address_space: Arc<AddressSpace>,
    /// [`None`] after the memory was freed or revoked.
    #[pin]
    memory: Mutex<Option<(Leakable<BufferMemory<'static>>, C)>>,
    /// What other drivers do with the memory.
    #[pin]
    exported: Exported,
}

impl<C: Unpin> RevocableMemory<C> {
    /// Calls `f` with the memory.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if it was revoked.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&Leakable<BufferMemory<'_>>) -> R) -> Result<R> {
        let memory = self.memory.lock();
        let (memory, _) = memory.as_ref().ok_or(ENODEV)?;
        Ok(f(memory))
    }

    /// Returns whether it is memory of another driver.
    pub(crate) fn is_imported(&self) -> bool {
        self.with(|memory| memory.is_imported()) == Ok(true)
    }

    /// Returns what other drivers do with the memory.
    #[cfg(CONFIG_DMA_SHARED_BUFFER)]
    pub(in crate::kernel_ext) fn exported(&self) -> &Exported {
        &self.exported
    }

    /// Asks other drivers to end their accesses to the memory. They have until the deadline.
    pub(crate) fn revoke_exported(&self, _: &Zapped<'_>, deadline: u64) {
        self.exported.revoke(deadline);
    }

    /// Frees the memory, although there are references to it. The engine must be idle; the compiler
    /// does not check that the device no longer writes.
    ///
    /// Returns whether the memory is freed. If other drivers have not ended their accesses at the
    /// deadline, it is leaked.
    pub(crate) fn revoke(&self, zapped: &Zapped<'_>, deadline: u64) -> bool {
        if !zapped.is_for(&self.address_space) {
            return false;
        }
        let unused = self.exported.is_unused(deadline);
        // INVARIANT: The mappings are permanently empty.
        if let Some((memory, _)) = self.take() {
            if !unused {
                memory.leak();
            }
        }
        unused
    }

    /// Frees the memory inside the gate.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the gate is closed. [`revoke`](Self::revoke) must free the memory then.
    fn free(&self) -> Result {
        // INVARIANT: The memory is freed inside the gate.
        self.address_space.gate().enter(|| drop(self.take()))
    }

    fn take(&self) -> Option<(Leakable<BufferMemory<'static>>, C)> {
        self.memory.lock().take()
    }
}

#[pinned_drop]
impl<C: Unpin> PinnedDrop for RevocableMemory<C> {
    fn drop(self: Pin<&mut Self>) {
        let _ = self.free();
        // INVARIANT: Memory that was not revoked before the unbind is never freed.
        if let Some((memory, _)) = self.take() {
            memory.leak();
        }
    }
}

/// Memory of a buffer. Coherent memory can be mapped into programs; other memory cannot.
///
/// # Invariants
///
/// `layout` and `size` are those of `revocable`, which only `revoke` frees as long as they are not
/// empty.
pub(crate) struct SharedMemory<C: Unpin> {
    revocable: Arc<RevocableMemory<C>>,
    address_space: Arc<AddressSpace>,
    layout: Layout,
    /// In bytes.
    size: usize,
    /// The page of the file at which the buffer begins.
    first_page: usize,
    mapping_count: Atomic<u32>,
}

impl<C: Unpin> SharedMemory<C> {
    /// Creates memory whose mappings start at the page `first_page` of a file. `memory` is freed,
    /// and `charge` dropped, with the returned value.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if `memory` belongs to another device than `address_space`; [`ENOMEM`]; [`EIO`]
    /// if the page frames are unknown.
    pub(crate) fn new(
        address_space: &Arc<AddressSpace>,
        memory: BufferMemory<'_>,
        charge: C,
        first_page: usize,
    ) -> Result<Self> {
        if !address_space.is_for(memory.device()) {
            return Err(EINVAL);
        }
        let (layout, size) = (memory.layout()?, memory.size());
        // SAFETY: By its invariant, `RevocableMemory` frees the memory inside the gate or when the
        // mappings are permanently empty, which is before the unbind, and leaks it otherwise.
        let memory = unsafe { memory.into_static() };
        let revocable = Arc::pin_init(
            // INVARIANT: The devices were compared above.
            pin_init!(RevocableMemory {
                address_space: address_space.clone(),
                memory <- new_mutex!(
                    Some((Leakable::new(memory), charge)),
                    "rdma::RevocableMemory"
                ),
                exported <- Exported::new(),
            }),
            GFP_ACCOUNT_MAYFAIL,
        )?;
        // INVARIANT: The layout was read from `memory` above.
        Ok(Self {
            revocable,
            address_space: address_space.clone(),
            layout,
            size,
            first_page,
            mapping_count: Atomic::new(0),
        })
    }

    /// Returns the revocable memory, for the unbind.
    pub(crate) fn revocable(&self) -> &Arc<RevocableMemory<C>> {
        &self.revocable
    }

    /// Frees the memory.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the driver is being unbound. The memory must be revoked then.
    pub(crate) fn free(&mut self) -> Result {
        // `&mut` proves that no mapping holds a reference.
        self.revocable.free()?;
        // INVARIANT: They are empty. The value can be used further, and has no memory to map.
        self.layout.clear();
        self.size = 0;
        Ok(())
    }

    /// Returns the size in bytes.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Returns the bus address of the byte at `offset`, and the number of contiguous bytes from it
    /// on, itself included. This number is 0 beyond the end.
    pub(crate) fn bus(&self, offset: u64) -> (u64, u64) {
        self.layout.bus(offset)
    }

    /// Returns the page of the file at which the memory starts.
    pub(crate) fn first_page(&self) -> usize {
        self.first_page
    }

    /// Returns the number of mappings.
    pub(crate) fn mapping_count(&self) -> u32 {
        self.mapping_count.load(Relaxed)
    }

    /// Increments the number of mappings.
    pub(in crate::kernel_ext) fn add_mapping(&self) {
        self.mapping_count.add(1, Relaxed);
    }

    /// Decrements the number of mappings.
    pub(in crate::kernel_ext) fn remove_mapping(&self) {
        self.mapping_count.fetch_sub(1, Relaxed);
    }

    /// Returns the address space that contains the mappings of this memory.
    pub(in crate::kernel_ext) fn address_space(&self) -> &AddressSpace {
        &self.address_space
    }

    /// Returns the layout of the memory, without the promise that the memory exists.
    #[cfg(CONFIG_DMA_SHARED_BUFFER)]
    pub(in crate::kernel_ext) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns what other drivers do with the memory.
    #[cfg(CONFIG_DMA_SHARED_BUFFER)]
    pub(in crate::kernel_ext) fn exported(&self) -> &Exported {
        self.revocable.exported()
    }

    /// Calls `f` with the layout of the memory. The memory is not freed during the call. After it,
    /// during the life of `self`, the memory is freed only when all mappings are permanently empty.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the driver is being or has been unbound.
    pub(in crate::kernel_ext) fn with_layout<R>(&self, f: impl FnOnce(&Layout) -> R) -> Result<R> {
        // Inside the gate, because the mappings are zapped after it was closed, and must stay
        // empty.
        self.address_space.gate().enter(|| f(&self.layout))
    }
}
