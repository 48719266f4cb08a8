// SPDX-License-Identifier: GPL-2.0

//! The callbacks of the driver core, for all engines of a device: interrupt, unbind, suspend,
//! resume, reset and shutdown.

use super::engine::BoundEngine;
use crate::kernel_ext::{
    driver::{
        attach::{
            self,
            BoundDevice,
            GateOf, //
        },
        trace::{
            self,
            Teardown, //
        },
        work::WithWork, //
    },
    mm::address_space::ClosedAddressSpace, //
};
use kernel::prelude::*;

/// Names the engines of a bound device, where a type without a lifetime is required.
pub(crate) struct BoundEngines;

/// The gate of the engines, which unbinding closes.
pub(crate) type EngineGate = GateOf<BoundEngines>;

/// The engines of a bound device.
pub(super) type Engines<'bound> = attach::Engines<'bound, BoundEngines>;

impl BoundDevice for BoundEngines {
    type Engine<'bound> = BoundEngine<'bound>;

    fn interrupt(engine: &WithWork<BoundEngine<'_>>) -> bool {
        engine.interrupt()
    }

    /// Stops the device before it is unbound, and frees the memory of all buffers. No thread may be
    /// inside the gate.
    fn stop(engines: &Engines<'_>, address_space: ClosedAddressSpace<'_>) {
        let Some(first) = engines.first() else {
            return;
        };
        let node = first.number();
        for engine in engines {
            engine.close();
        }
        trace::teardown(node, Teardown::Closed);
        trace::zap(node);
        let zapped = address_space.zap();
        trace::teardown(node, Teardown::Zapped);

        let mut step = Teardown::Idle;
        for engine in engines {
            engine.stop_for_unbind();
        }
        first.disable_interrupts();
        // Before requests fail: programs may then use registered memory again.
        first.clear_master();
        for engine in engines.iter().filter(|engine| engine.must_leak()) {
            step = Teardown::Stuck;
            engine.leak_and_fail();
        }
        trace::teardown(node, step);

        for engine in engines {
            engine.fail_requests();
        }
        match first.pool().revoke_all(&zapped) {
            0 => (),
            buffers => first.report_leaked(buffers),
        }
        trace::teardown(node, Teardown::Freed);
    }

    fn suspend(engines: &Engines<'_>) -> Result {
        engines.iter().for_each(|engine| engine.pause());
        for engine in engines {
            engine.quiesce_to_suspend().inspect_err(|_| {
                engines.iter().for_each(|engine| engine.unpause());
            })?;
        }
        clear_master(engines);
        Ok(())
    }

    fn resume(engines: &Engines<'_>, memory_kept: bool) -> Result {
        // Another kernel may have used the device. Its transfers must not reach this kernel's
        // memory.
        let quiesced = engines
            .iter()
            .try_for_each(|engine| engine.quiesce_to_resume());
        let resumed = quiesced.and_then(|()| resume_all(engines, memory_kept));
        if resumed.is_err() {
            engines.iter().for_each(|engine| engine.set_gone());
        }
        resumed
    }

    fn reset_prepare(engines: &Engines<'_>) {
        engines.iter().for_each(|engine| engine.pause());
        engines.iter().for_each(|engine| engine.prepare_reset());
        clear_master(engines);
    }

    fn reset_done(engines: &Engines<'_>) {
        if resume_all(engines, false).is_err() {
            engines.iter().for_each(|engine| engine.set_gone());
        }
    }

    fn shutdown(engines: &Engines<'_>) {
        engines.iter().for_each(|engine| engine.shut_down());
        if let Some(first) = engines.first() {
            // The next kernel may not expect them.
            first.disable_interrupts();
        }
        clear_master(engines);
        engines.iter().for_each(|engine| engine.end_shutdown());
    }
}

/// Disables bus mastering of the device, which its engines share.
fn clear_master(engines: &Engines<'_>) {
    if let Some(first) = engines.first() {
        first.clear_master();
    }
}

/// Resumes the engines of a device, unless it is gone or was shut down: then it does not become a
/// bus master again.
///
/// # Errors
///
/// [`EIO`] if an engine cannot be restarted. No engine executes a transfer then: Bus Master is off.
fn resume_all(engines: &Engines<'_>, memory_kept: bool) -> Result {
    if engines.iter().any(|engine| engine.is_closed()) {
        engines.iter().for_each(|engine| engine.set_gone());
        return Ok(());
    }
    let mut each = engines.iter();
    each.try_for_each(|engine| engine.restart_to_resume())?;
    if let Some(first) = engines.first() {
        first.set_master();
    }
    engines.iter().for_each(|engine| engine.resume(memory_kept));
    Ok(())
}
