//! What can go wrong, and what to do then.

use std::{error, fmt, io, path::PathBuf};

use rustix::io::Errno;

/// Why something was not done. What it says is meant for people, and says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such node (ENOENT, ENXIO).
    #[error("{} is not there: is the module loaded, and is there a device? `rdmactl doctor` looks", path.display())]
    NoDevice {
        /// Where it was looked for.
        path: PathBuf,
    },

    /// The node is not for this user (EACCES, EPERM).
    #[error("{} is not for this user: nodes belong to the group rdma (`adduser USER rdma`, and log in again), or to root", path.display())]
    Permission {
        /// The node.
        path: PathBuf,
    },

    /// The file is something else (ENOTTY).
    #[error("{} is no node of the driver rdma", path.display())]
    OtherDriver {
        /// The file.
        path: PathBuf,
    },

    /// The driver's interface is another one than this library's.
    #[error(
        "the driver has version {driver} of the interface, and this library version {library}: install those that belong together"
    )]
    Version {
        /// What the driver has.
        driver: u32,
        /// What the library has.
        library: u32,
    },

    /// The device was unplugged, or its driver unbound (ENODEV). A context stays so: open a new one when the device is back.
    #[error("the device is gone: unplugged, or its driver unbound. Open it anew when it is back")]
    Gone,

    /// A buffer of no bytes, or of too many (EINVAL).
    #[error("a buffer has 1 to {} bytes, and not {size}", crate::MAX_BUFFER_SIZE)]
    Size {
        /// What was asked for.
        size: usize,
    },

    /// There is no such memory (ENOMEM).
    #[error(
        "no memory for {size} bytes within the device's reach, or more than RLIMIT_MEMLOCK allows (`ulimit -l`); \
         the kernel's log says which, and what helps (`dmesg`)"
    )]
    NoMemory {
        /// What was asked for.
        size: usize,
    },

    /// The context's or the device's quota is used up (EDQUOT).
    #[error(
        "{size} bytes more are over the quota: free buffers, or load the module with a larger context_mib or device_mib"
    )]
    Quota {
        /// What was asked for.
        size: usize,
    },

    /// A request for no bytes, or for bytes that the buffer has not.
    #[error("bytes {start}..{end} are none, or not all in a buffer of {length} bytes")]
    Range {
        /// The first one.
        start: usize,
        /// The one behind the last one.
        end: usize,
        /// Bytes that the buffer has.
        length: usize,
    },

    /// A request for bytes that the device memory has not.
    #[error("{length} bytes from {at} on are not all in a device memory of {} bytes", crate::DEVICE_MEMORY_SIZE)]
    DeviceRange {
        /// The first one in device memory.
        at: u64,
        /// How many.
        length: usize,
    },

    /// The two buffers of a copy, or the requests of an array, are of different contexts.
    #[error("buffers of two contexts in one call: the engine of a device reaches those of its own only")]
    OtherContext,

    /// The last request of an array is linked to a next one.
    #[error("the last request is linked to a next one, and there is none")]
    DanglingLink,

    /// All of the queue's depth is used up (EAGAIN): wait for something that is pending.
    #[error("{} requests are pending: wait for some of them first", crate::QUEUE_DEPTH)]
    QueueFull,

    /// It was cancelled, or linked to a request that has not succeeded (ECANCELED).
    #[error("cancelled, or linked to a request that has not succeeded")]
    Cancelled,

    /// The transfer did not end within a second (ETIMEDOUT). The device has its buffers still, so they do not come back.
    #[error(
        "the device did not end the transfer within a second, and keeps its buffers; the kernel's log has more (`dmesg`)"
    )]
    TimedOut,

    /// An earlier transfer never ended (EIO).
    #[error("an earlier transfer never ended, and the engine is not usable: unbind the driver, and bind it again")]
    Stuck,

    /// What the driver never answers, or another part of the system has answered.
    #[error("{what}")]
    System {
        /// What was being done.
        what: &'static str,
        /// What came of it.
        source: io::Error,
    },
}

impl Error {
    /// What the driver means by an errno, whatever was done.
    pub(crate) fn new(what: &'static str, errno: Errno) -> Self {
        match errno {
            Errno::NODEV => Self::Gone,
            Errno::IO => Self::Stuck,
            Errno::CANCELED => Self::Cancelled,
            Errno::TIMEDOUT => Self::TimedOut,
            _ => Self::System { what, source: errno.into() },
        }
    }
}

impl From<Error> for io::Error {
    /// For programs that deal in [`io::Error`]: of the kind that the errno would have had.
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::NoDevice { .. } => io::ErrorKind::NotFound,
            Error::Permission { .. } => io::ErrorKind::PermissionDenied,
            Error::NoMemory { .. } => io::ErrorKind::OutOfMemory,
            Error::Quota { .. } => io::ErrorKind::QuotaExceeded,
            Error::QueueFull => io::ErrorKind::WouldBlock,
            Error::TimedOut => io::ErrorKind::TimedOut,
            Error::OtherDriver { .. }
            | Error::Size { .. }
            | Error::Range { .. }
            | Error::DeviceRange { .. }
            | Error::OtherContext
            | Error::DanglingLink => io::ErrorKind::InvalidInput,
            Error::System { source, .. } => source.kind(),
            Error::Version { .. } | Error::Gone | Error::Cancelled | Error::Stuck => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// A request that was not done, or not to its end, with what it took along.
///
/// `?` makes an [`Error`] of it, and frees the buffers.
pub struct Failed<T> {
    /// Why.
    pub error: Error,
    /// The buffers; none if the device keeps them ([`Error::TimedOut`]).
    pub buffers: Option<T>,
    /// Bytes that have arrived.
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
