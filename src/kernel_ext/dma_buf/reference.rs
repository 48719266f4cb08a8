// SPDX-License-Identifier: GPL-2.0

//! References to dma-bufs.
//!
//! C header: `include/linux/dma-buf.h`

use core::ptr::NonNull;
use kernel::{
    bindings,
    fs::File,
    prelude::*,
    sync::aref::ARef, //
};

extern "C" {
    /// Returns a reference to the file of the dma-buf, or to another file that has its memory now;
    /// null if it has been released. `dma_buf` is a `struct dma_buf *`, the result a `struct file
    /// *`.
    fn rdma_helper_dma_buf_file(dma_buf: *mut c_void) -> *mut c_void;
}

/// A reference to a dma-buf.
///
/// # Invariants
///
/// The pointer is valid, and this holds a reference to the file of the dma-buf.
pub(super) struct DmaBuf(NonNull<bindings::dma_buf>);

// SAFETY: A reference to a file may be used and dropped by any thread.
unsafe impl Send for DmaBuf {}

impl DmaBuf {
    /// Creates a reference from a pointer.
    ///
    /// # Safety
    ///
    /// The pointer must be valid, and the caller must own a reference to the file, which the
    /// result takes.
    pub(super) unsafe fn from_raw(dma_buf: NonNull<bindings::dma_buf>) -> Self {
        // INVARIANT: By the safety requirement.
        Self(dma_buf)
    }

    /// Takes a reference, unless the last one has been dropped already.
    ///
    /// # Safety
    ///
    /// The pointer must be valid during the call.
    pub(super) unsafe fn get_active(dma_buf: NonNull<bindings::dma_buf>) -> Option<Self> {
        // SAFETY: By the safety requirement.
        let file = unsafe { rdma_helper_dma_buf_file(dma_buf.as_ptr().cast()) };
        let file = NonNull::new(file.cast::<bindings::file>())?;
        // `O_PATH` keeps the dma-buf, but not its file. If the file was freed, another file may
        // have its memory, and this is a reference to that one.
        // SAFETY: The reference keeps the file, also if it is another one. That one may be being
        // opened, so that the pointer may be written concurrently.
        let private = unsafe { (&raw const (*file.as_ptr()).private_data).read_volatile() };
        if private != dma_buf.as_ptr().cast() {
            // SAFETY: The reference was taken above, and is not used after this.
            unsafe { bindings::fput(file.as_ptr()) };
            return None;
        }
        // INVARIANT: The helper has taken a reference. The dma-buf is valid, so that no
        // other object has its address, and only its own file refers to it.
        Some(Self(dma_buf))
    }

    /// Returns the pointer.
    pub(super) fn as_ptr(&self) -> *mut bindings::dma_buf {
        self.0.as_ptr()
    }

    /// Returns the pointer, which is valid for as long as a reference exists.
    pub(super) fn as_non_null(&self) -> NonNull<bindings::dma_buf> {
        self.0
    }

    /// Returns the file of the dma-buf.
    pub(super) fn file(&self) -> &File {
        // SAFETY: By the type invariant, the file is valid. A dma-buf does not use the position of
        // its file, which is what an active `fdget_pos` region protects.
        unsafe { File::from_raw_file((*self.as_ptr()).file) }
    }

    /// Returns a reference to the file of the dma-buf.
    pub(super) fn to_file(&self) -> ARef<File> {
        self.file().into()
    }

    /// Calls `f` with the lock of the reservation held, which protects the attachments.
    pub(super) fn locked<R>(&self, f: impl FnOnce() -> R) -> R {
        // SAFETY: By the type invariant, the dma-buf is valid. Without a context, the call does not
        // fail.
        unsafe { bindings::dma_resv_lock((*self.as_ptr()).resv, core::ptr::null_mut()) };
        let result = f();
        // SAFETY: The lock was taken above.
        unsafe { bindings::dma_resv_unlock((*self.as_ptr()).resv) };
        result
    }
}

impl Clone for DmaBuf {
    fn clone(&self) -> Self {
        // The new reference takes that of this file.
        core::mem::forget(self.to_file());
        // INVARIANT: The pointer is that of `self`.
        Self(self.0)
    }
}

impl Drop for DmaBuf {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, this holds a reference, which is not used after this call.
        unsafe { bindings::dma_buf_put(self.as_ptr()) };
    }
}
