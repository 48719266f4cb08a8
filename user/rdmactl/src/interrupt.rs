//! Signals that end programs, for commands that must clean up first.

use std::{
    io,
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

use crate::{failure::Failure, sysfs};

/// Waits until a file is readable, at most for this time, and not longer than until a signal; returns whether it is. A read(2) is
/// restarted after a signal; this is not.
pub fn readable_within(file: impl AsFd, time: Duration) -> bool {
    let mut files = [PollFd::from_borrowed_fd(file.as_fd(), PollFlags::IN)];
    match poll(&mut files, Timespec::try_from(time).ok().as_ref()) {
        Ok(count) => count > 0,
        // Other errors are reported by reading.
        Err(errno) => errno != Errno::INTR,
    }
}

/// The signals that are ignored, one bit each. Source: `proc_pid_status`(5).
fn ignored() -> u64 {
    let status = sysfs::text("/proc/self/status").as_deref().map(sysfs::named).unwrap_or_default();
    status.get("SigIgn").and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or(0)
}

/// Records signals from its creation on.
pub struct Interrupt {
    came: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Records SIGINT, SIGTERM and SIGHUP, instead of ending the program.
    pub fn new() -> Result<Self, Failure> {
        let came = Arc::new(AtomicUsize::new(0));
        let ignored = ignored();
        // Those that are ignored from the start (nohup) stay ignored.
        for signal in [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| (ignored >> (signal - 1)) & 1 == 0) {
            let number = usize::try_from(signal).unwrap_or_default();
            flag::register_usize(signal, Arc::clone(&came), number)
                .map_err(|error: io::Error| Failure::System { what: "signals".into(), source: error })?;
        }
        Ok(Self { came })
    }

    /// Fails if one was received: the caller cleans up and exits.
    pub fn check(&self) -> Result<(), Failure> {
        match self.came() {
            Some(signal) => Err(Failure::Signal(signal)),
            None => Ok(()),
        }
    }

    /// The signal that was received, if any.
    pub fn came(&self) -> Option<i32> {
        i32::try_from(self.came.load(Ordering::Relaxed)).ok().filter(|&signal| signal != 0)
    }
}
