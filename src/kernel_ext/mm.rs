// SPDX-License-Identifier: GPL-2.0

//! Memory: coherent allocations, pinned pages, mappings and their page faults, tables for DMA.

pub(crate) mod address_space;
pub(crate) mod buffer_memory;
pub(crate) mod coherent;
pub(in crate::kernel_ext) mod dma_table;
pub(in crate::kernel_ext) mod extents;
pub(in crate::kernel_ext) mod layout;
pub(crate) mod leakable;
pub(crate) mod memlock;
pub(crate) mod pinned;
pub(crate) mod shared_memory;
pub(crate) mod shared_ring;
pub(crate) mod vma;
