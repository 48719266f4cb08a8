//! Signals that end programs, for commands that have something to clean up first.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

use crate::{failure::Failure, sysfs};

/// The signals that are ignored, a bit each. Source: `proc_pid_status`(5).
fn ignored() -> u64 {
    let status = sysfs::text("/proc/self/status").as_deref().map(sysfs::named).unwrap_or_default();
    status.get("SigIgn").and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or(0)
}

/// Notices signals from when it is made.
pub struct Interrupt {
    came: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Has SIGINT, SIGTERM and SIGHUP noticed, instead of ending the program.
    pub fn new() -> Result<Self, Failure> {
        let came = Arc::new(AtomicUsize::new(0));
        let ignored = ignored();
        // Those that whoever started us wants ignored (nohup) stay so.
        for signal in [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| (ignored >> (signal - 1)) & 1 == 0) {
            let number = usize::try_from(signal).unwrap_or_default();
            flag::register_usize(signal, Arc::clone(&came), number)
                .map_err(|error: io::Error| Failure::System { what: "signals".into(), source: error })?;
        }
        Ok(Self { came })
    }

    /// Fails if one has come: whoever is asked to end cleans up on the way out.
    pub fn check(&self) -> Result<(), Failure> {
        match self.came() {
            Some(signal) => Err(Failure::Signal(signal)),
            None => Ok(()),
        }
    }

    /// The signal that has come, if any.
    pub fn came(&self) -> Option<i32> {
        i32::try_from(self.came.load(Ordering::Relaxed)).ok().filter(|&signal| signal != 0)
    }
}
