// SPDX-License-Identifier: GPL-2.0

//! The DMA mask of a device, and checks whether its DMA memory can be mapped into programs.
//!
//! A mapping uses the page protection of normal memory: cached, and encrypted if memory is
//! encrypted. If DMA memory needs another page protection (`dma_pgprot`, which is not exported),
//! program and device would see different contents.
//!
//! C headers: `include/linux/dma-mapping.h`, `include/linux/cc_platform.h`

use crate::kernel_ext::device::raw;
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
    /// `dev` is a `struct device *`.
    fn rdma_helper_dma_is_coherent(dev: *mut c_void) -> bool;
}

/// Sets the DMA mask of the device, so that memory can be allocated for it.
///
/// # Errors
///
/// [`ENODEV`] if the system does not support the device. The reason is logged.
pub(in crate::kernel_ext) fn set(pdev: &pci::Device<Core<'_>>, mask: DmaMask) -> Result {
    // SAFETY: The function has no arguments.
    if unsafe { rdma_helper_memory_is_encrypted() } || is_injected(Unsupported::Encrypted) {
        dev_err!(
            pdev,
            "memory is encrypted (SEV, TDX, SME): a mapping would not show what the device sees\n"
        );
        return Err(ENODEV);
    }
    let device: &Device<Core<'_>> = pdev.as_ref();
    // SAFETY: The device is valid.
    if !unsafe { rdma_helper_dma_is_coherent(raw(device).cast()) }
        || is_injected(Unsupported::NotCoherent)
    {
        dev_err!(
            pdev,
            "DMA is not coherent with the caches: a mapping would not show what the device sees\n"
        );
        return Err(ENODEV);
    }
    set_mask(pdev, mask).map_err(|e| {
        let bits = mask.value().count_ones();
        dev_err!(
            pdev,
            "no memory is below 2^{bits}, the limit of the device ({e:?}): use an IOMMU, or a wider \
             dma_mask and dma_bits\n"
        );
        ENODEV
    })
}

fn set_mask(pdev: &pci::Device<Core<'_>>, mask: DmaMask) -> Result {
    if is_injected(Unsupported::OutOfReach) {
        return Err(EIO);
    }
    // SAFETY: This is the first step of attaching a device, so nothing was allocated or mapped for
    // it.
    unsafe { pdev.dma_set_mask_and_coherent(mask) }
}

/// The reasons for which a device is not supported.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unsupported {
    Encrypted = 1,
    NotCoherent = 2,
    OutOfReach = 3,
}

#[cfg(not(CONFIG_FAULT_INJECTION))]
fn is_injected(_: Unsupported) -> bool {
    false
}

#[cfg(CONFIG_FAULT_INJECTION)]
pub(crate) use injected::inject;
#[cfg(CONFIG_FAULT_INJECTION)]
use injected::is_injected;

/// Simulated faults, for tests.
#[cfg(CONFIG_FAULT_INJECTION)]
mod injected {
    use super::*;
    use kernel::sync::atomic::{
        Atomic,
        Relaxed, //
    };

    /// The fault of the next device that is attached, or 0.
    static NEXT: Atomic<u32> = Atomic::new(0);

    /// Simulates the fault with this name for the next device that is attached.
    pub(crate) fn inject(name: &str) -> Result {
        let fault = match name {
            "encrypted" => Unsupported::Encrypted,
            "not-coherent" => Unsupported::NotCoherent,
            "out-of-reach" => Unsupported::OutOfReach,
            _ => return Err(EINVAL),
        };
        NEXT.store(fault as u32, Relaxed);
        Ok(())
    }

    pub(in crate::kernel_ext) fn is_injected(fault: Unsupported) -> bool {
        NEXT.cmpxchg(fault as u32, 0, Relaxed).is_ok()
    }
}
