// SPDX-License-Identifier: GPL-2.0

//! The memory of a device's buffers: where it comes from, how much of it there may be, and how it
//! is freed when the device goes.

use crate::{
    kernel_ext::{
        driver::{
            ratelimit::Ratelimit,
            trace, //
        },
        mm::{
            coherent::Memory,
            mapping::{
                Emptied,
                Mappings, //
            },
            shared::Shared, //
        },
        sync::signal, //
    },
    memory::{
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

/// What the buffers of a device share. Lives for as long as the device is bound, a file of it is open,
/// or a buffer of it is mapped.
#[pin_data]
pub(crate) struct Pool {
    /// The number of the device's node, for the tracepoints.
    number: u32,
    /// The device reaches bus addresses of so many bits.
    dma_bits: u32,
    /// All mappings of buffers are among these. Their gate is open while the device is bound: memory is
    /// allocated and freed inside it.
    mappings: Arc<Mappings>,
    /// Has the memory of each buffer from when it is allocated until it is freed.
    #[pin]
    registry: Registry,
    /// Each buffer is charged to it.
    quota: Arc<Quota>,
    /// What a context may have, in pages.
    context_limit: usize,
    /// Page faults on mappings, since the device was bound.
    page_faults: Atomic<u64>,
    /// Limits messages about charges that were refused.
    refused: Ratelimit,
    /// Limits messages about memory that is not to be had.
    no_memory: Ratelimit,
}

impl Pool {
    /// Without buffers, for the device with the node of this number.
    pub(crate) fn new(
        number: u32,
        mappings: Arc<Mappings>,
        dma_bits: u32,
        limits: Limits,
    ) -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Self {
                number,
                dma_bits,
                mappings,
                registry <- Registry::new(),
                quota: Quota::new(limits.device)?,
                context_limit: limits.context,
                page_faults: Atomic::new(0),
                refused: Ratelimit::new(),
                no_memory: Ratelimit::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// What there may be in buffers.
    pub(crate) fn quota(&self) -> &Quota {
        &self.quota
    }

    /// What a new context may have in buffers.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn context_quota(&self) -> Result<Arc<Quota>> {
        Quota::new(self.context_limit)
    }

    /// All mappings.
    pub(crate) fn mappings(&self) -> &Mappings {
        &self.mappings
    }

    /// How many buffers there are.
    pub(crate) fn buffers(&self) -> usize {
        self.registry.len()
    }

    /// Page faults on mappings.
    pub(crate) fn page_faults(&self) -> u64 {
        self.page_faults.load(Relaxed)
    }

    /// Traces that pages of a buffer were mapped, from its page `offset` on.
    pub(crate) fn mapped(&self, handle: Handle, offset: usize, pages: usize) {
        // CAST: `usize` is at most 64 bits.
        trace::map(self.number, handle.number(), offset as u64, pages as u64);
    }

    /// Counts and traces a page fault: how many pages were loaded, or why none.
    pub(super) fn faulted(&self, handle: Handle, page: usize, loaded: Result<usize>) {
        self.page_faults.add(1, Relaxed);
        let (pages, outcome) = match loaded {
            Ok(pages) => (pages, Ok(())),
            Err(error) => (0, Err(error)),
        };
        // CAST: `usize` is at most 64 bits.
        let (page, pages) = (page as u64, pages as u64);
        trace::fault(self.number, handle.number(), page, pages, outcome);
    }

    /// Allocates memory for a buffer of a context with this quota, to be mapped from `first_page` of a
    /// file on. Returns it with its id in the registry, to be [freed](Self::free) by.
    ///
    /// # Errors
    ///
    /// [`EDQUOT`] and [`ENOMEM`], and the reason is in the log; [`EINTR`] if the process is being
    /// killed; [`ENODEV`] if the device is gone.
    pub(super) fn allocate(
        &self,
        quota: &Arc<Quota>,
        size: usize,
        first_page: usize,
    ) -> Result<(Shared<Charge>, u64)> {
        // All of it inside the gate: memory that the registry does not have would outlive the device.
        self.mappings.with_device(|dev| {
            let charge = self.charge(dev, quota, size.div_ceil(PAGE_SIZE))?;
            let memory = self.allocate_for(dev, size)?;
            let memory = Shared::new(&self.mappings, memory, charge, first_page)?;
            let id = self.registry.insert(memory.memory().clone())?;
            Ok((memory, id))
        })?
    }

    /// Frees the memory of a buffer. If the gate is closed, that is left to
    /// [`revoke_all`](Self::revoke_all).
    #[inline]
    pub(super) fn free(&self, memory: &mut Shared<Charge>, id: u64) {
        let _ = self.mappings.with_device(|_| {
            self.registry.remove(id);
            memory.free();
        });
    }

    /// Frees the memory of all buffers. The device must not access it any more.
    pub(crate) fn revoke_all(&self, emptied: &Emptied<'_>) {
        self.registry.revoke_all(emptied);
    }

    /// Charges a context, the device and the caller with pages, or logs why it cannot.
    fn charge(&self, dev: &Device<Bound>, context: &Arc<Quota>, pages: usize) -> Result<Charge> {
        Charge::new(context, &self.quota, pages).map_err(|refused| {
            if self.refused.allows() {
                let why = match refused {
                    Refused::Memlock => "RLIMIT_MEMLOCK (ulimit -l)",
                    Refused::Context => "what a context may have (context_mib)",
                    Refused::Device => "what the device may have (device_mib)",
                };
                let kib = bytes(pages) / 1024;
                dev_warn!(dev, "{kib} KiB more would pass {why}\n");
            }
            refused.into()
        })
    }

    /// Allocates coherent memory for the device, or logs why it cannot.
    fn allocate_for<'bound>(
        &self,
        dev: &'bound Device<Bound>,
        size: usize,
    ) -> Result<Memory<'bound>> {
        // What can never be had must not first drive others out of their memory.
        let reach = 1usize.checked_shl(self.dma_bits).unwrap_or(usize::MAX);
        let memory = if size > reach {
            Err(ENOMEM)
        } else {
            Memory::new(dev, size, || self.proceed())
        };
        memory.inspect_err(|error| {
            if *error == ENOMEM && self.no_memory.allows() {
                dev_warn!(
                    dev,
                    "no {} KiB left below 2^{}, which is what the device reaches: smaller buffers, \
                     cma=64M@0-256M, or a wider dma_mask and dma_bits would help\n",
                    size.div_ceil(1024),
                    self.dma_bits
                );
            }
        })
    }

    /// Whether an allocation that takes long may go on: neither an unbind nor a kill waits for it.
    fn proceed(&self) -> Result {
        if signal::fatal_signal_pending() {
            Err(EINTR)
        } else if self.mappings.is_closed() {
            Err(ENODEV)
        } else {
            Ok(())
        }
    }
}
