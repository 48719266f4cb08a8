//! What can be asked for. `--help`, the manual pages and the completions are all made from this.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint, builder::NonEmptyStringValueParser};

use crate::failure::EXIT_CODES;

/// The tool for /dev/rdma0: DMA buffers and a DMA engine for programs
///
/// (Rust DMA. It has nothing to do with InfiniBand.) A DEVICE is a name as rdma0, a node as /dev/rdma0 or
/// /dev/rdma/by-path/pci-0000:01:00.0, or a PCI address as 0000:01:00.0; the first one if none is given.
#[derive(Parser)]
#[command(name = "rdmactl", version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    /// Tell results as JSON: an object, or one a line where things go on
    #[arg(long, global = true)]
    pub json: bool,

    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// List the devices, and what each can do
    List,
    /// Tell all that there is to know of a device and its driver
    Info(One),
    /// Copy a file through the engine
    Copy(Copy),
    /// Read device memory
    Read(Read),
    /// Write device memory
    Write(Write),
    /// Show device memory, in hexadecimal and as text
    Hexdump(Hexdump),
    /// Watch devices: queues, rates, latencies, and who uses them
    ///
    /// Needs root. On a terminal, q ends it; otherwise it prints a report each time.
    Top(Top),
    /// Follow what devices do: submissions, transfers, interrupts, completions, faults
    ///
    /// Needs root: it uses an instance of the kernel's tracing of its own, so that it disturbs nobody, and removes it again. The
    /// events are those of /sys/kernel/tracing/events/rdma.
    Trace(Trace),
    /// Say why it does not work here, and what to do
    Doctor(One),
    /// Measure a device: latency, throughput, and what calls cost
    Bench(Bench),
    /// Write manual pages and completions, for those who make packages
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
    /// What to copy; - is standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub from: PathBuf,

    /// Where to; - is standard output. A file comes to its name when all of it is there
    #[arg(value_name = "TO", default_value = "-", value_hint = ValueHint::FilePath)]
    pub to: PathBuf,

    /// A device; several share the work. "all" is all there are
    #[arg(short, long, value_parser = NonEmptyStringValueParser::new(), value_hint = ValueHint::FilePath)]
    pub device: Vec<String>,

    /// Compare what comes back with what was sent
    #[arg(long)]
    pub verify: bool,

    /// Show no progress, and no summary
    #[arg(short, long)]
    pub quiet: bool,
}

/// A part of device memory.
#[derive(Args)]
pub struct Part {
    /// The first byte
    #[arg(short, long, default_value_t = 0)]
    pub offset: u64,

    /// How many bytes; to the end of the device memory if not given
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

    /// Where to; - is standard output, even if that is a terminal
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub to: Option<PathBuf>,
}

/// Write device memory.
#[derive(Args)]
pub struct Write {
    #[command(flatten)]
    pub one: One,

    /// The first byte
    #[arg(short, long, default_value_t = 0)]
    pub offset: u64,

    /// What to write; - is standard input
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

/// Watch devices.
#[derive(Args)]
pub struct Top {
    /// A device; all if none is given
    #[arg(short, long, value_parser = NonEmptyStringValueParser::new(), value_hint = ValueHint::FilePath)]
    pub device: Vec<String>,

    /// Seconds between two looks
    #[arg(short, long, default_value_t = 1.0, value_parser = seconds)]
    pub interval: f64,

    /// Looks; for ever if not given
    #[arg(short = 'n', long, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

/// Follow what devices do.
#[derive(Args)]
pub struct Trace {
    /// A device; all if none is given
    #[arg(short, long, value_parser = NonEmptyStringValueParser::new(), value_hint = ValueHint::FilePath)]
    pub device: Vec<String>,

    /// Events of this kind only, as submit, start, interrupt, complete, map, fault, zap, teardown
    #[arg(short, long, value_name = "EVENT")]
    pub event: Vec<String>,

    /// End after so many events
    #[arg(short = 'n', long, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// End after so many seconds
    #[arg(short, long, value_parser = seconds)]
    pub seconds: Option<f64>,

    /// Run this, and end with it; its exit code is ours
    #[arg(last = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<String>,
}

/// Measure a device.
#[derive(Args)]
pub struct Bench {
    #[command(flatten)]
    pub one: One,

    /// Times that each is done
    #[arg(short, long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,

    /// Draw the latencies, into this file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub svg: Option<PathBuf>,
}

/// For packages.
#[derive(Args)]
pub struct Generate {
    /// Which
    pub what: Generated,

    /// Where to
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
