// SPDX-License-Identifier: GPL-2.0

//! A driver for a PCI device with one interrupt and one node: what it implements.

use crate::kernel_ext::{
    driver::work::{
        Delayed,
        Work, //
    },
    fs::chrdev::{
        File,
        Number, //
    },
    mm::mapping::{
        Closed,
        Mappings, //
    },
    sync::guard::Guard, //
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

/// The data of a device to which a driver is bound, and the callbacks of the driver core.
///
/// This is implemented for a type without a lifetime that names the data, like `ForLt` of the
/// crate.
pub(crate) trait BoundDevice: 'static {
    /// The data of the device.
    type Of<'bound>: Work + Send + Sync + 'bound;

    /// Handles an interrupt. Returns whether this device has raised it.
    fn interrupt(bound: &Delayed<Self::Of<'_>>) -> bool;

    /// Stops the device for the unbind. The guard is closed; interrupts are still handled. Memory
    /// that can be mapped and that is not revoked here is never freed.
    fn stop(bound: &Delayed<Self::Of<'_>>, mappings: Closed<'_>);

    /// Stops the device for a suspend. System calls continue.
    ///
    /// # Errors
    ///
    /// If the device cannot be stopped. The suspend is then cancelled, and the device works as
    /// before.
    fn suspend(bound: &Delayed<Self::Of<'_>>) -> Result;

    /// Restarts the device after a suspend. If `kept` is false, it may have lost the contents of
    /// its memory.
    ///
    /// # Errors
    ///
    /// If the device does not work. It is not used any more.
    fn resume(bound: &Delayed<Self::Of<'_>>, kept: bool) -> Result;

    /// Stops the device for a shutdown or kexec. System calls continue.
    fn shutdown(bound: &Delayed<Self::Of<'_>>);
}

/// Names the data of a [`BoundDevice`] and its work, for types without a lifetime.
pub(crate) struct BoundOf<B>(PhantomData<fn() -> B>);

impl<B: BoundDevice> ForLt for BoundOf<B> {
    type Of<'bound> = Delayed<B::Of<'bound>>;
}

/// The guard for the data of a [`BoundDevice`].
pub(crate) type GuardOf<B> = Guard<BoundOf<B>>;

/// A driver for a PCI device with one interrupt and one node.
pub(crate) trait NodeDriver: Sized + Send + Sync + 'static {
    /// The name of the driver.
    const NAME: &'static CStr;

    /// The name of the class, of the region of device numbers, and of the directory in debugfs.
    const CLASS_NAME: &'static CStr;

    /// The name of a node, as a format with one `int`.
    const NODE_NAME: &'static CStr;

    /// The supported devices.
    const ID_TABLE: pci::IdTable<()>;

    /// The data of a device while the driver is bound to it.
    type Bound: BoundDevice;

    /// An open file of the node.
    type File: File;

    /// Returns the DMA mask of a device.
    fn dma_mask(pdev: &pci::Device<Bound>) -> Result<DmaMask>;

    /// Probes and initialises a device, whose DMA mask is set. Logs the reason of an error.
    ///
    /// `guard` is closed. It is opened, with the returned data, when the device is attached.
    /// `mappings` is the address space for the files of the node.
    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        guard: &GuardOf<Self::Bound>,
        mappings: &Arc<Mappings>,
    ) -> Result<Attach<'bound, Self>>;
}

/// A probed device, ready to be attached.
pub(crate) struct Attach<'bound, D: NodeDriver> {
    /// The data of the device.
    pub(crate) bound: <D::Bound as BoundDevice>::Of<'bound>,
    /// The vector of its interrupt.
    pub(crate) vectors: IrqVectorRegistration<'bound>,
    /// The number of its node.
    pub(crate) number: Number<D::File>,
    /// The object of the node.
    pub(crate) device: Arc<<D::File as File>::Device>,
}
