// SPDX-License-Identifier: GPL-2.0
//! The first entry of the MSI-X table of a Broadwell-DE, which is cleared when the channel is reset: `dma.c`, `ioat_reset_hw` saves it and the
//! pending bits before, and writes them back.
//!
//! QEMU serves the accesses to the table, so that this model does not see them. A strict Broadwell-DE therefore has its table at another offset.
//! Three registers at the usual one stand for the entry: a reset clears them, and no vector is raised until they have their contents again.

use crate::{
    access::Access,
    registers::{MSIX_PENDING, MSIX_TABLE},
};

const REGISTERS: [usize; 3] = [MSIX_TABLE as usize, MSIX_TABLE as usize + 8, MSIX_PENDING as usize];
const CONTENTS: [u64; 3] = [0x1234_5678_fee0_100c, 0x9abc_def0_0000_0022, 0x55aa_0000_0000_0001];

/// The registers.
pub struct Entry([u64; 3]);

impl Default for Entry {
    fn default() -> Self {
        Self(CONTENTS)
    }
}

impl Entry {
    /// The channel is reset.
    pub fn clear(&mut self) {
        self.0 = [0; 3];
    }

    /// Whether the vector can be raised.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.0 == CONTENTS
    }

    /// Read, if it is one of these registers: whether it was.
    pub fn read(&self, offset: usize, data: &mut [u8]) -> bool {
        let register =
            REGISTERS.into_iter().zip(self.0).find(|(register, _)| (*register..register + 8).contains(&offset));
        let Some((register, value)) = register else { return false };
        data.fill(0);
        data.iter_mut().zip(&value.to_le_bytes()[offset - register..]).for_each(|(byte, stored)| *byte = *stored);
        true
    }

    /// Write, if it concerns one of these registers.
    pub fn write(&mut self, access: Access, data: &[u8]) {
        for (register, value) in REGISTERS.into_iter().zip(&mut self.0) {
            if let Some(bytes) = access.merge(register, value.to_le_bytes(), data) {
                *value = u64::from_le_bytes(bytes);
            }
        }
    }
}
