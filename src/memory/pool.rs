// SPDX-License-Identifier: GPL-2.0

//! The pool of a device: allocates the memory of its buffers, limits it, and frees it when the
//! device is unbound.

use crate::{
    kernel_ext::{
        dma_buf::import::{
            Importable,
            ImportedMemory, //
        },
        driver::{
            ratelimit::Ratelimit,
            trace, //
        },
        mm::{
            address_space::{
                AddressSpace,
                Zapped, //
            },
            buffer_memory::BufferMemory,
            coherent::CoherentMemory,
            pinned::{
                CompoundPage,
                PinnedMemory,
                PinnedPages, //
            },
            shared_memory::SharedMemory, //
        },
        sync::{
            clock::{
                self,
                NSEC_PER_MSEC, //
            },
            signal, //
        }, //
    },
    memory::{
        charge::{
            BufferCharge,
            CompoundCharges,
            CompoundShares, //
        },
        handle::Handle,
        pages::bytes,
        quota::{
            Charge,
            Limits,
            Quota,
            Refused, //
        },
        registry::Registry, //
    }, //
};
use kernel::{
    device::{
        Bound,
        Device, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

/// A range of the memory of the calling process.
pub(crate) struct UserRange {
    /// The address of the first byte.
    pub(crate) address: usize,
    /// Size in bytes, not 0.
    pub(crate) size: usize,
    /// The device may write to it.
    pub(crate) writable: bool,
}

/// The state that the buffers of a device share. It exists while the device is bound, a file of it
/// is open, or a buffer of it is exported.
#[pin_data]
pub(crate) struct Pool {
    /// The number of the device's node, for the tracepoints.
    number: u32,
    /// The number of bits of the bus addresses that the device can access.
    dma_bits: u32,
    /// The mappings of all files of the device. Their gate is open while the device is bound.
    /// Memory is allocated and freed inside it.
    address_space: Arc<AddressSpace>,
    /// The memory of all buffers, from allocation until it is freed.
    #[pin]
    registry: Registry,
    /// The quota of the device, which each buffer is charged to.
    quota: Arc<Quota>,
    /// The limit of each context, in pages.
    context_limit: usize,
    /// The compound pages that the contexts are charged for.
    compound: Arc<CompoundCharges>,
    /// The number of page faults on mappings since the device was bound.
    page_faults: Atomic<u64>,
    /// The number of buffers that were freed.
    freed: Atomic<usize>,
    /// Limits the messages about refused charges.
    refused: Ratelimit,
    /// Limits the messages about memory that could not be allocated, registered, imported or
    /// exported.
    no_memory: Ratelimit,
}

impl Pool {
    /// The time that other drivers have to end their accesses when the device is unbound, in
    /// milliseconds.
    const IMPORTERS_MS: u64 = 1000;

    /// Creates the pool of the device with the node `number`, without buffers.
    pub(crate) fn new(
        number: u32,
        address_space: Arc<AddressSpace>,
        dma_bits: u32,
        limits: Limits,
    ) -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Self {
                number,
                dma_bits,
                address_space,
                registry <- Registry::new(),
                quota: Quota::new(limits.device)?,
                context_limit: limits.context,
                compound: CompoundCharges::new()?,
                page_faults: Atomic::new(0),
                freed: Atomic::new(0),
                refused: Ratelimit::new(),
                no_memory: Ratelimit::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// Returns the quota of the device.
    pub(crate) fn quota(&self) -> &Quota {
        &self.quota
    }

    /// Creates the quota of a context.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn context_quota(&self) -> Result<Arc<Quota>> {
        Quota::new(self.context_limit)
    }

    /// Returns the mappings of all files of the device.
    pub(crate) fn address_space(&self) -> &AddressSpace {
        &self.address_space
    }

    /// Returns the number of buffers.
    pub(crate) fn buffers(&self) -> usize {
        self.registry.len()
    }

    /// Returns how many buffers were freed: if it changes, an allocation that failed may succeed.
    pub(crate) fn freed(&self) -> usize {
        self.freed.load(Relaxed)
    }

    /// Returns the number of page faults on mappings.
    pub(crate) fn page_faults(&self) -> u64 {
        self.page_faults.load(Relaxed)
    }

    /// Traces a mapping of `pages` pages of a buffer, from its page `offset` on.
    pub(crate) fn mapped(&self, handle: Handle, offset: usize, pages: usize) {
        // CAST: `usize` is at most 64 bits.
        trace::map(self.number, handle.number(), offset as u64, pages as u64);
    }

    /// Counts and traces a page fault. `inserted` is the number of inserted pages, or the error.
    pub(super) fn faulted(&self, handle: Handle, page: usize, inserted: Result<usize>) {
        self.page_faults.add(1, Relaxed);
        let (pages, outcome) = match inserted {
            Ok(pages) => (pages, Ok(())),
            Err(error) => (0, Err(error)),
        };
        // CAST: `usize` is at most 64 bits.
        let (page, pages) = (page as u64, pages as u64);
        trace::fault(self.number, handle.number(), page, pages, outcome);
    }

    /// Allocates memory for a buffer that begins at `first_page` of the file, and charges it to
    /// this quota. Returns the memory and its id in the registry, which [`free`](Self::free) takes.
    ///
    /// # Errors
    ///
    /// [`EDQUOT`] and [`ENOMEM`], with the reason in the log; [`EINTR`] if the process is being
    /// killed; [`ENODEV`] if the device is gone.
    pub(super) fn allocate(
        &self,
        quota: &Arc<Quota>,
        size: usize,
        first_page: usize,
    ) -> Result<(SharedMemory<BufferCharge>, u64)> {
        // All steps are inside the gate: memory that is not in the registry would not be freed
        // before the device is unbound.
        self.address_space.with_device(|dev| {
            let charge = self.charge(dev, quota, size.div_ceil(PAGE_SIZE))?;
            self.add(charge.into(), first_page, || {
                self.allocate_for(dev, size).map(BufferMemory::Coherent)
            })
        })?
    }

    /// Pins memory of the calling process for a buffer with the range of the file that begins at
    /// `first_page`, and charges it to this quota, with all of each compound page of which it pins
    /// a part. Returns what [`allocate`](Self::allocate) does.
    ///
    /// # Errors
    ///
    /// Those of [`PinnedPages::pin`] and [`allocate`](Self::allocate); [`EOPNOTSUPP`], with the
    /// reason in the log, if the device cannot access the memory.
    pub(super) fn pin(
        &self,
        quota: &Arc<Quota>,
        range: &UserRange,
        first_page: usize,
    ) -> Result<(SharedMemory<BufferCharge>, u64)> {
        let count = PinnedPages::count(range.address, range.size).ok_or(EFAULT)?;
        let mut charge = self
            .address_space
            .with_device(|dev| self.charge(dev, quota, count))??;
        let mut compound = CompoundShares::new(&self.compound, quota);
        let charge_compound = |page: CompoundPage, pinned| {
            let mut refused = None;
            let added = compound.add(page, &mut charge, pinned, |pages| {
                Charge::new(quota, &self.quota, pages)
                    .map_err(|limit| (*refused.insert(limit)).into())
            });
            if let Some(limit) = refused {
                let log = |dev: &Device<Bound>| self.log_refused(dev, limit, page.pages());
                let _ = self.address_space.with_device(log);
            }
            added
        };
        // Outside the gate, because page faults on the memory may take forever.
        let pages = PinnedPages::pin(
            range.address,
            range.size,
            range.writable,
            || self.proceed(),
            charge_compound,
        )?;
        let charge = BufferCharge::new(charge, compound)?;
        self.address_space.with_device(|dev| {
            self.add(charge, first_page, || {
                self.map_for(dev, pages).map(BufferMemory::Pinned)
            })
        })?
    }

    /// Maps a dma-buf for a buffer with the range of the file that begins at `first_page`, and
    /// charges it to this quota. Returns what [`allocate`](Self::allocate) does.
    ///
    /// # Errors
    ///
    /// Those of [`ImportedMemory::new`] and [`allocate`](Self::allocate). The reason of
    /// [`EOPNOTSUPP`] is in the log.
    pub(super) fn import(
        &self,
        quota: &Arc<Quota>,
        dma_buf: Importable,
        writable: bool,
        first_page: usize,
    ) -> Result<(SharedMemory<BufferCharge>, u64)> {
        self.address_space.with_device(|dev| {
            let charge = self.charge(dev, quota, dma_buf.size().div_ceil(PAGE_SIZE))?;
            self.add(charge.into(), first_page, || {
                let memory = ImportedMemory::new(dev, dma_buf, writable).inspect_err(|error| {
                    if *error == EOPNOTSUPP && self.no_memory.allows() {
                        dev_warn!(
                            dev,
                            "a dma-buf may be beyond 2^{}, the limit of the device, or its driver \
                             refuses it: use an IOMMU, or a buffer that this driver exports\n",
                            self.dma_bits
                        );
                    }
                })?;
                Ok(BufferMemory::Imported(memory))
            })
        })?
    }

    /// Creates the memory of a buffer, and adds it to the registry. Must be called inside the gate.
    fn add<'bound>(
        &self,
        charge: BufferCharge,
        first_page: usize,
        memory: impl FnOnce() -> Result<BufferMemory<'bound>>,
    ) -> Result<(SharedMemory<BufferCharge>, u64)> {
        let entry = Registry::reserve()?;
        let memory = SharedMemory::new(&self.address_space, memory()?, charge, first_page)?;
        let id = self.registry.insert(entry, memory.revocable().clone());
        Ok((memory, id))
    }

    /// Frees the memory of a buffer. If the gate is closed, the memory stays in the registry, and
    /// [`revoke_all`](Self::revoke_all) frees it.
    #[inline]
    pub(super) fn free(&self, memory: &mut SharedMemory<BufferCharge>, id: u64) {
        if memory.free().is_ok() {
            self.freed.add(1, Relaxed);
            self.registry.remove(id);
        }
    }

    /// Frees the memory of all buffers. The device must not access it any more. Returns the number
    /// of buffers that other drivers do not stop accessing. Their memory is leaked.
    pub(crate) fn revoke_all(&self, zapped: &Zapped<'_>) -> usize {
        let deadline = clock::now() + Self::IMPORTERS_MS * NSEC_PER_MSEC;
        self.registry.revoke_all(zapped, deadline)
    }

    /// Logs that a device cannot access the memory of a buffer that is exported.
    pub(super) fn log_unreachable(&self, importer: &CStr) {
        let log = |dev: &Device<Bound>| {
            dev_warn!(
                dev,
                "{importer} cannot access an exported buffer, or not coherently: use an IOMMU, or \
                 copy the data\n"
            );
        };
        if self.no_memory.allows() {
            let _ = self.address_space.with_device(log);
        }
    }

    /// Charges `pages` pages to a context, the device and the caller. Logs the reason of a failure.
    fn charge(&self, dev: &Device<Bound>, context: &Arc<Quota>, pages: usize) -> Result<Charge> {
        Charge::new(context, &self.quota, pages).map_err(|refused| {
            self.log_refused(dev, refused, pages);
            refused.into()
        })
    }

    fn log_refused(&self, dev: &Device<Bound>, refused: Refused, pages: usize) {
        if self.refused.allows() {
            let limit = match refused {
                Refused::Memlock => "RLIMIT_MEMLOCK (ulimit -l)",
                Refused::Context => "the limit of a context (context_mib)",
                Refused::Device => "the limit of the device (device_mib)",
            };
            let kib = bytes(pages) / 1024;
            dev_warn!(dev, "{kib} KiB more would exceed {limit}\n");
        }
    }

    /// Allocates coherent memory for the device. Logs the reason of a failure.
    fn allocate_for<'bound>(
        &self,
        dev: &'bound Device<Bound>,
        size: usize,
    ) -> Result<CoherentMemory<'bound>> {
        // An allocation that cannot succeed must not reclaim the memory of other processes.
        let reach = 1usize.checked_shl(self.dma_bits).unwrap_or(usize::MAX);
        let memory = if size > reach {
            Err(ENOMEM)
        } else {
            CoherentMemory::new(dev, size, || self.proceed())
        };
        memory.inspect_err(|error| {
            if *error == ENOMEM && self.no_memory.allows() {
                dev_warn!(
                    dev,
                    "no {} KiB left below 2^{}, the limit of the device, or in the memory cgroup: \
                     use smaller buffers, cma=64M@0-256M, or a wider dma_mask and dma_bits\n",
                    size.div_ceil(1024),
                    self.dma_bits
                );
            }
        })
    }

    /// Maps pinned pages for the device. Logs the reason of a failure.
    fn map_for<'bound>(
        &self,
        dev: &'bound Device<Bound>,
        pages: PinnedPages,
    ) -> Result<PinnedMemory<'bound>> {
        PinnedMemory::new(dev, pages).inspect_err(|error| {
            if self.no_memory.allows() {
                if *error == EOPNOTSUPP {
                    dev_warn!(
                        dev,
                        "memory to register is not below 2^{}, the limit of the device: use an \
                         IOMMU, or allocate a buffer\n",
                        self.dma_bits
                    );
                } else {
                    dev_warn!(dev, "no bus addresses are left for memory to register\n");
                }
            }
        })
    }

    /// Checks whether an allocation must stop, because the process is being killed or the device is
    /// being unbound.
    ///
    /// # Errors
    ///
    /// [`EINTR`] and [`ENODEV`], respectively.
    fn proceed(&self) -> Result {
        if signal::fatal_signal_pending() {
            Err(EINTR)
        } else if self.address_space.is_closed() {
            Err(ENODEV)
        } else {
            Ok(())
        }
    }
}
