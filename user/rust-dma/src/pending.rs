//! A submitted request.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context as Task, Poll, ready},
    time::{Duration, Instant},
};

use rustix::io::Errno;

use crate::{Error, Failed, slots::Outcome, ticket::Ticket};

/// A submitted request, which owns its buffers: their bytes are not accessible until it returns them.
///
/// It can be waited for ([`wait`](Self::wait)), and, in any async runtime, awaited. `(&mut pending).await`, with a timeout around it or in a
/// `select!`, keeps the request and its buffers if something else comes first:
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), rust_dma::Error> {
/// # use {rust_dma::{Context, Request}, std::time::Duration, tokio::time::timeout};
/// # let context = Context::open("/dev/rdma0")?;
/// let mut pending = Request::to_device(context.allocate(4096)?, .., 0).submit()?;
/// let buffer = match timeout(Duration::from_millis(1), &mut pending).await {
///     Ok(done) => done?,
///     Err(_) => pending.await?, // or pending.cancel()
/// };
/// # drop(buffer);
/// # Ok(())
/// # }
/// ```
///
/// If it is dropped, the request is cancelled, if the engine has not started it, and so are those that are linked to it. A request
/// that has started continues, and its buffers are freed at its end. [`detach`](Self::detach) drops it without
/// cancelling the request.
#[must_use = "it is cancelled when this is dropped; its buffers come back from `wait` and `await` only"]
pub struct Pending<T> {
    ticket: Ticket,
    /// None when they have been returned by a poll.
    buffers: Option<T>,
}

// The buffers are not pinned: they are moved out.
impl<T> Unpin for Pending<T> {}

impl<T> Pending<T> {
    pub(crate) fn new(ticket: Ticket, buffers: T) -> Self {
        Self { ticket, buffers: Some(buffers) }
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
    /// With the buffers: [`Error::Cancelled`], [`Error::Engine`], [`Error::Stuck`], [`Error::Gone`]. Without them, because the device may
    /// still use them: [`Error::TimedOut`]; in a child of fork(2): [`Error::Inherited`].
    ///
    /// # Panics
    ///
    /// If it has already returned its buffers, because it was awaited.
    pub fn wait(mut self) -> Result<T, Failed<T>> {
        match self.ticket.wait(None) {
            Some(outcome) => self.end(outcome),
            None => unreachable!("there is no deadline"),
        }
    }

    /// Cancels it if the engine has not started it; returns whether it is cancelled. It then fails with [`Error::Cancelled`].
    ///
    /// With [`Info::can_abort`](crate::Info::can_abort), a started request is cancelled, too, unless all of its transfers have begun.
    ///
    /// # Errors
    ///
    /// [`Error::Gone`], [`Error::Inherited`].
    pub fn cancel(&self) -> Result<bool, Error> {
        self.ticket.cancel().map_err(|errno| Error::new("CANCEL", errno))
    }

    /// Drops it without cancelling the request, whose buffers are freed at its end.
    pub fn detach(self) {
        self.ticket.detach();
    }

    pub(crate) fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    fn end(&mut self, outcome: Outcome) -> Result<T, Failed<T>> {
        let buffers = self.buffers.take().expect("it has already returned its buffers");
        if outcome.status == 0 {
            return Ok(buffers);
        }
        let error = Error::new("the request has failed", Errno::from_raw_os_error(-outcome.status));
        // The engine is done with the buffers, or has not started; or their memory is freed (Gone). Only if
        // a transfer does not end, or is the parent's, the device may still access them.
        let held = !matches!(error, Error::Cancelled | Error::Engine | Error::Stuck | Error::Gone);
        Err(Failed { error, buffers: (!held).then_some(buffers), bytes: outcome.bytes })
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, Failed<T>>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Self::Output> {
        let outcome = ready!(self.ticket.poll(task.waker()));
        Poll::Ready(self.end(outcome))
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Pending").field("cookie", &self.ticket.cookie()).finish_non_exhaustive()
    }
}
