// SPDX-License-Identifier: GPL-2.0

//! A module with one [`NodeDriver`], and the callbacks of the driver core.

use super::{
    node_driver::{
        BoundDevice,
        NodeDriver, //
    },
    Attached, //
};
use crate::kernel_ext::{
    driver::{
        dma_mask,
        pci as pci_ext,
        pci_driver, //
    },
    fs::chrdev,
    mm::address_space::AddressSpace,
    sync::gate::BindGate, //
};
use core::marker::PhantomData;
use kernel::{
    device::Core,
    driver,
    pci,
    prelude::*, //
};

/// Implements the PCI driver of the driver core for a [`NodeDriver`].
pub(crate) struct PciDriver<D>(PhantomData<D>);

impl<D: NodeDriver> pci::Driver for PciDriver<D> {
    type IdInfo = ();
    type Data<'bound> = Attached<'bound, D>;

    const ID_TABLE: pci::IdTable<()> = D::ID_TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _: Option<&'bound ()>,
    ) -> impl PinInit<Attached<'bound, D>, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            dma_mask::set(pdev, D::dma_mask(pdev)?)?;
            let gate = BindGate::new()?;
            // SAFETY: Only `Attached` opens the gate, and closes it before the device is unbound.
            let address_space =
                unsafe { AddressSpace::new(pdev.as_ref(), gate.untyped().clone())? };
            let probed = D::probe(pdev, &gate, &address_space)?;
            Ok(Attached::new(pdev, gate, address_space, probed))
        })
    }
}

impl<D: NodeDriver> pci_driver::PowerCallbacks for PciDriver<D> {
    fn suspend(attached: Pin<&Attached<'_, D>>) -> Result {
        D::Device::suspend(&attached.bound)
    }

    fn resume(attached: Pin<&Attached<'_, D>>, memory_kept: bool) -> Result {
        D::Device::resume(&attached.bound, memory_kept)
    }

    fn reset_prepare(attached: Pin<&Attached<'_, D>>) {
        D::Device::reset_prepare(&attached.bound);
    }

    fn reset_done(attached: Pin<&Attached<'_, D>>) {
        D::Device::reset_done(&attached.bound);
    }

    fn shutdown(attached: Pin<&Attached<'_, D>>) {
        D::Device::shutdown(&attached.bound);
    }
}

/// A module with one driver. Dropping it unregisters the driver and the region.
#[pin_data]
pub(crate) struct Module<D: NodeDriver> {
    #[pin]
    driver: driver::Registration<pci_driver::PowerAdapter<PciDriver<D>>>,
    region: chrdev::Registration<D::File>,
}

impl<D: NodeDriver> Module<D> {
    /// Registers the region for the nodes, and then the driver. Existing devices are probed in
    /// parallel. Those in the ID table get numbers in the order of the bus before that, and all
    /// others the next free numbers in the order in which they are probed.
    pub(crate) fn new(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            region: chrdev::Registration::new(D::CLASS_NAME)?,
            _: { pci_ext::for_each_unbound(D::ID_TABLE, |device| region.keep_number(device))? },
            driver <- driver::Registration::new(D::NAME, module),
            _: { region.release_kept_numbers() },
        })
    }
}
