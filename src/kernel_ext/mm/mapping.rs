// SPDX-License-Identifier: GPL-2.0

//! The one place where all mappings of a device are found again.
//!
//! A node can be opened through several inodes (`mknod`, containers), and each has its own list of
//! mappings. All files of a device are given the address space of one anonymous inode instead, as
//! DRM does it, so that one call reaches all of their mappings.
//!
//! C headers: `include/linux/fs.h`, `include/linux/mm.h`

use core::ptr::NonNull;
use kernel::{
    bindings,
    error::from_err_ptr,
    fs::File,
    prelude::*, //
};

extern "C" {
    /// Returns a `struct file *` or an error pointer.
    fn rdma_helper_anon_file() -> *mut c_void;
}

/// The address space of a device's memory.
///
/// # Invariants
///
/// Holds a reference to a file whose inode no other file has.
pub(crate) struct Mappings(NonNull<bindings::file>);

// SAFETY: A reference to a file may be used and put by any thread.
unsafe impl Send for Mappings {}
// SAFETY: As above; the address space has its own locks.
unsafe impl Sync for Mappings {}

impl Mappings {
    /// An address space with no mappings.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: Takes nothing, and may be called by anyone.
        let file = from_err_ptr(unsafe { rdma_helper_anon_file() })?;
        // INVARIANT: the file is new, and so is its inode.
        NonNull::new(file.cast()).map(Self).ok_or(ENOMEM)
    }

    /// Has the mappings of `file` found here. The file is being opened.
    ///
    /// # Safety
    ///
    /// `self` must live for as long as the file.
    pub(in crate::kernel_ext) unsafe fn adopt(&self, file: &File) {
        // SAFETY: `file` is being opened, so that nobody else has it, and our inode outlives it.
        unsafe { (*file.as_ptr()).f_mapping = self.address_space() };
    }

    /// Removes every page from every mapping. What is touched afterwards faults anew.
    pub(crate) fn zap(&self) {
        // SAFETY: By the type invariant the address space is valid. 0 bytes from 0 are all.
        unsafe { bindings::unmap_mapping_range(self.address_space(), 0, 0, 1) };
    }

    fn address_space(&self) -> *mut bindings::address_space {
        // SAFETY: By the type invariant the file is valid; `f_mapping` of this one never changes.
        unsafe { (*self.0.as_ptr()).f_mapping }
    }
}

impl Drop for Mappings {
    fn drop(&mut self) {
        // SAFETY: By the type invariant we hold a reference.
        unsafe { bindings::fput(self.0.as_ptr()) };
    }
}
