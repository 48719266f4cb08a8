// SPDX-License-Identifier: GPL-2.0

//! The engine while the machine goes to sleep, wakes up, or leaves this kernel.

use super::{
    deliver,
    Engine,
    Types, //
};
use crate::{
    engines::engine::{
        DmaEngine,
        Progress, //
    },
    kernel_ext::{
        driver::work::Delayed,
        sync::clock, //
    },
    schedule::Notice, //
};
use kernel::prelude::*;

impl Delayed<Engine<'_>> {
    /// Sleeps until the engine has ended what it was given last, and completes that. Nothing is
    /// started any more.
    ///
    /// # Errors
    ///
    /// [`ETIMEDOUT`] if it does not end. [`ENODEV`] if the device is gone; all that waits has then
    /// failed.
    fn come_to_rest(&self) -> Result {
        match self.hardware.wait_idle(self.abilities.overdue_ms) {
            Ok(()) if self.hardware.responds() => {
                // The interrupt handler may be late. It then finds nothing to do.
                self.hardware.acknowledge();
                while let Some(notice) = self.reap_checked() {
                    deliver(notice);
                }
                Ok(())
            }
            Err(ETIMEDOUT) => Err(ETIMEDOUT),
            _ => {
                self.abandon_all();
                Err(ENODEV)
            }
        }
    }

    /// Records the end of the oldest transfer of an idle engine, if it reached memory or not.
    fn reap_checked(&self) -> Option<Option<Notice<Types>>> {
        let mut work = self.device.work.lock();
        let slot = work.queue.oldest_slot()?;
        match self.hardware.progress(slot) {
            Progress::Ended(outcome) => {
                let transferred = outcome.and_then(|()| self.reached_memory());
                Some(self.finish(&mut work, transferred))
            }
            _ => None,
        }
    }

    /// Fails all requests: the device is not to be used any more.
    fn abandon_all(&self) {
        self.abandon(&mut self.device.work.lock());
        self.device.abort_active();
        self.device.fail_waiting();
    }

    /// Brings the engine to rest until [`resume`](Self::resume). What waits goes on waiting, and
    /// what comes new waits, too.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] if a transfer does not end; all goes on as before.
    pub(crate) fn suspend(&self) -> Result {
        self.device.work.lock().queue.pause();
        if self.come_to_rest() == Err(ETIMEDOUT) {
            dev_err!(self.dev, "a transfer does not end: no suspend\n");
            let mut work = self.device.work.lock();
            work.queue.resume();
            self.advance(&mut work, clock::now());
            return Err(EBUSY);
        }
        self.enabled.clear_master();
        Ok(())
    }

    /// Goes on after [`suspend`](Self::suspend). If not `kept`, the device memory has lost what was
    /// in it.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] and [`ETIMEDOUT`] as those of coming to rest: all that waits has then failed.
    pub(crate) fn resume(&self, kept: bool) -> Result {
        // Another kernel may have had the device. What it has started must not reach our memory.
        self.come_to_rest().inspect_err(|error| {
            dev_err!(self.dev, "not fit to go on: {error:?}\n");
            self.abandon_all();
        })?;
        self.enabled.set_master();
        let mut work = self.device.work.lock();
        if !kept {
            work.queue.invalidate();
        }
        work.queue.resume();
        self.advance(&mut work, clock::now());
        Ok(())
    }

    /// Brings the engine to rest for good; whoever comes gets [`ENODEV`]. Nobody else's memory is to
    /// be written to, whatever kernel comes next. Ours is left as it is: programs may still run.
    pub(crate) fn shutdown(&self) {
        self.device.close(ENODEV);
        if self.come_to_rest() == Err(ETIMEDOUT) {
            dev_err!(self.dev, "a transfer does not end: it is cut off\n");
        }
        self.enabled.clear_master();
    }
}
