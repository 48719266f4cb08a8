// SPDX-License-Identifier: GPL-2.0

//! Which devices there are drivers for, what makes one fit, and what is built of it.

use crate::{
    device::{
        BoundEngine,
        Device,
        Engine,
        EngineGuard,
        InterruptKind, //
    },
    engines::{
        edu,
        engine::DmaEngine,
        Hardware,
        Model, //
    },
    file::context::Context,
    kernel_ext::{
        driver::{
            attach::{
                Attach,
                Driver, //
            },
            pci::{
                device_id,
                Enabled, //
            }, //
        },
        fs::chrdev::Number,
        mm::{
            coherent::Memory,
            mapping::Mappings, //
        }, //
    },
    memory::quota::Limits,
    module_parameters,
    uapi, //
};
use kernel::{
    device::Core,
    dma::DmaMask,
    page::PAGE_SHIFT,
    pci::{
        self,
        IrqType,
        IrqTypes, //
    },
    prelude::*,
    sync::Arc, //
};

/// Sensible values of the parameter `dma_bits`. Below 24, x86 has no zone to give memory from
/// (`ZONE_DMA`), and refuses the mask. With an IOMMU it does not, but the first allocation that fails
/// for want of bus addresses makes the ones that follow fail, too, within any other mask, until an
/// address is given back: with 12 bits there never is one (`max32_alloc_size` in
/// `drivers/iommu/iova.c`).
const DMA_BITS: core::ops::RangeInclusive<u32> = 24..=64;

/// Sensible values of the parameters `context_mib` and `device_mib`: up to 1 TiB.
const QUOTA_MIB: core::ops::RangeInclusive<u32> = 1..=1 << 20;

/// Makes sure that the module's parameters make sense.
///
/// # Errors
///
/// [`EINVAL`] if one does not; says which in the log.
pub(crate) fn check_parameters() -> Result {
    let dma_bits = module_parameters::dma_bits.value();
    if !DMA_BITS.contains(&dma_bits) {
        let (least, most) = (DMA_BITS.start(), DMA_BITS.end());
        pr_err!("dma_bits={dma_bits} is not within {least} and {most}\n");
        return Err(EINVAL);
    }
    for (name, mib) in [
        ("context_mib", module_parameters::context_mib.value()),
        ("device_mib", module_parameters::device_mib.value()),
    ] {
        if !QUOTA_MIB.contains(&mib) {
            pr_err!("{name}={mib} is not within 1 and {}\n", QUOTA_MIB.end());
            return Err(EINVAL);
        }
    }
    Ok(())
}

/// What the module's parameters allow.
fn limits() -> Limits {
    // CAST: `check_parameters` has made sure that they are small.
    let pages = |mib: u32| (mib as usize) << (20 - PAGE_SHIFT);
    Limits {
        context: pages(module_parameters::context_mib.value()),
        device: pages(module_parameters::device_mib.value()),
    }
}

kernel::pci_device_table!(PCI_TABLE, (), [(device_id(edu::PCI_ID), ())]);

/// The driver for `edu`.
pub(crate) struct Edu;

impl Driver for Edu {
    const NAME: &'static CStr = c"rdma";
    const NODE_NAME: &'static CStr = c"rdma%d";
    const ID_TABLE: pci::IdTable<()> = &PCI_TABLE;

    type Bound = BoundEngine;
    type File = Context;

    fn dma_mask() -> Result<DmaMask> {
        DmaMask::try_new(module_parameters::dma_bits.value())
    }

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        guard: &EngineGuard,
        mappings: &Arc<Mappings>,
    ) -> Result<Attach<'bound, Self>> {
        let model = Model::of(pdev);
        let dma_bits = module_parameters::dma_bits.value();
        let enabled = Enabled::new(pdev).map_err(|e| unfit(pdev, "cannot be switched on", e))?;

        let hardware = Hardware::new(model, pdev)?;
        let abilities = hardware.abilities();
        // What was started before this driver was bound must not land in memory of ours.
        hardware
            .wait_idle(abilities.overdue_ms)
            .map_err(|e| unfit(pdev, "a transfer from before does not end", e))?;
        pdev.set_master();

        let mut types = IrqTypes::default().with(IrqType::Intx);
        if module_parameters::msi.value() {
            types = types.with(IrqType::Msi);
        }
        let vectors = pdev
            .alloc_irq_vectors(1, 1, types)
            .map_err(|e| unfit(pdev, "no interrupt", e))?;
        let (kind, interrupt, interrupt_name) = match vectors.irq_type() {
            IrqType::Intx => (InterruptKind::Line, uapi::RDMA_INTERRUPT_INTX, "INTx"),
            _ => (InterruptKind::Message, uapi::RDMA_INTERRUPT_MSI, "MSI"),
        };

        // CAST: a small number.
        let zeros = Memory::new_unaccounted(pdev.as_ref(), abilities.memory.max(1) as usize)
            .map_err(|e| unfit(pdev, "no memory for DMA within dma_bits", e))?;
        let plan = hardware.prepare(&zeros).map_err(|e| {
            // Before the zeros go that the device may still be reading.
            enabled.clear_master();
            unfit(pdev, "cannot scrub the device memory", e)
        })?;

        let number = Number::reserve(pdev.as_ref()).map_err(|e| unfit(pdev, "no free node", e))?;
        let (major, minor) = abilities.version;
        let info = uapi::rdma_device_info {
            abi_version: uapi::RDMA_ABI_VERSION,
            operations: operations(abilities.memory),
            capabilities: 0,
            device_memory_size: abilities.memory,
            max_transfer_size: abilities.largest,
            max_buffer_size: uapi::RDMA_MAX_BUFFER_SIZE.into(),
            queue_depth: uapi::RDMA_QUEUE_DEPTH,
            // CAST: a small number.
            engine_depth: abilities.depth as u32,
            address_alignment: 1,
            length_alignment: 1,
            dma_bits,
            interrupt,
            hardware_version: u32::from(major) << 8 | u32::from(minor),
            ..Default::default()
        };
        // CAST: there are few nodes.
        let device = Device::new(
            number.get() as u32,
            guard.clone(),
            mappings.clone(),
            info,
            limits(),
        )?;
        let engine = Engine::new(
            pdev.as_ref(),
            (hardware, plan),
            enabled,
            zeros,
            device.clone(),
            dma_bits,
            kind,
        )?;
        dev_info!(
            pdev,
            "{} {major}.{minor}, {interrupt_name}, {dma_bits}-bit DMA: /dev/rdma{}\n",
            model.name(),
            number.get()
        );
        Ok(Attach {
            bound: engine,
            vectors,
            number,
            device,
        })
    }
}

/// The operations of a device that has so many bytes of memory, as bits.
fn operations(memory: u64) -> u32 {
    let copy = 1 << uapi::RDMA_OP_COPY;
    if memory == 0 {
        return copy;
    }
    copy | 1 << uapi::RDMA_OP_TO_DEVICE | 1 << uapi::RDMA_OP_FROM_DEVICE
}

/// Says, once, why a device is refused: to [`ENODEV`] the driver core adds no line of its own.
fn unfit(pdev: &pci::Device<Core<'_>>, why: &str, error: Error) -> Error {
    dev_err!(pdev, "{why}: {error:?}\n");
    ENODEV
}
