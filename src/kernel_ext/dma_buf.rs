// SPDX-License-Identifier: GPL-2.0

//! Buffers that several drivers share (dma-buf).
//!
//! Without dma-bufs in the kernel (`CONFIG_DMA_SHARED_BUFFER`), the calls fail.
//!
//! Kernel document: `Documentation/driver-api/dma-buf.rst`

#[cfg(CONFIG_DMA_SHARED_BUFFER)]
pub(crate) mod export;
#[cfg(CONFIG_DMA_SHARED_BUFFER)]
pub(in crate::kernel_ext) mod exported;
#[cfg(CONFIG_DMA_SHARED_BUFFER)]
pub(crate) mod import;
#[cfg(CONFIG_DMA_SHARED_BUFFER)]
mod reference;

#[cfg(not(CONFIG_DMA_SHARED_BUFFER))]
mod absent;
#[cfg(not(CONFIG_DMA_SHARED_BUFFER))]
pub(in crate::kernel_ext) use absent::exported;
#[cfg(not(CONFIG_DMA_SHARED_BUFFER))]
pub(crate) use absent::{
    export,
    import, //
};
