//! The devices, and how they are named on the command line.
//!
//! The type of a node is read from its open file, its address from sysfs. A node may have another name than in the kernel, and a container may
//! have no sysfs, or hide it.

use std::{
    ffi::OsStr,
    fs,
    os::fd::{AsFd, AsRawFd},
    path::{Path, PathBuf},
};

use rust_dma::{Context, Error};

use crate::{failure::Failure, sysfs};

/// A device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name in the kernel: `rdma0`.
    pub name: String,
    /// Its node, under the name that was given.
    pub node: PathBuf,
    /// Its address on the PCI bus, if sysfs is there.
    pub pci_address: Option<String>,
    /// A name of the node that does not change, if udev has created one.
    pub by_path: Option<PathBuf>,
}

impl Device {
    /// Opens its node.
    pub fn open(&self) -> Result<Context, Failure> {
        Context::open(&self.node).map_err(self.failed())
    }

    /// Adds its name to an error of the library.
    pub fn failed(&self) -> impl Fn(Error) -> Failure + use<> {
        let name = self.name.clone();
        move |error| Failure::Of { name: name.clone(), error }
    }

    /// A file below its directory on the PCI bus.
    pub fn on_bus(&self, file: &str) -> Option<PathBuf> {
        Some(Path::new("/sys/bus/pci/devices").join(self.pci_address.as_ref()?).join(file))
    }
}

impl From<rust_dma::Device> for Device {
    fn from(known: rust_dma::Device) -> Self {
        Self { name: known.name, node: known.node, pci_address: Some(known.pci_address), by_path: known.by_path }
    }
}

/// All devices: those in sysfs, or else those that have nodes in /dev.
fn found() -> Vec<Device> {
    let known = known();
    if !known.is_empty() {
        return known;
    }
    let names = fs::read_dir("/dev").into_iter().flatten().flatten();
    let mut names: Vec<_> =
        names.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| is_name(name)).collect();
    names.sort_by_key(|name| (name.len(), name.clone()));
    let of_node = |name: String| {
        let node = Path::new("/dev").join(&name);
        of_node(&node, &[]).unwrap_or(Device { name, node, pci_address: None, by_path: None })
    };
    names.into_iter().map(of_node).collect()
}

/// All devices; an error if there is none.
pub fn all() -> Result<Vec<Device>, Failure> {
    let devices = found();
    match devices.is_empty() {
        true => Err(Failure::Unavailable("there is no device: `rdmactl doctor` finds the reason".into())),
        false => Ok(devices),
    }
}

/// The selected device, by name, node or address; the first one that has a node by default.
pub fn one(wanted: Option<&str>) -> Result<Device, Failure> {
    let Some(wanted) = wanted else {
        let devices = all()?;
        let with_node = devices.iter().find(|device| device.node.exists());
        return Ok(with_node.unwrap_or(&devices[0]).clone());
    };
    let known = known();
    if let Some(device) = known.iter().find(|device| device.name == wanted || has_address(device, wanted)) {
        return Ok(device.clone());
    }
    let node = if is_name(wanted) { Path::new("/dev").join(wanted) } else { PathBuf::from(wanted) };
    match of_node(&node, &known) {
        Err(Error::NoDevice { .. }) => {
            Err(Failure::Unavailable(format!("there is no device {wanted}: `rdmactl list` lists all devices")))
        }
        found => found.map_err(Failure::from),
    }
}

/// The selected devices; the caller decides what an empty list means.
pub fn some(wanted: &[String]) -> Result<Vec<Device>, Failure> {
    if wanted.iter().any(|name| name == "all") {
        return all();
    }
    let mut chosen: Vec<Device> = Vec::new();
    for name in wanted {
        let device = one(Some(name))?;
        if !chosen.iter().any(|other| other.name == device.name) {
            chosen.push(device);
        }
    }
    Ok(chosen)
}

/// Whether a word of the command line names a device, and not a file.
pub fn is_meant_by(word: &str) -> bool {
    let path = Path::new(word);
    // - is a standard stream, also if there is a node of this name.
    is_name(word) || is_address(word) || is_path_of_node(path) || (word != "-" && name_of_node(path).is_ok())
}

/// Whether nodes have such a path. A device that is gone has it, too: no file is written in its place.
fn is_path_of_node(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str);
    path.starts_with("/dev/rdma/by-path") || (path.parent() == Some(Path::new("/dev")) && name.is_some_and(is_name))
}

/// The name in the kernel of the device that an open file belongs to; none if it is another file.
pub fn name_of_file(file: impl AsFd) -> Option<String> {
    let lines = sysfs::text(format!("/proc/self/fdinfo/{}", file.as_fd().as_raw_fd()))?;
    sysfs::named(&lines).get("rdma-node").cloned()
}

/// Fails if an open file, which should be an ordinary one, is a device; the advice gets the name of the device.
pub fn refuse(file: impl AsFd, name: &str, advice: impl FnOnce(&str) -> String) -> Result<(), Failure> {
    match name_of_file(file) {
        None => Ok(()),
        Some(device) => Err(Failure::Usage(format!("{name} is the device {device}, {}", advice(&device)))),
    }
}

/// The devices in sysfs; none if it cannot be read, as in a container that hides it.
fn known() -> Vec<Device> {
    rust_dma::devices().unwrap_or_default().into_iter().map(Device::from).collect()
}

fn of_node(node: &Path, known: &[Device]) -> Result<Device, Error> {
    let of_name = |name: &str| known.iter().find(|device| device.name == name);
    let there = fs::canonicalize(node).ok();
    match name_of_node(node) {
        Ok(name) => {
            let known = of_name(&name);
            let (pci_address, by_path) =
                known.map(|known| (known.pci_address.clone(), known.by_path.clone())).unwrap_or_default();
            Ok(Device { name, node: node.to_owned(), pci_address, by_path })
        }
        // It is there, but cannot be opened, as its user will find.
        Err(error) => known.iter().find(|device| Some(&device.node) == there.as_ref()).cloned().ok_or(error),
    }
}

/// The name in the kernel of the device that a node belongs to. Other files than nodes are not opened: a pipe could block.
fn name_of_node(node: &Path) -> Result<String, Error> {
    let kind = fs::metadata(node).map(|metadata| metadata.file_type());
    if kind.is_ok_and(|kind| !std::os::unix::fs::FileTypeExt::is_char_device(&kind)) {
        return Err(Error::OtherDriver { path: node.to_owned() });
    }
    let context = Context::open(node)?;
    let file_name = || node.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(name_of_file(&context).unwrap_or_else(file_name))
}

fn is_name(word: &str) -> bool {
    word.strip_prefix("rdma")
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// With or without the domain.
fn has_address(device: &Device, wanted: &str) -> bool {
    let Some(address) = &device.pci_address else { return false };
    let short = address.split_once(':').map_or("", |(_, short)| short);
    address.eq_ignore_ascii_case(wanted) || short.eq_ignore_ascii_case(wanted)
}

/// \[DOMAIN:\]BUS:DEVICE.FUNCTION, in hexadecimal.
fn is_address(word: &str) -> bool {
    let Some((slot, function)) = word.rsplit_once('.') else { return false };
    let parts: Vec<_> = slot.split(':').chain([function]).collect();
    (3..=4).contains(&parts.len())
        && parts.iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_name_devices() {
        for word in ["rdma0", "rdma12", "0000:01:00.0", "01:00.0"] {
            assert!(is_meant_by(word), "{word}");
        }
        for word in [
            "rdma",
            "rdmactl",
            "./rdma0",
            "data.1",
            "/dev/null",
            "-",
            "1:2",
            "2026.11.30",
            "1.2.3",
            "10.0.0.1",
            "01.00:0",
            "01:00.0.1",
        ] {
            assert!(!is_meant_by(word), "{word}");
        }
    }

    #[test]
    fn addresses() {
        let device = Device {
            name: "rdma0".into(),
            node: "/dev/rdma0".into(),
            pci_address: Some("0000:0a:00.0".into()),
            by_path: None,
        };
        for wanted in ["0000:0a:00.0", "0a:00.0", "0A:00.0"] {
            assert!(has_address(&device, wanted), "{wanted}");
        }
        assert!(!has_address(&device, "00.0"));
    }
}
