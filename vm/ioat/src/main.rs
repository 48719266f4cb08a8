// SPDX-License-Identifier: GPL-2.0
//! A model of Intel's I/OAT DMA engine ("`QuickData`", "CBDMA"), versions 3.2 to 3.4, as a device for QEMU.
//!
//! The engine executes chains of descriptors in memory: copies and fills. Read [`registers`] first, and then [`descriptor`], [`channel`]
//! and [`device`], which are all that the engine is; [`interrupts`], [`timing`], [`config`] and [`entry`] are its surroundings. [`faults`] and
//! [`control`] are for tests, and no hardware has them. Below are [`memory`] and the connection to QEMU: [`guest_memory`] and [`server`].
//!
//! It follows the drivers in Linux and DPDK, which work with it (`tests/ioat/`), and Intel's datasheets. It was never compared with
//! hardware. RAID operations, DCA and power management are missing.
//!
//! Usage: `ioat SOCKET [OPTIONS]`: an I/OAT device for QEMU's `-device '{"driver":"vfio-user-pci","socket":{"type":"unix","path":"SOCKET"}}'`.

mod access;
mod channel;
mod config;
mod control;
mod descriptor;
mod device;
mod entry;
mod faults;
mod guest_memory;
mod interrupts;
mod memory;
mod options;
mod registers;
mod server;
mod timing;

use std::{path::PathBuf, process::ExitCode};

use options::Options;

fn run() -> Result<(), String> {
    let mut arguments = std::env::args_os().skip(1);
    let socket: PathBuf =
        arguments.next().ok_or("usage: ioat SOCKET [OPTION=VALUE,...]; vm/boot lists the options")?.into();
    let options = Options::parse(&arguments.next().unwrap_or_default().to_string_lossy())?;
    server::serve(&socket, &options).map_err(|error| format!("cannot listen at {}: {error}", socket.display()))
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ioat: {error}");
            ExitCode::FAILURE
        }
    }
}
