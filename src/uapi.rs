// SPDX-License-Identifier: GPL-2.0

//! The ABI, as the driver sees it: `uapi/rdma.h` in Rust.
//!
//! The header is the source of truth and says what everything means; `tests/host/abi.rs` compares
//! the two, field by field.

use crate::kernel_ext::fs::abi::uapi_struct;
use kernel::ioctl::{
    _IOR,
    _IOW,
    _IOWR, //
};

/// `RDMA_ABI_VERSION`
pub(crate) const ABI_VERSION: u32 = 1;
/// `RDMA_FIRST_BUFFER`
pub(crate) const FIRST_BUFFER: u32 = 0;
/// `RDMA_MAX_BUFFER_SIZE`, in bytes.
pub(crate) const MAX_BUFFER_SIZE: u64 = 1 << 30;

/// `RDMA_QUEUE_DEPTH`
pub(crate) const QUEUE_DEPTH: u32 = 1024;

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

/// `RDMA_REQUEST_LINK`
pub(crate) const REQUEST_LINK: u32 = 0x1;
/// `RDMA_CANCEL_ALL`
pub(crate) const CANCEL_ALL: u32 = 0x1;

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
        queue_depth: u32,
        reserved: [u32; 4],
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
    /// `struct rdma_buffer`
    Buffer, 48 bytes {
        handle: u32,
        flags: u32,
        size: u64,
        mmap_offset: u64,
        mappings: u32,
        requests: u32,
        reserved: [u64; 2],
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
        cookie: u64,
        reserved: [u64; 2],
    }
}

uapi_struct! {
    /// `struct rdma_submit`
    Submit, 24 bytes {
        requests: u64,
        count: u32,
        flags: u32,
        reserved: u64,
    }
}

uapi_struct! {
    /// `struct rdma_completion`
    Completion, 24 bytes {
        cookie: u64,
        bytes: u64,
        status: i32,
        reserved: u32,
    }
}

uapi_struct! {
    /// `struct rdma_wait`
    Wait, 32 bytes {
        completions: u64,
        min: u32,
        max: u32,
        timeout_ns: i64,
        flags: u32,
        reserved: u32,
    }
}

uapi_struct! {
    /// `struct rdma_cancel`
    Cancel, 16 bytes {
        cookie: u64,
        flags: u32,
        reserved: u32,
    }
}

uapi_struct! {
    /// `struct rdma_eventfd`
    Eventfd, 8 bytes {
        fd: i32,
        flags: u32,
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
/// `RDMA_IOC_BUFFER`
pub(crate) const IOC_BUFFER: u32 = _IOWR::<Buffer>(IOC_MAGIC, 0x12);
/// `RDMA_IOC_TRANSFER`
pub(crate) const IOC_TRANSFER: u32 = _IOW::<Request>(IOC_MAGIC, 0x20);
/// `RDMA_IOC_SUBMIT`
pub(crate) const IOC_SUBMIT: u32 = _IOW::<Submit>(IOC_MAGIC, 0x21);
/// `RDMA_IOC_WAIT`
pub(crate) const IOC_WAIT: u32 = _IOW::<Wait>(IOC_MAGIC, 0x22);
/// `RDMA_IOC_CANCEL`
pub(crate) const IOC_CANCEL: u32 = _IOW::<Cancel>(IOC_MAGIC, 0x23);
/// `RDMA_IOC_EVENTFD`
pub(crate) const IOC_EVENTFD: u32 = _IOW::<Eventfd>(IOC_MAGIC, 0x24);
