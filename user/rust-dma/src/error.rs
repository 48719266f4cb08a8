//! Errors, and what to do about them.

use std::{error, fmt, io, path::PathBuf};

use rustix::io::Errno;

/// The context was opened by another process. The driver has no such error.
pub(crate) const INHERITED: Errno = Errno::STALE;

/// Why an operation failed. The messages are for users, and include what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The node does not exist (ENOENT, ENXIO).
    #[error("{} does not exist: the module is not loaded, or there is no device; `rdmactl doctor` checks this", path.display())]
    NoDevice {
        /// Its path.
        path: PathBuf,
    },

    /// The user may not access the node (EACCES, EPERM).
    #[error("no permission for {}: nodes belong to the group rust-dma (`adduser USER rust-dma`, and log in again), or to root", path.display())]
    Permission {
        /// The node.
        path: PathBuf,
    },

    /// The file is not a node of this driver (ENOTTY, EINVAL).
    #[error("{} is not a node of the driver rdma", path.display())]
    OtherDriver {
        /// The file.
        path: PathBuf,
    },

    /// The driver is too old for this library. Newer drivers are not refused: later versions of the ABI only add to it.
    #[error(
        "the driver has version {driver} of the ABI, and this library needs {library} or later: install a newer driver"
    )]
    Version {
        /// The driver's version.
        driver: u32,
        /// The oldest version that the library can use.
        library: u32,
    },

    /// The device was unplugged, or its driver unbound (ENODEV). This is permanent for a context: open a new one when the device is back.
    #[error("the device was unplugged, or its driver unbound: open it again when it is back")]
    Gone,

    /// A buffer of 0 bytes, or too large (EINVAL).
    #[error("the size of a buffer must be 1 to {} bytes, not {size}", crate::MAX_BUFFER_SIZE)]
    Size {
        /// The requested size.
        size: usize,
    },

    /// There is not enough memory (ENOMEM).
    #[error(
        "no memory for {size} bytes within the device's address range, or more than RLIMIT_MEMLOCK allows (`ulimit -l`); \
         the kernel log states the reason (`dmesg`)"
    )]
    NoMemory {
        /// The requested size.
        size: usize,
    },

    /// The device cannot access ordinary memory, or that of a dma-buf, or the driver is older than this call (EOPNOTSUPP).
    #[error(
        "the device cannot access this memory, for which it needs an IOMMU, or the driver is too old: allocate a buffer"
    )]
    Unreachable,

    /// The quota of the context or the device is exceeded (EDQUOT).
    #[error(
        "{size} more bytes exceed the quota: free buffers, or load the module with a larger context_mib or device_mib"
    )]
    Quota {
        /// The requested size.
        size: usize,
    },

    /// A request for 0 bytes, or for bytes outside of the buffer.
    #[error("the range {start}..{end} is empty, or exceeds a buffer of {length} bytes")]
    Range {
        /// Start of the range.
        start: usize,
        /// End of the range.
        end: usize,
        /// Size of the buffer.
        length: usize,
    },

    /// A request for bytes outside of the device memory.
    #[error("{length} bytes from {at} on exceed the device memory")]
    DeviceRange {
        /// Start of the range in device memory.
        at: u64,
        /// Number of bytes.
        length: usize,
    },

    /// The two buffers of a copy, or the requests of an array, belong to different contexts.
    #[error("the buffers belong to two contexts: a request can use those of one context only")]
    OtherContext,

    /// The last request of an array is linked to the next one, which does not exist.
    #[error("the last request is linked, but there is no next one")]
    DanglingLink,

    /// A chain of more requests than the queue has room for.
    #[error("{length} requests are linked: a chain can have at most {}", crate::QUEUE_DEPTH)]
    ChainTooLong {
        /// The number of requests of the chain.
        length: usize,
    },

    /// The node is not open for both reading and writing (EACCES, EBADF).
    #[error("this needs the node open for reading and writing: `Context::open`")]
    Access,

    /// The context was opened by another process, of which this one is a child (fork(2)). Its handles, requests and completions
    /// are those of the parent.
    #[error("the context was opened by the parent process: open the node again after fork")]
    Inherited,

    /// The queue is full (EAGAIN): wait for a pending request.
    #[error("{} requests are pending: wait for some of them first", crate::QUEUE_DEPTH)]
    QueueFull,

    /// It was cancelled, or linked to a request that failed (ECANCELED).
    #[error("cancelled, or linked to a request that failed")]
    Cancelled,

    /// The transfer did not end within a second (ETIMEDOUT). The device may still use its buffers, so that they are not returned.
    /// With [`Info::can_abort`](crate::Info::can_abort), other requests continue.
    #[error(
        "the transfer did not end within a second, so that its buffers are not returned; the kernel log has details (`dmesg`)"
    )]
    TimedOut,

    /// The engine reported an error (EREMOTEIO). The destination contains undefined bytes; other requests continue.
    #[error("the engine reported an error, and the destination contains undefined bytes: repeat the request")]
    Engine,

    /// An earlier transfer has not ended, or the device was not a bus master (EIO).
    #[error(
        "an earlier transfer has not ended, so that the engine cannot be used: unbind the driver, and bind it again"
    )]
    Stuck,

    /// An undocumented error, or one from another part of the system.
    #[error("{what}")]
    System {
        /// The operation.
        what: &'static str,
        /// Its error.
        source: io::Error,
    },
}

impl Error {
    /// The meaning of an errno of the driver, for any operation.
    pub(crate) fn new(what: &'static str, errno: Errno) -> Self {
        match errno {
            Errno::NODEV => Self::Gone,
            Errno::IO => Self::Stuck,
            Errno::CANCELED => Self::Cancelled,
            Errno::TIMEDOUT => Self::TimedOut,
            Errno::REMOTEIO => Self::Engine,
            Errno::ACCESS | Errno::BADF => Self::Access,
            INHERITED => Self::Inherited,
            _ => Self::System { what, source: errno.into() },
        }
    }

    /// The meaning of an errno of an operation that gets a buffer of this size.
    pub(crate) fn of_buffer(what: &'static str, errno: Errno, size: usize) -> Self {
        match errno {
            Errno::NOMEM => Self::NoMemory { size },
            Errno::DQUOT => Self::Quota { size },
            Errno::OPNOTSUPP | Errno::NOTTY => Self::Unreachable,
            errno => Self::new(what, errno),
        }
    }

    /// The errno: the driver's, or what it would return if this library did not check before. None if no call of the driver
    /// has this error.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        let errno = match self {
            Self::NoDevice { .. } => Errno::NOENT,
            Self::Permission { .. } | Self::Access => Errno::ACCESS,
            Self::OtherDriver { .. } => Errno::NOTTY,
            Self::Gone => Errno::NODEV,
            Self::NoMemory { .. } => Errno::NOMEM,
            Self::Quota { .. } => Errno::DQUOT,
            Self::Unreachable => Errno::OPNOTSUPP,
            Self::Size { .. }
            | Self::Range { .. }
            | Self::DeviceRange { .. }
            | Self::OtherContext
            | Self::DanglingLink
            | Self::ChainTooLong { .. } => Errno::INVAL,
            Self::QueueFull => Errno::AGAIN,
            Self::Cancelled => Errno::CANCELED,
            Self::TimedOut => Errno::TIMEDOUT,
            Self::Stuck => Errno::IO,
            Self::Engine => Errno::REMOTEIO,
            Self::System { source, .. } => return source.raw_os_error(),
            Self::Version { .. } | Self::Inherited => return None,
        };
        Some(errno.raw_os_error())
    }
}

impl From<Error> for io::Error {
    /// For programs that use [`io::Error`]: of the kind that the errno has.
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::NoDevice { .. } => io::ErrorKind::NotFound,
            Error::Permission { .. } | Error::Access => io::ErrorKind::PermissionDenied,
            Error::NoMemory { .. } => io::ErrorKind::OutOfMemory,
            Error::Quota { .. } => io::ErrorKind::QuotaExceeded,
            Error::QueueFull => io::ErrorKind::WouldBlock,
            Error::TimedOut => io::ErrorKind::TimedOut,
            Error::OtherDriver { .. }
            | Error::Size { .. }
            | Error::Range { .. }
            | Error::DeviceRange { .. }
            | Error::OtherContext
            | Error::DanglingLink
            | Error::ChainTooLong { .. } => io::ErrorKind::InvalidInput,
            Error::System { source, .. } => source.kind(),
            Error::Unreachable => io::ErrorKind::Unsupported,
            Error::Version { .. }
            | Error::Gone
            | Error::Cancelled
            | Error::Stuck
            | Error::Engine
            | Error::Inherited => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// A request that failed, with its buffers.
///
/// `?` converts it to an [`Error`], and frees the buffers.
pub struct Failed<T> {
    /// The reason.
    pub error: Error,
    /// The buffers; none if the device still uses them ([`Error::TimedOut`], [`Error::Inherited`]).
    pub buffers: Option<T>,
    /// Number of bytes that were transferred.
    pub bytes: u64,
}

impl<T> fmt::Debug for Failed<T> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Failed").field("error", &self.error).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl<T> fmt::Display for Failed<T> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(to)
    }
}

impl<T> error::Error for Failed<T> {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.error.source()
    }
}

impl<T> From<Failed<T>> for Error {
    fn from(failed: Failed<T>) -> Self {
        failed.error
    }
}

impl<T> From<Failed<T>> for io::Error {
    fn from(failed: Failed<T>) -> Self {
        failed.error.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_keep_their_errno() {
        for errno in
            [Errno::NODEV, Errno::IO, Errno::CANCELED, Errno::TIMEDOUT, Errno::REMOTEIO, Errno::ACCESS, Errno::FAULT]
        {
            assert_eq!(Error::new("a call", errno).raw_os_error(), Some(errno.raw_os_error()));
        }
        assert!(matches!(Error::new("a call", Errno::REMOTEIO), Error::Engine));
        assert_eq!(Error::Size { size: 0 }.raw_os_error(), Some(Errno::INVAL.raw_os_error()));
        assert_eq!(Error::new("a call", INHERITED).raw_os_error(), None);
    }
}
