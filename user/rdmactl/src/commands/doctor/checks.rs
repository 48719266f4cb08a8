//! The single checks.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use rust_dma::{Context, Device, Error, Info, Request};
use rustix::process::{Resource, geteuid, getrlimit};
use serde::Serialize;

use crate::{commands, sysfs};

/// The vendor and the device that QEMU's edu has. Source: QEMU, docs/specs/edu.rst.
const EDU: (&str, &str) = ("0x1234", "0x11e8");

/// The oldest kernel that the driver is for.
const KERNEL: (u32, u32) = (7, 3);

/// The result of a check.
#[derive(Serialize)]
#[serde(tag = "finding", rename_all = "lowercase")]
pub enum Finding {
    /// As it should be.
    Good { found: String },
    /// It works, but not always, or not for all users.
    Note { found: String, advice: String },
    /// It cannot work.
    Wrong { found: String, advice: String },
    /// Not checked, because something above is missing.
    Unknown { found: String },
}

type Checks = Vec<(&'static str, Finding)>;

/// All checks. Those that make no sense because something is missing are left out.
pub fn all(wanted: Option<&str>) -> Checks {
    let mut checks = vec![("kernel", kernel())];
    let devices = edu_devices();
    checks.push(("device", plugged(&devices)));
    checks.push(("module", module()));
    checks.push(("driver", driver(&devices)));
    let device = match commands::device(wanted) {
        Ok(device) => device,
        Err(failure) => {
            let advice = "see above; `rdmactl list` shows the devices of the driver".into();
            checks.push(("node", wrong(failure.to_string(), advice)));
            return checks;
        }
    };
    checks.push(("node", node(&device)));
    checks.push(("name", name(&device)));
    let context = match device.open() {
        Ok(context) => context,
        Err(error) => {
            checks.push(("open", wrong(error.to_string(), "see above".into())));
            return checks;
        }
    };
    match context.info() {
        Ok(info) => {
            checks.push(("reach", reach(&device, &info)));
            checks.push(("memory", memory(&context)));
            checks.push(("transfer", transfer(&context)));
        }
        Err(error) => checks.push(("open", wrong(error.to_string(), "see above".into()))),
    }
    checks
}

fn good(found: impl Into<String>) -> Finding {
    Finding::Good { found: found.into() }
}

fn wrong(found: impl Into<String>, advice: String) -> Finding {
    Finding::Wrong { found: found.into(), advice }
}

fn note(found: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding::Note { found: found.into(), advice: advice.into() }
}

fn kernel() -> Finding {
    let release = sysfs::release();
    let config = sysfs::text(format!("/boot/config-{release}"));
    kernel_of(&release, config.map(|text| text.lines().any(|line| line == "CONFIG_RUST=y")))
}

/// For a kernel that has Rust, that has not, or for which this is unknown.
fn kernel_of(release: &str, rust: Option<bool>) -> Finding {
    let mut numbers =
        release.split(|character: char| !character.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < KERNEL {
        let advice = format!("boot {}.{} or newer; Debian has one in its backports", KERNEL.0, KERNEL.1);
        return wrong(format!("Linux {release} is too old"), advice);
    }
    match rust {
        Some(false) => {
            let advice = "boot one with CONFIG_RUST=y; Debian's kernels from 7.3 on have it";
            wrong(format!("Linux {release} is built without Rust"), advice.into())
        }
        Some(true) => good(format!("Linux {release}, with Rust")),
        None => good(format!("Linux {release}")),
    }
}

/// The edu devices on the PCI bus.
fn edu_devices() -> Vec<PathBuf> {
    let is_edu = |path: &PathBuf| {
        let id = |name| sysfs::text(path.join(name));
        id("vendor").as_deref() == Some(EDU.0) && id("device").as_deref() == Some(EDU.1)
    };
    let entries = fs::read_dir("/sys/bus/pci/devices").into_iter().flatten().flatten();
    let mut devices: Vec<_> = entries.map(|entry| entry.path()).filter(is_edu).collect();
    devices.sort();
    devices
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn plugged(devices: &[PathBuf]) -> Finding {
    let names: Vec<_> = devices.iter().map(|path| file_name(path)).collect();
    match names.is_empty() {
        true => wrong(
            "no edu device (PCI 1234:11e8)",
            "add one to the virtual machine: `qemu-system-x86_64 -device edu`, with QEMU 10 or newer".into(),
        ),
        false => good(format!("edu at {}", names.join(", "))),
    }
}

fn module() -> Finding {
    if Path::new("/sys/module/rdma").exists() {
        return good("rdma is loaded");
    }
    let release = sysfs::release();
    let modules = PathBuf::from(format!("/lib/modules/{release}"));
    let dependencies = sysfs::text(modules.join("modules.dep")).unwrap_or_default();
    let installed = dependencies.lines().any(|line| {
        let file = line.split(':').next().unwrap_or_default();
        file.rsplit('/').next().is_some_and(|name| name == "rdma.ko" || name.starts_with("rdma.ko."))
    });
    match installed {
        true => wrong("rdma is installed, and not loaded", "`modprobe rdma`; if that fails, `dmesg` shows the reason".into()),
        false => wrong(
            format!("rdma is not installed for {release}"),
            "install the package rustdma-dkms and this kernel's headers, or `insmod` a module that `make modules` has built for it".into(),
        ),
    }
}

/// Whether the devices are bound to this driver.
fn driver(devices: &[PathBuf]) -> Finding {
    let mut others = Vec::new();
    let mut ours = Vec::new();
    for device in devices {
        match sysfs::link_name(device.join("driver")) {
            Some(driver) if driver == "rdma" => ours.push(file_name(device)),
            Some(driver) => others.push(format!("{} is {driver}'s", file_name(device))),
            None => others.push(format!("{} has none", file_name(device))),
        }
    }
    if devices.is_empty() {
        return Finding::Unknown { found: "no device".into() };
    }
    let advice = "`dmesg` shows why it was refused; `echo ADDRESS >/sys/bus/pci/drivers/rdma/bind` binds it again, \
                  after an unbind from another driver and with an empty driver_override";
    match (ours.is_empty(), others.is_empty()) {
        (false, true) => good(format!("rdma, of {}", ours.join(", "))),
        (false, false) => note(format!("rdma, of {}; {}", ours.join(", "), others.join(", ")), advice),
        (true, _) => wrong(others.join(", "), advice.into()),
    }
}

fn node(device: &Device) -> Finding {
    let node = device.node.display();
    match Context::open(&device.node) {
        Ok(_) => good(format!("{node} opens")),
        Err(Error::NoDevice { .. }) => {
            let advice = "check that /dev is a devtmpfs and udev runs; in a container, pass the node, as with `docker run --device`";
            wrong(format!("{node} does not exist"), advice.into())
        }
        Err(Error::Permission { .. }) => {
            let advice = "`adduser USER rust-dma` and log in again (the udev rule of the package assigns nodes to that group), or use root";
            wrong(format!("user {} may not open {node}", geteuid().as_raw()), advice.into())
        }
        Err(error @ Error::Version { .. }) => {
            wrong(error.to_string(), "install the module and the tool in the same version".into())
        }
        Err(error) => wrong(error.to_string(), "`dmesg` may have more".into()),
    }
}

fn name(device: &Device) -> Finding {
    match &device.by_path {
        Some(path) => good(path.display().to_string()),
        None => note(
            "no name that stays the same when devices are added or removed",
            "install packaging/udev/60-rust-dma.rules (the package rustdma-tools has it)",
        ),
    }
}

/// Memory within the address range of the device.
fn reach(device: &Device, info: &Info) -> Finding {
    let bits = info.dma_bits;
    let group = sysfs::link_name(format!("/sys/bus/pci/devices/{}/iommu_group", device.pci_address));
    if let Some(group) = group {
        return good(format!("{bits} bits, and an IOMMU (group {group}): all memory is within range"));
    }
    if bits >= 32 {
        return good(format!("{bits} bits"));
    }
    let cma = sysfs::text("/proc/meminfo")
        .as_deref()
        .map(sysfs::named)
        .and_then(|lines| lines.get("CmaTotal")?.split(' ').next()?.parse::<u64>().ok());
    let found =
        format!("{bits} bits and no IOMMU: only the lowest {} MiB of memory are within range", (1_u64 << bits) >> 20);
    match cma {
        Some(kib) if kib > 0 => good(format!("{found}; {} MiB are reserved (CMA)", kib >> 10)),
        _ => note(
            found,
            "large allocations may fail; `cma=64M@0-256M` on the kernel command line reserves memory for them",
        ),
    }
}

fn memory(context: &Context) -> Finding {
    let limit = getrlimit(Resource::Memlock).current;
    let limited = limit.map_or_else(|| "no limit".into(), |bytes| format!("at most {} KiB (ulimit -l)", bytes >> 10));
    match context.allocate(1 << 20) {
        Ok(buffer) => good(format!("a buffer of {} KiB; {limited}", buffer.len() >> 10)),
        Err(error) => match context.allocate(1) {
            Ok(_) => note(format!("none for a buffer of 1 MiB; {limited}"), error.to_string()),
            Err(error) => wrong("none for a single page", error.to_string()),
        },
    }
}

/// A transfer to the device and back. The byte in the device memory is restored.
fn transfer(context: &Context) -> Finding {
    let began = Instant::now();
    let done = context.allocate(2).and_then(|buffer| {
        let (first, second) = buffer.split_at(1);
        let first = Request::from_device(first, ..1, 0).run()?;
        Request::to_device(first, ..1, 0).run()?;
        drop(second);
        Ok(())
    });
    let time = began.elapsed();
    match done {
        Ok(()) => good(format!("a byte was transferred from the device and back in {} ms", time.as_millis())),
        Err(error) => wrong(error.to_string(), "`dmesg` has more; unbind the driver and bind it again".into()),
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
