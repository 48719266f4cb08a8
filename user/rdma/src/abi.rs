//! The interface, as the header has it. Written by user/generate-abi from src/uapi/rdma.h; not to be edited.

pub const RDMA_ABI_VERSION: u32 = 1;
pub const RDMA_DEVICE_MEMORY_SIZE: u32 = 4096;
pub const RDMA_FIRST_BUFFER: u32 = 0;
pub const RDMA_MAX_BUFFER_SIZE: u32 = 1073741824;
pub const RDMA_QUEUE_DEPTH: u32 = 1024;
pub const RDMA_INTERRUPT_INTX: u32 = 1;
pub const RDMA_INTERRUPT_MSI: u32 = 2;
pub const RDMA_OP_TO_DEVICE: u32 = 1;
pub const RDMA_OP_FROM_DEVICE: u32 = 2;
pub const RDMA_OP_COPY: u32 = 3;
pub const RDMA_REQUEST_LINK: u32 = 1;
pub const RDMA_CANCEL_ALL: u32 = 1;
pub const RDMA_IOC_MAGIC: u32 = 237;
pub type __s32 = ::core::ffi::c_int;
pub type __u32 = ::core::ffi::c_uint;
pub type __s64 = ::core::ffi::c_longlong;
pub type __u64 = ::core::ffi::c_ulonglong;
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct rdma_info {
    pub abi_version: __u32,
    pub capabilities: __u32,
    pub device_memory_size: __u64,
    pub max_transfer_size: __u64,
    pub dma_bits: __u32,
    pub interrupt: __u32,
    pub hardware_version: __u32,
    pub queue_depth: __u32,
    pub reserved: [__u32; 4usize],
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct rdma_alloc {
    pub size: __u64,
    pub mmap_offset: __u64,
    pub handle: __u32,
    pub flags: __u32,
    pub reserved: [__u64; 2usize],
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct rdma_free {
    pub handle: __u32,
    pub flags: __u32,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct rdma_buffer {
    pub handle: __u32,
    pub flags: __u32,
    pub size: __u64,
    pub mmap_offset: __u64,
    pub mappings: __u32,
    pub requests: __u32,
    pub reserved: [__u64; 2usize],
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct rdma_request {
    pub operation: __u32,
    pub flags: __u32,
    pub source: __u32,
    pub destination: __u32,
    pub source_offset: __u64,
    pub destination_offset: __u64,
    pub length: __u64,
    pub cookie: __u64,
    pub reserved: [__u64; 2usize],
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct rdma_submit {
    pub requests: __u64,
    pub count: __u32,
    pub flags: __u32,
    pub reserved: __u64,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct rdma_completion {
    pub cookie: __u64,
    pub bytes: __u64,
    pub status: __s32,
    pub reserved: __u32,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct rdma_wait {
    pub completions: __u64,
    pub min: __u32,
    pub max: __u32,
    pub timeout_ns: __s64,
    pub flags: __u32,
    pub reserved: __u32,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct rdma_cancel {
    pub cookie: __u64,
    pub flags: __u32,
    pub reserved: __u32,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct rdma_eventfd {
    pub fd: __s32,
    pub flags: __u32,
}
pub const HEADER_IOC_INFO: request_numbers = 2151214336;
pub const HEADER_IOC_ALLOC: request_numbers = 3223907600;
pub const HEADER_IOC_FREE: request_numbers = 1074326801;
pub const HEADER_IOC_BUFFER: request_numbers = 3224431890;
pub const HEADER_IOC_SUBMIT: request_numbers = 1075375393;
pub const HEADER_IOC_WAIT: request_numbers = 1075899682;
pub const HEADER_IOC_CANCEL: request_numbers = 1074851107;
pub const HEADER_IOC_EVENTFD: request_numbers = 1074326820;
pub const HEADER_IOC_TRANSFER: request_numbers = 1077996832;
pub type request_numbers = ::core::ffi::c_uint;
