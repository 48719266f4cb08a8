// SPDX-License-Identifier: GPL-2.0
//! PCI configuration space: what the device is, its capabilities, and the two error registers that the engine has here.

use crate::{
    access::Access,
    control,
    options::Options,
    registers::{self, MSIX_MOVED, MSIX_PENDING, MSIX_TABLE},
};

/// Size of the configuration space of a PCI Express device.
pub const SIZE: usize = 4096;

// Offsets of the standard: PCI Local Bus Specification 3.0, 6.1, and PCI Express Base Specification 4.0, 7.5.3 and 7.7.2.
const COMMAND: usize = 0x04;
const COMMAND_MASTER: u8 = 0x04;
const COMMAND_LINE_DISABLED: u8 = 0x04; // of the second byte
const STATUS: usize = 0x06;
const STATUS_LINE: u8 = 0x08;
const STATUS_CAPABILITIES: u8 = 0x10;
const EXPRESS: usize = 0x40;
const DEVICE_CONTROL: usize = EXPRESS + 8;
const DEVICE_CONTROL_RESET: u8 = 0x80; // of the second byte
const DEVICE_CONTROL_RELAXED: u8 = 0x10; // set after a reset: writes to memory may pass others
const MSIX: usize = 0x80;
const MSIX_CONTROL: usize = MSIX + 2;

/// The bits of each byte that software can write, where there are any.
const WRITABLE: [(usize, u8); 8] = [
    (COMMAND, 0x47),
    (COMMAND + 1, 0x05),
    (0x0c, 0xff), // cache line size
    (0x3c, 0xff), // interrupt line
    (DEVICE_CONTROL, 0xff),
    (DEVICE_CONTROL + 1, 0x7f),
    (MSIX_CONTROL, 0),
    (MSIX_CONTROL + 1, 0xc0),
];

/// Configuration space.
pub struct Config {
    bytes: [u8; SIZE],
    /// `CHANERR_INT` and `CHANERRMASK_INT`, which exist before version 3.3, and on Skylake.
    errors: u32,
    error_mask: u32,
    has_errors: bool,
}

/// What a write to configuration space asks the device for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Nothing but what was written.
    Nothing,
    /// Function-level reset.
    Reset,
}

impl Config {
    /// The configuration space of a device.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        let mut config = Self { bytes: [0; SIZE], errors: 0, error_mask: 0, has_errors: options.has_errors() };
        let vectors = u8::try_from(options.channels - 1).expect("at most 8 channels");
        config.put(0x00, &[0x86, 0x80]);
        config.put(0x02, &options.device_id().to_le_bytes());
        config.put(STATUS, &[STATUS_CAPABILITIES]);
        config.put(0x08, &[4, 0, 0x80, 0x08]); // revision 4, a system peripheral
        config.put(0x10, &[0x04]); // BAR 0: memory, 64 bits
        config.put(0x2c, &[0x86, 0x80]);
        config.put(0x34, &[0x40]);
        config.put(0x3d, &[1]); // INTA
        config.put(EXPRESS, &[0x10, 0x80, 0x02, 0]); // an endpoint
        config.put(EXPRESS + 4, &0x1000_8000_u32.to_le_bytes()); // with function-level reset
        if !options.msix {
            config.put(EXPRESS + 1, &[0]);
        }
        config.put(DEVICE_CONTROL, &[DEVICE_CONTROL_RELAXED]);
        config.put(MSIX, &[0x11, 0, vectors, 0]);
        let moved = if options.loses_entry() { MSIX_MOVED } else { 0 };
        config.put(MSIX + 4, &(MSIX_TABLE + moved).to_le_bytes());
        config.put(MSIX + 8, &(MSIX_PENDING + moved).to_le_bytes());
        config.put(control::BASE, &control::HEADER);
        config
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// As after a reset.
    pub fn reset(&mut self) {
        for (at, _) in WRITABLE {
            self.bytes[at] = if at == MSIX_CONTROL { self.bytes[at] } else { 0 };
        }
        self.bytes[DEVICE_CONTROL] = DEVICE_CONTROL_RELAXED;
        (self.errors, self.error_mask) = (0, 0);
    }

    /// Whether the device may access memory.
    #[must_use]
    pub fn master(&self) -> bool {
        self.bytes[COMMAND] & COMMAND_MASTER != 0
    }

    /// Whether the device must not use the interrupt line.
    #[must_use]
    pub fn line_disabled(&self) -> bool {
        self.bytes[COMMAND + 1] & COMMAND_LINE_DISABLED != 0
    }

    /// A channel has failed.
    pub fn latch(&mut self, errors: u32) {
        if self.has_errors {
            self.errors |= errors & !self.error_mask;
        }
    }

    /// Read; `line` is whether the interrupt line is asserted.
    pub fn read(&self, offset: usize, data: &mut [u8], line: bool) {
        let mut image = self.bytes;
        image[STATUS] |= if line { STATUS_LINE } else { 0 };
        image[registers::config::CHANERR_INT..][..4].copy_from_slice(&self.errors.to_le_bytes());
        image[registers::config::CHANERRMASK_INT..][..4].copy_from_slice(&self.error_mask.to_le_bytes());
        data.fill(0xff);
        if let Some(bytes) = image.get(offset..offset + data.len()) {
            data.copy_from_slice(bytes);
        }
    }

    /// Write.
    pub fn write(&mut self, offset: usize, data: &[u8]) -> Request {
        let mut request = Request::Nothing;
        for (at, byte) in (offset..).zip(data) {
            if at == DEVICE_CONTROL + 1 && byte & DEVICE_CONTROL_RESET != 0 {
                request = Request::Reset;
            }
            if let Some((_, mask)) = WRITABLE.iter().find(|(writable, mask)| *writable == at && *mask != 0) {
                self.bytes[at] = byte & mask;
            }
        }
        self.write_errors(Access::new(offset, data.len()), data);
        request
    }

    fn write_errors(&mut self, access: Access, data: &[u8]) {
        if let Some(cleared) = access.merge(registers::config::CHANERR_INT, [0; 4], data) {
            self.errors &= !u32::from_le_bytes(cleared);
        }
        if let Some(mask) = access.merge(registers::config::CHANERRMASK_INT, self.error_mask.to_le_bytes(), data) {
            self.error_mask = if self.has_errors { u32::from_le_bytes(mask) } else { 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(options: &str) -> Config {
        Config::new(&Options::parse(options).unwrap())
    }

    fn read<const SIZE: usize>(config: &Config, offset: usize) -> [u8; SIZE] {
        let mut data = [0; SIZE];
        config.read(offset, &mut data, false);
        data
    }

    #[test]
    fn what_it_is() {
        let config = config("channels=4,version=3.3");
        assert_eq!(read(&config, 0), [0x86, 0x80, 0x50, 0x6f]);
        assert_eq!(read(&config, MSIX_CONTROL), [3, 0]);
        assert_eq!([read(&config, EXPRESS), read(&self::config("msix=off"), EXPRESS)], [[0x10, 0x80], [0x10, 0]]);
        assert_eq!(read(&config, SIZE - 1), [0]);
        assert_eq!(read(&config, SIZE), [0xff]);
    }

    #[test]
    fn only_some_bits_can_be_written() {
        let mut config = config("");
        for at in 0..SIZE {
            assert_eq!(config.write(at, &[0x7f]), Request::Nothing);
        }
        assert_eq!(read(&config, 0), [0x86, 0x80, 0x21, 0x20, 0x47, 0x05]);
        assert_eq!(read(&config, MSIX_CONTROL), [0, 0x40]);
        assert!(config.master() && config.line_disabled());
        config.reset();
        assert!(!config.master() && !config.line_disabled());
    }

    #[test]
    fn function_level_reset() {
        let mut config = config("");
        assert_eq!(config.write(DEVICE_CONTROL, &[0, 0x80]), Request::Reset);
        config.reset();
        assert_eq!(read(&config, DEVICE_CONTROL), [DEVICE_CONTROL_RELAXED, 0]);
    }

    #[test]
    fn errors_by_version() {
        for (version, expected) in [("version=3.2", [4, 1, 0, 0]), ("version=3.3", [0, 0, 0, 0])] {
            let mut config = config(version);
            config.latch(0x104);
            assert_eq!(read(&config, 0x180), expected);
            config.write(0x180, &[4, 0, 0, 0]);
            assert_eq!(read(&config, 0x180), [0, expected[1], 0, 0]);
        }
    }
}
