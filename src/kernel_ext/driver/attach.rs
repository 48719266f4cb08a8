// SPDX-License-Identifier: GPL-2.0

//! What ties a driver to a PCI device: interrupt, guard and node, put up in this order and taken
//! down in the reverse one.
//!
//! They are made here, inside of what the driver core owns, and never handed out: safe code that
//! could leak one could have the interrupt, a timer or a system call find the device after it is
//! gone. A driver hands in the values that they are made of, and gets shared references.

use crate::kernel_ext::{
    driver::{
        pci as pci_ext,
        pci_driver,
        reach,
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

/// What there is of a device while a driver is bound to it, and what the driver core asks of it.
///
/// Implemented for a type that only names it, as for `ForLt` of the crate.
pub(crate) trait BoundDevice: 'static {
    /// The device itself.
    type Of<'bound>: Work + Send + Sync + 'bound;

    /// The interrupt handler. Returns whether this device had raised the interrupt.
    fn interrupt(bound: &Delayed<Self::Of<'_>>) -> bool;

    /// Brings the device to rest. The guard is closed; the interrupt still works. Memory that
    /// programs map, and that is not revoked here, is never freed.
    fn stop(bound: &Delayed<Self::Of<'_>>, mappings: Closed<'_>);

    /// Brings the device to rest until the machine has slept; calls go on coming in.
    ///
    /// # Errors
    ///
    /// If it cannot be done: the machine then stays awake, and all is as before.
    fn suspend(bound: &Delayed<Self::Of<'_>>) -> Result;

    /// Lets the device go on, which may have lost its own memory meanwhile if not `kept`.
    ///
    /// # Errors
    ///
    /// If the device is not fit for it; it will not be used any more.
    fn resume(bound: &Delayed<Self::Of<'_>>, kept: bool) -> Result;

    /// Brings the device to rest for good: this kernel goes. Calls go on coming in.
    fn shutdown(bound: &Delayed<Self::Of<'_>>);
}

/// Stands for a [`BoundDevice`] with its work where a type without a lifetime is wanted.
pub(crate) struct BoundOf<B>(PhantomData<fn() -> B>);

impl<B: BoundDevice> ForLt for BoundOf<B> {
    type Of<'bound> = Delayed<B::Of<'bound>>;
}

/// The guard around a [`BoundDevice`].
pub(crate) type GuardOf<B> = Guard<BoundOf<B>>;

/// A driver for a PCI device with one interrupt and one node.
pub(crate) trait Driver: Sized + Send + Sync + 'static {
    /// The driver's name, also of the region and the class.
    const NAME: &'static CStr;

    /// The name of a node: a format that takes one `int`.
    const NODE_NAME: &'static CStr;

    /// The devices that it drives.
    const ID_TABLE: pci::IdTable<()>;

    /// What there is of the device while the driver is bound to it.
    type Bound: BoundDevice;

    /// An open file of the node.
    type File: File;

    /// The bus addresses that the devices reach.
    fn dma_mask() -> Result<DmaMask>;

    /// Finds out about a device, which has its mask, and makes it ready. Logs why if it cannot.
    ///
    /// `guard` is closed. It opens around what is returned when that is attached. `mappings` are for
    /// the files of the node.
    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        guard: &GuardOf<Self::Bound>,
        mappings: &Arc<Mappings>,
    ) -> Result<Attach<'bound, Self>>;
}

/// A device that was found to be right, ready to be attached.
pub(crate) struct Attach<'bound, D: Driver> {
    /// What there is of the device.
    pub(crate) bound: <D::Bound as BoundDevice>::Of<'bound>,
    /// Its interrupt.
    pub(crate) vectors: IrqVectorRegistration<'bound>,
    /// The number of its node.
    pub(crate) number: Number<D::File>,
    /// What the node stands for.
    pub(crate) device: Arc<<D::File as File>::Device>,
}

/// A requested interrupt of a device.
type Irq<'bound, B> = Pin<KBox<irq::Registration<'bound, Interrupt<'bound, B>>>>;

/// An attached device. The order of the fields is that of taking it down.
///
/// # Invariants
///
/// The gate of `mappings` is open around `bound`, and is opened once. There is no reference to `bound`
/// but this and that of `irq`, which belongs to `vectors`.
#[pin_data(PinnedDrop)]
pub(crate) struct Attached<'bound, D: Driver> {
    node: Option<Node<D::File>>,
    irq: Irq<'bound, D::Bound>,
    vectors: KBox<IrqVectorRegistration<'bound>>,
    bound: Arc<Delayed<<D::Bound as BoundDevice>::Of<'bound>>>,
    mappings: Arc<Mappings>,
}

impl<'bound, D: Driver> Attached<'bound, D> {
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
                // SAFETY: Dropping `Self` closes the guard, before anything of `bound` goes away.
                // The driver core owns `Self` and drops it before the device is unbound.
                unsafe { guard.open(bound) };
            },
            // INVARIANT: just opened. From here on, `drop` undoes it.
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
        // SAFETY: `Attached` has it, which the driver core owns and drops before the device is
        // unbound; the reference in the interrupt handler is gone by then.
        let bound = unsafe { Delayed::new(bound, work_key, timer_key) };
        Arc::pin_init(bound, GFP_KERNEL)
    }

    fn request_irq(
        vectors: &KBox<IrqVectorRegistration<'bound>>,
        bound: Arc<Delayed<<D::Bound as BoundDevice>::Of<'bound>>>,
    ) -> Result<Irq<'bound, D::Bound>> {
        // SAFETY: The vectors are in a box, and dropped after the interrupt, as the fields of
        // `Attached` say: they are there for as long as the interrupt is.
        let vectors: &'bound IrqVectorRegistration<'bound> =
            unsafe { &*core::ptr::from_ref(&**vectors) };
        let request = vectors.index(0)?.into();
        // SAFETY: Goes into `Attached`, which the driver core owns and drops.
        let registration = unsafe {
            irq::Registration::new(request, Flags::SHARED, D::NAME, Ok(Interrupt(bound)))
        };
        KBox::pin_init(registration, GFP_KERNEL)
    }

    /// Closes the guard, and brings the device to rest.
    fn detach(mappings: &Mappings, bound: &Delayed<<D::Bound as BoundDevice>::Of<'bound>>) {
        // SAFETY: By the type invariant it is not opened again.
        D::Bound::stop(bound, unsafe { Closed::new(mappings) });
    }
}

#[pinned_drop]
impl<D: Driver> PinnedDrop for Attached<'_, D> {
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        drop(this.node.take());
        Self::detach(this.mappings, this.bound);
    }
}

/// The interrupt handler of a device.
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
            let guard = Guard::new()?;
            let mappings = Mappings::new(pdev.as_ref(), guard.gate().clone())?;
            let attach = D::probe(pdev, &guard, &mappings)?;
            Ok(Attached::new(pdev, guard, mappings, attach))
        })
    }
}

impl<D: Driver> pci_driver::Driver for Adapter<D> {
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
            _: { region.release_kept_numbers() },
        })
    }
}
