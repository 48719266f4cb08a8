// SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note

//! The interface, `uapi/rdma.h`. Written by `uapi/generate`; not to be edited.

#![allow(dead_code, missing_docs, non_camel_case_types)]

use kernel::prelude::*;

pub(crate) const RDMA_ABI_VERSION: u32 = 1;
pub(crate) const RDMA_DEVICE_MEMORY_SIZE: u32 = 4096;
pub(crate) const RDMA_NO_BUFFER: u32 = 0;
pub(crate) const RDMA_FIRST_BUFFER: u32 = 1;
pub(crate) const RDMA_MAX_BUFFER_SIZE: u32 = 1073741824;
pub(crate) const RDMA_QUEUE_DEPTH: u32 = 1024;
pub(crate) const RDMA_MAX_ELEMENT_SIZE: u32 = 4096;
pub(crate) const RDMA_OP_TO_DEVICE: u32 = 1;
pub(crate) const RDMA_OP_FROM_DEVICE: u32 = 2;
pub(crate) const RDMA_OP_COPY: u32 = 3;
pub(crate) const RDMA_CAP_DIRECT_COPY: u32 = 1;
pub(crate) const RDMA_CAP_ABORT: u32 = 2;
pub(crate) const RDMA_INTERRUPT_INTX: u32 = 1;
pub(crate) const RDMA_INTERRUPT_MSI: u32 = 2;
pub(crate) const RDMA_REQUEST_LINK: u32 = 1;
pub(crate) const RDMA_WAIT_FOREVER: u64 = 9223372036854775807;
pub(crate) const RDMA_CANCEL_ALL: u32 = 1;
pub(crate) const RDMA_IOC_MAGIC: u32 = 237;
pub(crate) const RDMA_IOC_DEVICE_INFO: u32 = 2152787200;
pub(crate) const RDMA_IOC_ALLOC: u32 = 3223907600;
pub(crate) const RDMA_IOC_FREE: u32 = 1074851089;
pub(crate) const RDMA_IOC_BUFFER_INFO: u32 = 3224431890;
pub(crate) const RDMA_IOC_TRANSFER: u32 = 1077996832;
pub(crate) const RDMA_IOC_SUBMIT: u32 = 1075375393;
pub(crate) const RDMA_IOC_WAIT: u32 = 1076423970;
pub(crate) const RDMA_IOC_CANCEL: u32 = 1074851107;
pub(crate) const RDMA_IOC_EVENTFD: u32 = 1074851108;

#[repr(C)]
#[derive(Debug, Default, Copy, Clone, FromBytes, IntoBytes)]
pub(crate) struct rdma_device_info {
    pub(crate) abi_version: u32,
    pub(crate) operations: u32,
    pub(crate) capabilities: u64,
    pub(crate) device_memory_size: u64,
    pub(crate) max_transfer_size: u64,
    pub(crate) max_buffer_size: u64,
    pub(crate) queue_depth: u32,
    pub(crate) engine_depth: u32,
    pub(crate) address_alignment: u32,
    pub(crate) length_alignment: u32,
    pub(crate) dma_bits: u32,
    pub(crate) interrupt: u32,
    pub(crate) hardware_version: u32,
    pub(crate) reserved: [u32; 3],
}

#[repr(C)]
#[derive(Debug, Default, Copy, Clone, FromBytes, IntoBytes)]
pub(crate) struct rdma_alloc {
    pub(crate) size: u64,
    pub(crate) mmap_offset: u64,
    pub(crate) handle: u32,
    pub(crate) flags: u32,
    pub(crate) reserved: [u64; 2],
}

#[repr(C)]
#[derive(Debug, Default, Copy, Clone, FromBytes, IntoBytes)]
pub(crate) struct rdma_free {
    pub(crate) handle: u32,
    pub(crate) flags: u32,
    pub(crate) reserved: u64,
}

#[repr(C)]
#[derive(Debug, Default, Copy, Clone, FromBytes, IntoBytes)]
pub(crate) struct rdma_buffer_info {
    pub(crate) handle: u32,
    pub(crate) flags: u32,
    pub(crate) size: u64,
    pub(crate) mmap_offset: u64,
    pub(crate) mappings: u32,
    pub(crate) requests: u32,
    pub(crate) reserved: [u64; 2],
}

#[repr(C)]
#[derive(Debug, Default, Copy, Clone, FromBytes, IntoBytes)]
pub(crate) struct rdma_request {
    pub(crate) operation: u32,
    pub(crate) flags: u32,
    pub(crate) source: u32,
    pub(crate) destination: u32,
    pub(crate) source_offset: u64,
    pub(crate) destination_offset: u64,
    pub(crate) length: u64,
    pub(crate) cookie: u64,
    pub(crate) reserved: [u64; 2],
}

#[repr(C)]
#[derive(Debug, Default, Copy, Clone, FromBytes, IntoBytes)]
pub(crate) struct rdma_submit {
    pub(crate) requests: u64,
    pub(crate) count: u32,
    pub(crate) request_size: u32,
    pub(crate) flags: u32,
    pub(crate) reserved: u32,
}

#[repr(C)]
#[derive(Debug, Default, Copy, Clone, FromBytes, IntoBytes)]
pub(crate) struct rdma_completion {
    pub(crate) cookie: u64,
    pub(crate) bytes: u64,
    pub(crate) status: i32,
    pub(crate) reserved: u32,
}

#[repr(C)]
#[derive(Debug, Default, Copy, Clone, FromBytes, IntoBytes)]
pub(crate) struct rdma_wait {
    pub(crate) completions: u64,
    pub(crate) min: u32,
    pub(crate) max: u32,
    pub(crate) completion_size: u32,
    pub(crate) flags: u32,
    pub(crate) deadline_ns: i64,
    pub(crate) reserved: u64,
}

#[repr(C)]
#[derive(Debug, Default, Copy, Clone, FromBytes, IntoBytes)]
pub(crate) struct rdma_cancel {
    pub(crate) cookie: u64,
    pub(crate) flags: u32,
    pub(crate) reserved: u32,
}

#[repr(C)]
#[derive(Debug, Default, Copy, Clone, FromBytes, IntoBytes)]
pub(crate) struct rdma_eventfd {
    pub(crate) fd: i32,
    pub(crate) flags: u32,
    pub(crate) reserved: u64,
}
