//! One open file of a device.

use std::{
    fs::{File, OpenOptions},
    io::ErrorKind,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::fs::FileExt,
    },
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::io::Errno;

use crate::{Buffer, DmaBuf, Error, Info, Pending, Request, abi, shared::Shared, slots::State, sys};

/// One open file of a device: it owns buffers and requests, and releases them when it is closed.
///
/// A clone is the same context. Several threads can use it concurrently. As a file ([`AsFd`]), it is readable for poll(2)
/// when completions can be collected. A program with an `io_uring` of its own awaits requests so, too, by `IORING_OP_POLL_ADD`.
///
/// A child of fork(2) has the buffers' bytes, but no part in the parent's handles and requests: dropping them in the child changes nothing
/// for the parent, and using them fails with [`Error::Inherited`]. A child that needs the device opens it itself.
#[derive(Clone, Debug)]
pub struct Context {
    pub(crate) shared: Arc<Shared>,
}

/// Result of [`Context::submit_all`].
#[derive(Debug)]
pub struct Submitted<T> {
    /// The accepted requests, in order.
    pub pending: Vec<Pending<T>>,
    /// The refused requests, in order.
    pub refused: Vec<Request<T>>,
    /// The reason, if any were refused.
    pub error: Option<Error>,
}

impl Context {
    /// Opens a node, such as `/dev/rdma0` or `/dev/rdma/by-path/pci-0000:01:00.0`.
    ///
    /// # Errors
    ///
    /// [`Error::NoDevice`], [`Error::Permission`]; [`Error::OtherDriver`] and [`Error::Version`] if this library does not
    /// support it; [`Error::System`] for other errors of open(2).
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_as(path.as_ref(), OpenOptions::new().read(true).write(true))
    }

    /// A context of a node that is open already, by another program that passed it on, for example.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open), but for those of open(2).
    ///
    /// # Safety
    ///
    /// All requests that were submitted on this open file must have been completed, and their completions collected.
    ///
    /// As long as the context exists, nothing else may make calls on this open file, in this process or in another one, except read(2),
    /// write(2), poll(2) and `RDMA_IOC_DEVICE_INFO`. That includes a second `Context` of a duplicated descriptor: clone the context instead.
    /// In particular, nothing else may
    ///
    /// - submit requests or collect completions, also by `io_uring`, or create or map the completion ring: this context could take another's
    ///   completion for that of its own request, whose buffer the device still accesses;
    /// - free handles: the driver gives the number to the next buffer, which requests would then access instead;
    /// - map the buffers of this context: their bytes are borrowed as `&mut [u8]`.
    #[allow(unsafe_code)] // The function has a contract, but no unsafe code.
    pub unsafe fn from_fd(fd: OwnedFd) -> Result<Self, Error> {
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let path = std::fs::read_link(&path).unwrap_or(path.into());
        Self::of(fd.into(), &path)
    }

    /// Opens a node that may only be read: for [`info`](Self::info) and [`read_device`](Self::read_device). All that needs more fails with
    /// [`Error::Access`], since a [`Buffer`] is memory that the program can write.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_as(path.as_ref(), OpenOptions::new().read(true))
    }

    fn open_as(path: &Path, options: &OpenOptions) -> Result<Self, Error> {
        // The standard library sets O_CLOEXEC: a context would otherwise be inherited by programs that this one executes.
        let file = options.open(path).map_err(|error| {
            let path = path.to_owned();
            match (error.kind(), Errno::from_io_error(&error)) {
                (ErrorKind::NotFound, _) | (_, Some(Errno::NXIO)) => Error::NoDevice { path },
                (ErrorKind::PermissionDenied, _) => Error::Permission { path },
                (_, Some(Errno::NODEV)) => Error::Gone,
                _ => Error::System { what: "the node cannot be opened", source: error },
            }
        })?;
        Self::of(file, path)
    }

    /// A context of this file, if it is a node that this library supports.
    fn of(file: File, path: &Path) -> Result<Self, Error> {
        match sys::device_info(file.as_fd()) {
            Ok(info) if is_supported(info.abi_version) => {
                let shared = Shared::new(file, info.device_memory_size);
                let shared =
                    shared.map_err(|errno| Error::new("children of this process cannot be detected", errno))?;
                Ok(Self { shared: Arc::new(shared) })
            }
            Ok(info) => Err(Error::Version { driver: info.abi_version, library: OLDEST_ABI_VERSION }),
            // Drivers of character devices return either for a call that they do not have.
            Err(Errno::NOTTY | Errno::INVAL) => Err(Error::OtherDriver { path: path.to_owned() }),
            Err(errno) => Err(Error::new("DEVICE_INFO", errno)),
        }
    }

    /// The properties of the device and its driver.
    ///
    /// # Errors
    ///
    /// [`Error::Gone`].
    pub fn info(&self) -> Result<Info, Error> {
        sys::device_info(self.as_fd()).map(Info::from).map_err(|errno| Error::new("DEVICE_INFO", errno))
    }

    /// Allocates a buffer of at least `size` bytes, rounded up to whole pages, all zero.
    ///
    /// It is freed with its last piece. If a transfer still uses it, the driver frees it afterwards.
    ///
    /// # Errors
    ///
    /// [`Error::Size`], [`Error::NoMemory`], [`Error::Quota`], [`Error::Access`], [`Error::Inherited`], [`Error::Gone`].
    pub fn allocate(&self, size: usize) -> Result<Buffer, Error> {
        Buffer::allocate(&self.shared, size)
    }

    /// Makes a buffer of `size` bytes of ordinary memory of the program, all zero. Unlike an [allocated](Self::allocate) one, system calls
    /// that access memory without the CPU accept it: read(2) with `O_DIRECT`, send(2) with `MSG_ZEROCOPY`. It stays when the device is
    /// removed.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] if the device cannot access all memory: [allocate](Self::allocate) a buffer then. Otherwise as there.
    pub fn register(&self, size: usize) -> Result<Buffer, Error> {
        Buffer::register(&self.shared, size)
    }

    /// Allocates a buffer that other drivers and programs can access, too, by a file descriptor (dma-buf).
    ///
    /// # Errors
    ///
    /// Those of [`allocate`](Self::allocate); [`Error::System`] if the kernel or the driver has no dma-bufs.
    pub fn allocate_shared(&self, size: usize) -> Result<DmaBuf, Error> {
        DmaBuf::allocate(&self.shared, size)
    }

    /// Makes a buffer of a dma-buf: that of another context ([`allocate_shared`](Self::allocate_shared)), also of another device, or of
    /// another driver.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] if the device cannot access its memory, or the other driver does not allow it; [`Error::NoMemory`] and
    /// [`Error::Quota`] at a limit of memory; [`Error::System`] if the descriptor is not open for reading and writing, or not that of a
    /// dma-buf; [`Error::Inherited`], [`Error::Gone`].
    pub fn import(&self, dma_buf: OwnedFd) -> Result<DmaBuf, Error> {
        DmaBuf::import(&self.shared, dma_buf)
    }

    /// Submits several requests in one call, without waiting. Requests that are linked ([`Request::linked`]) are accepted as a
    /// whole or not at all. Those of different kinds are converted to one type ([`Buffers`](crate::Buffers)).
    ///
    /// ```
    /// # use rust_dma::{Context, Request};
    /// # fn main() -> Result<(), rust_dma::Error> {
    /// let context = Context::open("/dev/rdma0")?;
    /// let mut page = context.allocate(4096)?;
    /// page[..4].copy_from_slice(b"ping");
    /// let (there, back) = page.split_at(2048);
    /// let submitted = context.submit_all(vec![
    ///     Request::to_device(there, ..4, 0).linked(),
    ///     Request::from_device(back, ..4, 0),
    /// ]);
    /// let mut buffers = Vec::new();
    /// for pending in submitted.pending {
    ///     buffers.push(pending.wait()?);
    /// }
    /// assert_eq!(&buffers[1][..4], b"ping");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn submit_all<T>(&self, requests: Vec<Request<T>>) -> Submitted<T> {
        let mut submitted = Submitted { pending: Vec::with_capacity(requests.len()), refused: Vec::new(), error: None };
        // An invalid request ends the array; requests before it that are not linked to it are submitted.
        let mut raw = Vec::with_capacity(requests.len());
        for request in &requests {
            match &request.raw {
                _ if !Arc::ptr_eq(&request.context, &self.shared) => submitted.error = Some(Error::OtherContext),
                Err(wrong) => submitted.error = Some(wrong.error()),
                Ok(request) => {
                    raw.push(*request);
                    continue;
                }
            }
            break;
        }
        while raw.last().is_some_and(|last| last.flags & abi::RDMA_REQUEST_LINK != 0) {
            submitted.error.get_or_insert(Error::DanglingLink);
            raw.pop();
        }

        let (tickets, error) = self.shared.submit(&mut raw);
        if let Some(error) = error {
            submitted.error = Some(error);
        }
        let mut requests = requests.into_iter();
        for (ticket, request) in tickets.into_iter().zip(&mut requests) {
            submitted.pending.push(Pending::new(ticket, request.buffers));
        }
        submitted.refused.extend(requests);
        submitted
    }

    /// Waits until one of these requests is done, at most for this time, if there is one; returns its position. It then returns its
    /// buffers at once:
    ///
    /// ```
    /// # use rust_dma::{Context, Request};
    /// # fn main() -> Result<(), rust_dma::Error> {
    /// # let context = Context::open("/dev/rdma0")?;
    /// # let mut pending = vec![Request::to_device(context.allocate(4096)?, .., 0).submit()?];
    /// while let Some(first) = context.wait_any(&pending, None)? {
    ///     let buffer = pending.swap_remove(first).wait()?;
    /// #   drop(buffer);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// None if the time has passed, or if there are no requests. Of several ones that are done, it is the first one of the slice.
    ///
    /// # Errors
    ///
    /// [`Error::OtherContext`], [`Error::Inherited`].
    pub fn wait_any<T>(&self, pending: &[Pending<T>], time: Option<Duration>) -> Result<Option<usize>, Error> {
        let fd = self.shared.own_fd().map_err(|errno| Error::new("WAIT", errno))?;
        if pending.iter().any(|pending| !pending.ticket().is_of(&self.shared)) {
            return Err(Error::OtherContext);
        }
        if pending.is_empty() {
            return Ok(None);
        }
        let deadline = time.and_then(|time| Instant::now().checked_add(time));
        let done = |pending: &Pending<T>, state: &State| state.outcome(pending.ticket().key()).is_some();
        Ok(self.shared.inbox().wait(fd, deadline, |state| pending.iter().position(|pending| done(pending, state))))
    }

    /// Cancels all requests of the context that the engine has not started; returns their number. They fail with
    /// [`Error::Cancelled`]. With [`Info::can_abort`](crate::Info::can_abort), also one that has started, unless all of its
    /// transfers have begun.
    ///
    /// # Errors
    ///
    /// [`Error::Gone`], [`Error::Inherited`].
    pub fn cancel_all(&self) -> Result<usize, Error> {
        self.shared.own_fd().and_then(sys::cancel_all).map_err(|errno| Error::new("CANCEL", errno))
    }

    /// Adds 1 to the counter of this eventfd(2) when requests are done, and when the device is removed; instead of the one that was set
    /// before. The requests' results are collected as usual ([`Pending::is_done`]).
    ///
    /// # Errors
    ///
    /// [`Error::Gone`], [`Error::Inherited`]; [`Error::System`] if the file is not an eventfd, or there is no memory (ENOMEM).
    pub fn set_eventfd(&self, eventfd: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        let set = self.shared.own_fd().and_then(|fd| sys::set_eventfd(fd, eventfd));
        set.map_err(|errno| Error::new("the eventfd cannot be set", errno))
    }

    /// Reads device memory from `at` on; returns the number of bytes, 0 at its end. This is one transfer, and waits for it.
    ///
    /// A signal with a handler interrupts the transfer, which is repeated: with a timer of less than the time of a transfer, it never
    /// ends. A [`Request`] is not interrupted.
    ///
    /// # Errors
    ///
    /// [`Error::Access`], [`Error::Gone`], [`Error::Stuck`], [`Error::TimedOut`]; [`Error::System`] if there is no memory for the transfer
    /// (ENOMEM), at a limit of memory (ENOMEM, EDQUOT), or if the file has `O_NONBLOCK` (EAGAIN).
    pub fn read_device(&self, at: u64, bytes: &mut [u8]) -> Result<usize, Error> {
        uninterrupted(|| self.shared.file().read_at(bytes, at))
            .map_err(|error| system("the device memory cannot be read", error))
    }

    /// Writes device memory from `at` on; returns the number of bytes that fit. This is one transfer, and waits for it, as
    /// [`read_device`](Self::read_device) does.
    ///
    /// # Errors
    ///
    /// [`Error::DeviceRange`] at the end; otherwise those of [`read_device`](Self::read_device).
    pub fn write_device(&self, at: u64, bytes: &[u8]) -> Result<usize, Error> {
        uninterrupted(|| self.shared.file().write_at(bytes, at)).map_err(|error| match error.kind() {
            ErrorKind::StorageFull => Error::DeviceRange { at, length: bytes.len() },
            _ => system("the device memory cannot be written", error),
        })
    }
}

impl AsFd for Context {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.fd()
    }
}

impl AsRawFd for Context {
    fn as_raw_fd(&self) -> RawFd {
        self.shared.file().as_raw_fd()
    }
}

/// The oldest version of the ABI that this library can use.
const OLDEST_ABI_VERSION: u32 = 1;

/// Whether this library can use a driver with this version of the ABI. Later versions only add to it.
fn is_supported(abi_version: u32) -> bool {
    abi_version >= OLDEST_ABI_VERSION
}

/// The result of a call on the file.
fn system(what: &'static str, error: std::io::Error) -> Error {
    match Errno::from_io_error(&error) {
        Some(errno) => Error::new(what, errno),
        None => Error::System { what, source: error },
    }
}

/// A signal with a handler interrupts a transfer, which is then repeated.
fn uninterrupted<T>(mut call: impl FnMut() -> std::io::Result<T>) -> std::io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_drivers_are_supported() {
        assert!(is_supported(abi::RDMA_ABI_VERSION));
        assert!(is_supported(abi::RDMA_ABI_VERSION + 1));
        assert!(!is_supported(OLDEST_ABI_VERSION - 1));
    }

    #[test]
    fn nodes_of_other_drivers() {
        for path in ["/dev/null", "/dev/urandom"] {
            let error = Context::open_read_only(path).unwrap_err();
            assert!(matches!(error, Error::OtherDriver { .. }), "{path}: {error}");
        }
    }
}
