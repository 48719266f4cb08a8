//! `info`: all properties of a device and its driver.

use std::os::fd::{AsFd, AsRawFd};

use rust_dma::Info as Properties;
use serde::Serialize;

use super::list;
use crate::{
    cli::One,
    device::{self, Device},
    failure::Failure,
    model::Model,
    output::{Output, size},
    sysfs,
};

#[derive(Serialize)]
struct Info {
    name: String,
    node: String,
    by_path: Option<String>,
    pci_address: Option<String>,
    model: &'static str,
    kernel: String,
    abi_version: u32,
    capabilities: Vec<&'static str>,
    hardware_version: String,
    interrupt: String,
    irq: Option<u32>,
    iommu_group: Option<String>,
    dma_bits: u32,
    device_memory_bytes: u64,
    max_transfer_bytes: u64,
    max_buffer_bytes: u64,
    /// Maximum size of all buffers of one open file: the module's parameter `context_mib`.
    max_context_bytes: Option<u64>,
    queue_depth: u32,
    engine_depth: u32,
    address_alignment: u32,
    length_alignment: u32,
}

/// Prints it.
pub fn run(arguments: &One, output: &Output) -> Result<(), Failure> {
    let device = device::one(arguments.name())?;
    let context = device.open()?;
    let info = context.info().map_err(device.failed())?;
    let fdinfo = sysfs::text(format!("/proc/self/fdinfo/{}", context.as_fd().as_raw_fd()));
    let info = Info {
        node: device.node.display().to_string(),
        by_path: device.by_path.as_ref().map(|path| path.display().to_string()),
        kernel: sysfs::release(),
        model: Model::of(&device, &info).name(),
        abi_version: info.abi_version,
        capabilities: capabilities(&info),
        hardware_version: list::version(&info),
        interrupt: list::interrupt(info.interrupt),
        irq: irq(&device),
        iommu_group: device.on_bus("iommu_group").and_then(sysfs::link_name),
        dma_bits: info.dma_bits,
        device_memory_bytes: info.device_memory_size,
        max_transfer_bytes: info.max_transfer_size,
        max_buffer_bytes: info.max_buffer_size,
        max_context_bytes: fdinfo.and_then(|text| sysfs::named(&text).get("rdma-memory-limit")?.parse().ok()),
        queue_depth: info.queue_depth,
        engine_depth: info.engine_depth,
        address_alignment: info.address_alignment,
        length_alignment: info.length_alignment,
        pci_address: device.pci_address,
        name: device.name,
    };
    output.result(&info, || text(&info))
}

/// The number of its interrupt; of several, the first one.
fn irq(device: &Device) -> Option<u32> {
    // Messages have numbers of their own; "irq" is that of the line.
    let messages = device.on_bus("msi_irqs").and_then(|path| std::fs::read_dir(path).ok());
    let numbers = messages.into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.min().or_else(|| sysfs::text(device.on_bus("irq")?)?.parse().ok())
}

/// The names of its optional features, as in the header.
fn capabilities(info: &Properties) -> Vec<&'static str> {
    let all = [("direct_copy", info.copies_directly()), ("abort", info.can_abort())];
    all.into_iter().filter_map(|(name, has)| has.then_some(name)).collect()
}

fn text(info: &Info) -> String {
    let irq = info.irq.map_or_else(String::new, |irq| format!(", IRQ {irq}"));
    let iommu = info.iommu_group.as_ref().map_or_else(|| "none".to_owned(), |group| format!("group {group}"));
    let at = info.pci_address.as_ref().map_or_else(String::new, |address| format!(", at {address}"));
    let memory = if info.device_memory_bytes == 0 { "none".into() } else { size(info.device_memory_bytes) };
    let has = |name| info.capabilities.contains(&name);
    let copies = if has("direct_copy") { "from buffer to buffer" } else { "through the device memory" };
    let s = if info.engine_depth == 1 { "" } else { "s" };
    let aborts = if has("abort") { "; they can be stopped" } else { "" };
    let lines = [
        ("device", format!("{}, {} {}{at}", info.name, info.model, info.hardware_version)),
        (
            "node",
            [Some(&info.node), info.by_path.as_ref()].into_iter().flatten().cloned().collect::<Vec<_>>().join(", "),
        ),
        ("interface", format!("version {}", info.abi_version)),
        ("kernel", info.kernel.clone()),
        ("interrupt", format!("{}{irq}", info.interrupt)),
        ("DMA", format!("{} bits, IOMMU {iommu}", info.dma_bits)),
        ("device memory", memory),
        ("copies", copies.into()),
        ("one transfer", format!("{} at most", size(info.max_transfer_bytes))),
        ("one buffer", format!("{} at most", size(info.max_buffer_bytes))),
        (
            "one open file",
            info.max_context_bytes.map_or_else(|| "-".into(), |limit| format!("{} of buffers at most", size(limit))),
        ),
        ("queue", format!("{} requests for each open file", info.queue_depth)),
        ("engine", format!("{} transfer{s} at a time{aborts}", info.engine_depth)),
        ("alignment", format!("addresses {}, lengths {}", info.address_alignment, info.length_alignment)),
    ];
    lines.map(|(name, value)| format!("{name:<15}{value}")).join("\n")
}
