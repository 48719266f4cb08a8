// SPDX-License-Identifier: GPL-2.0

//! The supported engines, and the choice of one for a device.
//!
//! To add an engine: a folder beside `edu`, and a variant of [`Model`] and [`Hardware`].

pub(crate) mod edu;
pub(crate) mod engine;
pub(crate) mod plan;
pub(crate) mod request;
pub(crate) mod transfer;

use crate::kernel_ext::mm::coherent::Memory;
use edu::Edu;
use engine::{
    Abilities,
    DmaEngine,
    Progress, //
};
use kernel::{
    device::Bound,
    pci,
    prelude::*, //
};
use transfer::Transfer;

/// The kinds of devices.
#[derive(Clone, Copy)]
pub(crate) enum Model {
    /// QEMU's `edu`.
    Edu,
}

impl Model {
    /// The PCI vendor and device of each model.
    const IDS: [((u32, u32), Self); 1] = [(edu::PCI_ID, Self::Edu)];

    /// The model of a PCI device. A device that `driver_override` gives to the driver can have any id:
    /// it must identify itself as `edu`.
    pub(crate) fn of(pdev: &pci::Device<Bound>) -> Self {
        let id = (pdev.vendor_id().as_raw().into(), pdev.device_id().into());
        let mut known = Self::IDS.iter();
        known
            .find(|(known, _)| *known == id)
            .map_or(Self::Edu, |(_, model)| *model)
    }

    /// The name for the log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Edu => "edu",
        }
    }
}

/// Divides requests into transfers for the engine of a device.
pub(crate) type HardwarePlan = edu::plan::Plan;

/// The engine of a device that the driver is bound to.
pub(crate) enum Hardware<'bound> {
    /// QEMU's `edu`.
    Edu(Edu<'bound>),
}

impl<'bound> Hardware<'bound> {
    /// Maps the device and checks its identification.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if it does not respond as expected; the log says why.
    pub(crate) fn new(model: Model, pdev: &'bound pci::Device<Bound>) -> Result<Self> {
        match model {
            Model::Edu => Edu::new(pdev).map(Self::Edu),
        }
    }

    /// Prepares an idle device, which is a bus master, for requests: fills its memory from `zeros`, which
    /// has the same size. Returns the plan that divides requests for it. Sleeps.
    ///
    /// # Errors
    ///
    /// [`ETIMEDOUT`] if the transfer does not end, [`ENODEV`] if the device is gone.
    pub(crate) fn prepare(&self, zeros: &Memory<'_>) -> Result<HardwarePlan> {
        match self {
            Self::Edu(edu) => edu.scrub(zeros.address()),
        }
    }
}

impl DmaEngine for Hardware<'_> {
    fn abilities(&self) -> Abilities {
        match self {
            Self::Edu(edu) => edu.abilities(),
        }
    }

    fn responds(&self) -> bool {
        match self {
            Self::Edu(edu) => edu.responds(),
        }
    }

    fn post(&self, slot: usize, transfer: Transfer, interrupt: bool) {
        match self {
            Self::Edu(edu) => edu.post(slot, transfer, interrupt),
        }
    }

    fn kick(&self) {
        match self {
            Self::Edu(edu) => edu.kick(),
        }
    }

    fn acknowledge(&self) -> bool {
        match self {
            Self::Edu(edu) => edu.acknowledge(),
        }
    }

    fn progress(&self, slot: usize) -> Progress {
        match self {
            Self::Edu(edu) => edu.progress(slot),
        }
    }

    fn wait_idle(&self, most_ms: u32) -> Result {
        match self {
            Self::Edu(edu) => edu.wait_idle(most_ms),
        }
    }

    fn abort(&self) -> Result {
        match self {
            Self::Edu(edu) => edu.abort(),
        }
    }

    fn restart(&self) {
        match self {
            Self::Edu(edu) => edu.restart(),
        }
    }
}

#[cfg(CONFIG_FAULT_INJECTION)]
impl Hardware<'_> {
    /// Injects a fault.
    pub(crate) fn inject(&self, command: &str) -> Result {
        match self {
            Self::Edu(edu) => edu.inject(command),
        }
    }
}
