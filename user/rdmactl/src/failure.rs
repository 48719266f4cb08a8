//! Errors of the tool, and its exit codes.

use std::{io, process::ExitCode};

use serde::Serialize;
use signal_hook::low_level::emulate_default_handler;

use crate::output::Output;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// An error of the library.
    #[error("{0}")]
    Device(#[from] rust_dma::Error),

    /// An error of the library for a certain device.
    #[error("{name}: {error}")]
    Of {
        /// The device's name.
        name: String,
        /// The error.
        error: rust_dma::Error,
    },

    /// A file, or another part of the system.
    #[error("{what}: {source}")]
    System {
        /// The operation or file.
        what: String,
        /// Its error.
        source: io::Error,
    },

    /// Invalid arguments.
    #[error("{0}")]
    Usage(String),

    /// There is no usable device.
    #[error("{0}")]
    NoDevice(String),

    /// The returned data differs.
    #[error("the returned data differs from the original at byte {0}")]
    Mismatch(u64),

    /// A signal that ends programs was received.
    #[error("interrupted")]
    Signal(i32),
}

/// The exit codes, for `--help` and the manual page.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  success
  1  an error of a file, a disk, or another part of the system
  2  invalid arguments
  3  no device, or no permission
  4  the device was removed, or did not end a transfer
  5  the returned data differs from the original (copy --verify)
Signals end it like any program: 130 in a shell after Ctrl-C.";

/// As JSON, on standard error.
#[derive(Serialize)]
struct Reported {
    error: String,
    exit_code: u8,
}

impl Failure {
    /// For an operation on a file.
    pub fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what: what.into(), source }
    }

    /// Prints it, and returns the exit code. For signals and a closed pipe nothing is printed: the tool dies of them
    /// like any program.
    pub fn report(self, output: &Output) -> ExitCode {
        let signal = match &self {
            Self::Signal(signal) => Some(*signal),
            Self::System { source, .. } if source.kind() == io::ErrorKind::BrokenPipe => {
                Some(signal_hook::consts::SIGPIPE)
            }
            _ => None,
        };
        if let Some(signal) = signal {
            // It returns only if that signal does not end programs, which these do.
            let _ = emulate_default_handler(signal);
        }
        let exit_code = self.code();
        output.error(&self.to_string(), &Reported { error: self.to_string(), exit_code });
        ExitCode::from(exit_code)
    }

    fn code(&self) -> u8 {
        match self {
            Self::Device(error) | Self::Of { error, .. } => match error {
                rust_dma::Error::NoDevice { .. }
                | rust_dma::Error::Permission { .. }
                | rust_dma::Error::OtherDriver { .. }
                | rust_dma::Error::Version { .. } => 3,
                rust_dma::Error::Gone | rust_dma::Error::TimedOut | rust_dma::Error::Stuck => 4,
                _ => 1,
            },
            Self::NoDevice(_) => 3,
            Self::Usage(_) => 2,
            Self::Mismatch(_) => 5,
            Self::System { .. } | Self::Signal(_) => 1,
        }
    }
}
