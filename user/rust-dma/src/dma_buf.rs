//! Buffers that other drivers and other programs access, too.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use rustix::{
    fs::SeekFrom,
    io::{Errno, retry_on_intr},
};

use crate::{Error, buffer::Memory, request::Operand, shared::Shared, sys};

/// A buffer that other drivers and other programs may access at any time (dma-buf), by its file descriptor. It therefore gives no access to
/// its bytes: copy them to or from a [`Buffer`](crate::Buffer) ([`Request::copy`](crate::Request::copy)).
///
/// The order is up to the programs: a request neither waits for other drivers, nor do they wait for it.
///
/// ```
/// # use rust_dma::{Context, Request};
/// # fn main() -> Result<(), rust_dma::Error> {
/// let (sender, receiver) = (Context::open("/dev/rdma0")?, Context::open("/dev/rdma0")?);
/// let shared = sender.allocate_shared(4096)?;
/// let imported = receiver.import(shared.try_clone_fd()?)?;
///
/// let mut message = sender.allocate(4096)?;
/// message[..5].copy_from_slice(b"hello");
/// Request::copy(message, ..5, shared, 0).run()?;
/// let (_, received) = Request::copy(imported, ..5, receiver.allocate(4096)?, 0).run()?;
/// assert_eq!(&received[..5], b"hello");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct DmaBuf {
    memory: Memory,
    length: usize,
    fd: OwnedFd,
}

impl DmaBuf {
    pub(crate) fn allocate(context: &Arc<Shared>, size: usize) -> Result<Self, Error> {
        let (memory, alloc) = Memory::allocate(context, size)?;
        let fd = context.own_fd().and_then(|node| sys::export(node, alloc.handle()));
        let fd = fd.map_err(|errno| Error::new("EXPORT", errno))?;
        // At most MAX_BUFFER_SIZE, so that it fits.
        Ok(Self { memory, length: usize::try_from(alloc.size()).unwrap_or(size), fd })
    }

    pub(crate) fn import(context: &Arc<Shared>, fd: OwnedFd) -> Result<Self, Error> {
        let node = context.own_fd().map_err(|errno| Error::new("IMPORT", errno))?;
        context.inbox().tidy(node);
        // A signal interrupts the other driver while it prepares the memory.
        let import = retry_on_intr(|| sys::import(node, fd.as_fd()));
        let import = import.map_err(|errno| {
            let is_gone = || sys::device_info(node).err() == Some(Errno::NODEV);
            not_imported(errno, size_of(fd.as_fd()), is_gone)
        })?;
        let memory = Memory::new(context, import.handle);
        // At most MAX_BUFFER_SIZE, so that it fits.
        Ok(Self { memory, length: usize::try_from(import.size).unwrap_or(0), fd })
    }

    /// A further descriptor of it, which other programs and drivers can use.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if there are too many open files.
    pub fn try_clone_fd(&self) -> Result<OwnedFd, Error> {
        self.fd.try_clone().map_err(|source| Error::System { what: "the descriptor cannot be duplicated", source })
    }

    /// Its size in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it has no bytes, which does not happen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

/// The size of a dma-buf in bytes.
fn size_of(fd: BorrowedFd<'_>) -> usize {
    let size = rustix::fs::seek(fd, SeekFrom::End(0)).unwrap_or(0);
    usize::try_from(size).unwrap_or(usize::MAX)
}

/// The meaning of an errno of IMPORT, for a dma-buf of this size. Most are of the dma-buf or its exporter, also those that mean something else in other
/// calls. `is_gone`: whether this device is gone.
fn not_imported(errno: Errno, size: usize, is_gone: impl FnOnce() -> bool) -> Error {
    let what = match errno {
        Errno::NOMEM | Errno::DQUOT | Errno::OPNOTSUPP | Errno::NOTTY => {
            return Error::of_buffer("IMPORT", errno, size);
        }
        Errno::NODEV if is_gone() => return Error::Gone,
        Errno::ACCESS => "the dma-buf is not open for reading and writing",
        Errno::BADF | Errno::INVAL => "the descriptor is not that of a dma-buf, or the dma-buf is too large",
        _ => "the exporter of the dma-buf, not this device, has failed",
    };
    Error::System { what, source: errno.into() }
}

impl AsFd for DmaBuf {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Operand for DmaBuf {}

impl crate::request::Place for DmaBuf {
    fn context(&self) -> &Arc<Shared> {
        self.memory.context()
    }

    fn handle(&self) -> u32 {
        self.memory.handle()
    }

    fn start(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_an_import() {
        let meaning = |errno| not_imported(errno, 4096, || false);
        assert!(matches!(meaning(Errno::NOMEM), Error::NoMemory { size: 4096 }));
        assert!(matches!(meaning(Errno::DQUOT), Error::Quota { size: 4096 }));
        assert!(matches!(meaning(Errno::OPNOTSUPP), Error::Unreachable));
        for (errno, what) in [
            (Errno::ACCESS, "the dma-buf is not open for reading and writing"),
            (Errno::INVAL, "the descriptor is not that of a dma-buf, or the dma-buf is too large"),
        ] {
            let error = meaning(errno);
            assert_eq!((error.to_string().as_str(), error.raw_os_error()), (what, Some(errno.raw_os_error())));
        }
    }

    #[test]
    fn errors_of_the_exporter_are_not_those_of_the_device() {
        for errno in [Errno::NODEV, Errno::IO, Errno::TIMEDOUT, Errno::CANCELED, Errno::REMOTEIO, Errno::STALE] {
            let error = not_imported(errno, 4096, || false);
            assert!(matches!(error, Error::System { .. }), "{error:?}");
            assert!(error.to_string().contains("the exporter"));
            assert_eq!(error.raw_os_error(), Some(errno.raw_os_error()));
        }
        assert!(matches!(not_imported(Errno::NODEV, 4096, || true), Error::Gone));
        assert!(matches!(not_imported(Errno::IO, 4096, || true), Error::System { .. }));
    }

    #[test]
    fn a_file_has_the_size_of_its_end() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(size_of(file.as_fd()), 0);
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        assert_eq!(size_of(file.as_fd()) as u64, file.metadata().unwrap().len());
    }
}
