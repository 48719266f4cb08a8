// SPDX-License-Identifier: GPL-2.0
//! Accesses to registers: of 1 to 8 bytes, to a part of a register, to one, or to several.

/// The bytes from `offset` on.
#[derive(Clone, Copy)]
pub struct Access {
    offset: usize,
    length: usize,
}

impl Access {
    /// An access to this number of bytes.
    #[must_use]
    pub fn new(offset: usize, length: usize) -> Self {
        Self { offset, length }
    }

    /// Whether it concerns a register of `size` bytes.
    #[must_use]
    pub fn hits(self, register: usize, size: usize) -> bool {
        self.offset < register + size && register < self.offset + self.length
    }

    /// What a register that contains `old` contains when `data` has been written, if the access concerns it.
    #[must_use]
    pub fn merge<const SIZE: usize>(self, register: usize, old: [u8; SIZE], data: &[u8]) -> Option<[u8; SIZE]> {
        if !self.hits(register, SIZE) {
            return None;
        }
        let mut bytes = old;
        for (at, byte) in (self.offset..).zip(data) {
            if (register..register + SIZE).contains(&at) {
                bytes[at - register] = *byte;
            }
        }
        Some(bytes)
    }
}

/// What a range of registers contains.
pub struct Image<const SIZE: usize>([u8; SIZE]);

impl<const SIZE: usize> Image<SIZE> {
    /// Zeros.
    #[must_use]
    pub fn new() -> Self {
        Self([0; SIZE])
    }

    /// The bytes of a register.
    pub fn put(&mut self, register: usize, bytes: &[u8]) {
        self.0[register..register + bytes.len()].copy_from_slice(bytes);
    }

    /// Read; there are zeros behind the end.
    pub fn read(&self, offset: usize, data: &mut [u8]) {
        for (at, byte) in (offset..).zip(data) {
            *byte = self.0.get(at).copied().unwrap_or(0);
        }
    }
}

impl<const SIZE: usize> Default for Image<SIZE> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let old = 0x1122_3344_5566_7788_u64.to_le_bytes();
        let merged =
            |offset, data: &[u8]| Access::new(offset, data.len()).merge(0x10, old, data).map(u64::from_le_bytes);
        assert_eq!(merged(0x10, &[1, 2, 3, 4]), Some(0x1122_3344_0403_0201));
        assert_eq!(merged(0x14, &[1, 2, 3, 4]), Some(0x0403_0201_5566_7788));
        assert_eq!(merged(0x0e, &[1, 2, 3, 4]), Some(0x1122_3344_5566_0403));
        assert_eq!(merged(0x17, &[9, 8]), Some(0x0922_3344_5566_7788));
        assert_eq!(merged(0x18, &[9]), None);
        assert_eq!(merged(0x0f, &[9]), None);
    }

    #[test]
    fn images() {
        let mut image = Image::<4>::new();
        image.put(1, &[7, 8]);
        let mut data = [9; 4];
        image.read(2, &mut data);
        assert_eq!(data, [8, 0, 0, 0]);
    }
}
