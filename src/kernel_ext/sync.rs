// SPDX-License-Identifier: GPL-2.0

//! Waiting, signals, time, and the guard around what exists only while the driver is bound.

pub(crate) mod clock;
pub(crate) mod guard;
pub(crate) mod signal;
pub(crate) mod wait;
