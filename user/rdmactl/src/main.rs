//! rdmactl: the tool for `/dev/rdma0`. (Rust DMA. It has nothing to do with InfiniBand.)

mod cli;
mod commands;
mod descriptor;
mod destination;
mod device;
mod failure;
#[cfg(target_env = "gnu")]
mod glibc;
mod help;
mod interrupt;
mod model;
mod output;
mod startup;
mod storage;
mod sysfs;

use std::{
    env,
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use clap::FromArgMatches;

use crate::{cli::Cli, failure::Failure, output::Output};

fn main() -> ExitCode {
    let parsed = help::command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    match parsed {
        Ok(cli) => {
            let output = Output::new(cli.json, cli.command.prints_data());
            let done = interrupt::install().and_then(|()| {
                if cli.command.prints_results() {
                    startup::needs_stdout()?;
                }
                commands::run(cli.command, &output)
            });
            done.unwrap_or_else(|failure| failure.report(&output))
        }
        Err(error) => explain(&error),
    }
}

/// Prints the help or the version, or what is wrong with the arguments.
fn explain(error: &clap::Error) -> ExitCode {
    let words: Vec<OsString> = env::args_os().skip(1).take_while(|word| word != "--").collect();
    let json = words.iter().any(|word| word == "--json");
    let tool = help::command();
    let command = words.iter().find_map(|word| tool.find_subcommand(word));
    let output = Output::new(json, command.is_some_and(|command| cli::may_print_data(command.get_name())));
    if !error.use_stderr() {
        let printed = error.print().and_then(|()| io::stdout().flush()).map_err(Failure::system("standard output"));
        return match startup::needs_stdout().and(printed) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.report(&output),
        };
    }
    if json {
        let text = error.render().to_string();
        let first = text.split("\n\n").next().unwrap_or_default();
        output.error(first.trim_start_matches("error: "), 2);
    } else {
        // If standard error fails, nothing can be reported.
        let _ = error.print();
    }
    ExitCode::from(2)
}
