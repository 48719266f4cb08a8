//! The interface, `src/uapi/rdma.h`. Written by `src/uapi/generate`; not to be edited.

pub const RDMA_ABI_VERSION: u32 = 1;
pub const RDMA_DEVICE_MEMORY_SIZE: u32 = 4096;
pub const RDMA_NO_BUFFER: u32 = 0;
pub const RDMA_FIRST_BUFFER: u32 = 1;
pub const RDMA_MAX_BUFFER_SIZE: u32 = 1073741824;
pub const RDMA_QUEUE_DEPTH: u32 = 1024;
pub const RDMA_MAX_ELEMENT_SIZE: u32 = 4096;
pub const RDMA_OP_TO_DEVICE: u32 = 1;
pub const RDMA_OP_FROM_DEVICE: u32 = 2;
pub const RDMA_OP_COPY: u32 = 3;
pub const RDMA_CAP_DIRECT_COPY: u32 = 1;
pub const RDMA_CAP_ABORT: u32 = 2;
pub const RDMA_INTERRUPT_INTX: u32 = 1;
pub const RDMA_INTERRUPT_MSI: u32 = 2;
pub const RDMA_REQUEST_LINK: u32 = 1;
pub const RDMA_WAIT_FOREVER: u64 = 9223372036854775807;
pub const RDMA_CANCEL_ALL: u32 = 1;
pub const RDMA_IOC_MAGIC: u32 = 237;
pub const RDMA_IOC_DEVICE_INFO: u32 = 2152787200;
pub const RDMA_IOC_ALLOC: u32 = 3223907600;
pub const RDMA_IOC_FREE: u32 = 1074851089;
pub const RDMA_IOC_BUFFER_INFO: u32 = 3224431890;
pub const RDMA_IOC_TRANSFER: u32 = 1077996832;
pub const RDMA_IOC_SUBMIT: u32 = 1075375393;
pub const RDMA_IOC_WAIT: u32 = 1076423970;
pub const RDMA_IOC_CANCEL: u32 = 1074851107;
pub const RDMA_IOC_EVENTFD: u32 = 1074851108;

#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct rdma_device_info {
    pub abi_version: u32,
    pub operations: u32,
    pub capabilities: u64,
    pub device_memory_size: u64,
    pub max_transfer_size: u64,
    pub max_buffer_size: u64,
    pub queue_depth: u32,
    pub engine_depth: u32,
    pub address_alignment: u32,
    pub length_alignment: u32,
    pub dma_bits: u32,
    pub interrupt: u32,
    pub hardware_version: u32,
    pub reserved: [u32; 3],
}

#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct rdma_alloc {
    pub size: u64,
    pub mmap_offset: u64,
    pub handle: u32,
    pub flags: u32,
    pub reserved: [u64; 2],
}

#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct rdma_free {
    pub handle: u32,
    pub flags: u32,
    pub reserved: u64,
}

#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct rdma_buffer_info {
    pub handle: u32,
    pub flags: u32,
    pub size: u64,
    pub mmap_offset: u64,
    pub mappings: u32,
    pub requests: u32,
    pub reserved: [u64; 2],
}

#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct rdma_request {
    pub operation: u32,
    pub flags: u32,
    pub source: u32,
    pub destination: u32,
    pub source_offset: u64,
    pub destination_offset: u64,
    pub length: u64,
    pub cookie: u64,
    pub reserved: [u64; 2],
}

#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct rdma_submit {
    pub requests: u64,
    pub count: u32,
    pub request_size: u32,
    pub flags: u32,
    pub reserved: u32,
}

#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct rdma_completion {
    pub cookie: u64,
    pub bytes: u64,
    pub status: i32,
    pub reserved: u32,
}

#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct rdma_wait {
    pub completions: u64,
    pub min: u32,
    pub max: u32,
    pub completion_size: u32,
    pub flags: u32,
    pub deadline_ns: i64,
    pub reserved: u64,
}

#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct rdma_cancel {
    pub cookie: u64,
    pub flags: u32,
    pub reserved: u32,
}

#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct rdma_eventfd {
    pub fd: i32,
    pub flags: u32,
    pub reserved: u64,
}
