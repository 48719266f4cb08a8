//! Logs what is about to run, so that the host knows it if the guest dies.

use crate::program::Program;
use std::{
    fs::{self, File, OpenOptions},
    io::Write,
};

/// Characters in a line; the kernel's lines have room for about 1,000.
const LINE: usize = 900;

/// A way into the kernel's log.
pub struct Log(Option<File>);

impl Log {
    /// The kernel's log, or nothing if it is not accessible.
    pub fn new() -> Self {
        // Otherwise it would accept only ten lines in five seconds.
        let _ = fs::write("/proc/sys/kernel/printk_devkmsg", "on\n");
        Self(OpenOptions::new().write(true).open("/dev/kmsg").ok())
    }

    fn line(&mut self, line: &str) {
        if let Some(log) = &mut self.0 {
            let _ = log.write_all(format!("<6>rdma-fuzz: {line}\n").as_bytes());
        }
    }

    /// Programs that follow from the seed come next, from this one on.
    pub fn position(&mut self, worker: usize, index: u64) {
        self.line(&format!("at {worker} {index}"));
    }

    /// This program comes next.
    pub fn program(&mut self, worker: usize, program: &Program) {
        for line in program.to_string().lines() {
            let mut rest = line;
            while rest.len() > LINE {
                let (part, others) = rest.split_at(LINE);
                self.line(&format!("{worker}+ {part}"));
                rest = others;
            }
            self.line(&format!("{worker}: {rest}"));
        }
        self.line(&format!("{worker}: run"));
    }
}
