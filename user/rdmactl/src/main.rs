//! rdmactl: the tool for `/dev/rdma0`. (Rust DMA. It has nothing to do with InfiniBand.)

mod cli;
mod commands;
mod failure;
mod interrupt;
mod output;
mod sysfs;

use std::process::ExitCode;

use clap::Parser;

use crate::{cli::Cli, output::Output};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(cli.json);
    match interrupt::install().and_then(|()| commands::run(cli.command, &output)) {
        Ok(code) => code,
        Err(failure) => failure.report(&output),
    }
}
