// SPDX-License-Identifier: GPL-2.0
//! The memory that the engine reads and writes, as the engine sees it: by addresses on the bus.

use crate::registers::chanerr;

/// There is no memory, or none that may be accessed so, at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreachable;

/// Memory is read and written in pieces that do not cross a page, because an IOMMU maps pages.
const PAGE: usize = 4096;

/// Memory with addresses.
pub trait Memory {
    /// Read `bytes.len()` bytes.
    ///
    /// # Errors
    ///
    /// If one of them cannot be read.
    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), Unreachable>;

    /// Write bytes. Eight bytes at a multiple of eight are written at once.
    ///
    /// # Errors
    ///
    /// If one of them cannot be written.
    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Unreachable>;

    /// Copy bytes, page by page: what is in front of a page that cannot be accessed has been copied.
    ///
    /// # Errors
    ///
    /// A bit of `CHANERR`: whether source or destination could not be accessed.
    fn copy(&mut self, from: u64, to: u64, size: u32) -> Result<(), u32> {
        let mut buffer = [0; PAGE];
        let mut done = 0;
        while done < u64::from(size) {
            let (source, destination) = (from + done, to + done);
            let piece = &mut buffer[..in_page(source, u64::from(size) - done)];
            self.read(source, piece).map_err(|Unreachable| chanerr::READ)?;
            self.write_pages(destination, piece)?;
            done += piece.len() as u64;
        }
        Ok(())
    }

    /// Write the pattern again and again, page by page.
    ///
    /// # Errors
    ///
    /// A bit of `CHANERR`.
    fn fill(&mut self, pattern: [u8; 8], to: u64, size: u32) -> Result<(), u32> {
        let bytes: Vec<u8> = pattern.into_iter().cycle().take(size as usize).collect();
        self.write_pages(to, &bytes)
    }

    /// Read bytes, page by page.
    ///
    /// # Errors
    ///
    /// If one of them cannot be read.
    fn read_pages(&self, mut address: u64, mut bytes: &mut [u8]) -> Result<(), Unreachable> {
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at_mut(in_page(address, bytes.len() as u64));
            self.read(address, piece)?;
            address += piece.len() as u64;
            bytes = rest;
        }
        Ok(())
    }

    /// Write bytes, page by page.
    ///
    /// # Errors
    ///
    /// A bit of `CHANERR`.
    fn write_pages(&mut self, address: u64, mut bytes: &[u8]) -> Result<(), u32> {
        let mut address = address;
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at(in_page(address, bytes.len() as u64));
            self.write(address, piece).map_err(|Unreachable| chanerr::WRITE)?;
            address += piece.len() as u64;
            bytes = rest;
        }
        Ok(())
    }
}

/// How many of `size` bytes from an address on are in the same page.
fn in_page(address: u64, size: u64) -> usize {
    let bytes = size.min(PAGE as u64 - address % PAGE as u64);
    usize::try_from(bytes).expect("at most a page")
}

/// Memory behind the Bus Master bit of the command register: nothing is reachable while it is clear.
pub struct Gate<'a, M> {
    /// The memory.
    pub memory: &'a mut M,
    /// Whether the device may access memory.
    pub open: bool,
}

impl<M: Memory> Memory for Gate<'_, M> {
    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), Unreachable> {
        if self.open { self.memory.read(address, bytes) } else { Err(Unreachable) }
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Unreachable> {
        if self.open { self.memory.write(address, bytes) } else { Err(Unreachable) }
    }
}

/// An array as memory, for the tests. It begins at address 0, and a range of it can be missing.
#[cfg(test)]
#[derive(Clone)]
pub struct Array {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Addresses that cannot be reached.
    pub hole: std::ops::Range<u64>,
}

#[cfg(test)]
impl Array {
    /// This number of bytes, all different from their neighbours.
    pub fn new(size: usize) -> Self {
        let bytes = (0..size).map(|at| u8::try_from((at * 7 + at / 256) % 251).expect("less than 251")).collect();
        Self { bytes, hole: 0..0 }
    }

    fn range(&self, address: u64, size: usize) -> Result<std::ops::Range<usize>, Unreachable> {
        let end = address.checked_add(size as u64).filter(|end| *end <= self.bytes.len() as u64).ok_or(Unreachable)?;
        if address < self.hole.end && end > self.hole.start {
            return Err(Unreachable);
        }
        Ok(usize::try_from(address).expect("an index")..usize::try_from(end).expect("an index"))
    }

    /// The word at an address.
    pub fn word(&self, address: usize) -> u64 {
        u64::from_le_bytes(self.bytes[address..address + 8].try_into().expect("8 bytes"))
    }
}

#[cfg(test)]
impl Memory for Array {
    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), Unreachable> {
        bytes.copy_from_slice(&self.bytes[self.range(address, bytes.len())?]);
        Ok(())
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Unreachable> {
        let range = self.range(address, bytes.len())?;
        self.bytes[range].copy_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_all_alignments() {
        for (from, to, size) in [(0, 0x8000, 1), (1, 0x8fff, 2), (4095, 0x8001, 4097), (0x1234, 0x8777, 20000)] {
            let before = Array::new(1 << 16);
            let mut memory = before.clone();
            memory.copy(from, to, size).unwrap();
            let (f, t, n) = (usize::try_from(from).unwrap(), usize::try_from(to).unwrap(), size as usize);
            assert_eq!(memory.bytes[t..t + n], before.bytes[f..f + n]);
            assert_eq!(memory.bytes[..t], before.bytes[..t]);
            assert_eq!(memory.bytes[t + n..], before.bytes[t + n..]);
        }
    }

    #[test]
    fn what_is_in_front_of_a_hole_is_copied() {
        let mut memory = Array { hole: 0x3000..0x4000, ..Array::new(1 << 16) };
        assert_eq!(memory.copy(0x2800, 0x8000, 0x1000), Err(chanerr::READ));
        assert_eq!(memory.bytes[0x8000..0x8800], memory.bytes[0x2800..0x3000]);
        assert_eq!(memory.copy(0x8000, 0x2800, 0x1000), Err(chanerr::WRITE));
        assert_eq!(memory.fill([1; 8], 0x2fff, 2), Err(chanerr::WRITE));
        assert_eq!(memory.bytes[0x2fff], 1);
    }

    #[test]
    fn fills() {
        let mut memory = Array::new(1 << 14);
        let after = memory.bytes[0x1ffe + 4100];
        memory.fill([1, 2, 3, 4, 5, 6, 7, 8], 0x1ffe, 4100).unwrap();
        assert_eq!(memory.bytes[0x1ffe..0x2008], [1, 2, 3, 4, 5, 6, 7, 8, 1, 2]);
        assert_eq!(memory.bytes[0x1ffe + 4099], 4);
        assert_eq!(memory.bytes[0x1ffe + 4100], after);
    }

    #[test]
    fn a_closed_gate() {
        let mut memory = Array::new(64);
        let mut gate = Gate { memory: &mut memory, open: false };
        assert_eq!(gate.write(0, &[1]), Err(Unreachable));
        assert_eq!(gate.read(0, &mut [0]), Err(Unreachable));
    }
}
