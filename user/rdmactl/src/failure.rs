//! Errors of the tool, and its exit codes.

use std::{error::Error as _, io, process::ExitCode};

use crate::{interrupt, output::Output};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// An error of the library.
    #[error("{}", with_reason(.0))]
    Device(#[from] rust_dma::Error),

    /// An error of the library for a certain device.
    #[error("{name}: {}", with_reason(.error))]
    Of {
        /// The device's name.
        name: String,
        /// The error.
        error: rust_dma::Error,
    },

    /// A file, or another part of the system.
    #[error("{what}: {}", plain(.source))]
    System {
        /// The operation or file.
        what: String,
        /// Its error.
        source: io::Error,
    },

    /// The traced command cannot be run.
    #[error("{command}: {}", plain(.source))]
    Command {
        /// Its name.
        command: String,
        /// The error.
        source: io::Error,
    },

    /// Invalid arguments.
    #[error("{0}")]
    Usage(String),

    /// There is no device, or no permission for it.
    #[error("{0}")]
    Unavailable(String),

    /// The returned data differs.
    #[error("the returned data differs from the original at byte {0}")]
    Mismatch(u64),

    /// A signal that ends programs was received.
    #[error("interrupted")]
    Signal(i32),
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
            interrupt::die(signal);
        }
        output.error(&self.to_string(), self.code());
        ExitCode::from(self.code())
    }

    fn code(&self) -> u8 {
        match self {
            Self::Device(error) | Self::Of { error, .. } => match error {
                rust_dma::Error::NoDevice { .. }
                | rust_dma::Error::Permission { .. }
                | rust_dma::Error::OtherDriver { .. }
                | rust_dma::Error::Version { .. } => 3,
                rust_dma::Error::Gone
                | rust_dma::Error::TimedOut
                | rust_dma::Error::Engine
                | rust_dma::Error::Stuck => 4,
                _ => 1,
            },
            Self::Unavailable(_) => 3,
            Self::Usage(_) => 2,
            Self::Mismatch(_) => 5,
            // As shells and env(1) do.
            Self::Command { source, .. } if source.kind() == io::ErrorKind::NotFound => 127,
            Self::Command { .. } => 126,
            Self::System { .. } | Self::Signal(_) => 1,
        }
    }
}

/// Without the number of the error.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// With the error of the system, if there is one.
pub fn with_reason(error: &rust_dma::Error) -> String {
    match error.source().and_then(|source| source.downcast_ref()) {
        Some(source) => format!("{error}: {}", plain(source)),
        None => error.to_string(),
    }
}
