// SPDX-License-Identifier: GPL-2.0

//! The callbacks of the driver core: interrupt, unbind, suspend, resume and shutdown.

use super::Engine;
use crate::kernel_ext::{
    driver::{
        attach::{
            BoundDevice,
            GuardOf, //
        },
        work::Delayed, //
    },
    mm::mapping::Closed, //
};
use kernel::prelude::*;

/// Stands for [`Engine`] of any lifetime, where a type without a lifetime is required.
pub(crate) struct BoundEngine;

/// The guard of the engine, which unbinding closes.
pub(crate) type EngineGuard = GuardOf<BoundEngine>;

impl BoundDevice for BoundEngine {
    type Of<'bound> = Engine<'bound>;

    fn interrupt(engine: &Delayed<Engine<'_>>) -> bool {
        engine.interrupt()
    }

    fn stop(engine: &Delayed<Engine<'_>>, mappings: Closed<'_>) {
        engine.stop(mappings);
    }

    fn suspend(engine: &Delayed<Engine<'_>>) -> Result {
        engine.suspend()
    }

    fn resume(engine: &Delayed<Engine<'_>>, kept: bool) -> Result {
        engine.resume(kept)
    }

    fn shutdown(engine: &Delayed<Engine<'_>>) {
        engine.shutdown();
    }
}
