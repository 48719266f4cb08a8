// SPDX-License-Identifier: GPL-2.0

//! Failures of transfers, and what the log says of them.

use kernel::prelude::*;

/// The failure of the oldest transfer of an engine that must be restarted.
pub(super) struct Failure {
    /// The error for the request, unless the transfer ends before the engine is restarted.
    pub(super) error: Error,
    /// What the watchdog has found; [`None`] if the engine has reported the failure.
    pub(super) message: Option<Message>,
}

impl Failure {
    /// A failure that the engine has reported, by an interrupt or in its registers.
    pub(super) fn reported(error: Error) -> Self {
        Self {
            error,
            message: None,
        }
    }
}

/// A message for the log.
#[derive(Clone, Copy)]
pub(super) enum Message {
    /// The transfer ended without an interrupt.
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
