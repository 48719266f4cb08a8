// SPDX-License-Identifier: GPL-2.0

//! The engines of an Intel I/OAT device (QuickData, "CBDMA") of version 3.2 or 3.3: its channels.
//!
//! The device has no memory of its own. It copies from bus address to bus address, in a chain of
//! descriptors that grows while it is executed.
//!
//! Source: Linux, `drivers/dma/ioat`.

mod chain;
mod device;
pub(crate) mod plan;
mod regs;
mod ring;

pub(super) use device::IoatDevice;
pub(crate) use device::PCI_IDS;

use super::{
    engine::{
        DmaEngine,
        EngineConfig,
        EngineInfo,
        PostFlags,
        Progress, //
    },
    transfer::Transfer, //
};
use crate::kernel_ext::driver::ratelimit::Ratelimit;
use chain::Chain;
use device::{
    Bar,
    BROADWELL,
    SKYLAKE, //
};
use kernel::{
    device::Bound,
    io::{
        poll::read_poll_timeout,
        register::{
            RegisterArray,
            RegisterArrayLoc, //
        },
        Io,
        IoCapable,
        MmioBackend, //
    },
    pci,
    prelude::*,
    sync::Arc,
    time::Delta, //
};
use plan::IoatPlan;
use ring::DescriptorRing;

/// Width of bus addresses, in bits.
pub(crate) const DMA_BITS: u32 = 64;

/// No transfers are posted while those in the slots have this many bytes or more. These take 1 ms
/// at 2 GB/s.
const IN_FLIGHT_BYTE_LIMIT: u64 = 2 << 20;

/// The longest delay of interrupts in microseconds.
pub(crate) const MAX_INTERRUPT_DELAY_US: u16 = 0x3fff;

/// Time in milliseconds after which a transfer is checked. The longest takes less than 1 ms.
const LATE_MS: u32 = 100;

/// Time in milliseconds after which a transfer that does not end has failed.
const TIMEOUT_MS: u32 = 1000;

/// Interval in microseconds at which a register is read until it changes.
const POLL_US: i64 = 10;

/// Time in milliseconds for a channel to end the transfer that it executes. Source: Linux,
/// `drivers/dma/ioat/dma.c`, `ioat_reset_hw`.
const SUSPEND_MS: i64 = 100;

/// Time in milliseconds for the reset of a channel. Source: as above.
const RESET_MS: i64 = 200;

/// A channel of an I/OAT device.
///
/// # Invariants
///
/// `channel` is less than [`regs::CHANNELS`], and the BAR is aligned to 8 bytes, so that all
/// accesses to registers of the channel succeed.
pub(crate) struct IoatChannel<'bound> {
    pdev: &'bound pci::Device<Bound>,
    /// BAR 0, which the channels of the device share.
    bar: Arc<Bar<'bound>>,
    /// The index of the channel in the device.
    channel: usize,
    /// Major and minor.
    version: (u8, u8),
    /// Size of the largest transfer in bytes.
    largest: u64,
    ring: DescriptorRing<'bound>,
    /// How the channel is used, after [`prepare`](Self::prepare).
    config: EngineConfig,
    chain: Chain,
    /// Limits the messages about errors.
    error_log: Ratelimit,
}

impl<'bound> IoatChannel<'bound> {
    /// Resets a channel, which must be less than [`channels`](IoatDevice::channels).
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the channel cannot be reset, or there is no memory for the descriptors. The
    /// log has the reason.
    pub(super) fn new(device: &IoatDevice<'bound>, channel: usize) -> Result<Self> {
        let pdev = device.pdev;
        let ring = DescriptorRing::new(pdev.as_ref()).map_err(|e| {
            dev_err!(pdev, "cannot allocate descriptors: {e:?}\n");
            ENODEV
        })?;
        let log2 = device.bar.read(regs::TRANSFER_CAPACITY).log2().get();
        // INVARIANT: By the caller's obligation; a BAR is aligned to its size.
        let ioat = Self {
            pdev,
            bar: device.bar.clone(),
            channel,
            version: device.version,
            // 0 stands for 2^32 bytes, which the length in a descriptor cannot hold.
            largest: if log2 == 0 { 1 << 31 } else { 1 << log2 },
            ring,
            config: EngineConfig {
                has_vector: false,
                interrupt_delay_us: 0,
            },
            chain: Chain::new(),
            error_log: Ratelimit::new(),
        };
        ioat.abort().map_err(|e| {
            dev_err!(pdev, "channel {channel} cannot be reset: {e:?}\n");
            ENODEV
        })?;
        Ok(ioat)
    }

    /// Enables the channel.
    ///
    /// # Errors
    ///
    /// [`EIO`] if it does not store an address.
    pub(super) fn prepare(&mut self, config: EngineConfig) -> Result<IoatPlan> {
        self.config = config;
        self.enable()?;
        Ok(IoatPlan::new(self.largest))
    }

    /// Reads a register of the channel.
    #[inline]
    fn read<R>(&self) -> R
    where
        R: RegisterArray + Zeroable,
        MmioBackend: IoCapable<R::Storage>,
    {
        let register = RegisterArrayLoc::<R>::try_new(self.channel);
        // By the type invariant, this does not fail.
        register
            .and_then(|register| self.bar.try_read(register).ok())
            .unwrap_or_else(R::zeroed)
    }

    /// Writes a register of the channel.
    #[inline]
    fn write<R>(&self, value: R)
    where
        R: RegisterArray,
        MmioBackend: IoCapable<R::Storage>,
    {
        if let Some(register) = RegisterArrayLoc::<R>::try_new(self.channel) {
            // By the type invariant, this does not fail.
            let _ = self.bar.try_write(register, value);
        }
    }

    /// Enables the channel, which was reset.
    ///
    /// # Errors
    ///
    /// [`EIO`] if it has not stored the address that it writes its status to: it would write it to
    /// memory of others.
    fn enable(&self) -> Result {
        self.clear_errors();
        // Another driver may have masked errors, or have enabled the prefetch of descriptors, for a
        // ring of another size.
        self.write(regs::CHANNEL_ERROR_MASK::zeroed());
        if self.bar.read(regs::CAPABILITIES).prefetch() {
            self.write(regs::PREFETCH_CONTROL::zeroed());
        }
        self.ring.reset(self.read::<regs::CHANNEL_STATUS>());
        let (low, high) = halves(self.ring.completion_address());
        self.write(regs::COMPLETION_ADDRESS_LOW::from(low));
        self.write(regs::COMPLETION_ADDRESS_HIGH::from(high));
        let stored = (
            u32::from(self.read::<regs::COMPLETION_ADDRESS_LOW>()),
            u32::from(self.read::<regs::COMPLETION_ADDRESS_HIGH>()),
        );
        if stored != (low, high) {
            return Err(EIO);
        }
        self.chain.clear();
        let has_vector = self.config.has_vector;
        let control = regs::INTERRUPT_CONTROL::zeroed()
            .with_msix(has_vector)
            .with_enable(true);
        self.bar.write_reg(control);
        if self.bar.read(regs::INTERRUPT_DELAY).supported() {
            let delay = self.config.interrupt_delay_us;
            self.bar.write_reg(regs::INTERRUPT_DELAY::from(delay));
        }
        self.arm();
        Ok(())
    }

    fn has_errors(&self) -> bool {
        u32::from(self.read::<regs::CHANNEL_ERROR>()) != 0
    }

    /// Logs the errors that the channel has reported.
    fn log_errors(&self) {
        let errors = u32::from(self.read::<regs::CHANNEL_ERROR>());
        if errors != 0 && self.status().is_some() && self.error_log.allows() {
            let channel = self.channel;
            dev_warn!(
                self.pdev,
                "channel {channel} reports errors {errors:#x} (CHANERR)\n"
            );
        }
    }

    fn clear_errors(&self) {
        self.write(self.read::<regs::CHANNEL_ERROR>());
        // Version 3.2 keeps them in the configuration space, too.
        if self.version < (3, 3) || self.pdev.device_id() == SKYLAKE {
            if let Ok(config) = self.pdev.config_space_extended() {
                let errors: u32 = config.read(regs::CONFIG_CHANNEL_ERROR);
                config.write(regs::CONFIG_CHANNEL_ERROR, errors);
            }
        }
    }

    /// Resets the channel by calling `reset`, and keeps its MSI-X vector: a Broadwell-DE, which has
    /// one channel, loses it. If the kernel changes the vector meanwhile, because its CPU changes,
    /// the change is lost; Linux does the same.
    fn reset_with_vector(&self, reset: impl FnOnce() -> Result) -> Result {
        if !BROADWELL.contains(&self.pdev.device_id()) {
            return reset();
        }
        let address = self.bar.try_read(regs::VECTOR_ADDRESS)?;
        let data = self.bar.try_read(regs::VECTOR_DATA)?;
        let pending = self.bar.try_read(regs::VECTOR_PENDING)?;
        let done = reset();
        self.bar.try_write_reg(address)?;
        self.bar.try_write_reg(data)?;
        self.bar.try_write_reg(pending)?;
        done
    }

    /// Enables the next interrupt of the channel.
    fn arm(&self) {
        let control = regs::CHANNEL_CONTROL::zeroed()
            .with_in_use(true)
            .with_error_interrupt(true)
            .with_halt_on_error(true)
            .with_error_completion(true)
            .with_arm(true);
        self.write(control);
    }

    /// Reads the status of the channel; [`None`] if the device is gone.
    fn status(&self) -> Option<regs::CHANNEL_STATUS> {
        let status = self.read::<regs::CHANNEL_STATUS>();
        (u64::from(status) != u64::MAX).then_some(status)
    }

    /// Returns whether the channel executes descriptors.
    fn is_active(&self) -> bool {
        let state = self.status().map(|status| status.state().get());
        state == Some(regs::state::ACTIVE)
    }

    /// Returns the progress of the oldest transfer, which is in this slot, by this status.
    fn progress_from(&self, status: regs::CHANNEL_STATUS, slot: usize) -> Progress {
        if self.ring.is_completed(status, slot) {
            Progress::Ended(Ok(()))
        } else if status.state().get() == regs::state::HALTED {
            Progress::Ended(Err(EREMOTEIO))
        } else {
            Progress::Running
        }
    }

    /// Sends a command to the channel, and reads a register until `is_done`.
    ///
    /// # Errors
    ///
    /// [`EIO`] if it is not done in time.
    fn command(
        &self,
        command: regs::CHANNEL_COMMAND,
        timeout_ms: i64,
        is_done: impl Fn(&Self) -> bool,
    ) -> Result {
        self.write(command);
        read_poll_timeout(
            || Ok(is_done(self)),
            |done| *done,
            Delta::from_micros(POLL_US),
            Delta::from_millis(timeout_ms),
        )
        .map_err(|_| EIO)?;
        Ok(())
    }

    /// Resets the channel. A device that is gone is not waited for.
    ///
    /// # Errors
    ///
    /// [`EIO`] if the reset is not done in time.
    fn reset(&self) -> Result {
        if self.status().is_none() {
            return Err(EIO);
        }
        // As Linux does: `drivers/dma/ioat/dma.c`, `ioat_reset_hw`.
        self.clear_errors();
        let reset = regs::CHANNEL_COMMAND::zeroed().with_reset(true);
        self.reset_with_vector(|| {
            self.command(reset, RESET_MS, |ioat| {
                !ioat.read::<regs::CHANNEL_COMMAND>().reset() && !ioat.is_active()
            })
        })
    }
}

/// Returns the lower and the upper half of an address.
#[inline]
fn halves(address: u64) -> (u32, u32) {
    // CAST: The halves have 32 bits.
    (address as u32, (address >> 32) as u32)
}

impl DmaEngine for IoatChannel<'_> {
    fn info(&self) -> EngineInfo {
        EngineInfo {
            device_memory_size: 0,
            max_transfer_size: self.largest,
            depth: ring::SLOTS,
            in_flight_byte_limit: IN_FLIGHT_BYTE_LIMIT,
            can_abort: true,
            reports_errors: true,
            late_ms: LATE_MS,
            timeout_ms: TIMEOUT_MS,
            // CAST: The constants are small.
            stop_ms: (SUSPEND_MS + RESET_MS) as u32,
            version: self.version,
        }
    }

    fn responds(&self) -> bool {
        let version = self.bar.read(regs::VERSION);
        (version.major().get(), version.minor().get()) == self.version
    }

    #[inline]
    fn post(&self, slot: usize, transfer: Transfer, flags: PostFlags) {
        // The plan of I/OAT returns no other transfers.
        let Transfer::Direct(transfer) = transfer else {
            return;
        };
        let address = self.ring.write(slot, transfer, flags);
        if self.chain.add() {
            let (low, high) = halves(address);
            self.write(regs::CHAIN_ADDRESS_LOW::from(low));
            self.write(regs::CHAIN_ADDRESS_HIGH::from(high));
        }
    }

    #[inline]
    fn kick(&self) {
        // The write of a register is ordered after the earlier writes of memory.
        self.write(regs::DESCRIPTOR_COUNT::from(self.chain.count()));
    }

    #[inline]
    fn acknowledge(&self) -> bool {
        if !self.config.has_vector {
            let control = self.bar.read(regs::INTERRUPT_CONTROL);
            if u8::from(control) == u8::MAX || !control.enable() {
                // The device is gone, or its interrupts are disabled: by a reset, by
                // `disable_interrupts`, or by another thread in this function, which handles this
                // one.
                return false;
            }
            let enable = regs::INTERRUPT_CONTROL::zeroed().with_enable(true);
            if !control.pending() {
                // Reading has cleared `enable`.
                self.bar.write_reg(enable);
                return false;
            }
            // Reading clears it.
            let _ = self.bar.read(regs::ATTENTION);
            self.bar.write_reg(enable);
        }
        self.arm();
        true
    }

    fn raises_interrupt(&self, slot: usize) -> bool {
        self.ring.raises_interrupt(slot)
    }

    fn rearm(&self) {
        // The channel has disabled its interrupt when it raised the one that was lost.
        if !self.acknowledge() {
            self.arm();
        }
    }

    /// Reads the status that the channel has written to memory.
    #[inline]
    fn progress(&self, slot: usize) -> Progress {
        self.progress_from(self.ring.status(), slot)
    }

    /// Reads the status in memory, and the register if the transfer has not ended by that. The
    /// channel receives the write that enables its next interrupt before it returns the register.
    fn examine(&self, slot: usize) -> Progress {
        match self.progress(slot) {
            Progress::Running => match self.status() {
                Some(status) => match self.progress_from(status, slot) {
                    // After a reset, the register says this until the channel begins the chain.
                    Progress::Ended(Err(_)) if !self.has_errors() => Progress::Running,
                    progress => progress,
                },
                None => Progress::Gone,
            },
            ended => ended,
        }
    }

    fn wait_idle(&self, timeout_ms: u32) -> Result {
        read_poll_timeout(
            || Ok(self.is_active()),
            |active| !active,
            Delta::from_micros(100),
            Delta::from_millis(i64::from(timeout_ms)),
        )?;
        self.status().map(drop).ok_or(ENODEV)
    }

    fn suspend_transfers(&self) {
        let suspend = regs::CHANNEL_COMMAND::zeroed().with_suspend(true);
        // A transfer that does not end is stopped by a reset.
        let _ = self.command(suspend, SUSPEND_MS, |ioat| !ioat.is_active());
    }

    fn abort(&self) -> Result {
        self.suspend_transfers();
        self.reset()
    }

    fn restart(&self) -> Result {
        self.log_errors();
        self.reset()?;
        self.enable()
    }

    fn disable_interrupts(&self) {
        self.bar.write_reg(regs::INTERRUPT_CONTROL::zeroed());
        // Reading clears it.
        let _ = self.bar.read(regs::ATTENTION);
    }

    fn leak_memory(&self) {
        self.ring.leak();
    }
}
