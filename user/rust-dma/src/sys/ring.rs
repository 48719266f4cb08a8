//! The completion ring: completions in memory that the driver writes.
//!
//! As with liburing, the load of the tail is an acquire operation, and the store of the head a release operation: the driver
//! has written the completions before the tail, and overwrites them only after the head.

use std::{
    os::fd::BorrowedFd,
    ptr::{self, NonNull},
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::{
    io,
    mm::{self, MapFlags, ProtFlags},
};

use super::call;
use crate::abi;

/// The mapped ring of a context.
///
/// # Invariants
///
/// From `address` on, `size` bytes are mapped, readable and writable, as long as this exists. They contain the head and the tail, aligned,
/// and `entries` completions from `completions` on, `stride` bytes apart and aligned. Only the driver and this type access them.
#[derive(Debug)]
pub(crate) struct Ring {
    address: NonNull<u8>,
    size: usize,
    head: usize,
    tail: usize,
    completions: usize,
    stride: usize,
    entries: u32,
}

// SAFETY: The memory is the same for all threads, and the type is used by one thread at a time (`&mut self`).
unsafe impl Send for Ring {}

impl Ring {
    /// Creates the ring of a context, and maps it. None if the driver has no rings, or this context cannot have one: its completions
    /// are collected by WAIT.
    ///
    /// # Errors
    ///
    /// Those of mmap(2), and `EPROTO` if the driver's description of the ring is wrong. The completions cannot be collected then.
    pub(crate) fn create(fd: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        let mut ring = abi::rdma_completion_ring::default();
        match call::completion_ring(fd, &mut ring) {
            // Another program that has passed the file on has created it.
            Ok(()) | Err(io::Errno::EXIST) => Self::map(fd, &ring).map(Some),
            Err(_) => Ok(None),
        }
    }

    fn map(fd: BorrowedFd<'_>, ring: &abi::rdma_completion_ring) -> io::Result<Self> {
        let of = |value: u32| value as usize;
        let size = usize::try_from(ring.size).map_err(|_| io::Errno::PROTO)?;
        let (stride, completions) = (of(ring.completion_size), of(ring.completions_offset));
        let end = stride.checked_mul(of(ring.entries)).and_then(|bytes| bytes.checked_add(completions));
        let is_index = |offset: u32| of(offset) % 4 == 0 && of(offset) + size_of::<u32>() <= size;
        let fits = ring.entries.is_power_of_two()
            && stride >= size_of::<abi::rdma_completion>()
            && (stride | completions) % align_of::<abi::rdma_completion>() == 0
            && end.is_some_and(|end| end <= size)
            && is_index(ring.head_offset)
            && is_index(ring.tail_offset);
        if !fits {
            return Err(io::Errno::PROTO);
        }
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: Without an address (and MAP_FIXED), existing mappings are not changed.
        let address = unsafe { mm::mmap(ptr::null_mut(), size, protection, MapFlags::SHARED, fd, ring.mmap_offset) }?;
        // INVARIANT: mapped above, and all offsets are checked; the mapping begins with a page.
        Ok(Self {
            address: NonNull::new(address.cast()).ok_or(io::Errno::NOMEM)?,
            size,
            head: of(ring.head_offset),
            tail: of(ring.tail_offset),
            completions,
            stride,
            entries: ring.entries,
        })
    }

    /// The index at this offset, which is that of the head or of the tail.
    fn index(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: By the type's invariant, there is an aligned index within the mapping.
        let index = unsafe { self.address.as_ptr().add(offset) };
        // SAFETY: As above, and it is accessed by atomic operations only.
        unsafe { AtomicU32::from_ptr(index.cast()) }
    }

    /// Collects completions into the beginning of `completions`; returns their number. Makes no system call.
    pub(crate) fn take(&mut self, completions: &mut [abi::rdma_completion]) -> usize {
        let mut head = self.index(self.head).load(Ordering::Relaxed);
        let tail = self.index(self.tail).load(Ordering::Acquire);
        let mut count = 0;
        for completion in completions {
            if head == tail {
                break;
            }
            let entry = self.completions + (head % self.entries) as usize * self.stride;
            // SAFETY: By the type's invariant, the entry is within the mapping.
            let entry = unsafe { self.address.as_ptr().add(entry) };
            // SAFETY: By the type's invariant, it has room for a completion, and the driver does not write it before the head is stored.
            // Any bytes are a valid completion.
            *completion = unsafe { entry.cast::<abi::rdma_completion>().read_unaligned() };
            head = head.wrapping_add(1);
            count += 1;
        }
        self.index(self.head).store(head, Ordering::Release);
        count
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: By the type's invariant nothing else is mapped there, and there are no references into it.
        let unmapped = unsafe { mm::munmap(self.address.as_ptr().cast(), self.size) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}

#[cfg(test)]
impl Ring {
    /// A ring without a driver, in which requests with these cookies are completed.
    pub(crate) fn of(cookies: impl Iterator<Item = u64>) -> Self {
        tests::filled(cookies)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsFd};

    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    use super::*;

    const ENTRIES: u32 = 8;

    fn properties() -> abi::rdma_completion_ring {
        abi::rdma_completion_ring {
            size: 4096,
            entries: ENTRIES,
            completion_size: 32,
            completions_offset: 192,
            tail_offset: 64,
            flags_offset: 128,
            ..Default::default()
        }
    }

    /// A file that the kernel maps as it does a ring.
    fn file(properties: &abi::rdma_completion_ring) -> File {
        let fd = memfd_create("ring", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&fd, properties.size).unwrap();
        fd.into()
    }

    pub(super) fn filled(cookies: impl Iterator<Item = u64>) -> Ring {
        let properties = abi::rdma_completion_ring { size: 12288, entries: 256, ..properties() };
        let ring = Ring::map(file(&properties).as_fd(), &properties).unwrap();
        cookies.for_each(|cookie| complete(&ring, cookie));
        ring
    }

    /// What the driver does.
    fn complete(ring: &Ring, cookie: u64) {
        let tail = ring.index(ring.tail).load(Ordering::Relaxed);
        let at = ring.completions + (tail % ring.entries) as usize * ring.stride;
        let completion = abi::rdma_completion { cookie, ..Default::default() };
        // SAFETY: The entry is within the mapping.
        let entry = unsafe { ring.address.as_ptr().add(at) };
        // SAFETY: As above, and it has room for a completion.
        unsafe { entry.cast::<abi::rdma_completion>().write_unaligned(completion) };
        ring.index(ring.tail).store(tail.wrapping_add(1), Ordering::Release);
    }

    #[test]
    fn indices_wrap_around() {
        let mut ring = Ring::map(file(&properties()).as_fd(), &properties()).unwrap();
        ring.index(ring.head).store(u32::MAX - 20, Ordering::Relaxed);
        ring.index(ring.tail).store(u32::MAX - 20, Ordering::Relaxed);
        let mut completions = [abi::rdma_completion::default(); 5];
        for round in 0..10 {
            (0..7).for_each(|n| complete(&ring, round * 7 + n));
            let mut cookies = Vec::new();
            loop {
                let count = ring.take(&mut completions);
                cookies.extend(completions[..count].iter().map(|completion| completion.cookie));
                if count == 0 {
                    break;
                }
            }
            assert_eq!(cookies, (round * 7..round * 7 + 7).collect::<Vec<_>>());
        }
        assert!(ring.index(ring.head).load(Ordering::Relaxed) < 70);
    }

    #[test]
    fn a_wrong_description_is_refused() {
        let wrong = [
            abi::rdma_completion_ring { entries: 0, ..properties() },
            abi::rdma_completion_ring { entries: 12, ..properties() },
            abi::rdma_completion_ring { entries: 128, ..properties() },
            abi::rdma_completion_ring { completion_size: 16, ..properties() },
            abi::rdma_completion_ring { completion_size: 28, ..properties() },
            abi::rdma_completion_ring { completions_offset: 196, ..properties() },
            abi::rdma_completion_ring { head_offset: 2, ..properties() },
            abi::rdma_completion_ring { tail_offset: 4096, ..properties() },
        ];
        for wrong in wrong {
            assert_eq!(Ring::map(file(&properties()).as_fd(), &wrong).unwrap_err(), io::Errno::PROTO);
        }
    }
}
