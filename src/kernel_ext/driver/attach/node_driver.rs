// SPDX-License-Identifier: GPL-2.0

//! A driver for a PCI device with one node, and one or more engines: what it implements.

use crate::kernel_ext::{
    driver::work::{
        WithWork,
        Work, //
    },
    fs::chrdev::{
        File,
        Number, //
    },
    mm::address_space::{
        AddressSpace, //
        ClosedAddressSpace,
    },
    sync::gate::BindGate, //
};
use core::marker::PhantomData;
use kernel::{
    device::{
        Bound,
        Core, //
    },
    dma::DmaMask,
    pci::{
        self,
        IrqVectorRegistration, //
    },
    prelude::*,
    sync::Arc,
    types::ForLt, //
};

/// The engines of a device to which a driver is bound, and the callbacks of the driver core.
///
/// This is implemented for a type without a lifetime that names the type of an engine, like `ForLt`
/// of the crate.
pub(crate) trait BoundDevice: 'static {
    /// An engine, which has an interrupt.
    type Engine<'bound>: Work + Send + Sync + 'bound;

    /// Handles an interrupt. Returns whether this engine has raised it.
    fn interrupt(engine: &WithWork<Self::Engine<'_>>) -> bool;

    /// Stops the device for the unbind. The gate is closed; interrupts are still handled. Memory
    /// that can be mapped and that is not revoked here is never freed.
    fn stop(engines: &Engines<'_, Self>, address_space: ClosedAddressSpace<'_>);

    /// Stops the device for a suspend. System calls continue.
    ///
    /// # Errors
    ///
    /// If the device cannot be stopped. The suspend is then cancelled, and the device works as
    /// before.
    fn suspend(engines: &Engines<'_, Self>) -> Result;

    /// Restarts the device after a suspend. If `memory_kept` is false, it may have lost the
    /// contents of its memory.
    ///
    /// # Errors
    ///
    /// If the device does not work. It is not used any more.
    fn resume(engines: &Engines<'_, Self>, memory_kept: bool) -> Result;

    /// Stops the device, which the PCI core is about to reset. System calls continue.
    fn reset_prepare(engines: &Engines<'_, Self>);

    /// Restarts the device after a reset, which may have failed. The contents of its memory are
    /// lost.
    fn reset_done(engines: &Engines<'_, Self>);

    /// Stops the device for a shutdown or kexec. System calls continue.
    fn shutdown(engines: &Engines<'_, Self>);
}

/// The engines of a device, each with its work.
pub(crate) type Engines<'bound, B> = KVec<Arc<WithWork<<B as BoundDevice>::Engine<'bound>>>>;

/// Names the engines of a [`BoundDevice`], for types without a lifetime.
pub(crate) struct EnginesOf<B>(PhantomData<fn() -> B>);

impl<B: BoundDevice> ForLt for EnginesOf<B> {
    type Of<'bound> = Engines<'bound, B>;
}

/// The gate for the engines of a [`BoundDevice`].
pub(crate) type GateOf<B> = BindGate<EnginesOf<B>>;

/// A driver for a PCI device with one node, and one or more engines.
pub(crate) trait NodeDriver: Sized + Send + Sync + 'static {
    /// The name of the driver.
    const NAME: &'static CStr;

    /// The name of the class, of the region of device numbers, and of the directory in debugfs.
    const CLASS_NAME: &'static CStr;

    /// The name of a node without its number.
    const NODE_NAME: &'static CStr;

    /// The supported devices.
    const ID_TABLE: pci::IdTable<()>;

    /// The data of a device while the driver is bound to it.
    type Device: BoundDevice;

    /// An open file of the node.
    type File: File;

    /// Returns the DMA mask of a device.
    fn dma_mask(pdev: &pci::Device<Bound>) -> Result<DmaMask>;

    /// Probes and initialises a device, whose DMA mask is set. Logs the reason of an error.
    ///
    /// `gate` is closed. It is opened, with the returned data, when the device is attached.
    /// `address_space` is that of the files of the node.
    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        gate: &GateOf<Self::Device>,
        address_space: &Arc<AddressSpace>,
    ) -> Result<Probed<'bound, Self>>;
}

/// A probed device, ready to be attached.
pub(crate) struct Probed<'bound, D: NodeDriver> {
    /// The engines of the device, at least one.
    pub(crate) bound: KVec<<D::Device as BoundDevice>::Engine<'bound>>,
    /// The vectors of their interrupts, at least as many.
    pub(crate) vectors: IrqVectorRegistration<'bound>,
    /// The number of its node.
    pub(crate) number: Number<D::File>,
    /// The object of the node.
    pub(crate) device: Arc<<D::File as File>::Device>,
}
