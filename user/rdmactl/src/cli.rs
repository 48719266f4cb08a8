//! The command line. `--help`, the manual pages and the completions are generated from it.

mod number;

use std::{
    borrow::Cow,
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::{Args, Parser, Subcommand, ValueHint, builder::NonEmptyStringValueParser};

use self::number::{count, number, rounds, seconds};
use crate::{descriptor, device};

/// The tool for /dev/rdma0: DMA buffers and a DMA engine for programs
///
/// (Rust DMA. It has nothing to do with InfiniBand.) A DEVICE is a name such as rdma0, a node such as /dev/rdma0 or
/// /dev/rdma/by-path/pci-0000:01:00.0, or a PCI address such as 0000:01:00.0 or 01:00.0. By default, it is the first device. A number
/// may be written like 4096, 0x1000 or 4KiB
#[derive(Parser)]
#[command(name = "rdmactl", version, max_term_width = 100)]
pub struct Cli {
    /// Print results and errors as JSON: an object, or one per line for continuous output
    ///
    /// They go to standard output, or to standard error if standard output is for data. If a command line of copy, read or generate cannot
    /// be parsed, the error always goes to standard error.
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
    ///
    /// It transfers a byte. On a device with memory, this erases what another user has stored there.
    Doctor(One),
    /// Measure a device: latency, throughput, and the cost of calls
    Bench(Bench),
    /// Generate manual pages and completions
    Generate(Generate),
}

/// One device.
#[derive(Args)]
pub struct One {
    /// The device
    #[arg(value_name = "DEVICE", value_parser = NonEmptyStringValueParser::new(), value_hint = ValueHint::FilePath)]
    word: Option<String>,

    /// The device, as an option
    #[arg(short, long, conflicts_with = "word", value_parser = NonEmptyStringValueParser::new(), value_hint = ValueHint::FilePath)]
    device: Option<String>,
}

impl One {
    /// The device that was named.
    pub fn name(&self) -> Option<&str> {
        self.word.as_deref().or(self.device.as_deref())
    }
}

/// Several devices.
#[derive(Args)]
pub struct Several {
    /// Devices; all by default
    #[arg(value_name = "DEVICE", value_parser = NonEmptyStringValueParser::new(), value_hint = ValueHint::FilePath)]
    words: Vec<String>,

    /// A device, as an option
    #[arg(short, long, value_parser = NonEmptyStringValueParser::new(), value_hint = ValueHint::FilePath)]
    device: Vec<String>,
}

impl Several {
    /// The devices that were named.
    pub fn names(&self) -> Vec<String> {
        [&*self.words, &*self.device].concat()
    }
}

/// One device and one file, of which either may be missing.
#[derive(Args)]
pub struct DeviceAndFile {
    /// The device. A file of such a name is written ./rdma0
    #[arg(value_name = "DEVICE", value_hint = ValueHint::FilePath)]
    first: Option<PathBuf>,

    /// The file; - is standard input or output
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    second: Option<PathBuf>,

    /// The device, as an option
    #[arg(short, long, conflicts_with = "second", value_parser = NonEmptyStringValueParser::new(), value_hint = ValueHint::FilePath)]
    device: Option<String>,
}

impl DeviceAndFile {
    /// The device that was named. A name that is no text is that of no device.
    pub fn device(&self) -> Option<Cow<'_, str>> {
        let first = self.first.as_deref().map(Path::to_string_lossy);
        self.device.as_deref().map(Cow::from).or_else(|| first.filter(|_| self.begins_with_device()))
    }

    /// The file that was named.
    pub fn file(&self) -> Option<&Path> {
        match self.begins_with_device() {
            true => self.second.as_deref(),
            false => self.first.as_deref(),
        }
    }

    fn begins_with_device(&self) -> bool {
        let first = self.first.as_deref().and_then(Path::to_str);
        self.second.is_some() || (self.device.is_none() && first.is_some_and(device::is_meant_by))
    }
}

/// Copy a file through the engine.
#[derive(Args)]
pub struct Copy {
    /// File to copy; - is standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub from: PathBuf,

    /// Destination; - is standard output
    ///
    /// In a directory, the file gets the name of FILE. A file gets its name when it is complete. A file that has links, attributes, a
    /// mount or another owner is written in place. /dev/stdout, /dev/fd/N and the file of standard output or standard error are written from
    /// where they stand.
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
    #[arg(short, long, default_value = "0", value_parser = number)]
    pub offset: u64,

    /// Number of bytes; by default, up to the end of the device memory
    #[arg(short, long, value_parser = number)]
    pub length: Option<u64>,
}

/// Read device memory.
#[derive(Args)]
pub struct Read {
    #[command(flatten)]
    pub names: DeviceAndFile,
    #[command(flatten)]
    pub part: Part,
}

/// Write device memory.
#[derive(Args)]
pub struct Write {
    #[command(flatten)]
    pub names: DeviceAndFile,

    /// First byte
    #[arg(short, long, default_value = "0", value_parser = number)]
    pub offset: u64,
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
    #[command(flatten)]
    pub several: Several,

    /// Seconds between two reports
    #[arg(short, long, default_value_t = 1.0, value_parser = seconds)]
    pub interval: f64,

    /// Number of reports; not limited by default
    #[arg(short = 'n', long, value_parser = count)]
    pub count: Option<u64>,
}

/// Trace devices.
#[derive(Args)]
pub struct Trace {
    #[command(flatten)]
    pub several: Several,

    /// Events of this kind only: submit, start, interrupt, complete, map, fault, zap, teardown
    #[arg(short, long, value_name = "EVENT")]
    pub event: Vec<String>,

    /// Stop after this many events
    #[arg(short = 'n', long, value_parser = count)]
    pub count: Option<u64>,

    /// Stop after this many seconds
    #[arg(short, long, value_parser = seconds)]
    pub seconds: Option<f64>,

    /// Run this command, and stop with it; its exit code is returned, and it gets the signals that end rdmactl. After an error of the
    /// trace, rdmactl waits for the command, and returns the code of the error
    #[arg(last = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}

/// Measure a device.
#[derive(Args)]
pub struct Bench {
    #[command(flatten)]
    pub one: One,

    /// Number of repetitions
    #[arg(short, long, default_value = "10", value_parser = rounds)]
    pub rounds: u32,

    /// Draw the latencies into this file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub svg: Option<PathBuf>,
}

/// Manual pages and completions.
#[derive(Args)]
pub struct Generate {
    /// What to generate
    pub what: Generated,

    /// Destination, a directory; - is standard output
    #[arg(value_name = "DIRECTORY", default_value = "-", value_hint = ValueHint::DirPath)]
    pub to: PathBuf,
}

/// What can be generated.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Generated {
    /// Manual pages, of section 1
    Man,
    /// Completions for all these shells
    Completions,
    /// Completions for bash
    Bash,
    /// Completions for zsh
    Zsh,
    /// Completions for fish
    Fish,
}

impl Command {
    /// Whether standard output is for data, so that results go to standard error.
    pub fn prints_data(&self) -> bool {
        match self {
            Self::Copy(copy) => descriptor::is_stdout(&copy.to),
            Self::Read(read) => read.names.file().is_none_or(descriptor::is_stdout),
            Self::Generate(generate) => generate.to == Path::new("-"),
            _ => false,
        }
    }

    /// Whether it prints anything on standard output.
    pub fn prints_results(&self) -> bool {
        match self {
            Self::Copy(copy) => !copy.quiet || self.prints_data(),
            Self::Generate(_) => self.prints_data(),
            _ => true,
        }
    }
}

/// Whether this command can print data on standard output. Whether it does, only its arguments say, which may be wrong.
pub fn may_print_data(command: &str) -> bool {
    ["copy", "read", "generate"].contains(&command)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{Cli, may_print_data};

    #[test]
    fn is_consistent() {
        crate::help::command().debug_assert();
    }

    #[test]
    fn data_is_printed_by_these_only() {
        for words in
            ["list", "info", "copy x", "read", "write", "hexdump", "top", "trace", "doctor", "bench", "generate man"]
        {
            let cli = Cli::try_parse_from(["rdmactl"].into_iter().chain(words.split(' '))).ok().unwrap();
            assert_eq!(cli.command.prints_data(), may_print_data(words.split(' ').next().unwrap()), "{words}");
        }
    }
}
