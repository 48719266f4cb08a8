//! A submitted request.

use std::{
    fmt,
    time::{Duration, Instant},
};

use rustix::io::Errno;

use crate::{Error, Failed, slots::Outcome, ticket::Ticket};

/// A submitted request, which owns its buffers: their bytes are not accessible until it returns them.
///
/// If it is dropped, the request continues, and its buffers are freed at the end. To cancel the request, call [`cancel`](Self::cancel)
/// before.
#[must_use = "its buffers come back from `wait` only"]
pub struct Pending<T> {
    ticket: Ticket,
    buffers: T,
}

impl<T> Pending<T> {
    pub(crate) fn new(ticket: Ticket, buffers: T) -> Self {
        Self { ticket, buffers }
    }

    /// Whether it is done, so that [`wait`](Self::wait) returns at once. Takes one system call if it is not.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.ticket.look().is_some()
    }

    /// Waits until it is done, at most for this time; returns whether it is.
    #[must_use]
    pub fn wait_for(&self, time: Duration) -> bool {
        let deadline = Instant::now().checked_add(time);
        self.ticket.wait(deadline).is_some()
    }

    /// Waits until it is done, and returns its buffers. Signals do not interrupt it.
    ///
    /// # Errors
    ///
    /// With the buffers: [`Error::Cancelled`], [`Error::Stuck`], [`Error::Gone`]. Without them, because the device still uses them:
    /// [`Error::TimedOut`].
    pub fn wait(self) -> Result<T, Failed<T>> {
        match self.ticket.wait(None) {
            Some(outcome) => self.end(outcome),
            None => unreachable!("there is no deadline"),
        }
    }

    /// Cancels it if the engine has not started it; returns whether it has not. It then fails with [`Error::Cancelled`].
    ///
    /// # Errors
    ///
    /// [`Error::Gone`].
    pub fn cancel(&self) -> Result<bool, Error> {
        self.ticket.cancel().map_err(|errno| Error::new("CANCEL", errno))
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    pub(crate) fn end(self, outcome: Outcome) -> Result<T, Failed<T>> {
        if outcome.status == 0 {
            return Ok(self.buffers);
        }
        let error = Error::new("the request has failed", Errno::from_raw_os_error(-outcome.status));
        // The engine is done with the buffers, or has not started; or their memory is freed (Gone). Only if
        // a transfer does not end, the device may still access them.
        let held = !matches!(error, Error::Cancelled | Error::Stuck | Error::Gone);
        Err(Failed { error, buffers: (!held).then_some(self.buffers), bytes: outcome.bytes })
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Pending").field("cookie", &self.ticket.cookie()).finish_non_exhaustive()
    }
}
