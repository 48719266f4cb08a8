// SPDX-License-Identifier: GPL-2.0

//! A PCI device that is enabled, and whether it is a bus master.
//!
//! C header: `include/linux/pci.h`

use kernel::{
    bindings,
    device::{
        Bound,
        Core, //
    },
    pci,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

/// A device with enabled memory decoding. Dropping it disables the device.
///
/// # Invariants
///
/// `pci_enable_device_mem` has succeeded for the device, and `pci_disable_device` was not called
/// after it.
pub(crate) struct EnabledDevice<'bound> {
    pdev: &'bound pci::Device<Bound>,
    /// Bus mastering was enabled, and not disabled since then, by this driver.
    master_set_by_driver: Atomic<bool>,
}

extern "C" {
    /// Clears the bit Enable Relaxed Ordering of a PCI Express device. `pdev` is a valid
    /// `struct pci_dev *`.
    fn rdma_helper_disable_relaxed_ordering(pdev: *mut c_void);
}

impl<'bound> EnabledDevice<'bound> {
    /// Enables the memory decoding of the device, but not bus mastering. Its writes to memory
    /// arrive in their order: what reports the end of a transfer is not seen before its bytes.
    ///
    /// # Errors
    ///
    /// Errors of the kernel.
    pub(crate) fn new(pdev: &'bound pci::Device<Core<'_>>) -> Result<Self> {
        pdev.enable_device_mem()?;
        // SAFETY: The device is valid.
        unsafe { rdma_helper_disable_relaxed_ordering(raw(pdev).cast()) };
        // INVARIANT: `enable_device_mem` has succeeded.
        Ok(Self {
            pdev,
            master_set_by_driver: Atomic::new(false),
        })
    }

    /// Enables bus mastering, so that the device can access memory.
    pub(crate) fn set_master(&self) {
        // SAFETY: The device is valid.
        unsafe { bindings::pci_set_master(raw(self.pdev)) };
        self.master_set_by_driver.store(true, Relaxed);
    }

    /// Returns whether this driver has enabled bus mastering, and not disabled it since then.
    pub(crate) fn master_set_by_driver(&self) -> bool {
        self.master_set_by_driver.load(Relaxed)
    }

    /// Returns whether bus mastering is enabled. Root can disable it with setpci(8), for example.
    /// May be called in interrupt handlers.
    pub(crate) fn is_master(&self) -> bool {
        let mut command = 0;
        // CAST: The constant is small.
        // SAFETY: The device is valid, and `command` is valid for writing.
        let failed = unsafe {
            bindings::pci_read_config_word(
                raw(self.pdev),
                bindings::PCI_COMMAND as c_int,
                &mut command,
            )
        };
        failed == 0 && u32::from(command) & bindings::PCI_COMMAND_MASTER != 0
    }

    /// Disables bus mastering. May be called in interrupt handlers.
    pub(crate) fn clear_master(&self) {
        // SAFETY: The device is valid.
        unsafe { bindings::pci_clear_master(raw(self.pdev)) };
        self.master_set_by_driver.store(false, Relaxed);
    }
}

impl Drop for EnabledDevice<'_> {
    fn drop(&mut self) {
        self.clear_master();
        // SAFETY: By the type invariant, the device is enabled.
        unsafe { bindings::pci_disable_device(raw(self.pdev)) };
    }
}

fn raw(pdev: &pci::Device<Bound>) -> *mut bindings::pci_dev {
    // CAST: `pci::Device` is a transparent wrapper of `Opaque<pci_dev>`.
    core::ptr::from_ref(pdev).cast_mut().cast()
}
