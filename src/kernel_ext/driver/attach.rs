// SPDX-License-Identifier: GPL-2.0

//! Attaches a driver to a PCI device: creates the interrupt handlers, the gate and the node, in
//! this order, and removes them in the reverse order.
//!
//! They are created here, as parts of a value that the driver core owns, and drivers get shared
//! references only. If safe code could leak one of them, the interrupt handler, a timer or a system
//! call could access the device after the unbind. A driver provides the values that they are
//! created from (`node_driver.rs`); the driver core calls `module.rs`.

mod module;
mod node_driver;

pub(crate) use module::Module;
pub(crate) use node_driver::{
    BoundDevice,
    Engines,
    GateOf,
    NodeDriver,
    Probed, //
};

use crate::kernel_ext::{
    driver::work::WithWork,
    fs::chrdev::Node,
    mm::address_space::{
        AddressSpace, //
        ClosedAddressSpace,
    }, //
};
use kernel::{
    device::Bound,
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
    sync::Arc, //
};

/// The registered interrupt handler of an engine.
type Irq<'bound, B> = Pin<KBox<irq::Registration<'bound, InterruptHandler<'bound, B>>>>;

/// An attached device. The fields are dropped in the order of the teardown.
///
/// # Invariants
///
/// The gate of `address_space` is open with `bound`, and is opened only once. The only references
/// to an engine in `bound` are this one and the one in `irqs`, which is registered for a vector of
/// `vectors`.
#[pin_data(PinnedDrop)]
pub(crate) struct Attached<'bound, D: NodeDriver> {
    /// [`None`] only after the teardown has begun, or while the device is being attached.
    node: Option<Node<D::File>>,
    /// The interrupt handler of each engine.
    irqs: KVec<Irq<'bound, D::Device>>,
    vectors: KBox<IrqVectorRegistration<'bound>>,
    /// The engines.
    bound: Engines<'bound, D::Device>,
    /// The mappings of all files of the device.
    address_space: Arc<AddressSpace>,
}

impl<'bound, D: NodeDriver> Attached<'bound, D> {
    fn new(
        pdev: &'bound pci::Device<Bound>,
        gate: GateOf<D::Device>,
        address_space: Arc<AddressSpace>,
        probed: Probed<'bound, D>,
    ) -> impl PinInit<Self, Error> + 'bound {
        let Probed {
            bound,
            vectors,
            number,
            device,
        } = probed;
        try_pin_init!(Self {
            // SAFETY: `Attached` owns these.
            bound: unsafe { Self::make_bound(bound) }?,
            vectors: KBox::new(vectors, GFP_KERNEL)?,
            // SAFETY: `Attached` owns these, and drops them before the vectors, which are the field
            // after them.
            irqs: unsafe { Self::request_irqs(vectors, bound) }?,
            node: None,
            _: {
                // SAFETY: If creating the node fails below, `detach` closes the gate; nothing can
                // fail after that, and dropping `Self` closes the gate before `bound` is dropped.
                // The driver core owns `Self` and drops it before the device is unbound.
                unsafe { gate.open(bound) };
            },
            // INVARIANT: The gate was opened above.
            _: {
                let module = kernel::module::this_module::<crate::LocalModule>();
                match Node::new(number, D::NODE_NAME, pdev.as_ref(), device, module) {
                    Ok(made) => *node = Some(made),
                    Err(e) => {
                        // SAFETY: The gate was opened above, and is not opened again.
                        unsafe { Self::detach(&address_space, bound) };
                        return Err(e);
                    }
                }
            },
            address_space,
        })
    }

    /// # Safety
    ///
    /// The result must be a field of [`Attached`].
    unsafe fn make_bound(
        engines: KVec<<D::Device as BoundDevice>::Engine<'bound>>,
    ) -> Result<Engines<'bound, D::Device>> {
        let mut bound = KVec::with_capacity(engines.len(), GFP_KERNEL)?;
        for engine in engines {
            let (work_key, timer_key) = (static_lock_class!(), static_lock_class!());
            // SAFETY: By the safety requirement, `Attached` owns the result. The driver core owns
            // `Attached` and drops it before the device is unbound; this also drops the reference
            // in the interrupt handler.
            let engine = unsafe { WithWork::new(engine, work_key, timer_key) };
            bound.push(Arc::pin_init(engine, GFP_KERNEL)?, GFP_KERNEL)?;
        }
        Ok(bound)
    }

    /// Requests the interrupt of each engine.
    ///
    /// # Safety
    ///
    /// The result must be a field of [`Attached`], which is dropped before `vectors`.
    unsafe fn request_irqs(
        vectors: &KBox<IrqVectorRegistration<'bound>>,
        engines: &Engines<'bound, D::Device>,
    ) -> Result<KVec<Irq<'bound, D::Device>>> {
        // SAFETY: The vectors are in a box, and by the safety requirement, they are dropped after
        // the interrupt handlers, so they are valid during the life of the handlers.
        let vectors: &'bound IrqVectorRegistration<'bound> =
            unsafe { &*core::ptr::from_ref(&**vectors) };
        let mut irqs = KVec::with_capacity(engines.len(), GFP_KERNEL)?;
        for (index, engine) in engines.iter().enumerate() {
            let request = vectors.index(index)?.into();
            let handler = Ok(InterruptHandler(engine.clone()));
            // SAFETY: By the safety requirement, `Attached` owns the registration; the driver core
            // owns and drops `Attached`.
            let registration =
                unsafe { irq::Registration::new(request, Flags::SHARED, D::NAME, handler) };
            irqs.push(KBox::pin_init(registration, GFP_KERNEL)?, GFP_KERNEL)?;
        }
        Ok(irqs)
    }

    /// Closes the gate, and stops the device.
    ///
    /// # Safety
    ///
    /// The gate must not be opened again.
    unsafe fn detach(address_space: &AddressSpace, bound: &Engines<'bound, D::Device>) {
        // SAFETY: By the safety requirement.
        D::Device::stop(bound, unsafe { ClosedAddressSpace::new(address_space) });
    }
}

#[pinned_drop]
impl<D: NodeDriver> PinnedDrop for Attached<'_, D> {
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        drop(this.node.take());
        // SAFETY: By the type invariant, the gate is not opened again.
        unsafe { Self::detach(this.address_space, this.bound) };
    }
}

/// The context of the interrupt handler of an engine.
struct InterruptHandler<'bound, B: BoundDevice>(Arc<WithWork<B::Engine<'bound>>>);

impl<B: BoundDevice> irq::Handler for InterruptHandler<'_, B> {
    fn handle(&self) -> IrqReturn {
        if B::interrupt(&self.0) {
            IrqReturn::Handled
        } else {
            IrqReturn::None
        }
    }
}
