//! The kernel, the module and its devices.

use std::{fs, path::Path};

use super::{Checks, Finding, good, handover, note, wrong};
use crate::{model::Model, sysfs};

/// The oldest kernel that the driver is for.
const KERNEL: (u32, u32) = (7, 3);

/// What is needed for a node.
pub fn all() -> Checks {
    let devices = devices();
    let mut checks = vec![("device", plugged(devices.as_deref())), ("module", module())];
    let (ours, others): (Vec<_>, Vec<_>) = devices.unwrap_or_default().into_iter().partition(Plugged::is_meant_for_us);
    if !ours.is_empty() || others.is_empty() {
        checks.push(("driver", driver(&ours)));
    }
    if !others.is_empty() {
        checks.push(("I/OAT", handover::of(&others, !ours.is_empty())));
    }
    checks
}

/// A device on the PCI bus that the driver knows.
pub struct Plugged {
    pub model: Model,
    pub address: String,
    /// The driver that it is bound to.
    pub driver: Option<String>,
    /// The driver that it is reserved for.
    reserved: Option<String>,
}

impl Plugged {
    /// A device for a test.
    #[cfg(test)]
    pub fn new(model: Model, address: &str, driver: Option<&str>) -> Self {
        Self { model, address: address.into(), driver: driver.map(String::from), reserved: None }
    }

    fn at(path: &Path) -> Option<Self> {
        Some(Self {
            model: Model::at(path)?,
            address: path.file_name()?.to_string_lossy().into_owned(),
            driver: sysfs::link_name(path.join("driver")),
            reserved: sysfs::text(path.join("driver_override")).filter(|name| name != "(null)"),
        })
    }

    /// The driver is bound to edu by itself, and to others by `driver_override` only.
    fn is_meant_for_us(&self) -> bool {
        let is_ours = |name: &Option<String>| name.as_deref() == Some("rdma");
        self.model == Model::Edu || is_ours(&self.driver) || is_ours(&self.reserved)
    }
}

/// Its version, and Rust.
pub fn kernel() -> Finding {
    let release = sysfs::release();
    let config = sysfs::text(format!("/boot/config-{release}"));
    kernel_of(&release, config.map(|text| text.lines().any(|line| line == "CONFIG_RUST=y")))
}

fn is_too_old(release: &str) -> bool {
    let mut numbers =
        release.split(|character: char| !character.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < KERNEL
}

/// The advice for a kernel with Rust, without Rust, or of which this is unknown.
fn kernel_of(release: &str, rust: Option<bool>) -> Finding {
    if is_too_old(release) {
        let advice = format!("boot {}.{} or newer; Debian 13 has one in its backports", KERNEL.0, KERNEL.1);
        return wrong(format!("Linux {release} is too old"), advice);
    }
    match rust {
        Some(false) => {
            let advice = "boot one with CONFIG_RUST=y; Debian's kernels from 7.3 on have it";
            wrong(format!("Linux {release} is built without Rust"), advice)
        }
        Some(true) => good(format!("Linux {release}, with Rust")),
        None => good(format!("Linux {release}")),
    }
}

/// The mode of kernel lockdown, if it is active. Source: the kernel's security/lockdown/lockdown.c.
pub fn lockdown() -> Option<Finding> {
    let mode = lockdown_mode()?;
    let found = format!("{mode}: the kernel loads only signed modules");
    Some(match mode.as_str() {
        "confidentiality" => {
            note(found, "`rdmactl trace` does not work: lockdown=integrity on the kernel command line permits it")
        }
        _ => good(found),
    })
}

fn lockdown_mode() -> Option<String> {
    let modes = sysfs::text("/sys/kernel/security/lockdown")?;
    let mode = modes.split_once('[')?.1.split_once(']')?.0.to_owned();
    (mode != "none").then_some(mode)
}

/// The devices on the PCI bus that the driver knows; none if the bus is not visible.
fn devices() -> Option<Vec<Plugged>> {
    let entries = fs::read_dir("/sys/bus/pci/devices").ok()?.flatten();
    let mut devices: Vec<_> = entries.filter_map(|entry| Plugged::at(&entry.path())).collect();
    devices.sort_by(|one, other| one.address.cmp(&other.address));
    Some(devices)
}

fn plugged(devices: Option<&[Plugged]>) -> Finding {
    let Some(devices) = devices else {
        return Finding::Unknown { found: "/sys/bus/pci is not visible here".into() };
    };
    let names: Vec<_> = devices.iter().map(|device| format!("{} at {}", device.model.name(), device.address)).collect();
    match names.is_empty() {
        true => wrong(
            "no edu device (PCI 1234:11e8), and no I/OAT device (8086:2021, 8086:6f50 to 6f53)",
            "add one to the virtual machine: `qemu-system-x86_64 -device edu`, with QEMU 10 or newer",
        ),
        false => good(names.join(", ")),
    }
}

fn module() -> Finding {
    let modules = sysfs::text("/proc/modules").unwrap_or_default();
    if modules.lines().any(|line| line.starts_with("rdma ")) {
        return good("rdma is loaded");
    }
    let release = sysfs::release();
    if is_too_old(&release) {
        return Finding::Unknown { found: "not checked: the kernel is too old for it".into() };
    }
    let dependencies = sysfs::text(format!("/lib/modules/{release}/modules.dep")).unwrap_or_default();
    let installed = dependencies.lines().any(|line| {
        let file = line.split(':').next().unwrap_or_default();
        file.rsplit('/').next().is_some_and(|name| name == "rdma.ko" || name.starts_with("rdma.ko."))
    });
    let must_be_signed = lockdown_mode().map(|mode| format!("kernel lockdown ({mode})")).or_else(|| {
        let enforced = sysfs::text("/sys/module/module/parameters/sig_enforce");
        enforced.is_some_and(|value| value == "Y").then(|| "module.sig_enforce".into())
    });
    let signed = must_be_signed.map_or_else(String::new, |by| {
        format!(
            "; {by} refuses a module that is not signed: sign it with a key that the kernel knows (`mokutil --import`)"
        )
    });
    match installed {
        true => wrong(
            "rdma is installed, and not loaded",
            format!("`modprobe rdma`; if that fails, `dmesg` shows the reason{signed}"),
        ),
        false => wrong(
            format!("rdma is not installed for {release}"),
            format!(
                "install the package rustdma-dkms and this kernel's headers, or `insmod` a module that `make modules` has \
                 built for it{signed}"
            ),
        ),
    }
}

/// Whether the devices are bound to this driver.
fn driver(devices: &[Plugged]) -> Finding {
    let mut others = Vec::new();
    let mut ours = Vec::new();
    for Plugged { address, driver, .. } in devices {
        match driver {
            Some(driver) if driver == "rdma" => ours.push(address.clone()),
            Some(driver) => others.push(format!("{address} is {driver}'s")),
            None => others.push(format!("{address} has none")),
        }
    }
    if devices.is_empty() {
        return Finding::Unknown { found: "no device".into() };
    }
    let advice = "`dmesg` shows why it was refused; `echo ADDRESS >/sys/bus/pci/drivers/rdma/bind` binds it again, \
                  after an unbind from another driver, if its driver_override is empty or rdma";
    match (ours.is_empty(), others.is_empty()) {
        (false, true) => good(format!("rdma, of {}", ours.join(", "))),
        (false, false) => note(format!("rdma, of {}; {}", ours.join(", "), others.join(", ")), advice),
        (true, _) => wrong(others.join(", "), advice),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels() {
        for release in ["7.3.4+deb13-amd64", "7.10.0", "8.0.0-rc1"] {
            assert!(matches!(kernel_of(release, None), Finding::Good { .. }), "{release}");
            assert!(matches!(kernel_of(release, Some(true)), Finding::Good { .. }), "{release}");
            assert!(matches!(kernel_of(release, Some(false)), Finding::Wrong { .. }), "{release}");
        }
        for release in ["6.12.38+deb13-amd64", "7.2.11", "7", ""] {
            assert!(matches!(kernel_of(release, Some(true)), Finding::Wrong { .. }), "{release}");
        }
    }
}
