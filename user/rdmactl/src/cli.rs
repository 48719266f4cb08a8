//! The command line. `--help`, the manual pages and the completions are generated from it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint, builder::NonEmptyStringValueParser};

use crate::failure::EXIT_CODES;

/// The tool for /dev/rdma0: DMA buffers and a DMA engine for programs
///
/// (Rust DMA. It has nothing to do with InfiniBand.) A DEVICE is a name such as rdma0, a node such as /dev/rdma0 or
/// /dev/rdma/by-path/pci-0000:01:00.0, or a PCI address such as 0000:01:00.0. By default, it is the first device
#[derive(Parser)]
#[command(name = "rdmactl", version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    /// Print results as JSON: an object, or one per line for continuous output
    #[arg(long, global = true)]
    pub json: bool,

    /// The command
    #[command(subcommand)]
    pub command: Command,
}

/// The command.
#[derive(Subcommand)]
pub enum Command {
    /// List the devices and their properties
    List,
    /// Print all properties of a device and its driver
    Info(One),
    /// Copy a file through the engine
    Copy(Copy),
    /// Read device memory
    Read(Read),
    /// Write device memory
    Write(Write),
    /// Show device memory, in hexadecimal and as text
    Hexdump(Hexdump),
    /// Monitor devices: queues, rates, latencies, users
    ///
    /// Needs root. On a terminal, q ends it; otherwise it prints a report each time.
    Top(Top),
    /// Trace devices: submissions, transfers, interrupts, completions, faults
    ///
    /// Needs root. It uses a tracing instance of its own, so that it does not interfere with other users of tracing, and removes it
    /// at the end. rdma(4) describes the events.
    Trace(Trace),
    /// Diagnose problems, and print what to do
    Doctor(One),
    /// Measure a device: latency, throughput, and the cost of calls
    Bench(Bench),
    /// Generate manual pages and completions, for packages
    #[command(hide = true)]
    Generate(Generate),
}

/// One device.
#[derive(Args)]
pub struct One {
    /// The device
    #[arg(short, long, value_parser = NonEmptyStringValueParser::new(), value_hint = ValueHint::FilePath)]
    pub device: Option<String>,
}

/// Copy a file through the engine.
#[derive(Args)]
pub struct Copy {
    /// File to copy; - is standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub from: PathBuf,

    /// Destination; - is standard output. A file gets its name when it is complete
    #[arg(value_name = "TO", default_value = "-", value_hint = ValueHint::FilePath)]
    pub to: PathBuf,

    /// Device; several share the work. "all" selects all devices
    #[arg(short, long, value_parser = NonEmptyStringValueParser::new(), value_hint = ValueHint::FilePath)]
    pub device: Vec<String>,

    /// Compare the returned data with the original
    #[arg(long)]
    pub verify: bool,

    /// Print neither progress nor a summary
    #[arg(short, long)]
    pub quiet: bool,
}

/// A part of device memory.
#[derive(Args)]
pub struct Part {
    /// First byte
    #[arg(short, long, default_value_t = 0)]
    pub offset: u64,

    /// Number of bytes; by default, up to the end of the device memory
    #[arg(short, long)]
    pub length: Option<u64>,
}

/// Read device memory.
#[derive(Args)]
pub struct Read {
    #[command(flatten)]
    pub one: One,
    #[command(flatten)]
    pub part: Part,

    /// Destination; - is standard output, even if that is a terminal
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub to: Option<PathBuf>,
}

/// Write device memory.
#[derive(Args)]
pub struct Write {
    #[command(flatten)]
    pub one: One,

    /// First byte
    #[arg(short, long, default_value_t = 0)]
    pub offset: u64,

    /// File to write; - is standard input
    #[arg(value_name = "FILE", default_value = "-", value_hint = ValueHint::FilePath)]
    pub from: PathBuf,
}

/// Show device memory.
#[derive(Args)]
pub struct Hexdump {
    #[command(flatten)]
    pub one: One,
    #[command(flatten)]
    pub part: Part,
}

/// Monitor devices.
#[derive(Args)]
pub struct Top {
    /// Device; all by default
    #[arg(short, long, value_parser = NonEmptyStringValueParser::new(), value_hint = ValueHint::FilePath)]
    pub device: Vec<String>,

    /// Seconds between two reports
    #[arg(short, long, default_value_t = 1.0, value_parser = seconds)]
    pub interval: f64,

    /// Number of reports; not limited by default
    #[arg(short = 'n', long, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

/// Trace devices.
#[derive(Args)]
pub struct Trace {
    /// Device; all by default
    #[arg(short, long, value_parser = NonEmptyStringValueParser::new(), value_hint = ValueHint::FilePath)]
    pub device: Vec<String>,

    /// Events of this kind only: submit, start, interrupt, complete, map, fault, zap, teardown
    #[arg(short, long, value_name = "EVENT")]
    pub event: Vec<String>,

    /// Stop after this many events
    #[arg(short = 'n', long, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// Stop after this many seconds
    #[arg(short, long, value_parser = seconds)]
    pub seconds: Option<f64>,

    /// Run this command, and stop with it; its exit code is returned
    #[arg(last = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<String>,
}

/// Measure a device.
#[derive(Args)]
pub struct Bench {
    #[command(flatten)]
    pub one: One,

    /// Number of repetitions
    #[arg(short, long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,

    /// Draw the latencies into this file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub svg: Option<PathBuf>,
}

/// For packages.
#[derive(Args)]
pub struct Generate {
    /// What to generate
    pub what: Generated,

    /// Destination
    #[arg(value_hint = ValueHint::DirPath)]
    pub directory: PathBuf,
}

/// What can be generated.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Generated {
    /// Manual pages, of section 1
    Man,
    /// Completions for bash, zsh and fish
    Completions,
}

/// A time.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.01..=1e6).contains(&seconds) => Ok(seconds),
        _ => Err("a time is a number of seconds, from 0.01 on".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times() {
        assert_eq!(seconds("0.5"), Ok(0.5));
        for wrong in ["0", "-1", "nan", "inf", "1e7", "x", ""] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
