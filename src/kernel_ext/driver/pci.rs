// SPDX-License-Identifier: GPL-2.0

//! PCI: tables of device ids, and the devices that match one.
//!
//! C header: `include/linux/pci.h`

mod enabled;

pub(crate) use enabled::EnabledDevice;

use kernel::{
    bindings,
    pci,
    prelude::*,
    types::ScopeGuard, //
};

/// Returns an entry of a PCI id table for a vendor id and a device id. `DeviceId::from_id` of the
/// crate takes a `Vendor`, which cannot be made of a number.
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
    // SAFETY: `DeviceId` is a transparent wrapper of `pci_device_id` without further invariants.
    unsafe { core::mem::transmute::<bindings::pci_device_id, pci::DeviceId>(id) }
}

/// Calls `f` with each device in the table that has no driver, in the order in which a new driver
/// is bound to them.
pub(in crate::kernel_ext) fn for_each_unbound(
    ids: pci::IdTable<()>,
    mut f: impl FnMut(*const bindings::device) -> Result,
) -> Result {
    let any = bindings::PCI_ANY_ID as c_uint;
    let mut last = core::ptr::null_mut();
    loop {
        // SAFETY: `last` is null or a device with a reference, which this call drops.
        last = unsafe { bindings::pci_get_device(any, any, last) };
        if last.is_null() {
            return Ok(());
        }
        let reference = ScopeGuard::new(|| {
            // SAFETY: `pci_get_device` has taken a reference; the device is not used after this
            // call.
            unsafe { bindings::pci_dev_put(last) }
        });
        // SAFETY: The device and the table are valid, and the table ends with an empty entry.
        let is_ours = unsafe { !bindings::pci_match_id(ids.as_ptr(), last).is_null() };
        // SAFETY: The device is valid. The pointer may change concurrently; it is used as a hint
        // only.
        let is_free = unsafe { (&raw const (*last).dev.driver).read_volatile() }.is_null();
        if is_ours && is_free {
            // SAFETY: The device is valid.
            f(unsafe { &raw const (*last).dev })?;
        }
        reference.dismiss();
    }
}
