// SPDX-License-Identifier: GPL-2.0

//! The supported devices, and their probe function.

use crate::{
    device::{
        BoundEngine,
        BoundEngines,
        Device,
        EngineGate, //
    },
    engines::{
        edu,
        engine::{
            DmaEngine,
            EngineConfig,
            EngineInfo, //
        },
        ioat,
        AnyEngine,
        Model, //
    },
    file::context::Context,
    kernel_ext::{
        driver::{
            attach::{
                NodeDriver,
                Probed, //
            },
            pci::{
                device_id,
                EnabledDevice, //
            }, //
        },
        fs::chrdev::Number,
        mm::address_space::AddressSpace, //
    },
    memory::{
        pool::Pool,
        quota::Limits, //
    },
    module_parameters,
    uapi, //
};
use kernel::{
    device::{
        Bound,
        Core, //
    },
    dma::DmaMask,
    page::PAGE_SHIFT,
    pci::{
        self,
        IrqType,
        IrqTypes,
        IrqVectorRegistration, //
    },
    prelude::*,
    sync::Arc, //
};

/// The valid values of the parameter `dma_bits`. x86 rejects masks of fewer than 24 bits, because
/// no zone is below `ZONE_DMA`. With an IOMMU it accepts them. But after an allocation has failed
/// for lack of bus addresses, the following ones of that size or more fail below 4 GiB until a bus
/// address is freed. With 12 bits there is no bus address that could be freed (`max32_alloc_size`
/// in
/// `drivers/iommu/iova.c`).
const DMA_BITS: core::ops::RangeInclusive<u32> = 24..=64;

/// The valid values of the parameters `context_mib` and `device_mib`: up to 1 TiB.
const QUOTA_MIB: core::ops::RangeInclusive<u32> = 1..=1 << 20;

/// The valid values of the parameter `interrupt_delay_us`.
const INTERRUPT_DELAY_US: core::ops::RangeInclusive<u32> = 0..=ioat::MAX_INTERRUPT_DELAY_US as u32;

/// Checks the values of the module's parameters.
///
/// # Errors
///
/// [`EINVAL`] if a value is not valid. The parameter is logged.
pub(crate) fn check_parameters() -> Result {
    for (name, value, valid) in [
        ("dma_bits", module_parameters::dma_bits.value(), DMA_BITS),
        (
            "context_mib",
            module_parameters::context_mib.value(),
            QUOTA_MIB,
        ),
        (
            "device_mib",
            module_parameters::device_mib.value(),
            QUOTA_MIB,
        ),
        (
            "interrupt_delay_us",
            module_parameters::interrupt_delay_us.value(),
            INTERRUPT_DELAY_US,
        ),
    ] {
        if !valid.contains(&value) {
            let (min, max) = (valid.start(), valid.end());
            pr_err!("{name}={value} is not between {min} and {max}\n");
            return Err(EINVAL);
        }
    }
    Ok(())
}

/// Returns the limits that the module's parameters set.
fn limits() -> Limits {
    // CAST: `check_parameters` has checked that the values are small.
    let pages = |mib: u32| (mib as usize) << (20 - PAGE_SHIFT);
    Limits {
        context: pages(module_parameters::context_mib.value()),
        device: pages(module_parameters::device_mib.value()),
    }
}

kernel::pci_device_table!(PCI_TABLE, (), [(device_id(edu::PCI_ID), ())]);

/// The PCI driver: of `edu`, and of devices of the other models that `driver_override` gives it.
pub(crate) struct RdmaDriver;

impl NodeDriver for RdmaDriver {
    const NAME: &'static CStr = c"rdma";
    // `rdma` would be taken for InfiniBand's.
    const CLASS_NAME: &'static CStr = c"rust_dma";
    const NODE_NAME: &'static CStr = c"rdma";
    const ID_TABLE: pci::IdTable<()> = &PCI_TABLE;

    type Device = BoundEngines;
    type File = Context;

    fn dma_mask(pdev: &pci::Device<Bound>) -> Result<DmaMask> {
        DmaMask::try_new(Model::of(pdev).dma_bits(module_parameters::dma_bits.value()))
    }

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        gate: &EngineGate,
        address_space: &Arc<AddressSpace>,
    ) -> Result<Probed<'bound, Self>> {
        let model = Model::of(pdev);
        let dma_bits = model.dma_bits(module_parameters::dma_bits.value());
        let enabled = EnabledDevice::new(pdev)
            .map_err(|e| probe_error(pdev, "cannot enable the device", e))?;
        let enabled = Arc::new(enabled, GFP_KERNEL)?;

        let mut engines = idle_engines(pdev, model)?;
        enabled.set_master();

        let vectors = allocate_vectors(pdev, engines.len())?;
        let irq_type = vectors.irq_type();
        let (interrupt_name, interrupt) = describe(irq_type);
        engines.truncate(usable_engines(&vectors));
        let config = EngineConfig {
            has_vector: matches!(irq_type, IrqType::MsiX),
            // CAST: `check_parameters` has checked that the value is small.
            interrupt_delay_us: module_parameters::interrupt_delay_us.value() as u16,
        };
        let engine_info = engines.first().ok_or(ENODEV)?.info();
        let number = Number::reserve(pdev.as_ref())
            .map_err(|e| probe_error(pdev, "no free device number", e))?;
        // CAST: The number is less than the maximum number of nodes.
        let node = number.get() as u32;
        let pool = Pool::new(node, address_space.clone(), dma_bits, limits())?;
        let info = device_info(&engine_info, dma_bits, interrupt);
        let device = Device::new(node, gate.clone(), pool, engines.len(), info)?;

        let engines = prepare_engines(pdev, engines, config, &enabled, &device, irq_type)?;
        let (major, minor) = engine_info.version;
        dev_info!(
            pdev,
            "{} {major}.{minor}, {}, {dma_bits}-bit DMA: /dev/rdma{node}\n",
            model.name(),
            interrupt_name
        );
        if engines.len() > 1 {
            dev_info!(pdev, "{} engines\n", engines.len());
        }
        Ok(Probed {
            bound: engines,
            vectors,
            number,
            device,
        })
    }
}

/// Returns the engines of a device, which execute no transfers.
///
/// # Errors
///
/// [`ENODEV`] if a transfer does not end; those of [`AnyEngine::all`].
fn idle_engines<'bound>(
    pdev: &'bound pci::Device<Core<'_>>,
    model: Model,
) -> Result<KVec<AnyEngine<'bound>>> {
    let engines = AnyEngine::all(model, pdev)?;
    for engine in &engines {
        // A transfer that was started before the probe must not write to memory of this driver.
        let timeout_ms = engine.info().timeout_ms;
        engine.wait_idle(timeout_ms).map_err(|e| {
            probe_error(
                pdev,
                "a transfer that was started before the probe does not end",
                e,
            )
        })?;
    }
    Ok(engines)
}

/// Prepares the engines, one for each queue of `device`, and opens their queues.
///
/// # Errors
///
/// [`ENODEV`] if an engine cannot be prepared; [`ENOMEM`].
fn prepare_engines<'bound>(
    pdev: &'bound pci::Device<Core<'_>>,
    engines: KVec<AnyEngine<'bound>>,
    config: EngineConfig,
    enabled: &Arc<EnabledDevice<'bound>>,
    device: &Device,
    irq_type: IrqType,
) -> Result<KVec<BoundEngine<'bound>>> {
    let mut bound = KVec::with_capacity(engines.len(), GFP_KERNEL)?;
    for (mut engine, engine_queue) in engines.into_iter().zip(device.engine_queues()) {
        let plan = engine.prepare(config).map_err(|e| {
            // The device may still access memory of `engine`, which is freed after this.
            enabled.clear_master();
            probe_error(pdev, "cannot prepare the device", e)
        })?;
        let (dev, enabled, engine_queue) = (pdev.as_ref(), enabled.clone(), engine_queue.clone());
        let engine = BoundEngine::new(dev, (engine, plan), enabled, engine_queue, irq_type)?;
        bound.push(engine, GFP_KERNEL)?;
    }
    Ok(bound)
}

/// Allocates an interrupt vector for each of `engines` engines, or fewer if the device has fewer.
fn allocate_vectors<'bound>(
    pdev: &'bound pci::Device<Core<'_>>,
    engines: usize,
) -> Result<IrqVectorRegistration<'bound>> {
    let mut types = IrqTypes::default().with(IrqType::Intx);
    if module_parameters::msi.value() {
        types = types.with(IrqType::MsiX);
        if engines == 1 {
            types = types.with(IrqType::Msi);
        }
    }
    // CAST: The number is small.
    pdev.alloc_irq_vectors(1, engines as u32, types)
        .map_err(|e| probe_error(pdev, "cannot allocate an interrupt vector", e))
}

/// Returns the number of engines that can be used with these vectors: one for each.
fn usable_engines(vectors: &IrqVectorRegistration<'_>) -> usize {
    match vectors.irq_type() {
        IrqType::MsiX => vectors.len(),
        IrqType::Intx | IrqType::Msi => 1,
    }
}

/// Returns the name of a type of interrupts for the log, and its value in `uapi/rdma.h`.
fn describe(irq_type: IrqType) -> (&'static str, u32) {
    match irq_type {
        IrqType::Intx => ("INTx", uapi::RDMA_INTERRUPT_INTX),
        IrqType::Msi => ("MSI", uapi::RDMA_INTERRUPT_MSI),
        IrqType::MsiX => ("MSI-X", uapi::RDMA_INTERRUPT_MSIX),
    }
}

/// Returns the properties of a device.
fn device_info(engine_info: &EngineInfo, dma_bits: u32, interrupt: u32) -> uapi::rdma_device_info {
    let (major, minor) = engine_info.version;
    uapi::rdma_device_info {
        abi_version: uapi::RDMA_ABI_VERSION,
        operations: operations(engine_info.device_memory_size),
        capabilities: capabilities(engine_info),
        device_memory_size: engine_info.device_memory_size,
        max_transfer_size: engine_info.max_transfer_size,
        max_buffer_size: uapi::RDMA_MAX_BUFFER_SIZE.into(),
        queue_depth: uapi::RDMA_QUEUE_DEPTH,
        // CAST: The number is small.
        engine_depth: engine_info.depth as u32,
        address_alignment: 1,
        length_alignment: 1,
        dma_bits,
        interrupt,
        hardware_version: u32::from(major) << 8 | u32::from(minor),
        ..Default::default()
    }
}

/// Returns the operations of a device with `memory` bytes of memory, as bits.
fn operations(memory: u64) -> u32 {
    let copy = 1 << uapi::RDMA_OP_COPY;
    if memory == 0 {
        return copy;
    }
    copy | 1 << uapi::RDMA_OP_TO_DEVICE | 1 << uapi::RDMA_OP_FROM_DEVICE
}

/// Returns the optional features of a device, as bits.
fn capabilities(engine_info: &EngineInfo) -> u64 {
    let mut bits = 0;
    if engine_info.device_memory_size == 0 {
        bits |= uapi::RDMA_CAP_DIRECT_COPY;
    }
    if engine_info.can_abort {
        bits |= uapi::RDMA_CAP_ABORT;
    }
    bits.into()
}

/// Logs why the probe of a device fails, and returns [`ENODEV`], for which the driver core logs
/// nothing.
fn probe_error(pdev: &pci::Device<Core<'_>>, why: &str, error: Error) -> Error {
    dev_err!(pdev, "{why}: {error:?}\n");
    ENODEV
}
