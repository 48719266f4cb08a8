// SPDX-License-Identifier: GPL-2.0

//! The registry of the memory of all buffers of a device, which is freed when the device is
//! unbound.

use crate::{
    kernel_ext::{
        gfp::GFP_ACCOUNT_MAYFAIL,
        mm::{
            address_space::Zapped,
            shared_memory::RevocableMemory, //
        }, //
    },
    memory::charge::BufferCharge, //
};
use kernel::{
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::{
        new_mutex,
        Arc,
        Mutex, //
    }, //
};

/// The memory of all buffers of a device.
#[pin_data]
pub(super) struct Registry {
    #[pin]
    live: Mutex<Live>,
}

/// Room for the memory of a buffer.
type RegistryEntry = RBTreeNodeReservation<u64, Arc<RevocableMemory<BufferCharge>>>;

struct Live {
    /// The memory of each buffer, by its id.
    memories: RBTree<u64, Arc<RevocableMemory<BufferCharge>>>,
    /// The number of buffers.
    count: usize,
    /// The id that was assigned last.
    last_id: u64,
}

impl Registry {
    /// Creates a registry without buffers.
    pub(super) fn new() -> impl PinInit<Self> {
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

    /// Allocates room for the memory of a buffer, before this is allocated: memory that could not
    /// be inserted would be leaked if the gate was closed meanwhile.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(super) fn reserve() -> Result<RegistryEntry> {
        RBTreeNodeReservation::new(GFP_ACCOUNT_MAYFAIL)
    }

    /// Adds the memory of a buffer, and returns its id, which [`remove`](Self::remove) takes.
    pub(super) fn insert(
        &self,
        entry: RegistryEntry,
        memory: Arc<RevocableMemory<BufferCharge>>,
    ) -> u64 {
        let mut live = self.live.lock();
        let id = live.last_id + 1;
        live.memories.insert(entry.into_node(id, memory));
        live.last_id = id;
        live.count += 1;
        id
    }

    /// Removes the memory of a buffer, and returns it. Returns [`None`] if all memory was
    /// [revoked](Self::revoke_all).
    pub(super) fn remove(&self, id: u64) -> Option<Arc<RevocableMemory<BufferCharge>>> {
        let mut live = self.live.lock();
        let memory = live.memories.remove(&id)?;
        live.count -= 1;
        Some(memory)
    }

    /// Returns the number of buffers.
    pub(super) fn len(&self) -> usize {
        self.live.lock().count
    }

    /// Frees the memory of all buffers. The device must not access it any more. Returns the number
    /// of buffers that other drivers still access at the deadline. Their memory is leaked.
    ///
    /// `zapped` shows that the gate is closed, so that no buffer is added during this call.
    pub(super) fn revoke_all(&self, zapped: &Zapped<'_>, deadline: u64) -> usize {
        let mut live = self.live.lock();
        let all = core::mem::replace(&mut live.memories, RBTree::new());
        live.count = 0;
        drop(live);
        // An imported buffer may be an access to an exported one.
        for memory in all.values().filter(|memory| memory.is_imported()) {
            memory.revoke(zapped, deadline);
        }
        // All of them are asked first, so that they use the time together.
        for memory in all.values() {
            memory.revoke_exported(zapped, deadline);
        }
        let freed = all.values().map(|memory| memory.revoke(zapped, deadline));
        freed.filter(|freed| !freed).count()
    }
}
