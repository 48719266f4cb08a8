// SPDX-License-Identifier: GPL-2.0
//! What no real device has: a vendor-specific extended capability in configuration space, by which tests cause faults, set the time of
//! descriptors and read counters. Configuration space, because a test can access it without the device's driver:
//! `setpci -s 01:00.0 ECAP0b+10.l=00010002`.
//!
//! | offset | register, 32 bits each |
//! |---|---|
//! | 0x08, 0x0c | argument of the next fault: the low and the high half |
//! | 0x10 | writing adds a fault: bits 0 to 7 are its kind ([`Kind`]), 8 to 11 the channel, 15 "again and again", 16 to 31 "the n-th time"; 0 clears all; reads as the number of faults that have not happened |
//! | 0x14, 0x18 | time of a descriptor in nanoseconds, and megabytes a second |
//! | 0x1c, 0x20, 0x24, 0x28, 0x2c | counters: descriptors that were completed, writes of `DMACOUNT`, interrupts, errors, reads of registers |

use crate::{
    faults::{Fault, Faults, Kind},
    timing::Timing,
};

/// Where the capability is in configuration space: at the beginning of the extended ones.
pub const BASE: usize = 0x100;
const SIZE: usize = 0x30;
/// Its header: the last one; vendor-specific, version 1; its own ID is 1, and its length. PCI Express Base Specification 4.0, 7.9.5.
pub const HEADER: [u8; 8] = [0x0b, 0, 0x01, 0, 0x01, 0, 0x01, 0x03];

const ARGUMENT: usize = 0x08;
const ARGUMENT_HIGH: usize = 0x0c;
const FAULT: usize = 0x10;
const TIME: usize = 0x14;
const RATE: usize = 0x18;
const COUNTERS: usize = 0x1c;

/// What the device has done since it was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Descriptors that were completed.
    pub descriptors: u32,
    /// Writes of `DMACOUNT`.
    pub doorbells: u32,
    /// Errors that halted a channel.
    pub errors: u32,
    /// Reads of registers in the BAR.
    pub reads: u32,
}

/// The control registers, which no reset changes.
#[derive(Default)]
pub struct Control {
    argument: u64,
    /// The time of descriptors.
    pub timing: Timing,
    /// The faults.
    pub faults: Faults,
    /// The counters.
    pub counters: Counters,
}

impl Control {
    /// Read, if it is one of these registers.
    #[must_use]
    pub fn read(&self, offset: usize, interrupts: u32) -> Option<u32> {
        let counters =
            [self.counters.descriptors, self.counters.doorbells, interrupts, self.counters.errors, self.counters.reads];
        match offset.checked_sub(BASE).filter(|register| *register < SIZE)? {
            FAULT => Some(self.faults.left()),
            TIME => Some(self.timing.nanoseconds),
            RATE => Some(self.timing.rate),
            register => counters.get(register.checked_sub(COUNTERS)? / 4).copied(),
        }
    }

    /// Write, if it is one of these registers: whether it was.
    pub fn write(&mut self, offset: usize, data: &[u8]) -> bool {
        let Some(register) = offset.checked_sub(BASE).filter(|register| *register < SIZE) else { return false };
        let Ok(value) = data.try_into().map(u32::from_le_bytes) else { return true };
        match register {
            ARGUMENT => self.argument = (self.argument & !0xffff_ffff) | u64::from(value),
            ARGUMENT_HIGH => self.argument = (self.argument & 0xffff_ffff) | (u64::from(value) << 32),
            FAULT => self.add_fault(value),
            TIME => self.timing.nanoseconds = value,
            RATE => self.timing.rate = value,
            _ => {}
        }
        true
    }

    fn add_fault(&mut self, value: u32) {
        let [kind, channel, low, high] = value.to_le_bytes();
        match Kind::from_number(kind) {
            None => self.faults.clear(),
            Some(kind) => self.faults.add(Fault {
                kind,
                channel: (channel & 0xf).into(),
                nth: u16::from_le_bytes([low, high]),
                again: channel & 0x80 != 0,
                argument: self.argument,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault() {
        let mut control = Control::default();
        assert!(control.write(BASE + ARGUMENT, &[0x00, 0x01, 0, 0]));
        assert!(control.write(BASE + ARGUMENT_HIGH, &[2, 0, 0, 0]));
        assert!(control.write(BASE + FAULT, &[Kind::Error as u8, 3, 2, 0]));
        assert_eq!(control.read(BASE + FAULT, 0), Some(1));
        assert_eq!(control.faults.strike(Kind::Error, 3), None);
        assert_eq!(control.faults.strike(Kind::Error, 3), Some(0x2_0000_0100));
        assert_eq!(control.read(BASE + FAULT, 0), Some(0));
        control.write(BASE + FAULT, &[Kind::AllOnes as u8, 0, 0, 0]);
        assert!(control.faults.all_ones());
        control.write(BASE + FAULT, &[0; 4]);
        assert!(!control.faults.all_ones());
    }

    #[test]
    fn time_and_counters() {
        let mut control = Control::default();
        control.write(BASE + TIME, &5000_u32.to_le_bytes());
        control.write(BASE + RATE, &2000_u32.to_le_bytes());
        control.counters = Counters { descriptors: 1, doorbells: 2, errors: 4, reads: 5 };
        let values =
            [TIME, RATE, 0x1c, 0x20, 0x24, 0x28, 0x2c].map(|register| control.read(BASE + register, 3).unwrap());
        assert_eq!(values, [5000, 2000, 1, 2, 3, 4, 5]);
        assert_eq!(control.read(BASE + SIZE, 3), None);
        assert!(!control.write(BASE + SIZE, &[0; 4]) && !control.write(BASE - 4, &[0; 4]));
    }
}
