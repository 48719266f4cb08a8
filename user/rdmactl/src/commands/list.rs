//! `list`: the devices and their properties.

use rust_dma::{Info, Interrupt};
use serde::Serialize;

use crate::{
    device::{self, Device},
    failure::{self, Failure},
    model::Model,
    output,
    output::Output,
    sysfs,
};

/// All of them.
#[derive(Serialize)]
struct List {
    kernel: String,
    devices: Vec<Entry>,
}

/// One device; its properties are known only to users who may open it.
#[derive(Serialize)]
struct Entry {
    name: String,
    node: String,
    by_path: Option<String>,
    pci_address: Option<String>,
    model: Option<&'static str>,
    abi_version: Option<u32>,
    hardware_version: Option<String>,
    interrupt: Option<String>,
    dma_bits: Option<u32>,
    device_memory_bytes: Option<u64>,
    max_transfer_bytes: Option<u64>,
    queue_depth: Option<u32>,
    error: Option<String>,
}

/// Lists them.
pub fn run(output: &Output) -> Result<(), Failure> {
    let list = List { kernel: sysfs::release(), devices: device::all()?.iter().map(entry).collect() };
    output.result(&list, || text(&list))
}

fn entry(device: &Device) -> Entry {
    let (info, error) = match rust_dma::Context::open(&device.node).and_then(|context| context.info()) {
        Ok(info) => (Some(info), None),
        Err(error) => (None, Some(failure::with_reason(&error))),
    };
    Entry {
        name: device.name.clone(),
        node: device.node.display().to_string(),
        by_path: device.by_path.as_ref().map(|path| path.display().to_string()),
        pci_address: device.pci_address.clone(),
        model: info.map(|info| Model::of(device, &info).name()),
        abi_version: info.map(|info| info.abi_version),
        hardware_version: info.as_ref().map(version),
        interrupt: info.map(|info| interrupt(info.interrupt)),
        dma_bits: info.map(|info| info.dma_bits),
        device_memory_bytes: info.map(|info| info.device_memory_size),
        max_transfer_bytes: info.map(|info| info.max_transfer_size),
        queue_depth: info.map(|info| info.queue_depth),
        error,
    }
}

fn text(list: &List) -> String {
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".into());
    let rows = list.devices.iter().map(|entry| {
        vec![
            entry.name.clone(),
            or_dash(entry.pci_address.clone()),
            or_dash(entry.model.map(String::from)),
            or_dash(entry.interrupt.clone()),
            or_dash(entry.dma_bits.map(|bits| bits.to_string())),
            or_dash(entry.device_memory_bytes.filter(|bytes| *bytes > 0).map(output::size)),
            or_dash(entry.by_path.clone()),
            or_dash(entry.error.clone()),
        ]
    });
    let mut head = vec!["DEVICE", "PCI", "MODEL", "INTERRUPT", "DMA BITS", "MEMORY", "BY PATH"];
    let mut rows: Vec<Vec<_>> = rows.collect();
    if list.devices.iter().any(|entry| entry.error.is_some()) {
        head.push("ERROR");
    } else {
        for row in &mut rows {
            row.pop();
        }
    }
    format!("Linux {}\n{}", list.kernel, output::table(&head, rows))
}

/// The hardware's version, as text.
pub fn version(info: &Info) -> String {
    format!("{}.{}", info.hardware_version.0, info.hardware_version.1)
}

/// As text.
pub fn interrupt(kind: Interrupt) -> String {
    match kind {
        Interrupt::Intx => "INTx".into(),
        Interrupt::Msi => "MSI".into(),
        Interrupt::MsiX => "MSI-X".into(),
        other => format!("{other:?}"),
    }
}
