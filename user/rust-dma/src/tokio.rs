//! Completions as futures of tokio.

use std::{
    future::poll_fn,
    io,
    ops::Deref,
    pin::pin,
    task::{Poll, ready},
};

use ::tokio::io::unix::AsyncFd;

use crate::{Context, Error, Failed, Pending, Request, slots::Outcome, sys};

/// A context whose requests can be awaited.
///
/// ```
/// use rust_dma::{AsyncContext, Context, Request};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let context = AsyncContext::new(Context::open("/dev/rdma0")?)?;
/// let buffer = context.allocate(4096)?;
/// let buffer = context.run(Request::to_device(buffer, .., 0)).await?;
/// # drop(buffer);
/// # Ok(())
/// # }
/// ```
///
/// If a future is dropped, its request continues, as described for [`Pending`].
#[derive(Debug)]
pub struct AsyncContext {
    file: AsyncFd<Context>,
}

impl AsyncContext {
    /// Registers the context with the current runtime.
    ///
    /// # Errors
    ///
    /// Errors of epoll(7).
    ///
    /// # Panics
    ///
    /// Outside of a runtime, or if it has no I/O driver.
    pub fn new(context: Context) -> io::Result<Self> {
        sys::readiness(context).map(|file| Self { file })
    }

    /// Submits a request, and waits for it.
    ///
    /// # Errors
    ///
    /// Those of [`Request::run`].
    pub async fn run<T>(&self, request: Request<T>) -> Result<T, Failed<T>> {
        self.wait(request.submit()?).await
    }

    /// Waits until a request of this context is done, and returns its buffers.
    ///
    /// # Errors
    ///
    /// Those of [`Pending::wait`]; [`Error::OtherContext`].
    pub async fn wait<T>(&self, pending: Pending<T>) -> Result<T, Failed<T>> {
        if !pending.ticket().is_of(&self.shared) {
            return Err(Failed { error: Error::OtherContext, buffers: None, bytes: 0 });
        }
        loop {
            if let Some(outcome) = self.progress(&pending).await {
                return pending.end(outcome);
            }
        }
    }

    /// Waits until the request is done, or must be polled again.
    async fn progress<T>(&self, pending: &Pending<T>) -> Option<Outcome> {
        let mut readable = pin!(self.file.readable());
        poll_fn(|task| {
            if let Poll::Ready(outcome) = pending.ticket().poll(task) {
                return Poll::Ready(Some(outcome));
            }
            // Before collecting: later completions make the file readable again.
            if let Ok(mut guard) = ready!(readable.as_mut().poll(task)) {
                guard.clear_ready();
            }
            Poll::Ready(None)
        })
        .await
    }
}

impl Deref for AsyncContext {
    type Target = Context;

    fn deref(&self) -> &Context {
        self.file.get_ref()
    }
}
