//! How the tool ends when it could not do what it was asked for.

use std::{io, process::ExitCode};

use serde::Serialize;
use signal_hook::low_level::emulate_default_handler;

use crate::output::Output;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What the library says.
    #[error("{0}")]
    Device(#[from] rdma::Error),

    /// What the library says of a certain device.
    #[error("{name}: {error}")]
    Of {
        /// The device's name.
        name: String,
        /// What it is.
        error: rdma::Error,
    },

    /// A file, or another part of the system.
    #[error("{what}: {source}")]
    System {
        /// What was being done, or on what.
        what: String,
        /// What came of it.
        source: io::Error,
    },

    /// What was asked for makes no sense here.
    #[error("{0}")]
    Usage(String),

    /// There is no device that can be used.
    #[error("{0}")]
    NoDevice(String),

    /// What came back is not what was sent.
    #[error("what came back differs from what was sent, at byte {0}")]
    Mismatch(u64),

    /// A signal that ends programs has come.
    #[error("interrupted")]
    Signal(i32),
}

/// The exit codes, as `--help` and the manual page have them.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  a file, a disk, or something else of the system failed
  2  bad usage
  3  no device, or none that this user may use
  4  the device went away, or did not end a transfer
  5  what came back is not what was sent (copy --verify)
A signal ends it as it ends any program: 130 in a shell after Ctrl-C.";

/// As JSON, on standard error.
#[derive(Serialize)]
struct Reported {
    error: String,
    exit_code: u8,
}

impl Failure {
    /// For what failed on a file, say.
    pub fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what: what.into(), source }
    }

    /// Tells it, and makes the exit code of it. Of signals, and of a pipe that nobody reads, there is nothing to tell: it dies of them
    /// as any program does.
    pub fn report(self, output: &Output) -> ExitCode {
        let signal = match &self {
            Self::Signal(signal) => Some(*signal),
            Self::System { source, .. } if source.kind() == io::ErrorKind::BrokenPipe => {
                Some(signal_hook::consts::SIGPIPE)
            }
            _ => None,
        };
        if let Some(signal) = signal {
            // It comes back only if that signal does not end programs, which these do.
            let _ = emulate_default_handler(signal);
        }
        let exit_code = self.code();
        output.error(&self.to_string(), &Reported { error: self.to_string(), exit_code });
        ExitCode::from(exit_code)
    }

    fn code(&self) -> u8 {
        match self {
            Self::Device(error) | Self::Of { error, .. } => match error {
                rdma::Error::NoDevice { .. }
                | rdma::Error::Permission { .. }
                | rdma::Error::OtherDriver { .. }
                | rdma::Error::Version { .. } => 3,
                rdma::Error::Gone | rdma::Error::TimedOut | rdma::Error::Stuck => 4,
                _ => 1,
            },
            Self::NoDevice(_) => 3,
            Self::Usage(_) => 2,
            Self::Mismatch(_) => 5,
            Self::System { .. } | Self::Signal(_) => 1,
        }
    }
}
