//! The node as a file that a runtime watches.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use ::tokio::io::{Interest, unix::AsyncFd};

/// Registers a node with the current runtime: it is readable when completions can be collected.
///
/// It is registered by a descriptor of its own, because epoll accepts each only once, and a context can have several readers.
pub(crate) fn readiness(node: BorrowedFd<'_>) -> io::Result<AsyncFd<OwnedFd>> {
    let duplicate = node.try_clone_to_owned()?;
    // SAFETY: The descriptor stays open, with the same number, as long as the `AsyncFd` owns it.
    let registered = unsafe { AsyncFd::register_with_interest(duplicate, Interest::READABLE) };
    registered.map_err(io::Error::from)
}
