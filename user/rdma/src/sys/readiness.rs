//! The node as something that a runtime watches.

use std::io;

use ::tokio::io::{Interest, unix::AsyncFd};

use crate::Context;

/// Registers a context with the runtime that this is called in: it is readable when completions wait.
pub(crate) fn readiness(context: Context) -> io::Result<AsyncFd<Context>> {
    // SAFETY: The file is owned by what all clones of the context share, and never exchanged: it stays open, under the same
    // number, for as long as the `AsyncFd` has one of them.
    let registered = unsafe { AsyncFd::register_with_interest(context, Interest::READABLE) };
    registered.map_err(io::Error::from)
}
