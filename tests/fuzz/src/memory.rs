//! Memory for calls: arguments with canaries around them, bytes to write, places for mappings.

use crate::{
    sys,
    values::{Pointer, PAGE, PLACES, PLACE_SIZE},
};

/// All bytes that a program writes to buffers and the device are these, so that any other byte that it reads belongs to another program.
/// (Zeros are allowed.) None of them is a byte with which the kernel fills memory.
const OWN: std::ops::RangeInclusive<u8> = 0xe0..=0xe7;
const CANARY: u8 = 0x5c;
const MARGIN: usize = 32;
/// Size of an area: the largest array of requests, and more.
const AREA: usize = 20 * PAGE as usize;

/// Address of the first place for memory of the program.
const FIRST_OWN_PLACE: u64 = FIRST_PLACE - (2 << 30);

/// Address of the first place for mappings: far below all addresses that the kernel chooses itself.
const FIRST_PLACE: u64 = 0x10_0000_0000;

/// The address of a place.
pub fn place(number: u8) -> u64 {
    FIRST_PLACE + u64::from(number % PLACES) * PLACE_SIZE
}

/// The address of a place for memory of the program.
pub fn own_place(number: u8) -> u64 {
    FIRST_OWN_PLACE + u64::from(number % PLACES) * PLACE_SIZE
}

/// Whether an address is in a place.
pub fn in_places(address: u64) -> bool {
    (FIRST_PLACE..FIRST_PLACE + u64::from(PLACES) * PLACE_SIZE).contains(&address)
}

/// Unmaps all places, and what a long mapping has covered behind them.
pub fn empty_places() {
    let _ = sys::munmap(FIRST_OWN_PLACE, 4 << 30);
}

/// The first byte that is neither the program's own nor zero.
pub fn foreign(bytes: &[u8]) -> Option<(usize, u8)> {
    bytes.iter().copied().enumerate().find(|(_, byte)| *byte != 0 && !OWN.contains(byte))
}

/// Memory between two unmapped pages, mapped at two addresses, one of them read-only.
pub struct Area {
    fd: i32,
    base: u64,
    read_only: u64,
    /// The last argument: offset and length.
    last: (usize, usize),
    whole: bool,
}

impl Area {
    /// An area, filled with the program's own bytes.
    pub fn new() -> Self {
        let name = c"arguments".as_ptr() as u64;
        let fd = sys::call(libc::SYS_memfd_create, [name, u64::from(libc::MFD_CLOEXEC)]).expect("memory");
        let fd = sys::high(fd as i32);
        sys::call(libc::SYS_ftruncate, [fd as u64, AREA as u64]).expect("memory");
        let view = |protection| {
            let around = AREA as u64 + 2 * PAGE;
            let nothing = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            let address = sys::mmap(0, around, libc::PROT_NONE, nothing, -1, 0).expect("address space") + PAGE;
            let flags = libc::MAP_SHARED | libc::MAP_FIXED | libc::MAP_POPULATE;
            sys::mmap(address, AREA as u64, protection, flags, fd, 0).expect("memory")
        };
        let (base, read_only) = (view(libc::PROT_READ | libc::PROT_WRITE), view(libc::PROT_READ));
        let mut area = Self { fd, base, read_only, last: (0, 0), whole: false };
        for (number, byte) in area.bytes(0, AREA).iter_mut().enumerate() {
            *byte = OWN.start() + (number % 8) as u8;
        }
        area
    }

    fn bytes(&mut self, from: usize, length: usize) -> &mut [u8] {
        assert!(from + length <= AREA);
        // SAFETY: These bytes are mapped until the area is dropped, and only we have them.
        unsafe { std::slice::from_raw_parts_mut((self.base as *mut u8).add(from), length) }
    }

    /// Stores an argument, with canaries around it, and returns its address for the call.
    pub fn put(&mut self, pointer: Pointer, bytes: &[u8]) -> u64 {
        let length = bytes.len();
        let (at, there) = match pointer {
            Pointer::Edge => (AREA - length, length),
            Pointer::Short(missing) => {
                let there = length - usize::from(missing).clamp(1, length.max(1)).min(length);
                (AREA - there, there)
            }
            _ => (64, length),
        };
        self.last = (at, there);
        self.whole = there == length;
        let behind = (AREA - at - there).min(MARGIN);
        let all = self.bytes(at - MARGIN, MARGIN + there + behind);
        all[..MARGIN].fill(CANARY);
        all[MARGIN..MARGIN + there].copy_from_slice(&bytes[..there]);
        all[MARGIN + there..].fill(CANARY);
        self.address(pointer, at)
    }

    fn address(&self, pointer: Pointer, at: usize) -> u64 {
        match pointer {
            Pointer::Good | Pointer::Edge | Pointer::Short(_) => self.base + at as u64,
            Pointer::ReadOnly => self.read_only + at as u64,
            Pointer::Null => 0,
            Pointer::Kernel => 0xffff_8880_0010_0000,
            Pointer::Wild => 1 << 63,
        }
    }

    /// The current contents, and whether the canaries are intact.
    pub fn look(&mut self) -> (&[u8], bool) {
        let (at, length) = self.last;
        let behind = (AREA - at - length).min(MARGIN);
        let all = self.bytes(at - MARGIN, MARGIN + length + behind);
        let intact = all[..MARGIN].iter().chain(&all[MARGIN + length..]).all(|byte| *byte == CANARY);
        (&all[MARGIN..MARGIN + length], intact)
    }

    /// The address of this many of the program's own bytes, in an area without arguments.
    pub fn own(&self, pointer: Pointer, length: u64) -> u64 {
        let length = (length.min(PAGE)) as usize;
        let at = match pointer {
            Pointer::Edge => AREA - length,
            Pointer::Short(missing) => AREA - length.saturating_sub(missing.into()),
            _ => 0,
        };
        self.address(pointer, at)
    }

    /// The file that the memory is of, which has this number of pages.
    pub fn file(&self) -> (i32, u64) {
        (self.fd, AREA as u64 / PAGE)
    }

    /// Loads bytes, at most a page, from an address through the kernel: a fault is an error, not a signal.
    pub fn load(&mut self, address: u64, length: u64) -> Result<&[u8], i32> {
        let length = length.min(PAGE);
        let got = sys::call(libc::SYS_pwrite64, [self.fd as u64, address, length, 0])?;
        Ok(self.bytes(0, got as usize))
    }

    /// Stores bytes of the area, at most a page, to an address in the same way.
    pub fn store(&self, address: u64, length: u64) -> sys::Answer {
        sys::call(libc::SYS_pread64, [self.fd as u64, address, length.min(PAGE), 0])
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        for view in [self.base, self.read_only] {
            let _ = sys::munmap(view - PAGE, AREA as u64 + 2 * PAGE);
        }
        let _ = sys::close(self.fd);
    }
}

/// A structure as the bytes it is made of.
pub fn as_bytes<T: Copy>(values: &[T]) -> &[u8] {
    // SAFETY: The structures of the interface have no padding, and thus no byte that is not initialised.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// A structure from the bytes it is made of.
pub fn from_bytes<T: Copy + Default>(bytes: &[u8]) -> T {
    let mut value = T::default();
    assert!(bytes.len() >= size_of::<T>());
    // SAFETY: The structures of the interface consist of integers: all bytes are valid.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), (&raw mut value).cast(), size_of::<T>()) };
    value
}
