//! The examples and exit codes of each command, for `--help` and the manual pages.

use std::fmt::Write;

use clap::CommandFactory;

use crate::cli::Cli;

/// The parts of a command's help besides its options.
pub struct Page {
    /// The command; the tool itself for none.
    pub command: &'static str,
    /// Command lines, and what they do.
    pub examples: &'static [(&'static str, &'static str)],
    /// The exit codes that it can have.
    pub codes: &'static [Code],
}

/// An exit code, and its meaning.
pub type Code = (&'static str, &'static str);

const SUCCESS: Code = ("0", "success");
const SYSTEM: Code = ("1", "an error of a file, a disk, or another part of the system");
const USAGE: Code = ("2", "invalid arguments");
const UNAVAILABLE: Code = ("3", "no device that this version can use, or no permission for it");
const DEVICE: Code = ("4", "the device was removed, reported an error, or did not end a transfer");
const DIFFERENT: Code = ("5", "the returned data differs from the original (copy --verify)");
const NOT_RUN: Code = ("126", "the traced command cannot be run");
const NOT_FOUND: Code = ("127", "the traced command is not found");
const SIGNAL: Code = ("128+n", "in a shell: signal n ended it");

const WITH_DEVICE: &[Code] = &[SUCCESS, SYSTEM, USAGE, UNAVAILABLE, DEVICE, SIGNAL];

/// All pages.
pub const PAGES: &[Page] = &[
    Page {
        command: "",
        examples: &[
            ("rdmactl doctor", "Find out why it does not work"),
            ("rdmactl info rdma0", "Show the properties of a device"),
            ("rdmactl copy --verify data /tmp/data", "Copy a file through the engine"),
        ],
        codes: &[SUCCESS, SYSTEM, USAGE, UNAVAILABLE, DEVICE, DIFFERENT, NOT_RUN, NOT_FOUND, SIGNAL],
    },
    Page {
        command: "list",
        examples: &[("rdmactl list", "List all devices"), ("rdmactl list --json", "The same, for programs")],
        codes: &[SUCCESS, SYSTEM, USAGE, UNAVAILABLE, SIGNAL],
    },
    Page {
        command: "info",
        examples: &[
            ("rdmactl info", "Of the first device"),
            ("rdmactl info rdma1", "Of this device"),
            ("rdmactl info 01:00.0", "Of the device with this PCI address"),
        ],
        codes: WITH_DEVICE,
    },
    Page {
        command: "copy",
        examples: &[
            ("rdmactl copy data /tmp/data", "Copy a file"),
            ("rdmactl copy --verify --device all data /tmp", "Use all devices, and compare; the copy is /tmp/data"),
            ("tar c . | rdmactl copy - >archive.tar", "Copy a stream"),
        ],
        codes: &[SUCCESS, SYSTEM, USAGE, UNAVAILABLE, DEVICE, DIFFERENT, SIGNAL],
    },
    Page {
        command: "read",
        examples: &[
            ("rdmactl read memory.bin", "Save all device memory in a file"),
            ("rdmactl read rdma1 --offset 0x100 --length 1KiB | sha256sum", "A part of that of rdma1"),
        ],
        codes: WITH_DEVICE,
    },
    Page {
        command: "write",
        examples: &[
            ("echo hello | rdmactl write", "Write to the start of the device memory"),
            ("rdmactl write rdma1 memory.bin --offset 0x100", "Write a file to that of rdma1"),
        ],
        codes: WITH_DEVICE,
    },
    Page {
        command: "hexdump",
        examples: &[
            ("rdmactl hexdump", "All device memory"),
            ("rdmactl hexdump rdma1 --offset 1KiB --length 64", "A part of that of rdma1"),
        ],
        codes: WITH_DEVICE,
    },
    Page {
        command: "top",
        examples: &[
            ("rdmactl top", "Monitor all devices"),
            ("rdmactl top rdma0 --count 1 --json", "One report on one device, for programs"),
        ],
        codes: WITH_DEVICE,
    },
    Page {
        command: "trace",
        examples: &[
            ("rdmactl trace", "Print all events, until Ctrl-C"),
            (
                "rdmactl trace rdma0 --event start --event complete -- make check",
                "Those of these kinds, while a command runs",
            ),
        ],
        codes: &[
            SUCCESS,
            SYSTEM,
            USAGE,
            UNAVAILABLE,
            NOT_RUN,
            NOT_FOUND,
            SIGNAL,
            ("other", "with a command: its exit code"),
        ],
    },
    Page {
        command: "doctor",
        examples: &[("rdmactl doctor", "Check the first device"), ("rdmactl doctor rdma1", "Check this device")],
        codes: &[("0", "it works"), SYSTEM, USAGE, ("3", "it does not work"), SIGNAL],
    },
    Page {
        command: "bench",
        examples: &[
            ("rdmactl bench --rounds 100", "Measure the first device"),
            ("rdmactl bench rdma1 --svg latency.svg", "Measure this device, and draw the latencies"),
        ],
        codes: WITH_DEVICE,
    },
    Page {
        command: "generate",
        examples: &[
            ("rdmactl generate man man1", "Write the manual pages into a directory"),
            ("source <(rdmactl generate bash)", "Complete commands in this shell"),
        ],
        codes: &[SUCCESS, SYSTEM, USAGE, SIGNAL],
    },
];

/// The command line with all of it.
pub fn command() -> clap::Command {
    PAGES.iter().fold(Cli::command(), |tool, page| match page.command {
        "" => tool.after_help(text(page)),
        name => tool.mut_subcommand(name, |command| command.after_help(text(page))),
    })
}

/// The page of a command.
pub fn page(command: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.command == command)
}

fn text(page: &Page) -> String {
    let mut text = "Examples:\n".to_owned();
    let width = page.codes.iter().map(|(code, _)| code.len()).max().unwrap_or(0);
    for (line, what) in page.examples {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {line}\n      {what}");
    }
    text.push_str("\nExit codes:\n");
    for (code, what) in page.codes {
        let _ = writeln!(text, "  {code:width$}  {what}");
    }
    text.trim_end().to_owned()
}
