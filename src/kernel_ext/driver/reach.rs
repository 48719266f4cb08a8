// SPDX-License-Identifier: GPL-2.0

//! What a device reaches of the memory, and whether that can be mapped into programs.
//!
//! A mapping shows pages as the kernel itself sees them: cached, and encrypted if the rest of the
//! memory is. Where memory for DMA has to be seen in another way (`dma_pgprot`, which modules
//! cannot call), program and device would see different bytes.
//!
//! C headers: `include/linux/dma-mapping.h`, `include/linux/cc_platform.h`

use kernel::{
    device::{
        Core,
        Device, //
    },
    dma::{
        Device as DmaDevice,
        DmaMask, //
    },
    pci,
    prelude::*, //
};

extern "C" {
    fn rdma_helper_memory_is_encrypted() -> bool;
    /// Of a `struct device *`.
    fn rdma_helper_dma_is_coherent(dev: *mut c_void) -> bool;
}

/// Gives the device its mask: from here on memory can be allocated for it.
///
/// # Errors
///
/// [`ENODEV`] if the device cannot be driven here; the log says why.
pub(in crate::kernel_ext) fn set(pdev: &pci::Device<Core<'_>>, mask: DmaMask) -> Result {
    // SAFETY: Takes nothing.
    if unsafe { rdma_helper_memory_is_encrypted() } || is_injected(Fault::Encrypted) {
        dev_err!(
            pdev,
            "memory is encrypted (SEV, TDX, SME): a mapping would not show what the device sees\n"
        );
        return Err(ENODEV);
    }
    let device: &Device<Core<'_>> = pdev.as_ref();
    // CAST: `Device` is a transparent wrapper of `struct device`.
    let raw = core::ptr::from_ref(device).cast_mut().cast();
    // SAFETY: The device is valid.
    if !unsafe { rdma_helper_dma_is_coherent(raw) } || is_injected(Fault::NotCoherent) {
        dev_err!(
            pdev,
            "DMA is not coherent with the caches: a mapping would not show what the device sees\n"
        );
        return Err(ENODEV);
    }
    set_mask(pdev, mask).map_err(|e| {
        let bits = mask.value().count_ones();
        dev_err!(pdev, "no memory is within {bits}-bit DMA: {e:?}\n");
        ENODEV
    })
}

fn set_mask(pdev: &pci::Device<Core<'_>>, mask: DmaMask) -> Result {
    if is_injected(Fault::OutOfReach) {
        return Err(EIO);
    }
    // SAFETY: Attaching a device begins with this: nothing was allocated or mapped for it.
    unsafe { pdev.dma_set_mask_and_coherent(mask) }
}

/// What can be wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    Encrypted = 1,
    NotCoherent = 2,
    OutOfReach = 3,
}

#[cfg(not(CONFIG_FAULT_INJECTION))]
fn is_injected(_: Fault) -> bool {
    false
}

#[cfg(CONFIG_FAULT_INJECTION)]
pub(crate) use injected::inject;
#[cfg(CONFIG_FAULT_INJECTION)]
use injected::is_injected;

/// Faults on demand, for tests.
#[cfg(CONFIG_FAULT_INJECTION)]
mod injected {
    use super::*;
    use kernel::sync::atomic::{
        Atomic,
        Relaxed, //
    };

    /// The fault that the next device to be attached has, or 0.
    static NEXT: Atomic<u32> = Atomic::new(0);

    /// Lets the next device to be attached have the fault of this name.
    pub(crate) fn inject(name: &str) -> Result {
        let fault = match name {
            "encrypted" => Fault::Encrypted,
            "not-coherent" => Fault::NotCoherent,
            "out-of-reach" => Fault::OutOfReach,
            _ => return Err(EINVAL),
        };
        NEXT.store(fault as u32, Relaxed);
        Ok(())
    }

    pub(in crate::kernel_ext) fn is_injected(fault: Fault) -> bool {
        NEXT.cmpxchg(fault as u32, 0, Relaxed).is_ok()
    }
}
