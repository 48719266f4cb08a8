//! The node as a file that a runtime watches.

use std::io;

use ::tokio::io::{Interest, unix::AsyncFd};

use crate::Context;

/// Registers a context with the current runtime: it is readable when completions can be collected.
pub(crate) fn readiness(context: Context) -> io::Result<AsyncFd<Context>> {
    // SAFETY: The file is owned by what all clones of the context share, and is never replaced: it stays open, under the same
    // number, for as long as the `AsyncFd` has one of them.
    let registered = unsafe { AsyncFd::register_with_interest(context, Interest::READABLE) };
    registered.map_err(io::Error::from)
}
