// SPDX-License-Identifier: GPL-2.0

//! What ties a driver to a PCI device: interrupt, guard and node, put up in this order and taken
//! down in the reverse one.
//!
//! They are made here, inside of what the driver core owns, and never handed out: whoever could
//! leak one could have the interrupt, or a system call, find the device after it is gone.

use crate::kernel_ext::{
    driver::{
        pci as pci_ext,
        pci_driver,
        reach, //
    },
    fs::chrdev::{
        self,
        File,
        Node,
        Number, //
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
    sync::Arc,
    types::ForLt, //
};

/// A driver for a PCI device with one interrupt and one node.
pub(crate) trait Driver: Sized + Send + Sync + 'static {
    /// The driver's name, also of the region and the class.
    const NAME: &'static CStr;

    /// The name of a node: a format that takes one `int`.
    const NODE_NAME: &'static CStr;

    /// The devices that it drives.
    const ID_TABLE: pci::IdTable<()>;

    /// What there is of the device while the driver is bound to it.
    type Bound<'bound>: Send + Sync + 'bound;

    /// An open file of the node.
    type File: File;

    /// The bus addresses that the devices reach.
    fn dma_mask() -> Result<DmaMask>;

    /// Finds out about a device, which has its mask, and makes it ready. Logs why if it cannot.
    fn probe<'bound>(pdev: &'bound pci::Device<Core<'_>>) -> Result<Attach<'bound, Self>>;

    /// The guard of what is bound.
    fn guard<'a>(bound: &'a Self::Bound<'_>) -> &'a Guard<BoundOf<Self>>;

    /// The interrupt handler. Returns whether this device had raised the interrupt.
    fn interrupt(bound: &Self::Bound<'_>) -> bool;

    /// Brings the device to rest. Nobody is inside the guard any more; the interrupt still works.
    fn stop(bound: &Self::Bound<'_>);

    /// Brings the device to rest until the machine has slept; calls go on coming in.
    ///
    /// # Errors
    ///
    /// If it cannot be done: the machine then stays awake, and all is as before.
    fn suspend(bound: &Self::Bound<'_>) -> Result;

    /// Lets the device go on, which may have lost its own memory meanwhile if not `kept`.
    ///
    /// # Errors
    ///
    /// If the device is not fit for it; it will not be used any more.
    fn resume(bound: &Self::Bound<'_>, kept: bool) -> Result;

    /// Brings the device to rest for good: this kernel goes. Calls go on coming in.
    fn shutdown(bound: &Self::Bound<'_>);
}

/// Stands for the `Bound` of a driver where a type without a lifetime is wanted.
pub(crate) struct BoundOf<D>(PhantomData<fn() -> D>);

impl<D: Driver> ForLt for BoundOf<D> {
    type Of<'bound> = D::Bound<'bound>;
}

/// A device that was found to be right, ready to be attached.
pub(crate) struct Attach<'bound, D: Driver> {
    /// What there is of the device.
    pub(crate) bound: Arc<D::Bound<'bound>>,
    /// Its interrupt.
    pub(crate) vectors: IrqVectorRegistration<'bound>,
    /// The number of its node.
    pub(crate) number: Number<D::File>,
    /// What the node stands for.
    pub(crate) device: Arc<<D::File as File>::Device>,
}

/// An attached device. The order of the fields is that of taking it down.
///
/// # Invariants
///
/// The guard of `bound` is open with it. `irq` belongs to `vectors`.
#[pin_data(PinnedDrop)]
pub(crate) struct Attached<'bound, D: Driver> {
    node: Option<Node<D::File>>,
    irq: Pin<KBox<irq::Registration<'bound, Interrupt<'bound, D>>>>,
    vectors: KBox<IrqVectorRegistration<'bound>>,
    bound: Arc<D::Bound<'bound>>,
}

impl<'bound, D: Driver> Attached<'bound, D> {
    fn new(
        pdev: &'bound pci::Device<Bound>,
        attach: Attach<'bound, D>,
    ) -> impl PinInit<Self, Error> + 'bound {
        let Attach {
            bound,
            vectors,
            number,
            device,
        } = attach;
        try_pin_init!(Self {
            vectors: KBox::new(vectors, GFP_KERNEL)?,
            irq: Self::request_irq(vectors, bound.clone())?,
            node: None,
            _: {
                // SAFETY: Dropping `Self` closes the guard, before anything of `bound` goes away.
                // The driver core owns `Self` and drops it before the device is unbound.
                unsafe { D::guard(&bound).open(&bound) };
            },
            bound,
            // INVARIANT: just opened. From here on, `drop` undoes it.
            _: {
                let module = kernel::module::this_module::<crate::LocalModule>();
                match Node::new(number, D::NODE_NAME, pdev.as_ref(), device, module) {
                    Ok(made) => *node = Some(made),
                    Err(e) => {
                        Self::detach(bound);
                        return Err(e);
                    }
                }
            },
        })
    }

    fn request_irq(
        vectors: &KBox<IrqVectorRegistration<'bound>>,
        bound: Arc<D::Bound<'bound>>,
    ) -> Result<Pin<KBox<irq::Registration<'bound, Interrupt<'bound, D>>>>> {
        // SAFETY: The vectors are in a box, and dropped after the interrupt, as the fields of
        // `Attached` say: they are there for as long as the interrupt is.
        let vectors: &'bound IrqVectorRegistration<'bound> =
            unsafe { &*core::ptr::from_ref(&**vectors) };
        let request = vectors.index(0)?.into();
        // SAFETY: Goes into `Attached`, which the driver core owns and drops.
        let registration = unsafe {
            irq::Registration::new(request, Flags::SHARED, D::NAME, Ok(Interrupt::<D>(bound)))
        };
        KBox::pin_init(registration, GFP_KERNEL)
    }

    /// Closes the guard, and brings the device to rest.
    fn detach(bound: &Arc<D::Bound<'bound>>) {
        D::guard(bound).close();
        D::stop(bound);
    }
}

#[pinned_drop]
impl<D: Driver> PinnedDrop for Attached<'_, D> {
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        drop(this.node.take());
        Self::detach(this.bound);
    }
}

/// The interrupt handler of a device.
struct Interrupt<'bound, D: Driver>(Arc<D::Bound<'bound>>);

impl<D: Driver> irq::Handler for Interrupt<'_, D> {
    fn handle(&self) -> IrqReturn {
        if D::interrupt(&self.0) {
            IrqReturn::Handled
        } else {
            IrqReturn::None
        }
    }
}

/// Makes the PCI driver that the driver core knows of a [`Driver`].
pub(crate) struct Adapter<D>(PhantomData<D>);

impl<D: Driver> pci::Driver for Adapter<D> {
    type IdInfo = ();
    type Data<'bound> = Attached<'bound, D>;

    const ID_TABLE: pci::IdTable<()> = D::ID_TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _: Option<&'bound ()>,
    ) -> impl PinInit<Attached<'bound, D>, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            reach::set(pdev, D::dma_mask()?)?;
            Ok(Attached::new(pdev, D::probe(pdev)?))
        })
    }
}

impl<D: Driver> pci_driver::Driver for Adapter<D> {
    fn suspend(attached: Pin<&Attached<'_, D>>) -> Result {
        D::suspend(&attached.bound)
    }

    fn resume(attached: Pin<&Attached<'_, D>>, kept: bool) -> Result {
        D::resume(&attached.bound, kept)
    }

    fn shutdown(attached: Pin<&Attached<'_, D>>) {
        D::shutdown(&attached.bound);
    }
}

/// A module with one driver; dropping it takes all of it away again.
#[pin_data]
pub(crate) struct Module<D: Driver> {
    #[pin]
    driver: driver::Registration<pci_driver::Adapter<Adapter<D>>>,
    region: chrdev::Registration<D::File>,
}

impl<D: Driver> Module<D> {
    /// Registers the region for the nodes, and then the driver. The devices that are there are
    /// probed side by side, and get numbers in the order of their bus.
    pub(crate) fn new(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            region: chrdev::Registration::new(D::NAME)?,
            _: { pci_ext::for_each_unbound(D::ID_TABLE, |device| region.keep_number(device))? },
            driver <- driver::Registration::new(D::NAME, module),
            _: { region.free_kept_numbers() },
        })
    }
}
