//! A request that was submitted.

use std::{
    fmt,
    time::{Duration, Instant},
};

use rustix::io::Errno;

use crate::{
    Error, Failed,
    inbox::{Outcome, Ticket},
};

/// A request that was submitted, and has its buffers: nobody gets at their bytes until they come back.
///
/// Dropped, it goes on to its end without anybody to tell; its buffers are freed then. To take it back, [`cancel`](Self::cancel)
/// it first.
#[must_use = "its buffers come back from `wait` only"]
pub struct Pending<T> {
    ticket: Ticket,
    buffers: T,
}

impl<T> Pending<T> {
    pub(crate) fn new(ticket: Ticket, buffers: T) -> Self {
        Self { ticket, buffers }
    }

    /// Whether it is done, so that [`wait`](Self::wait) does not wait. Costs one system call if it is not.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.ticket.look().is_some()
    }

    /// Waits until it is done, for so long at most; answers whether it is.
    #[must_use]
    pub fn wait_for(&self, time: Duration) -> bool {
        let deadline = Instant::now().checked_add(time);
        self.ticket.wait(deadline).is_some()
    }

    /// Waits until it is done, and gives its buffers back. Signals do not disturb it.
    ///
    /// # Errors
    ///
    /// With the buffers: [`Error::Cancelled`], [`Error::Stuck`], [`Error::Gone`]. Without them, since the device has them still:
    /// [`Error::TimedOut`].
    pub fn wait(self) -> Result<T, Failed<T>> {
        match self.ticket.wait(None) {
            Some(outcome) => self.end(outcome),
            None => unreachable!("there is no deadline"),
        }
    }

    /// Takes it back if the engine has not begun with it; answers whether that is so. It then ends with [`Error::Cancelled`].
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
        // The engine is done with the buffers, or has never begun; or there is no memory left for it to write to (Gone). Only of
        // a transfer that does not end, it is not known what the device will yet do.
        let held = !matches!(error, Error::Cancelled | Error::Stuck | Error::Gone);
        Err(Failed { error, buffers: (!held).then_some(self.buffers), bytes: outcome.bytes })
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Pending").field("cookie", &self.ticket.cookie()).finish_non_exhaustive()
    }
}
