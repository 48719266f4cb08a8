// SPDX-License-Identifier: GPL-2.0

//! Wait queues, signals, the clock, and the gate for data of a bound device.

pub(crate) mod clock;
pub(crate) mod gate;
pub(crate) mod signal;
pub(crate) mod wait;
