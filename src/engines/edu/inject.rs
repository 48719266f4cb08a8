// SPDX-License-Identifier: GPL-2.0

//! Injects device faults for tests, in kernels with fault injection only.
//!
//! The device itself keeps working. The driver sees the values that a faulty device would return.
//! Root writes one command at a time to `/sys/kernel/debug/rust_dma/rdmaN/inject`:
//!
//! - `lose N`: the next N interrupts are lost;
//! - `raise N`: the device raises N interrupts, spurious ones or, after `lose`, late ones;
//! - `hang [MS]`: the running transfer, or the next one, does not end;
//! - `gone [MS]`: all registers read as all ones, and writes have no effect;
//! - `attach FAULT`: the next device that is attached has the fault `encrypted`, `not-coherent` or
//!   `out-of-reach`;
//! - `clear`: removes all faults; a transfer that hung ends and raises its interrupt.
//!
//! MS is a delay in milliseconds, for faults at a time when all processes are frozen.

use super::{
    faults::Shows,
    Edu, //
};
use crate::kernel_ext::driver::dma_mask;
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

/// The cause of the engine's interrupts.
const DMA_CAUSE: u32 = 0x100;

impl Edu<'_> {
    /// Runs a command, as above.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if the command is not valid.
    pub(crate) fn inject(&self, command: &str) -> Result {
        let faults = &self.faults;
        let mut words = command.split_ascii_whitespace();
        let name = words.next().ok_or(EINVAL)?;
        if name == "attach" {
            return dma_mask::inject(words.next().ok_or(EINVAL)?);
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

    /// Makes the device raise an interrupt.
    fn raise(&self) {
        self.bar.write_reg(INTERRUPT_RAISE::from(DMA_CAUSE));
    }
}
