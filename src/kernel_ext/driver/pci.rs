// SPDX-License-Identifier: GPL-2.0

//! PCI: ids by number, and a device that is switched off again.
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
    types::ScopeGuard, //
};

/// An entry of a PCI id table, by vendor and device number.
pub(crate) const fn device_id((vendor, device): (u32, u32)) -> pci::DeviceId {
    let any = bindings::PCI_ANY_ID as u32;
    let id = bindings::pci_device_id {
        vendor,
        device,
        subvendor: any,
        subdevice: any,
        class: 0,
        class_mask: 0,
        driver_data: 0,
        override_only: 0,
    };
    // SAFETY: `DeviceId` is a transparent wrapper of `pci_device_id` with no further invariants.
    unsafe { core::mem::transmute::<bindings::pci_device_id, pci::DeviceId>(id) }
}

/// A device whose memory decoding is on; dropping it switches the device off.
///
/// # Invariants
///
/// `pci_enable_device_mem` has succeeded for the device and has not been undone.
pub(crate) struct Enabled<'bound>(&'bound pci::Device<Bound>);

impl<'bound> Enabled<'bound> {
    /// Switches the device on. It reaches no memory before it is made a bus master.
    ///
    /// # Errors
    ///
    /// Those of the kernel.
    pub(crate) fn new(pdev: &'bound pci::Device<Core<'_>>) -> Result<Self> {
        pdev.enable_device_mem()?;
        // INVARIANT: just done.
        Ok(Self(pdev))
    }

    /// Lets the device reach memory.
    pub(crate) fn set_master(&self) {
        // SAFETY: The device is valid.
        unsafe { bindings::pci_set_master(raw(self.0)) };
    }

    /// Whether the device reaches memory: it can have been kept from it without the driver, as by
    /// setpci(8). Also in interrupt handlers.
    pub(crate) fn is_master(&self) -> bool {
        let mut command = 0;
        // CAST: a small constant.
        // SAFETY: The device is valid, and `command` can be written.
        let failed = unsafe {
            bindings::pci_read_config_word(
                raw(self.0),
                bindings::PCI_COMMAND as c_int,
                &mut command,
            )
        };
        failed == 0 && u32::from(command) & bindings::PCI_COMMAND_MASTER != 0
    }

    /// Keeps the device from reaching memory. Also in interrupt handlers.
    pub(crate) fn clear_master(&self) {
        // SAFETY: The device is valid.
        unsafe { bindings::pci_clear_master(raw(self.0)) };
    }
}

impl Drop for Enabled<'_> {
    fn drop(&mut self) {
        self.clear_master();
        // SAFETY: By the type invariant this undoes what `new` did.
        unsafe { bindings::pci_disable_device(raw(self.0)) };
    }
}

/// Calls `f` with each device that is in the table and has no driver yet, in the order in which a
/// new driver gets them.
pub(in crate::kernel_ext) fn for_each_unbound(
    ids: pci::IdTable<()>,
    mut f: impl FnMut(*const bindings::device) -> Result,
) -> Result {
    let any = bindings::PCI_ANY_ID as c_uint;
    let mut last = core::ptr::null_mut();
    loop {
        // SAFETY: `last` is null or a device that we have a reference to, which this takes.
        last = unsafe { bindings::pci_get_device(any, any, last) };
        if last.is_null() {
            return Ok(());
        }
        let reference = ScopeGuard::new(|| {
            // SAFETY: We have a reference, and the device is not used after this.
            unsafe { bindings::pci_dev_put(last) }
        });
        // SAFETY: The device is valid, and so is the table, which ends with an empty entry.
        let is_ours = unsafe { !bindings::pci_match_id(ids.as_ptr(), last).is_null() };
        // SAFETY: The device is valid. Whether it has a driver may change: this is a hint.
        let is_free = unsafe { (*last).dev.driver.is_null() };
        if is_ours && is_free {
            // SAFETY: The device is valid.
            f(unsafe { &raw const (*last).dev })?;
        }
        reference.dismiss();
    }
}

fn raw(pdev: &pci::Device<Bound>) -> *mut bindings::pci_dev {
    // CAST: `pci::Device` is a transparent wrapper of `Opaque<pci_dev>`.
    core::ptr::from_ref(pdev).cast_mut().cast()
}
