// SPDX-License-Identifier: GPL-2.0

//! The engine as the driver core sees it: attached, interrupted, suspended, taken down.

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

/// Names the engine of a bound device where a type without a lifetime is wanted.
pub(crate) struct BoundEngine;

/// The guard around the engine, which unbinding closes.
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
