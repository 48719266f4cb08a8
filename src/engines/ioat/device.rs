// SPDX-License-Identifier: GPL-2.0

//! An I/OAT device: its identification, its registers, and the number of its channels.

use super::regs;
use core::ops::RangeInclusive;
use kernel::{
    device::Bound,
    io::Io,
    pci,
    prelude::*,
    sync::Arc, //
};

/// PCI vendor and device of the devices of this kind: Broadwell-DE, Skylake-SP. Source: Linux,
/// `drivers/dma/ioat/hw.h`.
pub(crate) const PCI_IDS: [(u32, u32); 5] = [
    (0x8086, 0x6f50),
    (0x8086, 0x6f51),
    (0x8086, 0x6f52),
    (0x8086, 0x6f53),
    (0x8086, 0x2021),
];

/// The versions, as major and minor, whose registers and errors this driver knows.
const VERSIONS: [(u8, u8); 2] = [(3, 2), (3, 3)];

/// The PCI device of Skylake-SP. It is handled as version 3.2, also if it reports a later one.
/// Source: Linux, `drivers/dma/ioat/init.c`, `ioat_pci_probe`.
pub(super) const SKYLAKE: u16 = 0x2021;

/// The PCI devices of Broadwell-DE.
pub(super) const BROADWELL: RangeInclusive<u16> = 0x6f50..=0x6f53;

/// The largest number of channels of a device: bits of the register ATTENTION.
const MAX_CHANNELS: usize = 32;

/// The registers of an I/OAT device.
pub(super) type Bar<'bound> = pci::Bar<'bound, { regs::BAR_SIZE }>;

/// An I/OAT device, whose channels are engines.
pub(crate) struct IoatDevice<'bound> {
    pub(super) pdev: &'bound pci::Device<Bound>,
    pub(super) bar: Arc<Bar<'bound>>,
    /// Major and minor.
    pub(super) version: (u8, u8),
    /// The number of channels that the device has, of which the driver may use fewer.
    channels: usize,
}

impl<'bound> IoatDevice<'bound> {
    /// Maps the device, and checks its identification.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the device is not as expected. The log has the reason.
    pub(crate) fn new(pdev: &'bound pci::Device<Bound>) -> Result<Self> {
        let bar = pdev
            .iomap_region_sized::<{ regs::BAR_SIZE }>(0, c"rdma")
            .inspect_err(|e| dev_err!(pdev, "cannot map BAR 0: {e:?}\n"))?;
        let version = bar.read(regs::VERSION);
        let version = (version.major().get(), version.minor().get());
        // CAST: The number has 8 bits.
        let channels = u8::from(bar.read(regs::CHANNEL_COUNT)) as usize;
        let is_known = VERSIONS.contains(&version)
            || (pdev.device_id() == SKYLAKE && version.0 == 3 && version.1 >= 2);
        if !is_known || !(1..=MAX_CHANNELS).contains(&channels) {
            let (major, minor) = version;
            dev_err!(
                pdev,
                "version {major}.{minor} with {channels} channels is not I/OAT 3.2 or 3.3\n"
            );
            return Err(ENODEV);
        }
        Ok(Self {
            pdev,
            bar: Arc::new(bar, GFP_KERNEL)?,
            version,
            channels,
        })
    }

    /// Returns the number of channels that the driver uses.
    pub(crate) fn channels(&self) -> usize {
        self.channels.min(regs::CHANNELS)
    }
}
