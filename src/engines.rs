// SPDX-License-Identifier: GPL-2.0

//! The supported engines, and the choice of one for a device.
//!
//! To add an engine: a folder beside `edu`, a variant of [`Model`], [`AnyEngine`] and
//! [`AnyPlan`], with their arms in this file, and its PCI ids in [`Model::of`] and, unless
//! `driver_override` binds it, in `PCI_TABLE` of `driver.rs`.

pub(crate) mod edu;
pub(crate) mod engine;
pub(crate) mod ioat;
pub(crate) mod plan;
pub(crate) mod request;
pub(crate) mod transfer;

use edu::Edu;
use engine::{
    DmaEngine,
    EngineConfig,
    EngineInfo,
    PostFlags,
    Progress, //
};
use ioat::IoatChannel;
use kernel::{
    device::Bound,
    pci,
    prelude::*, //
};
use plan::{
    Cut,
    Plan, //
};
use request::{
    Backing,
    Request, //
};
use transfer::Transfer;

/// The kinds of devices.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Model {
    /// QEMU's `edu`.
    Edu,
    /// Intel I/OAT.
    Ioat,
}

impl Model {
    /// Returns the model of a PCI device. A device that `driver_override` gives to the driver can
    /// have any id: if the id is not known, it must identify itself as `edu`.
    pub(crate) fn of(pdev: &pci::Device<Bound>) -> Self {
        let id = (pdev.vendor_id().as_raw().into(), pdev.device_id().into());
        if ioat::PCI_IDS.contains(&id) {
            Self::Ioat
        } else {
            Self::Edu
        }
    }

    /// Returns the name for the log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Edu => "edu",
            Self::Ioat => "I/OAT",
        }
    }

    /// Returns the width of bus addresses in bits. That of `edu` is a property of the device that
    /// cannot be read, so it is `edu_bits`, a parameter of the module.
    pub(crate) fn dma_bits(self, edu_bits: u32) -> u32 {
        match self {
            Self::Edu => edu_bits,
            Self::Ioat => ioat::DMA_BITS,
        }
    }
}

/// Divides requests into transfers for the engine of a device.
pub(crate) enum AnyPlan {
    /// For QEMU's `edu`.
    Edu(edu::plan::EduPlan),
    /// For Intel I/OAT.
    Ioat(ioat::plan::IoatPlan),
}

impl<B: Backing> Plan<Request<B>> for AnyPlan {
    type Transfer = Transfer;
    /// I/OAT needs none: each of its pieces is one transfer.
    type Stage = edu::plan::Stage;

    fn quantum(&self) -> u64 {
        match self {
            Self::Edu(plan) => Plan::<Request<B>>::quantum(plan),
            Self::Ioat(plan) => Plan::<Request<B>>::quantum(plan),
        }
    }

    #[inline]
    fn cut(
        &mut self,
        request: &Request<B>,
        issued: u64,
        stage: &mut Self::Stage,
        max_cost: u64,
    ) -> Option<Cut<Transfer>> {
        match self {
            Self::Edu(plan) => plan.cut(request, issued, stage, max_cost),
            Self::Ioat(plan) => plan.cut(request, issued, &mut (), max_cost),
        }
    }

    fn invalidate(&mut self) {
        match self {
            Self::Edu(plan) => Plan::<Request<B>>::invalidate(plan),
            Self::Ioat(plan) => Plan::<Request<B>>::invalidate(plan),
        }
    }
}

/// The engine of a device that the driver is bound to.
pub(crate) enum AnyEngine<'bound> {
    /// QEMU's `edu`.
    Edu(Edu<'bound>),
    /// Intel I/OAT.
    Ioat(IoatChannel<'bound>),
}

impl<'bound> AnyEngine<'bound> {
    /// Maps the device, checks its identification, and allocates the memory that its engines need.
    /// Returns the engines, at least one.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the device does not respond as expected, or there is no memory within its DMA
    /// mask. The log has the reason.
    pub(crate) fn all(model: Model, pdev: &'bound pci::Device<Bound>) -> Result<KVec<Self>> {
        let mut engines = KVec::new();
        match model {
            Model::Edu => engines.push(Self::Edu(Edu::new(pdev)?), GFP_KERNEL)?,
            Model::Ioat => {
                let device = ioat::IoatDevice::new(pdev)?;
                for channel in 0..device.channels() {
                    engines.push(Self::Ioat(IoatChannel::new(&device, channel)?), GFP_KERNEL)?;
                }
            }
        }
        Ok(engines)
    }

    /// Prepares an idle engine of a device, which is a bus master, for requests: on `edu`, fills
    /// the device memory with zeros. Returns the plan that divides requests for it. Sleeps.
    ///
    /// # Errors
    ///
    /// [`ETIMEDOUT`] if the transfer does not end; [`EIO`] if an I/OAT channel does not store an
    /// address; [`ENODEV`] if the device is gone.
    pub(crate) fn prepare(&mut self, config: EngineConfig) -> Result<AnyPlan> {
        match self {
            Self::Edu(edu) => edu.prepare().map(AnyPlan::Edu),
            Self::Ioat(ioat) => ioat.prepare(config).map(AnyPlan::Ioat),
        }
    }
}

/// Calls the function of the engine of a device.
macro_rules! dispatch {
    ($hardware:expr, $engine:ident => $call:expr) => {
        match $hardware {
            AnyEngine::Edu($engine) => $call,
            AnyEngine::Ioat($engine) => $call,
        }
    };
}

impl DmaEngine for AnyEngine<'_> {
    fn info(&self) -> EngineInfo {
        dispatch!(self, engine => engine.info())
    }

    fn responds(&self) -> bool {
        dispatch!(self, engine => engine.responds())
    }

    #[inline]
    fn post(&self, slot: usize, transfer: Transfer, flags: PostFlags) {
        dispatch!(self, engine => engine.post(slot, transfer, flags))
    }

    #[inline]
    fn kick(&self) {
        dispatch!(self, engine => engine.kick())
    }

    #[inline]
    fn acknowledge(&self) -> bool {
        dispatch!(self, engine => engine.acknowledge())
    }

    fn raises_interrupt(&self, slot: usize) -> bool {
        dispatch!(self, engine => engine.raises_interrupt(slot))
    }

    fn rearm(&self) {
        dispatch!(self, engine => engine.rearm())
    }

    #[inline]
    fn progress(&self, slot: usize) -> Progress {
        dispatch!(self, engine => engine.progress(slot))
    }

    fn examine(&self, slot: usize) -> Progress {
        dispatch!(self, engine => engine.examine(slot))
    }

    fn wait_idle(&self, timeout_ms: u32) -> Result {
        dispatch!(self, engine => engine.wait_idle(timeout_ms))
    }

    fn suspend_transfers(&self) {
        dispatch!(self, engine => engine.suspend_transfers())
    }

    fn abort(&self) -> Result {
        dispatch!(self, engine => engine.abort())
    }

    fn restart(&self) -> Result {
        dispatch!(self, engine => engine.restart())
    }

    fn disable_interrupts(&self) {
        dispatch!(self, engine => engine.disable_interrupts())
    }

    fn leak_memory(&self) {
        dispatch!(self, engine => engine.leak_memory())
    }
}

#[cfg(CONFIG_FAULT_INJECTION)]
impl AnyEngine<'_> {
    /// Injects a device fault, as a command of the file `inject` in debugfs.
    pub(crate) fn inject(&self, command: &str) -> Result {
        match self {
            Self::Edu(edu) => edu.inject(command),
            // The model of the device causes faults.
            Self::Ioat(_) => Err(EOPNOTSUPP),
        }
    }
}
