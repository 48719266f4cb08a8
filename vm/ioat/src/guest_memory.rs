// SPDX-License-Identifier: GPL-2.0
//! The guest's memory, which QEMU shares by file descriptors. With an IOMMU in the guest, QEMU maps and unmaps what the IOMMU does.
#![allow(unsafe_code, reason = "the memory is mapped, and the guest changes it at the same time")]

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    ptr,
    sync::atomic::{Ordering, fence},
};

use crate::memory::{Memory, Unreachable};

/// A file of QEMU, mapped as a whole, once for all the ranges in it.
///
/// # Invariants
///
/// `start` is the first of `size` mapped, writable bytes.
struct Mapping {
    inode: u64,
    start: *mut u8,
    size: u64,
}

// SAFETY: The pointer is to memory that belongs to no thread.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let size = usize::try_from(metadata.len()).map_err(io::Error::other)?;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: A new mapping, at an address that the kernel chooses.
        let start = unsafe { libc::mmap(ptr::null_mut(), size, access, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // INVARIANT: just mapped.
        Ok(Self { inode: metadata.ino(), start: start.cast(), size: metadata.len() })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: By the type's invariant this was mapped; the ranges in it are removed before the mappings.
        unsafe { libc::munmap(self.start.cast(), usize::try_from(self.size).expect("was mapped")) };
    }
}

/// A range of addresses that the device can reach.
///
/// # Invariants
///
/// `start` is the first of `size` bytes of a mapping in the same [`GuestMemory`].
#[derive(Clone, Copy)]
struct Range {
    size: u64,
    start: *mut u8,
    readable: bool,
    writable: bool,
}

// SAFETY: As for `Mapping`.
unsafe impl Send for Range {}

/// The memory that the device can reach.
#[derive(Default)]
pub struct GuestMemory {
    // In the order in which they are dropped.
    ranges: BTreeMap<u64, Range>,
    mappings: Vec<Mapping>,
}

impl GuestMemory {
    /// The device can reach `size` bytes of a file at this address.
    ///
    /// # Errors
    ///
    /// If they are not in the file, or it cannot be mapped.
    pub fn map(
        &mut self,
        address: u64,
        size: u64,
        file: &File,
        offset: u64,
        readable: bool,
        writable: bool,
    ) -> io::Result<()> {
        let inode = file.metadata()?.ino();
        if !self.mappings.iter().any(|mapping| mapping.inode == inode) {
            self.mappings.push(Mapping::new(file)?);
        }
        let mapping = self.mappings.iter().find(|mapping| mapping.inode == inode).expect("is there, or was added");
        if offset.checked_add(size).is_none_or(|end| end > mapping.size) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: The offset is in the mapping.
        let start = unsafe { mapping.start.add(usize::try_from(offset).map_err(io::Error::other)?) };
        // INVARIANT: checked above.
        self.ranges.insert(address, Range { size, start, readable, writable });
        Ok(())
    }

    /// The device can reach nothing from `address` on any more, for `size` bytes.
    pub fn unmap(&mut self, address: u64, size: u64) {
        let end = address.saturating_add(size);
        let gone: Vec<u64> = self.ranges.range(address..end).map(|(address, _)| *address).collect();
        for address in gone {
            self.ranges.remove(&address);
        }
    }

    /// The device can reach nothing any more.
    pub fn clear(&mut self) {
        self.ranges.clear();
        self.mappings.clear();
    }

    fn find(&self, address: u64, size: usize, allowed: fn(&Range) -> bool) -> Result<*mut u8, Unreachable> {
        let (begin, range) = self.ranges.range(..=address).next_back().ok_or(Unreachable)?;
        let offset = address - begin;
        if !allowed(range) || offset.checked_add(size as u64).is_none_or(|end| end > range.size) {
            return Err(Unreachable);
        }
        // SAFETY: The offset is in the range, and this is in a mapping by the type's invariant.
        Ok(unsafe { range.start.add(usize::try_from(offset).map_err(|_| Unreachable)?) })
    }
}

impl Memory for GuestMemory {
    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), Unreachable> {
        let from = self.find(address, bytes.len(), |range| range.readable)?;
        fence(Ordering::SeqCst);
        // SAFETY: `find` has checked that memory of this length is mapped, and it is not `bytes`. The guest may change it meanwhile, as it
        // may under a real device: it is only copied.
        unsafe { ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Unreachable> {
        let to = self.find(address, bytes.len(), |range| range.writable)?;
        fence(Ordering::SeqCst);
        match <[u8; 8]>::try_from(bytes) {
            Ok(word) if to.align_offset(8) == 0 => {
                #[expect(clippy::cast_ptr_alignment, reason = "just checked")]
                let to = to.cast::<u64>();
                // SAFETY: `find` has checked that 8 bytes are mapped, and they are aligned.
                unsafe { to.write_volatile(u64::from_ne_bytes(word)) };
            }
            _ => {
                // SAFETY: As in `read`.
                unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
            }
        }
        fence(Ordering::SeqCst);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of two pages, which are at 0x10000 and, read-only, at 0x30000.
    fn memory() -> GuestMemory {
        let path = std::env::temp_dir().join(format!("ioat-test-{:?}", std::thread::current().id()));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        file.set_len(0x2000).unwrap();
        let mut memory = GuestMemory::default();
        memory.map(0x1_0000, 0x1000, &file, 0, true, true).unwrap();
        memory.map(0x3_0000, 0x1000, &file, 0x1000, true, false).unwrap();
        assert!(memory.map(0x5_0000, 0x1001, &file, 0x1000, true, true).is_err());
        memory
    }

    #[test]
    fn only_what_is_mapped() {
        let mut memory = memory();
        memory.write(0x1_0ff8, &7_u64.to_le_bytes()).unwrap();
        let mut word = [0; 8];
        memory.read(0x1_0ff8, &mut word).unwrap();
        assert_eq!(u64::from_le_bytes(word), 7);
        for address in [0, 0xffff, 0x1_0ff9, 0x1_1000, u64::MAX] {
            assert_eq!(memory.read(address, &mut word), Err(Unreachable), "{address:#x}");
        }
    }

    #[test]
    fn only_as_it_is_mapped() {
        let mut memory = memory();
        assert_eq!(memory.read(0x3_0000, &mut [0; 4]), Ok(()));
        assert_eq!(memory.write(0x3_0000, &[0; 4]), Err(Unreachable));
    }

    #[test]
    fn nothing_after_unmap() {
        let mut memory = memory();
        memory.unmap(0x1_0000, 0x1000);
        assert_eq!(memory.read(0x1_0000, &mut [0; 4]), Err(Unreachable));
        assert_eq!(memory.read(0x3_0000, &mut [0; 4]), Ok(()));
        memory.clear();
        assert_eq!(memory.read(0x3_0000, &mut [0; 4]), Err(Unreachable));
    }
}
