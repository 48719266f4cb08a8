// SPDX-License-Identifier: GPL-2.0

//! Memory: coherent allocations, mappings and their page faults.

pub(crate) mod coherent;
mod extents;
pub(crate) mod mapping;
pub(crate) mod memlock;
pub(crate) mod shared;
pub(crate) mod vma;
