// SPDX-License-Identifier: GPL-2.0

//! The one place where all mappings of a device are found again.
//!
//! A node can be opened through several inodes (`mknod`, containers), and each has its own list of
//! mappings. All files of a device are given the address space of one anonymous inode instead, as
//! DRM does it, so that one call reaches all of their mappings.
//!
//! C headers: `include/linux/fs.h`, `include/linux/mm.h`

use crate::kernel_ext::sync::guard::Gate;
use core::ptr::NonNull;
use kernel::{
    bindings,
    device::{
        Bound,
        Device,
        DeviceContext, //
    },
    error::from_err_ptr,
    fs::File,
    prelude::*,
    sync::Arc, //
};

extern "C" {
    /// Returns a `struct file *` or an error pointer.
    fn rdma_helper_anon_file() -> *mut c_void;
}

/// The address space of a device's memory. Pages are put into its mappings while the gate is open.
///
/// # Invariants
///
/// Holds a reference to a file whose inode no other file has. While the gate is open, a driver is bound
/// to `device`, which is valid then.
pub(crate) struct Mappings {
    file: NonNull<bindings::file>,
    gate: Arc<Gate>,
    device: *const bindings::device,
}

// SAFETY: A reference to a file may be used and put by any thread.
unsafe impl Send for Mappings {}
// SAFETY: As above; the address space has its own locks.
unsafe impl Sync for Mappings {}

impl Mappings {
    /// An address space with no mappings, for memory of `device`.
    ///
    /// # Safety
    ///
    /// The gate must be closed whenever no driver is bound to `device`.
    pub(in crate::kernel_ext) unsafe fn new<Ctx: DeviceContext>(
        device: &Device<Ctx>,
        gate: Arc<Gate>,
    ) -> Result<Arc<Self>> {
        // SAFETY: Takes nothing, and may be called by anyone.
        let file = from_err_ptr(unsafe { rdma_helper_anon_file() })?;
        // INVARIANT: the file is new, and so is its inode; for the device, by the safety requirement.
        let mappings = Self {
            file: NonNull::new(file.cast()).ok_or(ENOMEM)?,
            gate,
            // CAST: `Device` is a transparent wrapper of `struct device`.
            device: core::ptr::from_ref(device).cast(),
        };
        Ok(Arc::new(mappings, GFP_KERNEL)?)
    }

    /// The gate that is closed before the mappings are emptied.
    pub(in crate::kernel_ext) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Whether they are those of memory of `device`.
    pub(in crate::kernel_ext) fn are_of<Ctx: DeviceContext>(&self, device: &Device<Ctx>) -> bool {
        // CAST: as in `new`.
        core::ptr::eq(self.device, core::ptr::from_ref(device).cast())
    }

    /// Calls `f` with the device, which stays bound until `f` returns.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the gate is closed.
    pub(crate) fn with_device<R>(
        &self,
        f: impl for<'a> FnOnce(&'a Device<Bound>) -> R,
    ) -> Result<R> {
        self.gate.enter(|| {
            // SAFETY: By the type invariant the device is valid and bound while the gate is open, and
            // closing it waits for this.
            f(unsafe { Device::from_raw(self.device.cast_mut()) })
        })
    }

    /// Whether the gate is closed. What is inside may still be waited for.
    pub(crate) fn is_closed(&self) -> bool {
        self.gate.is_closed()
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

    /// Whether the mappings of `file` are found here.
    ///
    /// # Safety
    ///
    /// `file` must be open.
    pub(in crate::kernel_ext) unsafe fn have_adopted(&self, file: *const bindings::file) -> bool {
        // SAFETY: By the requirement; `f_mapping` does not change after `adopt`.
        core::ptr::eq(unsafe { (*file).f_mapping }, self.address_space())
    }

    fn address_space(&self) -> *mut bindings::address_space {
        // SAFETY: By the type invariant the file is valid; `f_mapping` of this one never changes.
        unsafe { (*self.file.as_ptr()).f_mapping }
    }
}

/// Mappings whose gate is closed: no page is put in any more.
///
/// # Invariants
///
/// The gate is closed, and stays so.
pub(crate) struct Closed<'a>(&'a Mappings);

impl<'a> Closed<'a> {
    /// Closes the gate, and returns when nobody is inside any more.
    ///
    /// # Safety
    ///
    /// The gate must not be opened again.
    pub(in crate::kernel_ext) unsafe fn new(mappings: &'a Mappings) -> Self {
        mappings.gate.close();
        // INVARIANT: just closed, and by the requirement for good.
        Self(mappings)
    }

    /// Removes every page from every mapping. What is touched afterwards is a SIGBUS.
    pub(crate) fn zap(self) -> Emptied<'a> {
        // SAFETY: By the type invariant the address space is valid. 0 bytes from 0 are all.
        unsafe { bindings::unmap_mapping_range(self.0.address_space(), 0, 0, 1) };
        // INVARIANT: just emptied; by the type invariant nothing is put in again.
        Emptied(self.0)
    }
}

/// Shows that mappings are empty, and stay so: what they have shown can be freed.
///
/// # Invariants
///
/// There is no page in the mappings, and none is put in.
pub(crate) struct Emptied<'a>(&'a Mappings);

impl Emptied<'_> {
    /// Whether it is these mappings that are empty.
    pub(in crate::kernel_ext) fn are(&self, mappings: &Mappings) -> bool {
        core::ptr::eq(self.0, mappings)
    }
}

impl Drop for Mappings {
    fn drop(&mut self) {
        // SAFETY: By the type invariant we hold a reference.
        unsafe { bindings::fput(self.file.as_ptr()) };
    }
}
