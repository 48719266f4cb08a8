// SPDX-License-Identifier: GPL-2.0

//! One address space for all mappings of a device.
//!
//! A node can be opened through several inodes (`mknod`, containers), each of which has its own
//! list of mappings. As in DRM, all files of a device use the address space of one anonymous inode
//! instead, so that one call zaps all of their mappings.
//!
//! C headers: `include/linux/fs.h`, `include/linux/mm.h`

use crate::kernel_ext::{
    device::raw,
    sync::gate::Gate, //
};
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

/// The address space of a device. Pages are inserted into its mappings only while the gate is open.
///
/// # Invariants
///
/// This holds a reference to a file whose inode no other file has. While the gate is open, `device`
/// is valid and a driver is bound to it.
pub(crate) struct AddressSpace {
    file: NonNull<bindings::file>,
    gate: Arc<Gate>,
    device: *const bindings::device,
}

// SAFETY: A reference to a file may be used and dropped by any thread.
unsafe impl Send for AddressSpace {}
// SAFETY: As above; the address space has internal locks.
unsafe impl Sync for AddressSpace {}

impl AddressSpace {
    /// Creates an address space without mappings, for memory of `device`.
    ///
    /// # Safety
    ///
    /// The gate must be closed whenever no driver is bound to `device`.
    pub(in crate::kernel_ext) unsafe fn new<Ctx: DeviceContext>(
        device: &Device<Ctx>,
        gate: Arc<Gate>,
    ) -> Result<Arc<Self>> {
        // SAFETY: The function has no arguments and may be called in any process context.
        let file = from_err_ptr(unsafe { rdma_helper_anon_file() })?;
        // INVARIANT: The file and its inode are new. By the safety requirement, a driver is bound
        // to the device while the gate is open.
        let address_space = Self {
            file: NonNull::new(file.cast()).ok_or(ENOMEM)?,
            gate,
            device: raw(device),
        };
        Ok(Arc::new(address_space, GFP_KERNEL)?)
    }

    /// Returns the gate that is closed before the mappings are zapped.
    pub(in crate::kernel_ext) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Returns whether the mappings are of memory of `device`.
    pub(in crate::kernel_ext) fn is_for<Ctx: DeviceContext>(&self, device: &Device<Ctx>) -> bool {
        core::ptr::eq(self.device, raw(device))
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
            // SAFETY: By the type invariant, the device is valid and bound while the gate is open,
            // and closing the gate waits for this call.
            f(unsafe { Device::from_raw(self.device.cast_mut()) })
        })
    }

    /// Returns whether the gate is closed. Threads may still be inside.
    pub(crate) fn is_closed(&self) -> bool {
        self.gate.is_closed()
    }

    /// Sets the address space of `file`, which is being opened or created.
    ///
    /// # Safety
    ///
    /// `self` must live for as long as the file, and no other thread may read its `f_mapping` yet.
    pub(in crate::kernel_ext) unsafe fn adopt(&self, file: &File) {
        // SAFETY: By the safety requirement, no other thread reads this, and the address space
        // outlives the file.
        unsafe { (*file.as_ptr()).f_mapping = self.raw() };
    }

    /// Returns whether this is the address space of `file`.
    ///
    /// # Safety
    ///
    /// `file` must be open.
    pub(in crate::kernel_ext) unsafe fn is_of(&self, file: *const bindings::file) -> bool {
        // SAFETY: By the safety requirement, `file` is open; `f_mapping` does not change after
        // `adopt`.
        core::ptr::eq(unsafe { (*file).f_mapping }, self.raw())
    }

    fn raw(&self) -> *mut bindings::address_space {
        // SAFETY: By the type invariant, the file is valid; its `f_mapping` never changes.
        unsafe { (*self.file.as_ptr()).f_mapping }
    }
}

/// An address space whose gate is closed, so that no page is inserted any more.
///
/// # Invariants
///
/// The gate is closed and stays closed.
pub(crate) struct ClosedAddressSpace<'a>(&'a AddressSpace);

impl<'a> ClosedAddressSpace<'a> {
    /// Closes the gate, and waits until all threads have left it.
    ///
    /// # Safety
    ///
    /// The gate must not be opened again.
    pub(in crate::kernel_ext) unsafe fn new(address_space: &'a AddressSpace) -> Self {
        address_space.gate.close();
        // INVARIANT: The gate was closed above; by the safety requirement, it stays closed.
        Self(address_space)
    }

    /// Removes all pages from all mappings. Accesses to them raise SIGBUS from then on.
    pub(crate) fn zap(self) -> Zapped<'a> {
        // SAFETY: By the type invariant, the address space is valid. A length of 0 means the whole
        // range.
        unsafe { bindings::unmap_mapping_range(self.0.raw(), 0, 0, 1) };
        // INVARIANT: All pages were removed above; by the type invariant, none is inserted again.
        Zapped(self.0)
    }
}

/// Proves that the mappings of an address space are empty and stay empty, so that the memory that
/// they have shown can be freed.
///
/// # Invariants
///
/// The mappings contain no pages, and no page is inserted.
pub(crate) struct Zapped<'a>(&'a AddressSpace);

impl Zapped<'_> {
    /// Returns whether this is the proof for `address_space`.
    pub(in crate::kernel_ext) fn is_for(&self, address_space: &AddressSpace) -> bool {
        core::ptr::eq(self.0, address_space)
    }
}

impl Drop for AddressSpace {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, this holds a reference.
        unsafe { bindings::fput(self.file.as_ptr()) };
    }
}
