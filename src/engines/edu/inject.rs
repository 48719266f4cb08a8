// SPDX-License-Identifier: GPL-2.0

//! Faults of the device on demand, for tests: only in a kernel with fault injection.
//!
//! The device itself goes on working. What the driver sees of it is what a faulty one would show, a
//! command at a time, as root writes it to `/sys/kernel/debug/rdma/rdmaN/inject`:
//!
//! - `lose N`: the next N interrupts get lost;
//! - `raise N`: N interrupts, for nothing, or late: for what one was lost for;
//! - `hang [MS]`: the transfer that runs, or the next one, does not end;
//! - `gone [MS]`: all registers read as all ones, and what is written goes nowhere;
//! - `attach FAULT`: the next device that is attached is `encrypted`, `not-coherent` or
//!   `out-of-reach`;
//! - `clear`: all is well again, and a transfer that hung ends with its interrupt.
//!
//! With a number of milliseconds, from then on: when nobody can write here, because all sleep.

use super::{
    faults::Shows,
    Edu, //
};
use crate::kernel_ext::driver::reach;
use kernel::{
    io::{
        register,
        Io, //
    },
    prelude::*,
    sync::atomic::Relaxed, //
};

register! {
    /// Raises the interrupt for these causes; write-only. Source: QEMU, `docs/specs/edu.rst`.
    INTERRUPT_RAISE(u32) @ 0x60 {
        31:0 causes;
    }
}

/// The engine's cause.
const DMA_CAUSE: u32 = 0x100;

impl Edu<'_> {
    /// Does what `command` says.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if it is none of those above.
    pub(crate) fn inject(&self, command: &str) -> Result {
        let faults = &self.faults;
        let mut words = command.split_ascii_whitespace();
        let name = words.next().ok_or(EINVAL)?;
        if name == "attach" {
            return reach::inject(words.next().ok_or(EINVAL)?);
        }
        let number = words.next().map(|word| word.parse().map_err(|_| EINVAL));
        match (name, number.transpose()?) {
            ("lose", Some(count)) => faults.lose.store(count, Relaxed),
            ("raise", Some(count)) => (0..count).for_each(|_: u32| self.raise()),
            ("hang", after_ms) => faults.show(Shows::Hung, after_ms.unwrap_or(0)),
            ("gone", after_ms) => faults.show(Shows::AllOnes, after_ms.unwrap_or(0)),
            ("clear", None) => {
                faults.lose.store(0, Relaxed);
                let hung = faults.shows(Shows::Hung);
                faults.show(Shows::Itself, 0);
                if hung {
                    self.raise();
                }
            }
            _ => return Err(EINVAL),
        }
        Ok(())
    }

    /// Has the device raise an interrupt.
    fn raise(&self) {
        self.bar.write_reg(INTERRUPT_RAISE::from(DMA_CAUSE));
    }
}
