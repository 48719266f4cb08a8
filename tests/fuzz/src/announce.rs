//! What is about to be run, told to the kernel's log: should the guest die of it, the host knows.

use crate::program::Program;
use std::{
    fs::{self, File, OpenOptions},
    io::Write,
};

/// Characters in a line: the kernel's lines have room for some 1,000.
const LINE: usize = 900;

/// A way into the kernel's log.
pub struct Log(Option<File>);

impl Log {
    /// The kernel's log, or nothing where we may not.
    pub fn new() -> Self {
        // It would take no more than ten lines in five seconds.
        let _ = fs::write("/proc/sys/kernel/printk_devkmsg", "on\n");
        Self(OpenOptions::new().write(true).open("/dev/kmsg").ok())
    }

    fn line(&mut self, line: &str) {
        if let Some(log) = &mut self.0 {
            let _ = log.write_all(format!("<6>rdma-fuzz: {line}\n").as_bytes());
        }
    }

    /// Programs that follow from the seed come now, from this one on.
    pub fn position(&mut self, worker: usize, index: u64) {
        self.line(&format!("at {worker} {index}"));
    }

    /// This program comes now.
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
