// SPDX-License-Identifier: GPL-2.0

//! Memory that programs map, and that is taken away from them when the device goes.
//!
//! Whatever safe code does with it, a page that is mapped is not freed: each mapping holds what it
//! shows. The one other way to free it, for a device that goes, takes the proof that all mappings
//! were emptied for good.

use crate::kernel_ext::mm::{
    coherent::{
        Layout,
        Memory, //
    },
    mapping::{
        Emptied,
        Mappings, //
    }, //
};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
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

/// Memory of a device, which is freed in time, and what goes with it: whom it is charged to.
///
/// # Invariants
///
/// The memory is of the device that `mappings` are for. It is freed inside the gate, or when the
/// mappings were emptied for good, and otherwise never.
#[pin_data(PinnedDrop)]
pub(crate) struct Revocable<C: Unpin> {
    mappings: Arc<Mappings>,
    #[pin]
    memory: Mutex<Option<(Memory<'static>, C)>>,
}

impl<C: Unpin> Revocable<C> {
    /// Does `f` with the memory.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if it was taken away.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&Memory<'_>) -> R) -> Result<R> {
        let memory = self.memory.lock();
        let (memory, _) = memory.as_ref().ok_or(ENODEV)?;
        Ok(f(memory))
    }

    /// Takes the memory away from all who hold it, and frees it. The device must be at rest: what it
    /// writes, no type can see.
    pub(crate) fn revoke(&self, emptied: &Emptied<'_>) {
        if emptied.are(&self.mappings) {
            // INVARIANT: they are emptied for good.
            drop(self.take());
        }
    }

    /// Frees the memory inside the gate. If that is closed, it is left to [`revoke`](Self::revoke).
    fn free(&self) {
        // INVARIANT: inside the gate.
        let _ = self.mappings.gate().enter(|| drop(self.take()));
    }

    fn take(&self) -> Option<(Memory<'static>, C)> {
        self.memory.lock().take()
    }
}

#[pinned_drop]
impl<C: Unpin> PinnedDrop for Revocable<C> {
    fn drop(self: Pin<&mut Self>) {
        self.free();
        // INVARIANT: what is not revoked before the device goes is never freed.
        if let Some((memory, _)) = self.take() {
            memory.abandon();
        }
    }
}

/// Memory that can be mapped.
///
/// # Invariants
///
/// `layout` is that of what is in `memory`, which nothing but `revoke` frees while this is there.
pub(crate) struct Shared<C: Unpin> {
    memory: Arc<Revocable<C>>,
    mappings: Arc<Mappings>,
    layout: Layout,
    size: usize,
    first_page: usize,
    count: Atomic<u32>,
}

impl<C: Unpin> Shared<C> {
    /// Has `memory` mapped from `first_page` of a file on. It is freed with this; `charge` is dropped
    /// with it.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if it is of another device; [`ENOMEM`]; [`EIO`] if it is not known where it is.
    pub(crate) fn new(
        mappings: &Arc<Mappings>,
        memory: Memory<'_>,
        charge: C,
        first_page: usize,
    ) -> Result<Self> {
        if !mappings.are_of(memory.device()) {
            return Err(EINVAL);
        }
        let (layout, size) = (memory.layout()?, memory.size());
        // SAFETY: By its invariant, `Revocable` frees it while the device is bound: what is inside the
        // gate is so, and mappings are emptied before the device goes.
        let memory = unsafe { memory.into_static() };
        let memory = Arc::pin_init(
            // INVARIANT: as just seen.
            pin_init!(Revocable {
                mappings: mappings.clone(),
                memory <- new_mutex!(Some((memory, charge)), "rdma::Revocable"),
            }),
            GFP_KERNEL_ACCOUNT,
        )?;
        // INVARIANT: just taken from it.
        Ok(Self {
            memory,
            mappings: mappings.clone(),
            layout,
            size,
            first_page,
            count: Atomic::new(0),
        })
    }

    /// The memory, to be found when the device goes.
    pub(crate) fn memory(&self) -> &Arc<Revocable<C>> {
        &self.memory
    }

    /// Frees the memory, unless the device goes just now, and takes it away itself.
    pub(crate) fn free(&mut self) {
        // By `&mut`, no mapping holds it.
        self.memory.free();
    }

    /// Bytes, whole pages.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Bus address of the byte at `offset`, and how many bytes follow it without a gap, itself
    /// included; none beyond the end.
    pub(crate) fn bus(&self, offset: u64) -> (u64, u64) {
        self.layout.bus(offset)
    }

    /// Where it begins in the file, in pages.
    pub(crate) fn first_page(&self) -> usize {
        self.first_page
    }

    /// How many mappings of it there are.
    pub(crate) fn count(&self) -> u32 {
        self.count.load(Relaxed)
    }

    /// There is one more mapping of it.
    pub(in crate::kernel_ext) fn add_mapping(&self) {
        self.count.add(1, Relaxed);
    }

    /// There is one mapping less.
    pub(in crate::kernel_ext) fn remove_mapping(&self) {
        self.count.fetch_sub(1, Relaxed);
    }

    /// The mappings among which those of it are.
    pub(in crate::kernel_ext) fn mappings(&self) -> &Mappings {
        &self.mappings
    }

    /// Calls `f` with where the memory is. It is not freed meanwhile, and afterwards, while this is
    /// there, not before all mappings were emptied.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the device goes or is gone.
    pub(in crate::kernel_ext) fn with_layout<R>(&self, f: impl FnOnce(&Layout) -> R) -> Result<R> {
        // Inside the gate: after it is closed the mappings are emptied, and must stay so.
        self.mappings.gate().enter(|| f(&self.layout))
    }
}
