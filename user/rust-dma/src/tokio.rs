//! Completions that a runtime of tokio collects.

use std::{
    io, mem,
    ops::Deref,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use ::tokio::{io::unix::AsyncFd, task::JoinHandle};

use crate::{Context, Error, Failed, Pending, Request, shared::Shared, sys};

/// A context whose completions are collected by a task of a runtime.
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
/// [`Pending`] is a future with any context. With this one, the runtime's own epoll(7) wakes its tasks, so that no thread is needed for it.
/// The completions of dropped requests are collected at once. The runtime has to run while requests are
/// awaited, in it or elsewhere; when it is gone, a thread collects instead.
///
/// If a future is dropped, its request is cancelled, as described for [`Pending`].
#[derive(Debug)]
pub struct AsyncContext {
    context: Context,
    reading: Arc<Reading>,
    reader: JoinHandle<()>,
}

/// The task, as long as it has not ended.
#[derive(Debug)]
struct Reading {
    context: Context,
    ended: AtomicBool,
}

impl AsyncContext {
    /// Registers the context with the current runtime.
    ///
    /// # Errors
    ///
    /// Errors of epoll(7), and of dup(2); [`Error::Inherited`].
    ///
    /// # Panics
    ///
    /// Outside of a runtime, or if it has no I/O driver.
    pub fn new(context: Context) -> io::Result<Self> {
        if context.shared.is_inherited() {
            return Err(Error::Inherited.into());
        }
        let file = Watched { file: Some(sys::readiness(context.as_fd())?), shared: Arc::clone(&context.shared) };
        let reading = Arc::new(Reading { context: context.clone(), ended: AtomicBool::new(false) });
        context.shared.inbox().reader_begins();
        let reader = ::tokio::spawn(read(file, EndOnDrop(Arc::clone(&reading))));
        Ok(Self { context, reading, reader })
    }

    /// Submits a request, and waits for it.
    ///
    /// # Errors
    ///
    /// Those of [`Request::run`].
    pub async fn run<T>(&self, request: Request<T>) -> Result<T, Failed<T>> {
        request.submit()?.await
    }

    /// Waits until a request is done, and returns its buffers; the same as `pending.await`.
    ///
    /// # Errors
    ///
    /// Those of [`Pending::wait`].
    pub async fn wait<T>(&self, pending: Pending<T>) -> Result<T, Failed<T>> {
        pending.await
    }
}

/// The node as a file that the runtime watches.
struct Watched {
    /// Always there until it is dropped.
    file: Option<AsyncFd<OwnedFd>>,
    shared: Arc<Shared>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        // A child of fork(2) shares the epoll instance with its parent. Dropping the file would remove it from there, and the parent would
        // not be woken for it any more.
        if self.shared.is_inherited() {
            mem::forget(self.file.take());
        }
    }
}

/// Collects whenever there are completions, until the runtime or the device is gone.
async fn read(watched: Watched, _end: EndOnDrop) {
    let Watched { file: Some(file), shared } = &watched else { return };
    while let Ok(mut guard) = file.readable().await {
        let is_gone = guard.ready().is_read_closed();
        // Before collecting: later completions make the file readable again.
        guard.clear_ready();
        // In a child of fork(2), the completions are the parent's.
        if shared.is_inherited() {
            break;
        }
        shared.inbox().collect(shared.fd());
        // The file then is always readable.
        if is_gone {
            break;
        }
    }
}

/// Ends a reader when its task ends, also if the runtime drops it.
struct EndOnDrop(Arc<Reading>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Reading {
    fn end(&self) {
        let shared = &self.context.shared;
        if !shared.is_inherited() && !self.ended.swap(true, Ordering::Relaxed) {
            shared.inbox().reader_ends();
        }
    }
}

impl Deref for AsyncContext {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.context
    }
}

impl Drop for AsyncContext {
    fn drop(&mut self) {
        // In a child of fork(2), the task is a copy of the parent's, and ends by itself.
        if !self.context.shared.is_inherited() {
            // The task ends when the runtime runs again.
            self.reading.end();
            self.reader.abort();
        }
    }
}
