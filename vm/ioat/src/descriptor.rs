// SPDX-License-Identifier: GPL-2.0
//! Descriptors: 64 bytes in memory, each with one operation and the address of the next. Linux, `drivers/dma/ioat/hw.h`.

use crate::registers::chanerr;

/// Size of a descriptor; their addresses are multiples of it. `IOAT_DESC_SZ`.
pub const SIZE: usize = 64;

/// Bits of the control word: `ctl_f` of `struct ioat_dma_descriptor`.
mod control {
    pub const INTERRUPT: u32 = 0x01;
    pub const COMPLETION: u32 = 0x08;
    pub const FENCE: u32 = 0x10;
    pub const NULL: u32 = 0x20;
    pub const OPERATION_SHIFT: u32 = 24;
}

/// Operations, in bits 24 to 31 of the control word. `IOAT_OP_COPY`; DPDK, `ioat_hw_defs.h` has the other one, too.
const COPY: u32 = 0;
const FILL: u32 = 1;

/// A descriptor, as it was read from memory.
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    size: u32,
    control: u32,
    source: u64,
    destination: u64,
    /// Address of the next descriptor. It is read together with the others: a chain that ends here cannot be extended by writing it later.
    pub next: u64,
}

/// What a descriptor asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Nothing: for an interrupt or a completion.
    Null,
    /// Copy bytes.
    Copy {
        /// From this address.
        from: u64,
        /// To this address.
        to: u64,
        /// Number of bytes.
        size: u32,
    },
    /// Write the same eight bytes again and again.
    Fill {
        /// The eight bytes.
        pattern: [u8; 8],
        /// To this address.
        to: u64,
        /// Number of bytes, which may end within the pattern.
        size: u32,
    },
}

impl Descriptor {
    /// The descriptor in these bytes.
    #[must_use]
    pub fn parse(bytes: &[u8; SIZE]) -> Self {
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let half = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        Self { size: half(0), control: half(4), source: word(8), destination: word(16), next: word(24) }
    }

    /// Whether it asks for an interrupt.
    #[must_use]
    pub fn interrupts(&self) -> bool {
        self.control & control::INTERRUPT != 0
    }

    /// Whether it asks for its completion to be written.
    #[must_use]
    pub fn completes(&self) -> bool {
        self.control & control::COMPLETION != 0
    }

    /// Whether its writes are done before the source of the next one is read.
    #[must_use]
    pub fn fences(&self) -> bool {
        self.control & control::FENCE != 0
    }

    /// Number of bytes that it moves.
    #[must_use]
    pub fn bytes(&self) -> u32 {
        if self.control & control::NULL == 0 { self.size } else { 0 }
    }

    /// The operation.
    ///
    /// # Errors
    ///
    /// Bits of `CHANERR`, if a channel whose largest transfer is `largest` bytes cannot execute it.
    pub fn operation(&self, largest: u32) -> Result<Operation, u32> {
        if self.control & control::NULL != 0 {
            // As the kernel's driver has it (`__ioat_start_null_desc`).
            return if self.size == 0 { Err(chanerr::LENGTH) } else { Ok(Operation::Null) };
        }
        let operation = self.control >> control::OPERATION_SHIFT;
        if operation > FILL {
            return Err(chanerr::CONTROL);
        }
        if self.size == 0 || self.size > largest {
            return Err(chanerr::LENGTH);
        }
        let (size, to) = (self.size, self.destination);
        to.checked_add(size.into()).ok_or(chanerr::DESTINATION_ADDRESS)?;
        if operation == COPY {
            self.source.checked_add(size.into()).ok_or(chanerr::SOURCE_ADDRESS)?;
            return Ok(Operation::Copy { from: self.source, to, size });
        }
        Ok(Operation::Fill { pattern: self.source.to_le_bytes(), to, size })
    }
}

/// Descriptors for the tests.
#[cfg(test)]
pub mod build {
    use super::{FILL, SIZE, control};

    /// The bytes of a descriptor with this control word.
    pub fn raw(size: u32, control: u32, source: u64, destination: u64, next: u64) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes[..4].copy_from_slice(&size.to_le_bytes());
        bytes[4..8].copy_from_slice(&control.to_le_bytes());
        bytes[8..16].copy_from_slice(&source.to_le_bytes());
        bytes[16..24].copy_from_slice(&destination.to_le_bytes());
        bytes[24..32].copy_from_slice(&next.to_le_bytes());
        bytes
    }

    /// A copy whose writes are done before the next one begins.
    pub fn fence(size: u32, source: u64, destination: u64, next: u64) -> [u8; SIZE] {
        raw(size, control::COMPLETION | control::FENCE, source, destination, next)
    }

    /// A copy that writes its completion and causes an interrupt.
    pub fn copy(size: u32, source: u64, destination: u64, next: u64) -> [u8; SIZE] {
        raw(size, control::COMPLETION | control::INTERRUPT, source, destination, next)
    }

    /// A fill that writes its completion.
    pub fn fill(size: u32, pattern: u64, destination: u64, next: u64) -> [u8; SIZE] {
        raw(size, control::COMPLETION | (FILL << control::OPERATION_SHIFT), pattern, destination, next)
    }

    /// Nothing, with a completion.
    pub fn null(next: u64) -> [u8; SIZE] {
        raw(1, control::COMPLETION | control::NULL, 0, 0, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(bytes: &[u8; SIZE]) -> Result<Operation, u32> {
        Descriptor::parse(bytes).operation(1 << 20)
    }

    #[test]
    fn fields() {
        let descriptor = Descriptor::parse(&build::copy(5, 0x1000, 0x2000, 0x40));
        assert!(descriptor.interrupts() && descriptor.completes());
        assert_eq!((descriptor.bytes(), descriptor.next), (5, 0x40));
        assert_eq!(descriptor.operation(8), Ok(Operation::Copy { from: 0x1000, to: 0x2000, size: 5 }));
    }

    #[test]
    fn sizes() {
        assert_eq!(operation(&build::copy(0, 0, 0, 0)), Err(chanerr::LENGTH));
        assert_eq!(operation(&build::copy((1 << 20) + 1, 0, 0, 0)), Err(chanerr::LENGTH));
        assert!(operation(&build::copy(1 << 20, 0, 0, 0)).is_ok());
        assert_eq!(operation(&build::null(0)), Ok(Operation::Null));
        let mut empty = build::null(0);
        empty[..4].fill(0);
        assert_eq!(operation(&empty), Err(chanerr::LENGTH));
        assert_eq!(Descriptor::parse(&build::null(0)).bytes(), 0);
    }

    #[test]
    fn operations_that_do_not_exist() {
        for code in 2..=255 {
            assert_eq!(operation(&build::raw(1, code << 24, 0, 0, 0)), Err(chanerr::CONTROL));
        }
    }

    #[test]
    fn addresses_that_wrap() {
        assert_eq!(operation(&build::copy(2, u64::MAX, 0, 0)), Err(chanerr::SOURCE_ADDRESS));
        assert_eq!(operation(&build::copy(2, 0, u64::MAX, 0)), Err(chanerr::DESTINATION_ADDRESS));
        assert!(operation(&build::fill(2, u64::MAX, 0, 0)).is_ok());
    }
}
