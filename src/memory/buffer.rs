// SPDX-License-Identifier: GPL-2.0

//! A coherent buffer and who holds it.
//!
//! A buffer is held by its handle, by each mapping and by each request: it is freed with the last
//! of them. Its memory goes earlier if the device does, for memory of a device must be freed before
//! that is unbound; whoever still holds the buffer then finds it empty.

use crate::{
    device::Device,
    kernel_ext::mm::{
        mapping::Emptied,
        shared::{
            RevocableMemory,
            Shared, //
        },
        vma::Mappable, //
    },
    memory::{
        handle::Handle,
        quota::{
            Charge,
            Quota, //
        }, //
    }, //
};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
    rbtree::RBTree,
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

/// All buffers of a device, to be found when it goes.
#[pin_data]
pub(crate) struct Registry {
    #[pin]
    live: Mutex<Live>,
}

struct Live {
    memories: RBTree<u64, Arc<RevocableMemory<Charge>>>,
    count: usize,
    last_id: u64,
}

impl Registry {
    /// Without buffers.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            live <- new_mutex!(
                Live {
                    memories: RBTree::new(),
                    count: 0,
                    last_id: 0,
                },
                "rdma::Registry"
            ),
        })
    }

    fn insert(&self, memory: Arc<RevocableMemory<Charge>>) -> Result<u64> {
        let mut live = self.live.lock();
        let id = live.last_id + 1;
        live.memories
            .try_create_and_insert(id, memory, GFP_KERNEL_ACCOUNT)?;
        live.last_id = id;
        live.count += 1;
        Ok(id)
    }

    fn remove(&self, id: u64) -> Option<Arc<RevocableMemory<Charge>>> {
        let mut live = self.live.lock();
        let memory = live.memories.remove(&id)?;
        live.count -= 1;
        Some(memory)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.live.lock().count
    }

    /// Takes the memory of all buffers away and frees it. The device must not touch it any more.
    ///
    /// Nobody makes or drops a buffer any more, the guard being closed.
    pub(crate) fn revoke_all(&self, emptied: &Emptied<'_>) {
        let mut live = self.live.lock();
        let all = core::mem::replace(&mut live.memories, RBTree::new());
        live.count = 0;
        drop(live);
        for memory in all.values() {
            memory.revoke(emptied);
        }
    }
}

/// A coherent buffer.
pub(crate) struct Buffer {
    device: Arc<Device>,
    pub(super) memory: Shared<Charge>,
    id: u64,
    pub(super) requests: Atomic<u32>,
    handle: Handle,
}

impl Buffer {
    /// Allocates `size` bytes, rounded up to whole pages and zeroed, which a context with this
    /// quota calls `handle`.
    ///
    /// # Errors
    ///
    /// [`EDQUOT`] and [`ENOMEM`], and the reason is in the log; [`EINTR`] if the process is being
    /// killed; [`ENODEV`] if the device is gone.
    pub(crate) fn new(
        device: &Arc<Device>,
        quota: &Arc<Quota>,
        size: usize,
        handle: Handle,
    ) -> Result<Arc<Self>> {
        // All of it inside the guard: memory that the registry does not have would outlive the
        // device.
        let buffer = device.enter(|engine| -> Result<Self> {
            let charge = engine.charge(quota, size.div_ceil(PAGE_SIZE))?;
            let memory = engine.allocate(size)?;
            let memory = Shared::new(device.mappings(), memory, charge, handle.first_page())?;
            let id = device.buffers().insert(memory.memory().clone())?;
            Ok(Self {
                device: device.clone(),
                memory,
                id,
                requests: Atomic::new(0),
                handle,
            })
        })??;
        Ok(Arc::new(buffer, GFP_KERNEL_ACCOUNT)?)
    }

    /// Bytes, whole pages.
    pub(crate) fn size(&self) -> usize {
        self.memory.size()
    }

    /// Where the buffer begins in the file, in pages.
    pub(crate) fn first_page(&self) -> usize {
        self.memory.first_page()
    }

    /// How many mappings of it there are.
    pub(crate) fn mappings(&self) -> u32 {
        self.memory.count()
    }

    /// Requests on it that are not over.
    pub(crate) fn requests(&self) -> u32 {
        self.requests.load(Relaxed)
    }

    /// Copies its first bytes out, as many as `to` has.
    pub(crate) fn copy_to(&self, to: &mut [u8]) -> Result {
        self.memory.memory().with(|memory| memory.copy_to(to))
    }

    /// Copies `from` over its first bytes.
    pub(crate) fn copy_from(&self, from: &[u8]) -> Result {
        self.memory.memory().with(|memory| memory.copy_from(from))
    }

    /// Has the memory never freed: the device may still write to it.
    pub(crate) fn abandon(&self) {
        let _ = self.memory.memory().with(|memory| memory.abandon());
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // If the guard is closed, the memory is freed by whoever closed it.
        let _ = self.device.enter(|_| {
            self.device.buffers().remove(self.id);
            self.memory.free();
        });
    }
}

impl Mappable for Buffer {
    type Charge = Charge;

    fn memory(&self) -> &Shared<Charge> {
        &self.memory
    }

    fn faulted(&self, page: usize, loaded: Result<usize>) {
        self.device.faulted(self.handle, page, loaded);
    }
}

/// Pages of this many bytes.
pub(crate) fn pages(bytes: usize) -> usize {
    bytes >> PAGE_SHIFT
}

/// Bytes of this many pages.
pub(crate) fn bytes(pages: usize) -> u64 {
    // CAST: `usize` is at most 64 bits.
    (pages as u64) << PAGE_SHIFT
}
