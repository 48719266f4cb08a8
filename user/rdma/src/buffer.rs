//! Memory that the program and the device work on alike.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
};

use rustix::io::Errno;

use crate::{BufferInfo, Error, context::Shared, sys};

/// Coherent memory that the device reaches, or a piece of it: a `[u8]` that is the program's.
///
/// It is mapped, not copied, and its pages are loaded when they are touched. A [`Request`](crate::Request) takes it along and brings it
/// back. To have the device work on one part while the program works on another one, cut it ([`split_at`](Self::split_at)).
pub struct Buffer {
    span: sys::Span<Memory>,
}

/// What the pieces of a buffer have in common: its handle, which goes with the last one.
struct Memory {
    handle: u32,
    context: Arc<Shared>,
}

impl Buffer {
    pub(crate) fn allocate(context: &Arc<Shared>, size: usize) -> Result<Self, Error> {
        if size == 0 || size > crate::MAX_BUFFER_SIZE {
            return Err(Error::Size { size });
        }
        let alloc = sys::alloc(context.fd(), size as u64).map_err(|errno| match errno {
            Errno::NOMEM => Error::NoMemory { size },
            Errno::DQUOT => Error::Quota { size },
            errno => Error::new("ALLOC", errno),
        })?;
        let memory = Memory { handle: alloc.handle, context: Arc::clone(context) };
        // No larger than MAX_BUFFER_SIZE, so that it fits.
        let length = usize::try_from(alloc.size).unwrap_or(size);
        let span = sys::Span::map(context.fd(), length, alloc.mmap_offset, memory)
            .map_err(|errno| Error::new("the buffer cannot be mapped", errno))?;
        Ok(Self { span })
    }

    /// Cuts it in two, at this byte. Each piece is a buffer of its own.
    ///
    /// # Panics
    ///
    /// If it has fewer bytes, as with slices.
    #[must_use]
    pub fn split_at(self, at: usize) -> (Self, Self) {
        let (first, second) = self.span.split_at(at);
        (Self { span: first }, Self { span: second })
    }

    /// Puts two pieces together that were cut.
    ///
    /// # Errors
    ///
    /// Both, if the second one is not what follows the first.
    pub fn join(self, next: Self) -> Result<Self, (Self, Self)> {
        match self.span.join(next.span) {
            Ok(span) => Ok(Self { span }),
            Err((first, second)) => Err((Self { span: first }, Self { span: second })),
        }
    }

    /// What the driver knows of the buffer, all pieces together.
    ///
    /// # Errors
    ///
    /// [`Error::Gone`].
    pub fn info(&self) -> Result<BufferInfo, Error> {
        let info =
            sys::buffer_info(self.context().fd(), self.handle()).map_err(|errno| Error::new("BUFFER_INFO", errno))?;
        Ok(BufferInfo {
            handle: info.handle,
            size: info.size,
            mmap_offset: info.mmap_offset,
            mappings: info.mappings,
            requests: info.requests,
        })
    }

    pub(crate) fn context(&self) -> &Arc<Shared> {
        &self.span.owner().context
    }

    pub(crate) fn handle(&self) -> u32 {
        self.span.owner().handle
    }

    /// Where this piece begins within the buffer that the driver knows.
    pub(crate) fn start(&self) -> usize {
        self.span.start()
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.span
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.span
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl fmt::Debug for Buffer {
    // Not the bytes: there are many, and they may be gone.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Buffer")
            .field("handle", &self.handle())
            .field("start", &self.start())
            .field("length", &self.len())
            .finish()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // It fails only if the device is gone, and the handle with it.
        let _ = sys::free(self.context.fd(), self.handle);
    }
}
