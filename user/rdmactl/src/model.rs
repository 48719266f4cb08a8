//! The kinds of devices, by their PCI IDs.

use std::path::Path;

use rust_dma::Info;

use crate::{device::Device, sysfs};

/// A kind of device that the driver knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// QEMU's device for teaching. Source: QEMU, docs/specs/edu.rst.
    Edu,
    /// Intel's DMA engine of Broadwell-DE and Skylake-SP. Source: Linux, drivers/dma/ioat/hw.h.
    Ioat,
}

impl Model {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Edu => "edu",
            Self::Ioat => "I/OAT",
        }
    }

    /// The model of an open device, from sysfs. Without sysfs, as in a container, its capabilities show it.
    pub fn of(device: &Device, info: &Info) -> Self {
        let known = device.on_bus("").and_then(|path| Self::at(&path));
        known.unwrap_or(if info.copies_directly() { Self::Ioat } else { Self::Edu })
    }

    /// The model of the device of a directory below /sys/bus/pci/devices; none if it is another device.
    pub fn at(directory: &Path) -> Option<Self> {
        let id = |name| sysfs::text(directory.join(name));
        Self::with_ids(&id("vendor")?, &id("device")?)
    }

    fn with_ids(vendor: &str, device: &str) -> Option<Self> {
        match (vendor, device) {
            ("0x1234", "0x11e8") => Some(Self::Edu),
            ("0x8086", "0x2021" | "0x6f50" | "0x6f51" | "0x6f52" | "0x6f53") => Some(Self::Ioat),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pci_ids() {
        assert_eq!(Model::with_ids("0x1234", "0x11e8"), Some(Model::Edu));
        for device in ["0x2021", "0x6f50", "0x6f53"] {
            assert_eq!(Model::with_ids("0x8086", device), Some(Model::Ioat));
        }
        assert_eq!(Model::with_ids("0x8086", "0x11e8"), None);
        assert_eq!(Model::with_ids("0x1234", "0x2021"), None);
    }
}
