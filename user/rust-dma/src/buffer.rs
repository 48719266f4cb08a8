//! Memory that the program and the device share.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
};

use crate::{BufferInfo, Error, Operand, request::Place, shared::Shared, sys};

/// Memory that the device can access, or a piece of it. It dereferences to `[u8]`.
///
/// It is mapped, not copied, and its pages are loaded when they are accessed. A [`Request`](crate::Request) takes ownership of it and
/// returns it. To access one part during a transfer of another one, split it ([`split_at`](Self::split_at)).
pub struct Buffer {
    span: sys::Span<Memory>,
}

/// How the bytes of a buffer are going to be accessed ([`Buffer::advise`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Advice {
    /// The default: with a page, those around it are mapped.
    Normal,
    /// Here and there: each page is mapped separately.
    Random,
    /// With huge pages, where it has them.
    HugePages,
    /// Without huge pages.
    NoHugePages,
}

/// What the pieces of a buffer share: its handle, which is freed with the last one.
#[derive(Debug)]
pub(crate) struct Memory {
    handle: u32,
    context: Arc<Shared>,
}

impl Memory {
    pub(crate) fn new(context: &Arc<Shared>, handle: u32) -> Self {
        Self { handle, context: Arc::clone(context) }
    }

    pub(crate) fn allocate(context: &Arc<Shared>, size: usize) -> Result<(Self, sys::Allocated<'_>), Error> {
        if size == 0 || size > crate::MAX_BUFFER_SIZE {
            return Err(Error::Size { size });
        }
        let fd = context.own_fd().map_err(|errno| Error::new("ALLOC", errno))?;
        // Dropped requests that are done may still keep memory.
        context.inbox().tidy(fd);
        let alloc = sys::alloc(fd, size as u64).map_err(|errno| Error::of_buffer("ALLOC", errno, size))?;
        Ok((Self::new(context, alloc.handle()), alloc))
    }

    pub(crate) fn context(&self) -> &Arc<Shared> {
        &self.context
    }

    pub(crate) fn handle(&self) -> u32 {
        self.handle
    }
}

impl Buffer {
    pub(crate) fn allocate(context: &Arc<Shared>, size: usize) -> Result<Self, Error> {
        let (memory, alloc) = Memory::allocate(context, size)?;
        let span =
            sys::Span::allocated(alloc, memory).map_err(|errno| Error::new("the buffer cannot be mapped", errno))?;
        Ok(Self { span })
    }

    pub(crate) fn register(context: &Arc<Shared>, size: usize) -> Result<Self, Error> {
        if size == 0 || size > crate::MAX_BUFFER_SIZE {
            return Err(Error::Size { size });
        }
        let fd = context.own_fd().map_err(|errno| Error::new("REGISTER", errno))?;
        context.inbox().tidy(fd);
        let owner = |handle| Memory::new(context, handle);
        let span = sys::Span::register(fd, size, owner).map_err(|errno| Error::of_buffer("REGISTER", errno, size))?;
        Ok(Self { span })
    }

    /// Splits it at this byte into two buffers.
    ///
    /// # Panics
    ///
    /// If it has fewer bytes, as for slices.
    #[must_use]
    pub fn split_at(self, at: usize) -> (Self, Self) {
        let (first, second) = self.span.split_at(at);
        (Self { span: first }, Self { span: second })
    }

    /// Joins two pieces that were split.
    ///
    /// # Errors
    ///
    /// Both pieces, if the second one does not follow the first.
    pub fn join(self, next: Self) -> Result<Self, (Self, Self)> {
        match self.span.join(next.span) {
            Ok(span) => Ok(Self { span }),
            Err((first, second)) => Err((Self { span: first }, Self { span: second })),
        }
    }

    /// The driver's information on the whole buffer.
    ///
    /// # Errors
    ///
    /// [`Error::Gone`], [`Error::Inherited`].
    pub fn info(&self) -> Result<BufferInfo, Error> {
        // In a child of fork, the handle is the parent's, who may have freed it, and got another buffer with this number.
        let info = self.context().own_fd().and_then(|fd| sys::buffer_info(fd, self.handle()));
        info.map(BufferInfo::from).map_err(|errno| Error::new("BUFFER_INFO", errno))
    }

    /// Advises the kernel how it is going to be accessed (madvise(2)). This applies to whole pages.
    ///
    /// # Errors
    ///
    /// [`Error::System`], if the kernel has no such pages.
    pub fn advise(&self, advice: Advice) -> Result<(), Error> {
        self.span.advise(advice).map_err(|errno| Error::new("madvise", errno))
    }

    /// Maps all of its pages, so that accessing them later causes no page faults. (The driver's mappings do not support
    /// `MADV_POPULATE_WRITE` and `MAP_POPULATE`: this reads one byte of each page.)
    pub fn populate(&self) {
        for byte in self.iter().step_by(rustix::param::page_size()) {
            std::hint::black_box(*byte);
        }
        // The pages of a piece do not begin where it does.
        std::hint::black_box(self.last().copied());
    }
}

impl Operand for Buffer {}

impl Place for Buffer {
    fn context(&self) -> &Arc<Shared> {
        self.span.owner().context()
    }

    fn handle(&self) -> u32 {
        self.span.owner().handle()
    }

    /// The position of this piece in the driver's buffer.
    fn start(&self) -> usize {
        self.span.start()
    }

    fn size(&self) -> usize {
        self.len()
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
    // Without the bytes: there are many, and they may be revoked.
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
        // It fails only if the device is removed, and the handle with it. In a child of fork, the handle is the parent's.
        let _ = self.context.own_fd().and_then(|fd| sys::free(fd, self.handle));
    }
}
