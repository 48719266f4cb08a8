//! Data shared by the workers and their children: progress and findings.

use crate::{edges::MOST_EDGES, sys};
use std::sync::{
    atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicU8, Ordering::Relaxed},
    OnceLock,
};

const TEXT: usize = 1 << 16;

/// In memory that all processes share.
pub struct Shared {
    /// System calls made.
    pub calls: AtomicU64,
    /// Those that succeeded.
    pub accepted: AtomicU64,
    /// Programs run.
    pub programs: AtomicU64,
    /// Whether all workers must stop.
    pub stop: AtomicBool,
    /// Edges that were reached.
    pub reached: [AtomicU8; MOST_EDGES],
    found: AtomicBool,
    length: AtomicU32,
    text: [AtomicU8; TEXT],
}

static SHARED: OnceLock<AtomicPtr<Shared>> = OnceLock::new();

/// The shared data.
pub fn get() -> &'static Shared {
    let pointer = SHARED.get_or_init(|| {
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let address = sys::mmap(0, size_of::<Shared>() as u64, protection, flags, -1, 0).expect("memory");
        AtomicPtr::new(address as *mut Shared)
    });
    // SAFETY: It is mapped permanently, and zero, which is valid for all of its fields; they are atomic.
    unsafe { &*pointer.load(Relaxed) }
}

impl Shared {
    /// Counts calls.
    pub fn count(&self, calls: u64, accepted: u64) {
        self.calls.fetch_add(calls, Relaxed);
        self.accepted.fetch_add(accepted, Relaxed);
    }

    /// Reports a finding, if it is the first one, and stops all workers.
    pub fn report(&self, finding: &str) {
        if self.found.swap(true, Relaxed) {
            return;
        }
        let bytes = finding.as_bytes();
        let length = bytes.len().min(TEXT);
        for (to, from) in self.text.iter().zip(&bytes[..length]) {
            to.store(*from, Relaxed);
        }
        self.length.store(length as u32, std::sync::atomic::Ordering::Release);
        self.stop.store(true, Relaxed);
    }

    /// The finding.
    pub fn finding(&self) -> Option<String> {
        let length = self.length.load(std::sync::atomic::Ordering::Acquire) as usize;
        let bytes: Vec<u8> = self.text[..length].iter().map(|byte| byte.load(Relaxed)).collect();
        (length > 0).then(|| String::from_utf8_lossy(&bytes).into_owned())
    }
}
