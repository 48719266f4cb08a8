// SPDX-License-Identifier: GPL-2.0

//! The dma-buf of a memory, and what other drivers do with it.
//!
//! C header: `include/linux/dma-buf.h`

use super::reference::DmaBuf;
use crate::kernel_ext::sync::clock::{
    self,
    NSEC_PER_MSEC, //
};
use core::ptr::NonNull;
use kernel::{
    bindings,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        new_mutex,
        Mutex, //
    },
    time::{
        delay::fsleep,
        msecs_to_jiffies,
        Delta, //
    }, //
};

/// A pointer to a dma-buf, and its operations after it is revoked.
#[derive(Clone, Copy)]
struct Pointer(NonNull<bindings::dma_buf>, &'static bindings::dma_buf_ops);

// SAFETY: A pointer may be moved to another thread; the operations have no data.
unsafe impl Send for Pointer {}

/// The kinds of accesses by other drivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DriverAccess {
    /// The driver ends it when it is asked to.
    Revocable,
    /// The driver ends it at any time, or never.
    Lasting,
}

/// The dma-buf of a memory.
///
/// # Invariants
///
/// A pointer in `dma_buf` is valid: the dma-buf calls [`clear`](Self::clear) before it is freed.
#[pin_data]
pub(in crate::kernel_ext) struct Exported {
    #[pin]
    dma_buf: Mutex<Option<Pointer>>,
    /// Accesses that the driver ends when it is asked to.
    revocable: Atomic<u32>,
    /// Other accesses.
    lasting: Atomic<u32>,
}

impl Exported {
    /// The interval at which the end of accesses is polled.
    const POLL: Delta = Delta::from_millis(1);

    /// Creates the state of a memory without a dma-buf.
    pub(in crate::kernel_ext) fn new() -> impl PinInit<Self> {
        // INVARIANT: There is no pointer.
        pin_init!(Self {
            dma_buf <- new_mutex!(None, "rdma::Exported"),
            revocable: Atomic::new(0),
            lasting: Atomic::new(0),
        })
    }

    /// Returns the dma-buf. If there is none, `create` creates it. After it is
    /// [revoked](Self::revoke), it has the operations `revoked`.
    ///
    /// # Errors
    ///
    /// Those of `create`.
    ///
    /// # Safety
    ///
    /// The dma-buf that `create` returns must call [`clear`](Self::clear) before it is freed. It
    /// must be able to have the operations `revoked` from any time on.
    pub(super) unsafe fn get_or_create(
        &self,
        revoked: &'static bindings::dma_buf_ops,
        create: impl FnOnce() -> Result<DmaBuf>,
    ) -> Result<DmaBuf> {
        let mut pointer = self.dma_buf.lock();
        if let Some(dma_buf) = pointer.and_then(Self::get_active) {
            return Ok(dma_buf);
        }
        let dma_buf = create()?;
        // INVARIANT: By the safety requirement.
        *pointer = Some(Pointer(dma_buf.as_non_null(), revoked));
        Ok(dma_buf)
    }

    /// Clears the pointer to a dma-buf that is being freed.
    pub(super) fn clear(&self, dma_buf: *mut bindings::dma_buf) {
        let mut pointer = self.dma_buf.lock();
        // Another one may have been created since the last reference to this one was dropped.
        if pointer.is_some_and(|Pointer(it, _)| it.as_ptr() == dma_buf) {
            *pointer = None;
        }
    }

    fn get(&self) -> Option<(DmaBuf, &'static bindings::dma_buf_ops)> {
        let pointer = self.dma_buf.lock();
        let Pointer(_, revoked) = (*pointer)?;
        Some((pointer.and_then(Self::get_active)?, revoked))
    }

    /// Returns a reference to the dma-buf of a pointer in a locked `Exported`.
    fn get_active(Pointer(dma_buf, _): Pointer) -> Option<DmaBuf> {
        // SAFETY: By the type invariants, the pointer is valid while the lock is held.
        unsafe { DmaBuf::get_active(dma_buf) }
    }

    /// Counts an access. Must be called inside the gate, or with the lock of the dma-buf held while
    /// it has the operations that it was created with. (`revoke` replaces them under this lock.)
    pub(super) fn begin(&self, access: DriverAccess) {
        self.count(access).add(1, Relaxed);
    }

    /// Counts the end of an access.
    pub(super) fn end(&self, access: DriverAccess) {
        // The driver's accesses are before this.
        self.count(access).fetch_sub(1, Release);
    }

    fn count(&self, access: DriverAccess) -> &Atomic<u32> {
        match access {
            DriverAccess::Revocable => &self.revocable,
            DriverAccess::Lasting => &self.lasting,
        }
    }

    fn has(&self, access: DriverAccess) -> bool {
        self.count(access).load(Acquire) > 0
    }

    /// Asks other drivers to end their accesses, and waits for the requests of their devices, until
    /// the deadline. The gate must be closed, so that no access begins.
    /// [`is_unused`](Self::is_unused) returns whether the accesses have ended.
    pub(in crate::kernel_ext) fn revoke(&self, deadline: u64) {
        let Some((dma_buf, revoked)) = self.get() else {
            return;
        };
        dma_buf.locked(|| {
            // SAFETY: The dma-buf is valid. By the contract of `get_or_create`, it may have these
            // operations. The core also reads the pointer without the lock, so it is written at
            // once.
            unsafe { (&raw mut (*dma_buf.as_ptr()).ops).write_volatile(revoked) };
            // A driver may unmap the memory now, before its requests have ended.
            let was_mapped = self.has(DriverAccess::Revocable);
            // SAFETY: The dma-buf is valid, and its lock is held.
            unsafe { bindings::dma_buf_invalidate_mappings(dma_buf.as_ptr()) };
            if was_mapped && !Self::wait_for_fences(&dma_buf, deadline) {
                // Its requests may still access the memory, which is leaked.
                self.count(DriverAccess::Lasting).add(1, Relaxed);
            }
        });
    }

    /// Waits for all fences of a dma-buf, until the deadline. Returns whether they are signalled.
    fn wait_for_fences(dma_buf: &DmaBuf, deadline: u64) -> bool {
        let left = deadline.saturating_sub(clock::now()) / NSEC_PER_MSEC;
        // CAST: The time left is at most a few seconds.
        let left = msecs_to_jiffies(left as u32);
        // SAFETY: The dma-buf is valid.
        let result = unsafe {
            bindings::dma_resv_wait_timeout(
                (*dma_buf.as_ptr()).resv,
                bindings::dma_resv_usage_DMA_RESV_USAGE_BOOKKEEP,
                false,
                left,
            )
        };
        result > 0
    }

    /// Waits until other drivers have ended the accesses that they end when they are asked to, or
    /// until the deadline. Returns whether there are no accesses any more, and there will be none.
    pub(in crate::kernel_ext) fn is_unused(&self, deadline: u64) -> bool {
        if self.has(DriverAccess::Lasting) {
            return false;
        }
        while self.has(DriverAccess::Revocable) {
            if clock::now() >= deadline {
                return false;
            }
            fsleep(Self::POLL);
        }
        true
    }
}
