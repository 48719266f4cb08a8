//! Mapped memory, and disjoint pieces of it.

use std::{
    mem,
    ops::{Deref, DerefMut},
    os::fd::BorrowedFd,
    ptr::{self, NonNull},
    slice,
    sync::Arc,
};

use rustix::{
    io,
    mm::{self, MapFlags, ProtFlags},
    param,
};

use super::call::Allocated;
use crate::Advice;

/// Mapped memory, and an owner that lives as long.
///
/// # Invariants
///
/// From `address` on, `length` bytes are mapped, readable and writable, as long as this exists, and nothing else in
/// this program accesses them. `length` is at most `isize::MAX`.
struct Mapping<O> {
    address: NonNull<u8>,
    length: usize,
    owner: O,
}

// SAFETY: The memory is the same for all threads.
unsafe impl<O: Send> Send for Mapping<O> {}
// SAFETY: A shared reference gives access only to the address and the owner.
unsafe impl<O: Sync> Sync for Mapping<O> {}

impl<O> Drop for Mapping<O> {
    fn drop(&mut self) {
        // SAFETY: By the type's invariant nothing else is mapped there; and there are no references into it, because they borrow from
        // a `Span`, which keeps the mapping.
        let unmapped = unsafe { mm::munmap(self.address.as_ptr().cast(), self.length) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}

/// A piece of mapped memory, owned like a `Box<[u8]>`: it can be split and joined.
///
/// # Invariants
///
/// `start + length` is at most the mapping's length, and no other `Span` of this mapping contains any of these bytes.
pub(crate) struct Span<O> {
    mapping: Arc<Mapping<O>>,
    start: usize,
    length: usize,
}

impl<O> Span<O> {
    /// Maps a buffer; `owner` is kept as long as a piece of it exists.
    pub(crate) fn allocated(buffer: Allocated<'_>, owner: O) -> io::Result<Self> {
        let length = usize::try_from(buffer.size()).map_err(|_| io::Errno::INVAL)?;
        let (fd, offset) = buffer.into_place();
        // SAFETY: By the invariant of `Allocated`, which is consumed, nothing else maps it.
        unsafe { Self::map(fd, length, offset, owner) }
    }

    /// Maps `length` bytes of a file from `offset` on; `owner` is kept as long as a piece of them exists.
    ///
    /// # Safety
    ///
    /// No other mapping of that part of the file may exist.
    unsafe fn map(fd: BorrowedFd<'_>, length: usize, offset: u64, owner: O) -> io::Result<Self> {
        if isize::try_from(length).is_err() {
            return Err(io::Errno::INVAL);
        }
        // SAFETY: Without an address (and MAP_FIXED), existing mappings are not changed.
        let address = unsafe {
            mm::mmap(ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, fd, offset)
        }?;
        let address = NonNull::new(address.cast()).ok_or(io::Errno::NOMEM)?;
        // INVARIANT: mapped above, with this length and these permissions.
        let mapping = Arc::new(Mapping { address, length, owner });
        // INVARIANT: the whole mapping, of which there is no other piece yet.
        Ok(Self { mapping, start: 0, length })
    }

    /// Maps `length` bytes of ordinary memory, and registers them as a buffer; `owner` makes the owner from the buffer's handle.
    pub(crate) fn register(fd: BorrowedFd<'_>, length: usize, owner: impl FnOnce(u32) -> O) -> io::Result<Self> {
        if isize::try_from(length).is_err() {
            return Err(io::Errno::INVAL);
        }
        // SAFETY: Without an address (and MAP_FIXED), existing mappings are not changed.
        let address = unsafe {
            mm::mmap_anonymous(ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
        }?;
        let address = NonNull::new(address.cast()).ok_or(io::Errno::NOMEM)?;
        // INVARIANT: mapped above, with this length and these permissions. When it is dropped, the memory is unmapped before the handle
        // is freed: requests that have not ended write to its pages, and not to what is mapped at this address later.
        let unregistered = Mapping { address, length, owner: () };
        let handle = super::call::register(fd, address, length)?;
        // The mapping continues as that of the owner.
        mem::forget(unregistered);
        // INVARIANT: as above.
        let mapping = Arc::new(Mapping { address, length, owner: owner(handle) });
        // INVARIANT: the whole mapping, of which there is no other piece yet.
        Ok(Self { mapping, start: 0, length })
    }

    /// The owner.
    pub(crate) fn owner(&self) -> &O {
        &self.mapping.owner
    }

    /// Its position within the mapping.
    pub(crate) fn start(&self) -> usize {
        self.start
    }

    /// Advises the kernel on the access to its pages.
    pub(crate) fn advise(&self, advice: Advice) -> io::Result<()> {
        let advice = match advice {
            Advice::Normal => mm::Advice::Normal,
            Advice::Random => mm::Advice::Random,
            Advice::HugePages => mm::Advice::LinuxHugepage,
            Advice::NoHugePages => mm::Advice::LinuxNoHugepage,
        };
        let offset = self.start % param::page_size();
        // SAFETY: The start of a page of the mapping, since the mapping starts with one.
        let page = unsafe { self.mapping.address.as_ptr().add(self.start - offset) };
        // SAFETY: These pages are mapped, at most to the end of the mapping's last one, and none of these advices changes their bytes.
        unsafe { mm::madvise(page.cast(), self.length + offset, advice) }
    }

    /// Splits it. Panics if it has fewer than `at` bytes, as for slices.
    pub(crate) fn split_at(self, at: usize) -> (Self, Self) {
        assert!(at <= self.length, "cut at {at}, of {} bytes", self.length);
        // INVARIANT: the two contain the bytes of this one, without overlap.
        let second = Self { mapping: Arc::clone(&self.mapping), start: self.start + at, length: self.length - at };
        let first = Self { length: at, ..self };
        (first, second)
    }

    /// Joins two pieces; returns both if the other one does not follow this one.
    pub(crate) fn join(self, next: Self) -> Result<Self, (Self, Self)> {
        if !Arc::ptr_eq(&self.mapping, &next.mapping) || self.start + self.length != next.start {
            return Err((self, next));
        }
        // INVARIANT: it contains the bytes of the two, which no longer exist.
        Ok(Self { length: self.length + next.length, ..self })
    }

    /// The first byte. It is within the mapping, or right behind its end if there are no bytes.
    fn pointer(&self) -> *mut u8 {
        // SAFETY: By the invariants of both types, `start` is within the mapping or at its end.
        unsafe { self.mapping.address.as_ptr().add(self.start) }
    }
}

impl<O> Deref for Span<O> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: By the invariants of both types the bytes are mapped, and no other piece contains them; writing them
        // requires borrowing this piece mutably. Any byte is a valid `u8`.
        unsafe { slice::from_raw_parts(self.pointer(), self.length) }
    }
}

impl<O> DerefMut for Span<O> {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: As above, and the borrow is exclusive.
        unsafe { slice::from_raw_parts_mut(self.pointer(), self.length) }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsFd};

    use proptest::prelude::*;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    use super::*;

    /// A file of this size, which the kernel maps as it does a buffer.
    fn file(length: u64) -> File {
        let fd = memfd_create("span", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&fd, length).unwrap();
        fd.into()
    }

    fn map<O>(file: &File, length: usize, offset: u64, owner: O) -> io::Result<Span<O>> {
        // SAFETY: the tests map no part of a file twice.
        unsafe { Span::map(file.as_fd(), length, offset, owner) }
    }

    #[test]
    fn keeps_its_owner_to_the_last_piece() {
        let owner = Arc::new(());
        let span = map(&file(8192), 8192, 0, Arc::clone(&owner)).unwrap();
        let (first, second) = span.split_at(4096);
        drop(first);
        assert_eq!(Arc::strong_count(&owner), 2);
        drop(second);
        assert_eq!(Arc::strong_count(&owner), 1);
    }

    #[test]
    fn only_neighbours_join() {
        let file = file(8192);
        let (a, b) = map(&file, 4096, 0, ()).unwrap().split_at(1000);
        let other = map(&file, 4096, 4096, ()).unwrap();
        let (b, a) = b.join(a).err().unwrap();
        let (a, _) = a.join(other).err().unwrap();
        assert_eq!(a.join(b).ok().unwrap().len(), 4096);
    }

    #[test]
    #[should_panic(expected = "cut at 4097, of 4096 bytes")]
    fn no_cut_behind_the_end() {
        drop(map(&file(4096), 4096, 0, ()).unwrap().split_at(4097));
    }

    proptest! {
        // Each piece has its bytes and no others, wherever it is split, and together they have all.
        #[test]
        fn pieces_are_disjoint_and_complete(cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20)) {
            const LENGTH: usize = 3 * 4096;
            let file = file(LENGTH as u64);
            let mut pieces = vec![map(&file, LENGTH, 0, ()).unwrap()];
            for cut in cuts {
                let which = cut.index(pieces.len());
                let at = cut.index(pieces[which].len() + 1);
                let (first, second) = pieces.remove(which).split_at(at);
                pieces.insert(which, second);
                pieces.insert(which, first);
            }
            for (number, piece) in pieces.iter_mut().enumerate() {
                prop_assert!(piece.iter().all(|&byte| byte == 0));
                piece.fill(u8::try_from(number).unwrap() + 1);
            }
            let lengths: Vec<_> = pieces.iter().map(|piece| piece.len()).collect();
            let whole = pieces.into_iter().reduce(|first, second| first.join(second).ok().unwrap()).unwrap();
            prop_assert_eq!(whole.len(), LENGTH);
            let mut rest = &whole[..];
            for (number, length) in lengths.into_iter().enumerate() {
                let (piece, behind) = rest.split_at(length);
                prop_assert!(piece.iter().all(|&byte| usize::from(byte) == number + 1));
                rest = behind;
            }
        }
    }
}
