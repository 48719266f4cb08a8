//! Which code of the driver a thread has run, according to KCOV. Source: Documentation/dev-tools/kcov.rst.
//!
//! Only the driver is built with it, not the kernel, and only system calls of a thread are recorded, not interrupt handlers
//! and kernel threads.

use crate::sys;
use std::{
    fs::OpenOptions,
    os::fd::IntoRawFd,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

const INIT_TRACE: u32 = 0x8008_6301;
const ENABLE: u32 = 0x6364;
const DISABLE: u32 = 0x6365;
const TRACE_PC: u64 = 0;
/// Words of the trace: their number, and the addresses.
const WORDS: u64 = 1 << 18;

/// A trace, for one thread at a time.
pub struct Kcov {
    fd: i32,
    words: &'static [AtomicU64],
}

impl Kcov {
    /// A trace, if the kernel has it.
    pub fn new() -> Option<Self> {
        let file = OpenOptions::new().read(true).write(true).open("/sys/kernel/debug/kcov").ok()?;
        let fd = sys::high(file.into_raw_fd());
        sys::ioctl(fd, INIT_TRACE, WORDS).ok()?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let address = sys::mmap(0, WORDS * 8, protection, libc::MAP_SHARED, fd, 0).ok()?;
        // SAFETY: This size was mapped, and stays mapped.
        let words = unsafe { std::slice::from_raw_parts(address as *const AtomicU64, WORDS as usize) };
        Some(Self { fd, words })
    }

    /// Starts recording this thread.
    pub fn enable(&self) {
        self.words[0].store(0, Relaxed);
        sys::ioctl(self.fd, ENABLE, TRACE_PC).expect("no other process uses this trace");
    }

    /// Stops recording this thread.
    pub fn disable(&self) {
        sys::ioctl(self.fd, DISABLE, 0).expect("the trace is this thread's");
    }

    /// The recorded addresses.
    pub fn trace(&self) -> impl Iterator<Item = u64> + '_ {
        let count = (self.words[0].load(Relaxed) as usize).min(self.words.len() - 1);
        self.words[1..=count].iter().map(|word| word.load(Relaxed))
    }
}
