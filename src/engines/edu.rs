// SPDX-License-Identifier: GPL-2.0

//! All that is known of the hardware, QEMU's `edu`: what it is, one transfer, its interrupt.
//!
//! Source: QEMU, `docs/specs/edu.rst` and `hw/misc/edu.c`. To drive another PCI device with the
//! rest of this driver, replace this file and the folder beside it.

#[cfg(CONFIG_FAULT_INJECTION)]
mod inject;
mod regs;

use crate::engines::transfer::{
    Direction,
    Transfer, //
};
use kernel::{
    device::Bound,
    io::{
        poll::read_poll_timeout,
        Io, //
    },
    pci,
    prelude::*,
    time::Delta, //
};

/// PCI vendor and device. Source: QEMU, `docs/specs/edu.rst`.
pub(crate) const PCI_ID: (u32, u32) = (0x1234, 0x11e8);

/// How long a transfer takes. Source: `DMA_CYCLES` and `edu_dma_timer` in QEMU, `hw/misc/edu.c`.
pub(crate) const TRANSFER_TIME_MS: u32 = 100;

/// How often to look where no interrupt tells of a transfer's end. A sleep takes up to a quarter longer.
const LOOK_MS: u32 = TRANSFER_TIME_MS / 20;

/// Bits of a bus address that the device keeps; the rest is cut off silently. Default of the
/// `dma_mask` property of QEMU's `edu`.
pub(crate) const DEFAULT_DMA_BITS: u32 = 28;

/// What the engine is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing: a transfer can be started.
    Idle,
    /// A transfer, which cannot be stopped.
    Busy,
    /// The device answers with all ones: it is gone, and so is what it was doing.
    Gone,
}

/// One `edu` device, mapped.
///
/// # Invariants
///
/// The registers of the engine, of 64 bits, are inside the BAR and aligned. (The crate checks that
/// when a register is used, and not when it is compiled: it knows a BAR as aligned to 4 bytes.)
pub(crate) struct Edu<'bound> {
    bar: pci::Bar<'bound, { regs::BAR_SIZE }>,
    version: Version,
    #[cfg(CONFIG_FAULT_INJECTION)]
    faults: inject::Faults,
}

/// The hardware's version.
#[derive(Clone, Copy)]
pub(crate) struct Version {
    /// Major.
    pub(crate) major: u8,
    /// Minor.
    pub(crate) minor: u8,
}

impl<'bound> Edu<'bound> {
    /// Maps the device and makes sure that it is one, and alive.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if it is not; says why in the log.
    pub(crate) fn new(pdev: &'bound pci::Device<Bound>) -> Result<Self> {
        let size = pdev.resource_len(0)?;
        if size < regs::BAR_SIZE as u64 {
            dev_err!(
                pdev,
                "BAR 0 has {size} bytes, edu's has {}\n",
                regs::BAR_SIZE
            );
            return Err(ENODEV);
        }
        let bar = pdev
            .iomap_region_sized::<{ regs::BAR_SIZE }>(0, c"rdma")
            .inspect_err(|e| dev_err!(pdev, "cannot map BAR 0: {e:?}\n"))?;

        let identification = bar.read(regs::IDENTIFICATION);
        if identification.magic().get() != regs::MAGIC {
            let raw: u32 = identification.into();
            dev_err!(
                pdev,
                "identification {raw:#010x} is not edu's (0x....00ed)\n"
            );
            return Err(ENODEV);
        }

        for probe in [0x5a5a_0f0f, 0xa5a5_f0f0] {
            bar.write_reg(regs::LIVENESS::from(probe));
            let answer: u32 = bar.read(regs::LIVENESS).into();
            if answer != !probe {
                dev_err!(
                    pdev,
                    "not alive: {probe:#010x} came back as {answer:#010x}\n"
                );
                return Err(ENODEV);
            }
        }

        bar.try_read(regs::DMA_SOURCE)?;
        bar.try_read(regs::DMA_DESTINATION)?;
        bar.try_read(regs::DMA_COUNT)?;
        bar.try_read(regs::DMA_COMMAND)?;

        // INVARIANT: just tried.
        Ok(Self {
            bar,
            version: Version {
                major: identification.major().cast::<u8>().get(),
                minor: identification.minor().cast::<u8>().get(),
            },
            #[cfg(CONFIG_FAULT_INJECTION)]
            faults: inject::Faults::new(),
        })
    }

    /// The hardware's version.
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// What the engine is doing.
    pub(crate) fn state(&self) -> State {
        #[cfg(CONFIG_FAULT_INJECTION)]
        if let Some(state) = self.faults.state() {
            return state;
        }
        let Ok(command) = self.bar.try_read(regs::DMA_COMMAND) else {
            return State::Gone;
        };
        if u64::from(command) == u64::MAX {
            State::Gone
        } else if command.run() {
            State::Busy
        } else {
            State::Idle
        }
    }

    /// Whether the device answers as itself. One that does not decode its registers any more reads
    /// as all ones or as zeros, and so as [`State::Idle`] too.
    pub(crate) fn is_there(&self) -> bool {
        #[cfg(CONFIG_FAULT_INJECTION)]
        if self.faults.is_gone() {
            return false;
        }
        self.bar.read(regs::IDENTIFICATION).magic().get() == regs::MAGIC
    }

    /// Starts a transfer, which ends with an interrupt.
    ///
    /// The engine must be [`State::Idle`]: otherwise the device ignores all of it.
    pub(crate) fn start(&self, transfer: Transfer) {
        self.command(transfer, true);
    }

    /// Does a transfer without an interrupt, and sleeps until it is over.
    ///
    /// # Errors
    ///
    /// [`ETIMEDOUT`] if it does not end in ten times its time, [`ENODEV`] if the device goes
    /// meanwhile.
    pub(crate) fn run(&self, transfer: Transfer) -> Result {
        self.command(transfer, false);
        self.settle(10 * TRANSFER_TIME_MS)
    }

    /// Sleeps until no transfer runs any more, for at most so many milliseconds.
    ///
    /// # Errors
    ///
    /// [`ETIMEDOUT`] if one still runs, [`ENODEV`] if the device is gone.
    pub(crate) fn settle(&self, most_ms: u32) -> Result {
        let state = read_poll_timeout(
            || Ok(self.state()),
            |state| *state != State::Busy,
            Delta::from_millis(i64::from(LOOK_MS)),
            Delta::from_millis(i64::from(most_ms)),
        )?;
        match state {
            State::Gone => Err(ENODEV),
            _ => Ok(()),
        }
    }

    fn command(&self, transfer: Transfer, interrupt: bool) {
        #[cfg(CONFIG_FAULT_INJECTION)]
        if self.faults.is_gone() {
            return;
        }
        let inside = regs::DEVICE_MEMORY + transfer.device.offset();
        let (source, destination) = match transfer.direction {
            Direction::ToDevice => (transfer.address, inside),
            Direction::FromDevice => (inside, transfer.address),
        };
        let command = regs::DMA_COMMAND::zeroed()
            .with_run(true)
            .with_from_device(transfer.direction == Direction::FromDevice)
            .with_interrupt(interrupt);
        // By the type invariant none of these can fail; the command comes last.
        let _ = self.bar.try_write_reg(regs::DMA_SOURCE::from(source));
        let _ = self
            .bar
            .try_write_reg(regs::DMA_DESTINATION::from(destination));
        let count = regs::DMA_COUNT::from(transfer.device.length());
        let _ = self.bar.try_write_reg(count);
        let _ = self.bar.try_write_reg(command);
    }

    /// Acknowledges what raised the interrupt, and returns whether this device had raised one.
    ///
    /// MSI is a message, not a level: look at [`state`](Self::state) after this, not before.
    pub(crate) fn acknowledge(&self) -> bool {
        let causes: u32 = self.bar.read(regs::INTERRUPT_STATUS).into();
        if causes == 0 || causes == u32::MAX {
            return false;
        }
        self.bar
            .write_reg(regs::INTERRUPT_ACKNOWLEDGE::from(causes));
        #[cfg(CONFIG_FAULT_INJECTION)]
        if self.faults.loses_interrupt() {
            return false;
        }
        true
    }
}
