//! The commands, one file each.

mod bench;
mod copy;
mod doctor;
mod generate;
mod info;
mod list;
mod memory;
mod top;
mod trace;

use std::process::ExitCode;

use rust_dma::Device;

use crate::{cli::Command, failure::Failure, output::Output};

/// Executes a command.
pub fn run(command: Command, output: &Output) -> Result<ExitCode, Failure> {
    match command {
        Command::List => list::run(output)?,
        Command::Info(arguments) => info::run(&arguments, output)?,
        Command::Copy(arguments) => copy::run(&arguments, output)?,
        Command::Read(arguments) => memory::read(&arguments, output)?,
        Command::Write(arguments) => memory::write(&arguments, output)?,
        Command::Hexdump(arguments) => memory::hexdump(&arguments, output)?,
        Command::Top(arguments) => top::run(&arguments, output)?,
        Command::Trace(arguments) => return trace::run(&arguments, output),
        Command::Doctor(arguments) => return doctor::run(&arguments, output),
        Command::Bench(arguments) => bench::run(&arguments, output)?,
        Command::Generate(arguments) => generate::run(&arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// All devices; an error if there is none.
fn all_devices() -> Result<Vec<Device>, Failure> {
    let devices = rust_dma::devices()?;
    match devices.is_empty() {
        true => Err(no_device()),
        false => Ok(devices),
    }
}

fn no_device() -> Failure {
    Failure::NoDevice("there is no device: `rdmactl doctor` finds the reason".into())
}

/// The selected device, by name, node or address; the first one by default.
fn device(wanted: Option<&str>) -> Result<Device, Failure> {
    let Some(wanted) = wanted else {
        return all_devices().map(|mut devices| devices.swap_remove(0));
    };
    let node = std::fs::canonicalize(wanted).ok();
    let is_meant = |device: &Device| {
        device.name == wanted || device.pci_address == wanted || node.as_deref() == Some(&*device.node)
    };
    rust_dma::devices()?
        .into_iter()
        .find(is_meant)
        .ok_or_else(|| Failure::NoDevice(format!("there is no device {wanted}: `rdmactl list` lists all devices")))
}

/// The selected devices; the caller decides what an empty list means.
fn devices(wanted: &[String]) -> Result<Vec<Device>, Failure> {
    if wanted.iter().any(|name| name == "all") {
        return all_devices();
    }
    let mut chosen = Vec::new();
    for name in wanted {
        let device = device(Some(name))?;
        if !chosen.contains(&device) {
            chosen.push(device);
        }
    }
    Ok(chosen)
}

/// An error of the library for a device.
fn of(device: &Device) -> impl Fn(rust_dma::Error) -> Failure + use<> {
    let name = device.name.clone();
    move |error| Failure::Of { name: name.clone(), error }
}
