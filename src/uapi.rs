// SPDX-License-Identifier: GPL-2.0

//! The ABI, as the driver sees it: `uapi/rdma.h` in Rust.
//!
//! The header is the source of truth and says what everything means; `tests/host/abi.rs` compares
//! the two, field by field.

use crate::kernel_ext::abi::uapi_struct;
use kernel::ioctl::{
    _IOR,
    _IOW,
    _IOWR, //
};

/// `RDMA_ABI_VERSION`
pub(crate) const ABI_VERSION: u32 = 1;
/// `RDMA_DEVICE_MEMORY_SIZE`, in bytes.
pub(crate) const DEVICE_MEMORY_SIZE: u64 = 4096;
/// `RDMA_FIRST_BUFFER`
pub(crate) const FIRST_BUFFER: u32 = 0;
/// `RDMA_MAX_BUFFER_SIZE`, in bytes.
pub(crate) const MAX_BUFFER_SIZE: u64 = 1 << 30;

/// `RDMA_INTERRUPT_INTX`
pub(crate) const INTERRUPT_INTX: u32 = 1;
/// `RDMA_INTERRUPT_MSI`
pub(crate) const INTERRUPT_MSI: u32 = 2;

/// `RDMA_OP_TO_DEVICE`
pub(crate) const OP_TO_DEVICE: u32 = 1;
/// `RDMA_OP_FROM_DEVICE`
pub(crate) const OP_FROM_DEVICE: u32 = 2;
/// `RDMA_OP_COPY`
pub(crate) const OP_COPY: u32 = 3;

uapi_struct! {
    /// `struct rdma_info`
    Info, 56 bytes {
        abi_version: u32,
        capabilities: u32,
        device_memory_size: u64,
        max_transfer_size: u64,
        dma_bits: u32,
        interrupt: u32,
        hardware_version: u32,
        reserved: [u32; 5],
    }
}

uapi_struct! {
    /// `struct rdma_alloc`
    Alloc, 40 bytes {
        size: u64,
        mmap_offset: u64,
        handle: u32,
        flags: u32,
        reserved: [u64; 2],
    }
}

uapi_struct! {
    /// `struct rdma_free`
    Free, 8 bytes {
        handle: u32,
        flags: u32,
    }
}

uapi_struct! {
    /// `struct rdma_request`
    Request, 64 bytes {
        operation: u32,
        flags: u32,
        source: u32,
        destination: u32,
        source_offset: u64,
        destination_offset: u64,
        length: u64,
        reserved: [u64; 3],
    }
}

/// `RDMA_IOC_MAGIC`
pub(crate) const IOC_MAGIC: u32 = 0xED;
/// `RDMA_IOC_INFO`
pub(crate) const IOC_INFO: u32 = _IOR::<Info>(IOC_MAGIC, 0x00);
/// `RDMA_IOC_ALLOC`
pub(crate) const IOC_ALLOC: u32 = _IOWR::<Alloc>(IOC_MAGIC, 0x10);
/// `RDMA_IOC_FREE`
pub(crate) const IOC_FREE: u32 = _IOW::<Free>(IOC_MAGIC, 0x11);
/// `RDMA_IOC_TRANSFER`
pub(crate) const IOC_TRANSFER: u32 = _IOW::<Request>(IOC_MAGIC, 0x20);
