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
