// SPDX-License-Identifier: GPL-2.0

//! The queue on the hardware: starts what is next, from the interrupt handler too, and looks after
//! what does not end.

use super::{
    Device,
    Request,
    Work as QueuedWork, //
};
use crate::{
    edu::{
        Edu,
        State,
        TRANSFER_TIME_MS, //
    },
    kernel_ext::{
        coherent::Memory,
        fifo::Entry,
        pci::Enabled,
        ratelimit::Ratelimit,
        work::{
            Delayed,
            Work, //
        }, //
    },
    queue::{
        Job,
        LaneId,
        Ticket, //
    }, //
};
use kernel::{
    device::{
        self,
        Bound, //
    },
    prelude::*,
    sync::Arc,
    time::{
        msecs_to_jiffies,
        Instant, //
    }, //
};

/// After which time the device is looked at, in case that an interrupt was lost.
const LATE_MS: u32 = 2 * TRANSFER_TIME_MS;

/// After which time those who wait are told that a transfer does not end.
const OVERDUE_MS: u32 = 10 * TRANSFER_TIME_MS;

/// The engine of a bound device.
pub(crate) struct Engine<'bound> {
    // The order is that of taking it down.
    edu: Edu<'bound>,
    enabled: Enabled<'bound>,
    dev: &'bound device::Device<Bound>,
    zeros: Memory,
    device: Arc<Device>,
    dma_bits: u32,
    no_memory: Ratelimit,
    lost_interrupt: Ratelimit,
}

impl<'bound> Engine<'bound> {
    /// The engine of a device that was just scrubbed from `zeros`.
    pub(crate) fn new(
        dev: &'bound device::Device<Bound>,
        edu: Edu<'bound>,
        enabled: Enabled<'bound>,
        zeros: Memory,
        device: Arc<Device>,
        dma_bits: u32,
    ) -> Self {
        device.work.lock().queue.open(zeros.address());
        Self {
            edu,
            enabled,
            dev,
            zeros,
            device,
            dma_bits,
            no_memory: Ratelimit::new(),
            lost_interrupt: Ratelimit::new(),
        }
    }

    /// What outlives it.
    pub(crate) fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// Allocates coherent memory, or says in the log why it cannot.
    pub(crate) fn allocate(&self, size: usize) -> Result<Memory> {
        // What can never be had must not first drive others out of their memory.
        let reach = 1usize.checked_shl(self.dma_bits).unwrap_or(usize::MAX);
        let memory = if size > reach {
            Err(ENOMEM)
        } else {
            Memory::new(self.dev, size)
        };
        memory.inspect_err(|error| {
            if *error == ENOMEM && self.no_memory.allows() {
                dev_warn!(
                    self.dev,
                    "no {} KiB left below 2^{}, which is what the device reaches: smaller buffers, \
                     cma=64M@0-256M, or a wider dma_mask and dma_bits would help\n",
                    size.div_ceil(1024),
                    self.dma_bits
                );
            }
        })
    }
}

impl Delayed<Engine<'_>> {
    /// Queues a request, and starts it if the engine has nothing to do.
    pub(crate) fn submit(
        &self,
        lane: LaneId,
        job: Entry<Job<Request>>,
    ) -> Result<Ticket, (Error, Entry<Job<Request>>)> {
        let mut work = self.device.work.lock();
        let ticket = work.queue.submit(lane, job)?;
        self.advance(&mut work);
        Ok(ticket)
    }

    /// The interrupt handler. Returns whether the interrupt was ours.
    pub(crate) fn interrupt(&self) -> bool {
        if !self.edu.acknowledge() {
            return false;
        }
        let mut work = self.device.work.lock();
        if work.queue.is_busy() && self.edu.state() != State::Busy {
            work.queue.finish();
            self.advance(&mut work);
        }
        true
    }

    /// Gives the engine what is next, if it has nothing to do.
    fn advance(&self, work: &mut QueuedWork) {
        if let Some(transfer) = work.queue.start() {
            self.edu.start(transfer);
            work.since = Instant::now();
            self.queue(msecs_to_jiffies(LATE_MS));
        }
        if work.queue.has_orphans() {
            self.queue_now();
        }
    }

    /// Looks at a transfer that should have ended, and returns after how many milliseconds to look
    /// again.
    fn look(&self, work: &mut QueuedWork) -> Option<u32> {
        if !work.queue.is_busy() {
            return None;
        }
        let age = u32::try_from(work.since.elapsed().as_millis()).unwrap_or(u32::MAX);
        if age < LATE_MS {
            return Some(LATE_MS - age);
        }
        match self.edu.state() {
            State::Idle => {
                if self.lost_interrupt.allows() {
                    dev_warn!(self.dev, "lost interrupt: a transfer had ended unnoticed\n");
                }
                work.queue.finish();
                self.advance(work);
            }
            State::Gone => {
                work.queue.close(ENODEV);
                work.queue.finish();
            }
            State::Busy if age >= OVERDUE_MS => {
                if work.queue.overdue() {
                    dev_err!(
                        self.dev,
                        "a transfer does not end; its memory stays with the device\n"
                    );
                }
            }
            State::Busy => {}
        }
        work.queue.is_busy().then_some(TRANSFER_TIME_MS)
    }

    /// Brings the device to rest: nothing of what is bound is used by anyone after this. The guard
    /// is closed, and nobody is inside.
    pub(crate) fn stop(&self) {
        self.device.work.lock().queue.close(ENODEV);
        self.device.mappings().zap();

        let still_running = self.edu.settle(OVERDUE_MS) == Err(ETIMEDOUT);
        self.enabled.clear_master();

        let mut work = self.device.work.lock();
        let running = work.queue.take_running();
        let orphans = work.queue.take_orphans();
        drop(work);
        if still_running {
            dev_err!(
                self.dev,
                "a transfer does not end; its memory is never freed\n"
            );
            self.zeros.abandon();
            if let Some(job) = &running {
                job.request().memories().for_each(|buffer| buffer.abandon());
            }
        }
        drop((running, orphans));
        self.device.buffers().revoke_all();
    }
}

impl Work for Engine<'_> {
    fn work(this: &Delayed<Self>) {
        let mut work = this.device.work.lock();
        let again = this.look(&mut work);
        let orphans = work.queue.take_orphans();
        drop(work);
        // Perhaps the last ones to hold a buffer, which is freed here, where one may sleep.
        drop(orphans);
        if let Some(ms) = again {
            this.queue(msecs_to_jiffies(ms));
        }
    }
}
