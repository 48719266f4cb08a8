"""The interface, src/uapi/rdma.h. Written by src/uapi/generate; not to be edited."""

import ctypes

RDMA_ABI_VERSION = 1
RDMA_DEVICE_MEMORY_SIZE = 4096
RDMA_NO_BUFFER = 0
RDMA_FIRST_BUFFER = 1
RDMA_MAX_BUFFER_SIZE = 1073741824
RDMA_QUEUE_DEPTH = 1024
RDMA_MAX_ELEMENT_SIZE = 4096
RDMA_OP_TO_DEVICE = 1
RDMA_OP_FROM_DEVICE = 2
RDMA_OP_COPY = 3
RDMA_CAP_DIRECT_COPY = 1
RDMA_CAP_ABORT = 2
RDMA_INTERRUPT_INTX = 1
RDMA_INTERRUPT_MSI = 2
RDMA_REQUEST_LINK = 1
RDMA_WAIT_FOREVER = 9223372036854775807
RDMA_CANCEL_ALL = 1
RDMA_IOC_MAGIC = 237
RDMA_IOC_DEVICE_INFO = 2152787200
RDMA_IOC_ALLOC = 3223907600
RDMA_IOC_FREE = 1074851089
RDMA_IOC_BUFFER_INFO = 3224431890
RDMA_IOC_TRANSFER = 1077996832
RDMA_IOC_SUBMIT = 1075375393
RDMA_IOC_WAIT = 1076423970
RDMA_IOC_CANCEL = 1074851107
RDMA_IOC_EVENTFD = 1074851108


class rdma_device_info(ctypes.Structure):
    _fields_ = [
        ("abi_version", ctypes.c_uint32),
        ("operations", ctypes.c_uint32),
        ("capabilities", ctypes.c_uint64),
        ("device_memory_size", ctypes.c_uint64),
        ("max_transfer_size", ctypes.c_uint64),
        ("max_buffer_size", ctypes.c_uint64),
        ("queue_depth", ctypes.c_uint32),
        ("engine_depth", ctypes.c_uint32),
        ("address_alignment", ctypes.c_uint32),
        ("length_alignment", ctypes.c_uint32),
        ("dma_bits", ctypes.c_uint32),
        ("interrupt", ctypes.c_uint32),
        ("hardware_version", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 3),
    ]


class rdma_alloc(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_uint64),
        ("mmap_offset", ctypes.c_uint64),
        ("handle", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("reserved", ctypes.c_uint64 * 2),
    ]


class rdma_free(ctypes.Structure):
    _fields_ = [
        ("handle", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("reserved", ctypes.c_uint64),
    ]


class rdma_buffer_info(ctypes.Structure):
    _fields_ = [
        ("handle", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("size", ctypes.c_uint64),
        ("mmap_offset", ctypes.c_uint64),
        ("mappings", ctypes.c_uint32),
        ("requests", ctypes.c_uint32),
        ("reserved", ctypes.c_uint64 * 2),
    ]


class rdma_request(ctypes.Structure):
    _fields_ = [
        ("operation", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("source", ctypes.c_uint32),
        ("destination", ctypes.c_uint32),
        ("source_offset", ctypes.c_uint64),
        ("destination_offset", ctypes.c_uint64),
        ("length", ctypes.c_uint64),
        ("cookie", ctypes.c_uint64),
        ("reserved", ctypes.c_uint64 * 2),
    ]


class rdma_submit(ctypes.Structure):
    _fields_ = [
        ("requests", ctypes.c_uint64),
        ("count", ctypes.c_uint32),
        ("request_size", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    ]


class rdma_completion(ctypes.Structure):
    _fields_ = [
        ("cookie", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64),
        ("status", ctypes.c_int32),
        ("reserved", ctypes.c_uint32),
    ]


class rdma_wait(ctypes.Structure):
    _fields_ = [
        ("completions", ctypes.c_uint64),
        ("min", ctypes.c_uint32),
        ("max", ctypes.c_uint32),
        ("completion_size", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("deadline_ns", ctypes.c_int64),
        ("reserved", ctypes.c_uint64),
    ]


class rdma_cancel(ctypes.Structure):
    _fields_ = [
        ("cookie", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    ]


class rdma_eventfd(ctypes.Structure):
    _fields_ = [
        ("fd", ctypes.c_int32),
        ("flags", ctypes.c_uint32),
        ("reserved", ctypes.c_uint64),
    ]
