// SPDX-License-Identifier: GPL-2.0

//! Attaches a driver to a PCI device: creates the interrupt handler, the guard and the node, in
//! this order, and removes them in the reverse order.
//!
//! They are created here, as parts of a value that the driver core owns, and drivers get shared
//! references only. If safe code could leak one of them, the interrupt handler, a timer or a system
//! call could access the device after the unbind. A driver provides the values that they are
//! created from.

use crate::kernel_ext::{
    driver::{
        dma_mask,
        pci as pci_ext,
        pci_driver,
        work::{
            Delayed,
            Work, //
        }, //
    },
    fs::chrdev::{
        self,
        File,
        Node,
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
    driver,
    irq::{
        self,
        Flags,
        IrqReturn, //
    },
    pci::{
        self,
        IrqVectorRegistration, //
    },
    prelude::*,
    static_lock_class,
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

    /// Returns the DMA mask of the devices.
    fn dma_mask() -> Result<DmaMask>;

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

/// The registered interrupt handler of a device.
type Irq<'bound, B> = Pin<KBox<irq::Registration<'bound, Interrupt<'bound, B>>>>;

/// An attached device. The fields are dropped in the order of the teardown.
///
/// # Invariants
///
/// The gate of `mappings` is open with `bound`, and is opened only once. The only references to
/// `bound` are this one and the one in `irq`, which is registered for a vector of `vectors`.
#[pin_data(PinnedDrop)]
pub(crate) struct Attached<'bound, D: NodeDriver> {
    node: Option<Node<D::File>>,
    irq: Irq<'bound, D::Bound>,
    vectors: KBox<IrqVectorRegistration<'bound>>,
    bound: Arc<Delayed<<D::Bound as BoundDevice>::Of<'bound>>>,
    mappings: Arc<Mappings>,
}

impl<'bound, D: NodeDriver> Attached<'bound, D> {
    fn new(
        pdev: &'bound pci::Device<Bound>,
        guard: GuardOf<D::Bound>,
        mappings: Arc<Mappings>,
        attach: Attach<'bound, D>,
    ) -> impl PinInit<Self, Error> + 'bound {
        let Attach {
            bound,
            vectors,
            number,
            device,
        } = attach;
        try_pin_init!(Self {
            bound: Self::make_bound(bound)?,
            vectors: KBox::new(vectors, GFP_KERNEL)?,
            irq: Self::request_irq(vectors, bound.clone())?,
            node: None,
            _: {
                // SAFETY: Dropping `Self` closes the guard before `bound` is dropped. The driver
                // core owns `Self` and drops it before the device is unbound.
                unsafe { guard.open(bound) };
            },
            // INVARIANT: The guard was opened above. From here on, `drop` closes it.
            _: {
                let module = kernel::module::this_module::<crate::LocalModule>();
                match Node::new(number, D::NODE_NAME, pdev.as_ref(), device, module) {
                    Ok(made) => *node = Some(made),
                    Err(e) => {
                        Self::detach(&mappings, bound);
                        return Err(e);
                    }
                }
            },
            mappings,
        })
    }

    fn make_bound(
        bound: <D::Bound as BoundDevice>::Of<'bound>,
    ) -> Result<Arc<Delayed<<D::Bound as BoundDevice>::Of<'bound>>>> {
        let (work_key, timer_key) = (static_lock_class!(), static_lock_class!());
        // SAFETY: `Attached` owns the result. The driver core owns `Attached` and drops it before
        // the device is unbound; this also drops the reference in the interrupt handler.
        let bound = unsafe { Delayed::new(bound, work_key, timer_key) };
        Arc::pin_init(bound, GFP_KERNEL)
    }

    fn request_irq(
        vectors: &KBox<IrqVectorRegistration<'bound>>,
        bound: Arc<Delayed<<D::Bound as BoundDevice>::Of<'bound>>>,
    ) -> Result<Irq<'bound, D::Bound>> {
        // SAFETY: The vectors are in a box, and the order of the fields of `Attached` ensures that
        // they are dropped after the interrupt handler, so they are valid during the life of the
        // handler.
        let vectors: &'bound IrqVectorRegistration<'bound> =
            unsafe { &*core::ptr::from_ref(&**vectors) };
        let request = vectors.index(0)?.into();
        // SAFETY: `Attached` owns the registration, and the driver core owns and drops `Attached`.
        let registration = unsafe {
            irq::Registration::new(request, Flags::SHARED, D::NAME, Ok(Interrupt(bound)))
        };
        KBox::pin_init(registration, GFP_KERNEL)
    }

    /// Closes the guard, and stops the device.
    fn detach(mappings: &Mappings, bound: &Delayed<<D::Bound as BoundDevice>::Of<'bound>>) {
        // SAFETY: By the type invariant, the gate is not opened again.
        D::Bound::stop(bound, unsafe { Closed::new(mappings) });
    }
}

#[pinned_drop]
impl<D: NodeDriver> PinnedDrop for Attached<'_, D> {
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        drop(this.node.take());
        Self::detach(this.mappings, this.bound);
    }
}

/// The context of the interrupt handler of a device.
struct Interrupt<'bound, B: BoundDevice>(Arc<Delayed<B::Of<'bound>>>);

impl<B: BoundDevice> irq::Handler for Interrupt<'_, B> {
    fn handle(&self) -> IrqReturn {
        if B::interrupt(&self.0) {
            IrqReturn::Handled
        } else {
            IrqReturn::None
        }
    }
}

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
            dma_mask::set(pdev, D::dma_mask()?)?;
            let guard = Guard::new()?;
            // SAFETY: Only `Attached` opens the guard, and closes it before the device is unbound.
            let mappings = unsafe { Mappings::new(pdev.as_ref(), guard.gate().clone())? };
            let attach = D::probe(pdev, &guard, &mappings)?;
            Ok(Attached::new(pdev, guard, mappings, attach))
        })
    }
}

impl<D: NodeDriver> pci_driver::PowerCallbacks for PciDriver<D> {
    fn suspend(attached: Pin<&Attached<'_, D>>) -> Result {
        D::Bound::suspend(&attached.bound)
    }

    fn resume(attached: Pin<&Attached<'_, D>>, kept: bool) -> Result {
        D::Bound::resume(&attached.bound, kept)
    }

    fn shutdown(attached: Pin<&Attached<'_, D>>) {
        D::Bound::shutdown(&attached.bound);
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
    /// parallel, and get numbers in the order of the bus.
    pub(crate) fn new(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            region: chrdev::Registration::new(D::CLASS_NAME)?,
            _: { pci_ext::for_each_unbound(D::ID_TABLE, |device| region.keep_number(device))? },
            driver <- driver::Registration::new(D::NAME, module),
            _: { region.release_kept_numbers() },
        })
    }
}
