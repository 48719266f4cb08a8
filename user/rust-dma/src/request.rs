//! A request for the engine, before it is submitted.

use std::{
    ops::{Bound, RangeBounds},
    sync::Arc,
};

use crate::{Buffer, Error, Failed, Pending, abi, shared::Shared};

/// A request for the engine, with its buffers.
///
/// `T` is what it returns when it is done: a [`Buffer`], or two for a copy. The requests of a context are executed in
/// the order in which they were submitted.
#[derive(Debug)]
#[must_use = "nothing is done until it is submitted"]
pub struct Request<T> {
    pub(crate) context: Arc<Shared>,
    pub(crate) raw: Result<abi::rdma_request, Wrong>,
    pub(crate) buffers: T,
}

/// The buffers of a request of any kind, so that one array can have requests of different kinds:
///
/// ```
/// # use rust_dma::{Buffers, Context, Request};
/// # fn main() -> Result<(), rust_dma::Error> {
/// # let context = Context::open("/dev/rdma0")?;
/// # let (first, second, third) = (context.allocate(4096)?, context.allocate(4096)?, context.allocate(4096)?);
/// let submitted = context.submit_all::<Buffers>(vec![
///     Request::copy(first, .., second, 0).linked().into(),
///     Request::from_device(third, .., 0).into(),
/// ]);
/// for pending in submitted.pending {
///     match pending.wait()? {
///         Buffers::One(buffer) => println!("{} bytes from the device", buffer.len()),
///         Buffers::Two(_, destination) => println!("{} bytes copied", destination.len()),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub enum Buffers {
    /// That of a transfer.
    One(Buffer),
    /// Source and destination of a copy.
    Two(Buffer, Buffer),
}

impl From<Request<Buffer>> for Request<Buffers> {
    fn from(request: Request<Buffer>) -> Self {
        let Request { context, raw, buffers } = request;
        Self { context, raw, buffers: Buffers::One(buffers) }
    }
}

impl From<Request<(Buffer, Buffer)>> for Request<Buffers> {
    fn from(request: Request<(Buffer, Buffer)>) -> Self {
        let Request { context, raw, buffers: (source, destination) } = request;
        Self { context, raw, buffers: Buffers::Two(source, destination) }
    }
}

/// The error of an invalid request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wrong {
    Range { start: usize, end: usize, length: usize },
    DeviceRange { at: u64, length: usize },
    OtherContext,
}

impl Request<Buffer> {
    /// Transfers bytes of a buffer to device memory, from `at` on.
    pub fn to_device(buffer: Buffer, bytes: impl RangeBounds<usize>, at: u64) -> Self {
        let raw = bytes_of(&buffer, bytes).and_then(|(start, length)| {
            Ok(abi::rdma_request {
                operation: abi::RDMA_OP_TO_DEVICE,
                source: buffer.handle(),
                source_offset: start,
                destination_offset: in_device(&buffer, at, length)?,
                length: length as u64,
                ..Default::default()
            })
        });
        Self::new(buffer, raw)
    }

    /// Transfers device memory, from `at` on, to bytes of a buffer.
    pub fn from_device(buffer: Buffer, bytes: impl RangeBounds<usize>, at: u64) -> Self {
        let raw = bytes_of(&buffer, bytes).and_then(|(start, length)| {
            Ok(abi::rdma_request {
                operation: abi::RDMA_OP_FROM_DEVICE,
                destination: buffer.handle(),
                destination_offset: start,
                source_offset: in_device(&buffer, at, length)?,
                length: length as u64,
                ..Default::default()
            })
        });
        Self::new(buffer, raw)
    }

    fn new(buffer: Buffer, raw: Result<abi::rdma_request, Wrong>) -> Self {
        Self { context: Arc::clone(buffer.context()), raw, buffers: buffer }
    }
}

/// What a copy reads or writes: a [`Buffer`], or a [`DmaBuf`](crate::DmaBuf).
#[expect(private_bounds, reason = "only this library implements it")]
pub trait Operand: Place {}

/// A place in a buffer of the driver.
pub(crate) trait Place {
    /// The context of the buffer.
    fn context(&self) -> &Arc<Shared>;

    /// The handle of the buffer.
    fn handle(&self) -> u32;

    /// The first byte, in the buffer.
    fn start(&self) -> usize;

    /// The number of bytes.
    fn size(&self) -> usize;
}

impl<S: Operand, D: Operand> Request<(S, D)> {
    /// Copies bytes of one buffer to another one, from `at` on. Their number is not limited. Unless
    /// [`Info::copies_directly`](crate::Info::copies_directly), the device memory is overwritten.
    ///
    /// To copy within a buffer, split it ([`Buffer::split_at`]).
    pub fn copy(source: S, bytes: impl RangeBounds<usize>, destination: D, at: usize) -> Self {
        let raw = bytes_of(&source, bytes).and_then(|(start, length)| {
            let end = at.saturating_add(length);
            if !Arc::ptr_eq(source.context(), destination.context()) {
                return Err(Wrong::OtherContext);
            }
            let (to, _) = bytes_of(&destination, at..end)?;
            Ok(abi::rdma_request {
                operation: abi::RDMA_OP_COPY,
                source: source.handle(),
                source_offset: start,
                destination: destination.handle(),
                destination_offset: to,
                length: length as u64,
                ..Default::default()
            })
        });
        Self { context: Arc::clone(source.context()), raw, buffers: (source, destination) }
    }
}

impl<T> Request<T> {
    /// The next request of the array starts only if this one succeeds ([`Context::submit_all`](crate::Context::submit_all)).
    pub fn linked(mut self) -> Self {
        if let Ok(raw) = &mut self.raw {
            raw.flags |= abi::RDMA_REQUEST_LINK;
        }
        self
    }

    /// Submits it, without waiting.
    ///
    /// # Errors
    ///
    /// With the buffers: [`Error::QueueFull`]; [`Error::Range`], [`Error::DeviceRange`], [`Error::OtherContext`], [`Error::DanglingLink`];
    /// [`Error::Access`], [`Error::Stuck`], [`Error::Gone`], [`Error::Inherited`]; [`Error::System`] if there is no memory for the request
    /// or the completion ring (ENOMEM).
    pub fn submit(self) -> Result<Pending<T>, Failed<T>> {
        let Self { context, raw, buffers } = self;
        let submitted = match raw {
            Err(wrong) => Err(wrong.error()),
            Ok(raw) if raw.flags & abi::RDMA_REQUEST_LINK != 0 => Err(Error::DanglingLink),
            Ok(raw) => context.submit_one(raw),
        };
        match submitted {
            Ok(ticket) => Ok(Pending::new(ticket, buffers)),
            Err(error) => Err(Failed { error, buffers: Some(buffers), bytes: 0 }),
        }
    }

    /// Submits it, and waits for it. Signals do not interrupt it.
    ///
    /// # Errors
    ///
    /// Those of [`submit`](Self::submit) and of [`Pending::wait`].
    pub fn run(self) -> Result<T, Failed<T>> {
        self.submit()?.wait()
    }
}

impl Wrong {
    pub(crate) fn error(self) -> Error {
        match self {
            Self::Range { start, end, length } => Error::Range { start, end, length },
            Self::DeviceRange { at, length } => Error::DeviceRange { at, length },
            Self::OtherContext => Error::OtherContext,
        }
    }
}

/// The position of a range in its buffer, and its length: at least one byte, all within the piece.
fn bytes_of(buffer: &impl Place, range: impl RangeBounds<usize>) -> Result<(u64, usize), Wrong> {
    let (start, end) = bounds(range, buffer.size());
    if start >= end || end > buffer.size() {
        return Err(Wrong::Range { start, end, length: buffer.size() });
    }
    Ok(((buffer.start() + start) as u64, end - start))
}

/// Start and end of a range.
fn bounds(range: impl RangeBounds<usize>, length: usize) -> (usize, usize) {
    let start = match range.start_bound() {
        Bound::Included(&start) => start,
        Bound::Excluded(&before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&last) => last.saturating_add(1),
        Bound::Excluded(&end) => end,
        Bound::Unbounded => length,
    };
    (start, end)
}

/// The position of a range with this many bytes in the memory of the device of a buffer.
fn in_device(buffer: &impl Place, at: u64, length: usize) -> Result<u64, Wrong> {
    match is_within(buffer.context().device_memory(), at, length) {
        true => Ok(at),
        false => Err(Wrong::DeviceRange { at, length }),
    }
}

fn is_within(memory: u64, at: u64, length: usize) -> bool {
    at.checked_add(length as u64).is_some_and(|end| end <= memory)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_device_memory_ends() {
        for (memory, at, length, fits) in [
            (4096, 0, 4096, true),
            (4096, 4095, 1, true),
            (4096, 4096, 1, false),
            (4096, 1, 4096, false),
            (4096, u64::MAX, 1, false),
            (8192, 4096, 4096, true),
            (0, 0, 1, false),
        ] {
            assert_eq!(is_within(memory, at, length), fits, "{length} bytes from {at} on, of {memory}");
        }
    }

    proptest! {
        // As for slices in the standard library.
        #[test]
        fn bounds_are_those_of_slices(length in 0_usize..40, a in 0_usize..40, b in 0_usize..40) {
            let bytes = vec![0; length];
            let same = |(start, end): (usize, usize), there: Option<&[u8]>| {
                (start <= end && end <= length).then(|| end - start) == there.map(<[u8]>::len)
            };
            prop_assert!(same(bounds(a..b, length), bytes.get(a..b)));
            prop_assert!(same(bounds(a.., length), bytes.get(a..)));
            prop_assert!(same(bounds(..b, length), bytes.get(..b)));
            prop_assert!(same(bounds(a..=b, length), bytes.get(a..=b)));
            prop_assert!(same(bounds(.., length), bytes.get(..)));
            let excluded = (Bound::Excluded(a), Bound::Excluded(b));
            prop_assert!(same(bounds(excluded, length), bytes.get(a + 1..b)));
        }

        #[test]
        fn no_bound_overflows(a: usize, b: usize, length: usize) {
            bounds((Bound::Excluded(a), Bound::Included(b)), length);
        }
    }
}
