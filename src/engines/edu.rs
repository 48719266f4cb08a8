// SPDX-License-Identifier: GPL-2.0

//! The engine of QEMU's `edu` device: identification, one transfer, the interrupt.
//!
//! Source: QEMU, `docs/specs/edu.rst` and `hw/misc/edu.c`.

pub(crate) mod device_memory;
#[cfg(CONFIG_FAULT_INJECTION)]
mod faults;
#[cfg(CONFIG_FAULT_INJECTION)]
mod inject;
pub(crate) mod plan;
mod regs;

use super::{
    engine::{
        DmaEngine,
        EngineInfo,
        PostFlags,
        Progress, //
    },
    transfer::{
        DeviceTransfer,
        Direction,
        Transfer, //
    }, //
};
use crate::kernel_ext::mm::{
    coherent::CoherentMemory,
    leakable::Leakable, //
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
use plan::EduPlan;

/// PCI vendor and device. Source: QEMU, `docs/specs/edu.rst`.
pub(crate) const PCI_ID: (u32, u32) = (0x1234, 0x11e8);

/// The duration of a transfer in milliseconds. Source: `DMA_CYCLES` and `edu_dma_timer` in QEMU,
/// `hw/misc/edu.c`.
const TRANSFER_TIME_MS: u32 = 100;

/// The time in milliseconds after which a transfer has failed.
const TIMEOUT_MS: u32 = 10 * TRANSFER_TIME_MS;

/// The interval in milliseconds at which the engine is polled where no interrupt is raised. A sleep
/// takes up to a quarter longer.
const POLL_INTERVAL_MS: u32 = TRANSFER_TIME_MS / 20;

/// Bits of a bus address that the device keeps; the rest is cut off silently. Default of the
/// `dma_mask` property of QEMU's `edu`.
pub(crate) const DEFAULT_DMA_BITS: u32 = 28;

/// One `edu` device, mapped.
///
/// # Invariants
///
/// The registers of the engine, of 64 bits, are inside the BAR and aligned. (The crate checks that
/// when a register is used, and not when it is compiled: it knows a BAR as aligned to 4 bytes.)
pub(crate) struct Edu<'bound> {
    bar: pci::Bar<'bound, { regs::BAR_SIZE }>,
    /// Major and minor.
    version: (u8, u8),
    /// As many zeros as there is device memory.
    zeros: Leakable<CoherentMemory<'bound>>,
    #[cfg(CONFIG_FAULT_INJECTION)]
    faults: faults::Faults,
}

impl<'bound> Edu<'bound> {
    /// Maps the device and checks its identification and liveness registers.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if one of them is wrong; the log says why.
    pub(super) fn new(pdev: &'bound pci::Device<Bound>) -> Result<Self> {
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

        // CAST: The constant is small.
        let zeros = CoherentMemory::new_contiguous(pdev.as_ref(), device_memory::SIZE as usize)
            .map_err(|e| {
                dev_err!(pdev, "cannot allocate DMA memory within dma_bits: {e:?}\n");
                ENODEV
            })?;

        // INVARIANT: just tried.
        Ok(Self {
            bar,
            version: (
                identification.major().cast::<u8>().get(),
                identification.minor().cast::<u8>().get(),
            ),
            zeros: Leakable::new(zeros),
            #[cfg(CONFIG_FAULT_INJECTION)]
            faults: faults::Faults::new(),
        })
    }

    /// Fills the device memory with zeros, without an interrupt. Sleeps.
    ///
    /// # Errors
    ///
    /// [`ETIMEDOUT`] if the transfer does not end, [`ENODEV`] if the device is gone.
    pub(super) fn prepare(&self) -> Result<EduPlan> {
        let whole = DeviceTransfer {
            direction: Direction::ToDevice,
            address: self.zeros.address(),
            device: device_memory::WHOLE,
        };
        self.command(whole, false);
        self.wait_idle(TIMEOUT_MS)?;
        Ok(EduPlan::new(self.zeros.address()))
    }

    fn command(&self, transfer: DeviceTransfer, interrupt: bool) {
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
}

impl DmaEngine for Edu<'_> {
    fn info(&self) -> EngineInfo {
        EngineInfo {
            device_memory_size: device_memory::SIZE,
            max_transfer_size: device_memory::SIZE,
            depth: 1,
            in_flight_byte_limit: device_memory::SIZE,
            can_abort: false,
            reports_errors: false,
            late_ms: 2 * TRANSFER_TIME_MS,
            timeout_ms: TIMEOUT_MS,
            stop_ms: 0,
            version: self.version,
        }
    }

    fn responds(&self) -> bool {
        #[cfg(CONFIG_FAULT_INJECTION)]
        if self.faults.is_gone() {
            return false;
        }
        self.bar.read(regs::IDENTIFICATION).magic().get() == regs::MAGIC
    }

    /// Starts the transfer at once.
    #[inline]
    fn post(&self, _slot: usize, transfer: Transfer, flags: PostFlags) {
        // The plan of `edu` returns no other transfers.
        if let Transfer::Device(transfer) = transfer {
            self.command(transfer, flags.interrupt);
        }
    }

    #[inline]
    fn kick(&self) {}

    #[inline]
    fn acknowledge(&self) -> bool {
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

    /// There is one slot, so that each transfer is the last one of a batch.
    fn raises_interrupt(&self, _slot: usize) -> bool {
        true
    }

    /// Reads the command register. The device reports no errors. If it no longer decodes its
    /// registers, they read as all ones, or as zeros, which is the value after the end of a
    /// transfer.
    #[inline]
    fn progress(&self, _slot: usize) -> Progress {
        #[cfg(CONFIG_FAULT_INJECTION)]
        if let Some(progress) = self.faults.progress() {
            return progress;
        }
        let Ok(command) = self.bar.try_read(regs::DMA_COMMAND) else {
            return Progress::Gone;
        };
        if u64::from(command) == u64::MAX {
            Progress::Gone
        } else if command.run() {
            Progress::Running
        } else {
            Progress::Ended(Ok(()))
        }
    }

    fn wait_idle(&self, timeout_ms: u32) -> Result {
        let progress = read_poll_timeout(
            || Ok(self.progress(0)),
            |progress| *progress != Progress::Running,
            Delta::from_millis(i64::from(POLL_INTERVAL_MS)),
            Delta::from_millis(i64::from(timeout_ms)),
        )?;
        match progress {
            Progress::Gone => Err(ENODEV),
            _ => Ok(()),
        }
    }

    fn abort(&self) -> Result {
        Err(EOPNOTSUPP)
    }

    fn restart(&self) -> Result {
        Ok(())
    }

    fn leak_memory(&self) {
        self.zeros.leak();
    }
}
