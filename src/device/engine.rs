// SPDX-License-Identifier: GPL-2.0

//! The queue on the hardware: starts what is next, from the interrupt handler too, and looks after
//! what does not end.

mod power;

use super::{
    Device,
    Job,
    Work as QueuedWork, //
};
use crate::{
    buffer,
    edu::{
        Edu,
        State,
        TRANSFER_TIME_MS, //
    },
    kernel_ext::{
        clock,
        coherent::Memory,
        fifo::{
            Entry,
            Fifo, //
        },
        pci::Enabled,
        ratelimit::Ratelimit,
        signal,
        trace::{
            self,
            Teardown, //
        },
        work::{
            Delayed,
            Work, //
        }, //
    },
    queue::{
        LaneId,
        Ticket, //
    },
    quota::{
        Charge,
        Quota,
        Refused, //
    },
    transfer::{
        Direction,
        Transfer, //
    },
    uapi, //
};
use kernel::{
    device::{
        self,
        Bound, //
    },
    prelude::*,
    sync::Arc,
    time::msecs_to_jiffies, //
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
    refused: Ratelimit,
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
            refused: Ratelimit::new(),
            no_memory: Ratelimit::new(),
            lost_interrupt: Ratelimit::new(),
        }
    }

    /// What outlives it.
    pub(crate) fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// Charges a context with pages of memory, the device and the caller too, or says in the log
    /// why it cannot.
    pub(crate) fn charge(&self, context: &Arc<Quota>, pages: usize) -> Result<Charge> {
        Charge::new(context, self.device.quota(), pages).map_err(|refused| {
            if self.refused.allows() {
                let why = match refused {
                    Refused::Memlock => "RLIMIT_MEMLOCK (ulimit -l)",
                    Refused::Context => "what a context may have (context_mib)",
                    Refused::Device => "what the device may have (device_mib)",
                };
                dev_warn!(
                    self.dev,
                    "{} KiB more would pass {why}\n",
                    buffer::bytes(pages) / 1024
                );
            }
            refused.into()
        })
    }

    /// Has the device seem faulty.
    #[cfg(CONFIG_FAULT_INJECTION)]
    pub(crate) fn inject(&self, command: &str) -> Result {
        self.edu.inject(command)
    }

    /// Whether what takes long may go on: neither an unbind nor a kill waits for it.
    fn proceed(&self) -> Result {
        if signal::is_fatal() {
            Err(EINTR)
        } else if self.device.guard().is_closed() {
            Err(ENODEV)
        } else {
            Ok(())
        }
    }

    /// Allocates coherent memory, or says in the log why it cannot.
    pub(crate) fn allocate(&self, size: usize) -> Result<Memory> {
        // What can never be had must not first drive others out of their memory.
        let reach = 1usize.checked_shl(self.dma_bits).unwrap_or(usize::MAX);
        let memory = if size > reach {
            Err(ENOMEM)
        } else {
            Memory::new(self.dev, size, || self.proceed())
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
    /// Queues requests, for which room was set aside, and starts the first one if the engine has
    /// nothing to do.
    ///
    /// # Errors
    ///
    /// Those of [`Queue::submit`](crate::queue::Queue::submit).
    pub(crate) fn submit(&self, lane: LaneId, jobs: &mut Fifo<Job>) -> Result {
        let mut work = self.device.work.lock();
        work.queue.submit(lane, jobs)?;
        self.advance(&mut work);
        Ok(())
    }

    /// Queues a request that somebody waits for, and starts it if the engine has nothing to do.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit).
    pub(crate) fn call(&self, lane: LaneId, jobs: &mut Fifo<Job>) -> Result<Ticket> {
        let mut work = self.device.work.lock();
        let ticket = work.queue.call(lane, jobs)?;
        self.advance(&mut work);
        Ok(ticket)
    }

    /// Starts what is next, if the engine has nothing to do.
    pub(crate) fn go_on(&self) {
        self.advance(&mut self.device.work.lock());
    }

    /// The interrupt handler. Returns whether the interrupt was ours.
    pub(crate) fn interrupt(&self) -> bool {
        let ours = self.edu.acknowledge();
        trace::interrupt(self.device.number(), ours);
        if !ours {
            return false;
        }
        let mut work = self.device.work.lock();
        work.queue.stats.counters.interrupts += 1;
        if work.queue.is_busy() && self.edu.state() == State::Idle {
            work.queue.finish(clock::now());
            self.advance(&mut work);
        } else {
            work.queue.stats.counters.spurious_interrupts += 1;
        }
        true
    }

    /// Gives the engine what is next, if it has nothing to do.
    fn advance(&self, work: &mut QueuedWork) {
        if let Some(transfer) = work.queue.start() {
            self.edu.start(transfer);
            self.trace_start(transfer);
            work.since = clock::now();
            self.queue(msecs_to_jiffies(LATE_MS));
        }
        if work.queue.has_orphans() {
            self.queue_now();
        }
    }

    fn trace_start(&self, transfer: Transfer) {
        let direction = match transfer.direction {
            Direction::ToDevice => uapi::OP_TO_DEVICE,
            Direction::FromDevice => uapi::OP_FROM_DEVICE,
        };
        let (offset, length) = (transfer.device.offset(), transfer.device.length());
        trace::start(self.device.number(), direction, offset, length);
    }

    /// Looks at a transfer that should have ended. `stand_in` is for its completion, should it
    /// never end.
    fn look(&self, work: &mut QueuedWork, stand_in: &mut Option<Entry<Job>>) -> Look {
        if !work.queue.is_busy() {
            return Look::IDLE;
        }
        let age_ms = clock::now().saturating_sub(work.since) / clock::NSEC_PER_MSEC;
        let age = u32::try_from(age_ms).unwrap_or(u32::MAX);
        if age < LATE_MS {
            return Look::again_after(LATE_MS - age);
        }
        let mut fail = false;
        let mut news = None;
        match self.edu.state() {
            State::Idle if self.edu.is_there() => {
                news = Some(News::LostInterrupt);
                work.queue.stats.counters.watchdog_recoveries += 1;
                work.queue.finish(clock::now());
                self.advance(work);
            }
            State::Idle | State::Gone => {
                Self::give_up(work);
                fail = true;
            }
            State::Busy if age >= OVERDUE_MS => {
                fail = work.queue.overdue(stand_in);
                news = fail.then_some(News::NoEnd);
            }
            State::Busy => {}
        }
        Look {
            again_ms: work.queue.is_busy().then_some(TRANSFER_TIME_MS),
            fail,
            news,
        }
    }

    /// Says in the log what was found out. Not under the lock: a console can be slow.
    fn tell(&self, news: News) {
        match news {
            News::LostInterrupt if self.lost_interrupt.allows() => {
                dev_warn!(self.dev, "lost interrupt: a transfer had ended unnoticed\n");
            }
            News::LostInterrupt => {}
            News::NoEnd => dev_err!(
                self.dev,
                "a transfer does not end; its memory stays with the device\n"
            ),
        }
    }

    /// Takes nothing any more: the device is gone. What waits is to be failed.
    fn give_up(work: &mut QueuedWork) {
        work.queue.close(ENODEV);
        // What it has done of it is unknown.
        if let Some(running) = work.queue.take_running() {
            work.queue.abort(running, clock::now());
        }
    }

    /// Brings the device to rest: nothing of what is bound is used by anyone after this. The guard
    /// is closed, and nobody is inside.
    pub(crate) fn stop(&self) {
        let dev = self.device.number();
        self.device.close(ENODEV);
        trace::teardown(dev, Teardown::Closed);
        trace::zap(dev);
        self.device.mappings().zap();
        trace::teardown(dev, Teardown::Zapped);

        let still_running = self.edu.settle(OVERDUE_MS) == Err(ETIMEDOUT);
        self.enabled.clear_master();
        let step = if still_running {
            Teardown::Stuck
        } else {
            Teardown::AtRest
        };
        trace::teardown(dev, step);

        let mut work = self.device.work.lock();
        let running = work.queue.take_running();
        drop(work);
        if still_running {
            dev_err!(
                self.dev,
                "a transfer does not end; its memory is never freed\n"
            );
            self.zeros.abandon();
            if let Some(request) = running.as_ref().and_then(|running| running.request()) {
                request.memories().for_each(|used| used.buffer().abandon());
            }
        }
        let mut work = self.device.work.lock();
        if let Some(running) = running {
            work.queue.abort(running, clock::now());
        }
        let orphans = work.queue.take_orphans();
        drop(work);
        drop(orphans);
        self.device.buffers().revoke_all();
        trace::teardown(dev, Teardown::Freed);
    }
}

/// What comes of looking at a transfer.
struct Look {
    /// Look again after so many milliseconds.
    again_ms: Option<u32>,
    /// What waits is to be failed.
    fail: bool,
    /// What the log is to say.
    news: Option<News>,
}

/// What is found out by looking at a transfer.
#[derive(Clone, Copy)]
enum News {
    /// It had ended, and no interrupt has come.
    LostInterrupt,
    /// It does not end.
    NoEnd,
}

impl Look {
    const IDLE: Self = Self {
        again_ms: None,
        fail: false,
        news: None,
    };

    fn again_after(ms: u32) -> Self {
        Self {
            again_ms: Some(ms),
            ..Self::IDLE
        }
    }
}

impl Work for Engine<'_> {
    fn work(this: &Delayed<Self>) {
        // Without one, whoever is to be told by it is told the next time.
        let mut stand_in = Job::stand_in().ok();
        let mut work = this.device.work.lock();
        let look = this.look(&mut work, &mut stand_in);
        let orphans = work.queue.take_orphans();
        drop(work);
        // Perhaps the last ones to hold a buffer, which is freed here, where one may sleep.
        drop(orphans);
        if let Some(news) = look.news {
            this.tell(news);
        }
        if look.fail {
            this.device.fail_waiting();
        }
        if let Some(ms) = look.again_ms {
            this.queue(msecs_to_jiffies(ms));
        }
    }
}
