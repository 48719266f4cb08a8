// SPDX-License-Identifier: GPL-2.0

//! Buffers: coherent memory of the driver, registered memory of a program, or imported memory of
//! another driver.
//!
//! What frees the memory of a buffer? The handle, each mapping, each request and the exported
//! dma-buf hold a reference to the buffer. Dropping the last one calls `drop` here, and that `free`
//! in `pool.rs` and in `kernel_ext/mm/shared_memory.rs`. A request may be the last to hold one when
//! it ends, in an interrupt handler, which must not free memory: `release`, which is called from
//! `schedule/job.rs` through `hold.rs`, puts the buffer into a list of the queue. `drop_deferred`
//! in `device/engine_queue.rs` drops it in process context, for the work item (`work` in
//! `device/engine.rs`) or for a thread that needs memory (`free_released`). If the device is
//! unbound earlier, `stop` in `device/bound.rs` calls `revoke_all` in `pool.rs` and in
//! `registry.rs`, which frees the memory of all buffers: memory of a device must not outlive the
//! binding. The remaining references are to a buffer without memory. Memory that a device may still
//! access is never freed (`leak`).

use crate::{
    kernel_ext::{
        collections::fifo::{
            Entry,
            Fifo, //
        },
        dma_buf::{
            export::{
                self,
                Exportable, //
            },
            import::Importable, //
        },
        gfp::GFP_ACCOUNT_MAYFAIL,
        mm::{
            coherent::CoherentMemory,
            shared_memory::SharedMemory,
            vma::Mappable, //
        }, //
    },
    memory::{
        charge::BufferCharge,
        handle::Handle,
        pool::{
            Pool,
            UserRange, //
        },
        quota::Quota, //
    }, //
};
use kernel::{
    fs::File,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        ArcBorrow, //
    }, //
};

/// The origin of the memory of a buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The driver has allocated it.
    Allocated,
    /// A program has registered it, or another driver has allocated it.
    Foreign {
        /// Requests may write to it.
        writable: bool,
    },
}

/// Memory that programs and the device access, with a handle in one context. Mappings, requests and
/// exported dma-bufs hold references to it.
pub(crate) struct Buffer {
    pool: Arc<Pool>,
    pub(super) shared: SharedMemory<BufferCharge>,
    /// The id of the memory in the registry of the pool.
    id: u64,
    /// The number of requests on the buffer that have not ended.
    pub(super) requests: Atomic<u32>,
    /// The handle that the buffer was created with. It may be that of another buffer now.
    handle: Handle,
    origin: Origin,
    /// The list entry in which [`release`](Self::release) puts the last reference to this buffer.
    /// [`None`] only after that.
    entry: Option<Entry<Option<Arc<Buffer>>>>,
}

impl Buffer {
    /// Allocates a buffer of at least `size` bytes, zeroed, for a context with this quota. The
    /// buffer belongs to `handle`.
    ///
    /// # Errors
    ///
    /// [`EDQUOT`] and [`ENOMEM`], with the reason in the log; [`EINTR`] if the process is being
    /// killed; [`ENODEV`] if the device is gone.
    pub(crate) fn new(
        pool: &Arc<Pool>,
        quota: &Arc<Quota>,
        size: usize,
        handle: Handle,
    ) -> Result<Arc<Self>> {
        let memory = || pool.allocate(quota, size, handle.first_page());
        Self::with_memory(pool, handle, Origin::Allocated, memory)
    }

    /// Creates a buffer of memory of the calling process, which it pins, for a context with this
    /// quota. The buffer belongs to `handle`.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); [`EFAULT`] if the memory cannot be pinned; [`EOPNOTSUPP`], with the
    /// reason in the log, if the device cannot access it.
    pub(crate) fn register(
        pool: &Arc<Pool>,
        quota: &Arc<Quota>,
        range: &UserRange,
        handle: Handle,
    ) -> Result<Arc<Self>> {
        let origin = Origin::Foreign {
            writable: range.writable,
        };
        let memory = || pool.pin(quota, range, handle.first_page());
        Self::with_memory(pool, handle, origin, memory)
    }

    /// Creates a buffer of the memory of another driver, for a context with this quota. The buffer
    /// belongs to `handle`.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); those of [`Pool::import`].
    pub(crate) fn import(
        pool: &Arc<Pool>,
        quota: &Arc<Quota>,
        dma_buf: Importable,
        writable: bool,
        handle: Handle,
    ) -> Result<Arc<Self>> {
        let memory = || pool.import(quota, dma_buf, writable, handle.first_page());
        Self::with_memory(pool, handle, Origin::Foreign { writable }, memory)
    }

    fn with_memory(
        pool: &Arc<Pool>,
        handle: Handle,
        origin: Origin,
        memory: impl FnOnce() -> Result<(SharedMemory<BufferCharge>, u64)>,
    ) -> Result<Arc<Self>> {
        let entry = Some(Entry::new(None)?);
        let (shared, id) = memory()?;
        // Only dropping a buffer frees the memory, so nothing may fail before this.
        let buffer = Self {
            pool: pool.clone(),
            shared,
            id,
            requests: Atomic::new(0),
            handle,
            origin,
            entry,
        };
        Ok(Arc::new(buffer, GFP_ACCOUNT_MAYFAIL)?)
    }

    /// Releases a reference, also in an interrupt handler. The last one is appended to `deferred`,
    /// because the memory can be freed in process context only.
    pub(super) fn release(this: Arc<Self>, deferred: &mut Fifo<Option<Arc<Self>>>) {
        let Some(mut last) = Arc::into_unique_or_drop(this) else {
            return;
        };
        match last.entry.take() {
            Some(mut entry) => {
                *entry = Some(last.into());
                deferred.push_back(entry);
            }
            // Only this function takes the entry, so that this does not happen. A leak is better
            // than freeing memory in an interrupt handler.
            None => core::mem::forget(last),
        }
    }

    /// Returns whether the buffer can be mapped into programs.
    pub(crate) fn is_mappable(&self) -> bool {
        self.origin == Origin::Allocated
    }

    /// Returns the dma-buf of the buffer, which other drivers can import. Creates it with this
    /// access mode if there is none. It holds a reference to the buffer.
    ///
    /// # Errors
    ///
    /// [`EOPNOTSUPP`] if it is registered or imported memory; those of [`export`](export::export).
    pub(crate) fn export(self: ArcBorrow<'_, Self>, access: u32) -> Result<ARef<File>> {
        match self.origin {
            Origin::Allocated => export::export(self, access),
            Origin::Foreign { .. } => Err(EOPNOTSUPP),
        }
    }

    /// Returns whether requests may write to the buffer.
    pub(crate) fn is_writable(&self) -> bool {
        self.origin != Origin::Foreign { writable: false }
    }

    /// Returns the size in bytes. That of allocated memory is a multiple of the page size.
    pub(crate) fn size(&self) -> usize {
        self.shared.size()
    }

    /// Returns the page of the file at which the buffer begins.
    pub(crate) fn first_page(&self) -> usize {
        self.shared.first_page()
    }

    /// Returns the number of mappings.
    pub(crate) fn mapping_count(&self) -> u32 {
        self.shared.mapping_count()
    }

    /// Returns the number of requests on the buffer that have not ended.
    pub(crate) fn requests(&self) -> u32 {
        self.requests.load(Relaxed)
    }

    /// Copies the first bytes of the buffer to `to`, up to the size of the smaller one.
    pub(crate) fn copy_to(&self, to: &mut [u8]) -> Result {
        self.with_coherent(|memory| memory.copy_to(to))
    }

    /// Copies `from` to the start of the buffer, up to the size of the smaller one.
    pub(crate) fn copy_from(&self, from: &[u8]) -> Result {
        self.with_coherent(|memory| memory.copy_from(from))
    }

    fn with_coherent(&self, f: impl FnOnce(&CoherentMemory<'_>)) -> Result {
        let revocable = self.shared.revocable();
        revocable.with(|memory| memory.coherent().map(f).ok_or(EINVAL))?
    }

    /// Leaks the memory, because the device may still write to it.
    pub(super) fn leak(&self) {
        let _ = self.shared.revocable().with(|memory| memory.leak());
    }
}

impl Drop for Buffer {
    #[inline]
    fn drop(&mut self) {
        self.pool.free(&mut self.shared, self.id);
    }
}

impl Exportable for Buffer {
    fn log_unreachable(&self, importer: &CStr) {
        self.pool.log_unreachable(importer);
    }
}

impl Mappable for Buffer {
    type Charge = BufferCharge;

    fn shared_memory(&self) -> &SharedMemory<BufferCharge> {
        &self.shared
    }

    fn faulted(&self, page: usize, inserted: Result<usize>) {
        self.pool.faulted(self.handle, page, inserted);
    }
}
