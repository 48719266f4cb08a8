// SPDX-License-Identifier: GPL-2.0

//! Failures of transfers, and what the log says of them.

use kernel::prelude::*;

/// Why an engine must be restarted.
pub(super) struct Failure {
    /// The error for the request of the oldest transfer, unless the transfer ends before the engine
    /// is restarted; [`None`] if it has not failed.
    pub(super) error: Option<Error>,
    /// What the watchdog has found; [`None`] if the engine has reported the failure.
    pub(super) message: Option<Message>,
}

impl Failure {
    /// A failure that the engine has reported, by an interrupt or in its registers.
    pub(super) fn reported(error: Error) -> Self {
        Self {
            error: Some(error),
            message: None,
        }
    }

    /// An earlier restart that has failed: the engine may be suspended.
    pub(super) fn of_restart() -> Self {
        Self {
            error: None,
            message: None,
        }
    }
}

/// A message for the log.
#[derive(Clone, Copy)]
pub(super) enum Message {
    /// The watchdog has found an end or an error that no interrupt had reported.
    LostInterrupt,
    /// The transfer ended without an interrupt, and it failed because the device is not a bus
    /// master.
    NoBusMaster,
    /// The transfer does not end.
    NoEnd,
    /// The engine has no transfer, but it does not stop.
    NoStop,
    /// The transfer did not end in time, and was stopped.
    Aborted,
}
