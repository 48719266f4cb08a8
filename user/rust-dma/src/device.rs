//! The devices in sysfs.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{Context, Error};

/// A device that the driver serves.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Device {
    /// Its name in the kernel: `rdma0`.
    pub name: String,
    /// Its node: `/dev/rdma0`.
    pub node: PathBuf,
    /// Its address on the PCI bus: `0000:01:00.0`.
    pub pci_address: String,
    /// A name of the node that does not depend on the order in which devices are added, if udev has created one:
    /// `/dev/rdma/by-path/pci-0000:01:00.0`.
    pub by_path: Option<PathBuf>,
}

impl Device {
    /// Opens its node.
    ///
    /// # Errors
    ///
    /// Those of [`Context::open`].
    pub fn open(&self) -> Result<Context, Error> {
        Context::open(&self.node)
    }
}

/// The devices of the driver, by their numbers; none if it is not loaded.
///
/// # Errors
///
/// [`Error::System`] if sysfs cannot be read.
pub fn devices() -> Result<Vec<Device>, Error> {
    let wrong = |source| Error::System { what: "/sys/class/rust_dma cannot be read", source };
    let entries = match fs::read_dir("/sys/class/rust_dma") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(wrong)?,
    };
    let mut devices = Vec::new();
    for entry in entries {
        let entry = entry.map_err(wrong)?;
        // It has been removed in the meantime.
        if let (Some(name), Ok(device)) = (entry.file_name().to_str(), fs::canonicalize(entry.path().join("device"))) {
            devices.push(of(name, &device));
        }
    }
    devices.sort_by_key(|device| (device.name.len(), device.name.clone()));
    Ok(devices)
}

fn of(name: &str, device: &Path) -> Device {
    let node = Path::new("/dev").join(name);
    let pci_address = device.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let by_path = Path::new("/dev/rdma/by-path").join(format!("pci-{pci_address}"));
    Device {
        name: name.to_owned(),
        by_path: (fs::canonicalize(&by_path).ok().as_ref() == Some(&node)).then_some(by_path),
        node,
        pci_address,
    }
}
