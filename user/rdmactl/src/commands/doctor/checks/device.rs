//! The node, and what the device can do.

use std::time::Instant;

use rust_dma::{Context, Error, Info, Request};
use rustix::process::{Resource, geteuid, getrlimit};

use super::{Finding, good, note, wrong};
use crate::{
    device::Device,
    failure::{Failure, with_reason},
    sysfs,
};

/// Why no device could be opened, if the driver has one.
pub fn unopened(failure: &Failure) -> Finding {
    let (Failure::Of { error, .. } | Failure::Device(error)) = failure else {
        return match failure {
            Failure::Unavailable(found) if !found.contains("doctor") => {
                wrong(found.split(':').next().unwrap_or(found), "`rdmactl list` lists the devices")
            }
            _ => wrong("there is no node in /dev", NO_NODE),
        };
    };
    match error {
        Error::NoDevice { path } => wrong(format!("{} does not exist", path.display()), NO_NODE),
        Error::Permission { path } => {
            let advice = "`adduser USER rust-dma` and log in again (the udev rule of the package assigns nodes to that group), or use root";
            wrong(format!("user {} may not open {}", geteuid().as_raw(), path.display()), advice)
        }
        Error::Version { .. } => wrong(error.to_string(), "install a module that is not older than the tool"),
        Error::OtherDriver { .. } => wrong(error.to_string(), "`rdmactl list` lists the devices"),
        _ => wrong(failure.to_string(), "`dmesg` may have more"),
    }
}

const NO_NODE: &str =
    "check that /dev is a devtmpfs and udev runs; in a container, pass the node, as with `docker run --device`";

/// A name that does not change.
pub fn name(device: &Device) -> Finding {
    match &device.by_path {
        Some(path) => good(path.display().to_string()),
        None => note(
            "no name that stays the same when devices are added or removed",
            "install packaging/udev/60-rust-dma.rules (the package rustdma-tools has it)",
        ),
    }
}

/// Memory within the address range of the device.
pub fn reach(device: &Device, info: &Info) -> Finding {
    let bits = info.dma_bits;
    let group = device.on_bus("iommu_group").and_then(sysfs::link_name);
    // In the mode iommu=pt, it passes addresses through as they are. Source: the kernel's Documentation/ABI/testing/sysfs-kernel-iommu_groups.
    let translates = device.on_bus("iommu_group/type").and_then(sysfs::text).is_none_or(|kind| kind != "identity");
    if let Some(group) = group.as_ref().filter(|_| translates) {
        return good(format!("{bits} bits, and an IOMMU (group {group}): all memory is within range"));
    }
    if bits >= 32 {
        return good(format!("{bits} bits"));
    }
    let cma = sysfs::text("/proc/meminfo")
        .as_deref()
        .map(sysfs::named)
        .and_then(|lines| lines.get("CmaTotal")?.split(' ').next()?.parse::<u64>().ok());
    let (iommu, other_way) = match group {
        None => ("no IOMMU", ""),
        Some(_) => {
            ("an IOMMU that does not translate (iommu=pt)", ", or iommu.passthrough=0 makes the IOMMU translate")
        }
    };
    let found =
        format!("{bits} bits and {iommu}: only the lowest {} MiB of memory are within range", (1_u64 << bits) >> 20);
    match cma {
        Some(kib) if kib > 0 => good(format!("{found}; {} MiB are reserved (CMA)", kib >> 10)),
        _ => note(
            found,
            format!(
                "large allocations may fail; `cma=64M@0-256M` on the kernel command line reserves memory for them{other_way}"
            ),
        ),
    }
}

/// A buffer of a usual size, or of one page.
pub fn memory(context: &Context) -> Finding {
    let limit = getrlimit(Resource::Memlock).current;
    let limited = limit.map_or_else(|| "no limit".into(), |bytes| format!("at most {} KiB (ulimit -l)", bytes >> 10));
    let advice = |error: &Error, size: u64| {
        match error {
        Error::NoMemory { .. } if limit.is_some_and(|limit| limit < size) => {
            "raise RLIMIT_MEMLOCK: `ulimit -l` in a shell of root, memlock in /etc/security/limits.conf, LimitMEMLOCK= in a unit of systemd"
                .to_owned()
        }
        _ => with_reason(error),
    }
    };
    match (context.allocate(LARGE), context.allocate(1)) {
        (Ok(buffer), _) => good(format!("a buffer of {} KiB; {limited}", buffer.len() >> 10)),
        (Err(error), Ok(_)) => note(format!("none for a buffer of 1 MiB; {limited}"), advice(&error, LARGE as u64)),
        (Err(_), Err(error)) => wrong(format!("none for a single page; {limited}"), advice(&error, 4096)),
    }
}

const LARGE: usize = 1 << 20;

/// A transfer to the device and back, or from buffer to buffer.
pub fn transfer(context: &Context, info: &Info) -> Finding {
    let (run, what): (fn(_) -> _, _) = match info.copies_directly() {
        true => (copy, "copied from buffer to buffer"),
        false => (there_and_back, "transferred from the device and back"),
    };
    let began = Instant::now();
    let done = run(context);
    let time = began.elapsed();
    match done {
        Ok(()) => good(format!("a byte was {what} in {} ms", time.as_millis())),
        Err(error) => wrong(with_reason(&error), "`dmesg` has more; unbind the driver and bind it again"),
    }
}

/// Writes back the byte that it has read. (The driver fills the memory of another user with zeros before.)
fn there_and_back(context: &Context) -> Result<(), Error> {
    let buffer = Request::from_device(context.allocate(1)?, ..1, 0).run()?;
    Request::to_device(buffer, ..1, 0).run()?;
    Ok(())
}

fn copy(context: &Context) -> Result<(), Error> {
    let (from, to) = context.allocate(2)?.split_at(1);
    Request::copy(from, .., to, 0).run()?;
    Ok(())
}
