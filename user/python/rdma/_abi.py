"""The interface, as src/uapi/rdma.h has it; tests/python/module.py compares the two."""

import ctypes
from ctypes import c_int32 as s32
from ctypes import c_int64 as s64
from ctypes import c_uint32 as u32
from ctypes import c_uint64 as u64

ABI_VERSION = 1
DEVICE_MEMORY_SIZE = 4096
MAX_BUFFER_SIZE = 1 << 30
QUEUE_DEPTH = 1024

OP_TO_DEVICE = 1
OP_FROM_DEVICE = 2
OP_COPY = 3
REQUEST_LINK = 1
CANCEL_ALL = 1
INTERRUPT_INTX = 1
INTERRUPT_MSI = 2


class Structure(ctypes.Structure):
    """A structure whose fields are zero where nothing else is said."""


class Info(Structure):
    """struct rdma_info"""

    _fields_ = [
        ("abi_version", u32),
        ("capabilities", u32),
        ("device_memory_size", u64),
        ("max_transfer_size", u64),
        ("dma_bits", u32),
        ("interrupt", u32),
        ("hardware_version", u32),
        ("queue_depth", u32),
        ("reserved", u32 * 4),
    ]


class Alloc(Structure):
    """struct rdma_alloc"""

    _fields_ = [("size", u64), ("mmap_offset", u64), ("handle", u32), ("flags", u32), ("reserved", u64 * 2)]


class Free(Structure):
    """struct rdma_free"""

    _fields_ = [("handle", u32), ("flags", u32)]


class Request(Structure):
    """struct rdma_request"""

    _fields_ = [
        ("operation", u32),
        ("flags", u32),
        ("source", u32),
        ("destination", u32),
        ("source_offset", u64),
        ("destination_offset", u64),
        ("length", u64),
        ("cookie", u64),
        ("reserved", u64 * 2),
    ]


class Submit(Structure):
    """struct rdma_submit"""

    _fields_ = [("requests", u64), ("count", u32), ("flags", u32), ("reserved", u64)]


class Completion(Structure):
    """struct rdma_completion"""

    _fields_ = [("cookie", u64), ("bytes", u64), ("status", s32), ("reserved", u32)]


class Wait(Structure):
    """struct rdma_wait"""

    _fields_ = [
        ("completions", u64),
        ("min", u32),
        ("max", u32),
        ("timeout_ns", s64),
        ("flags", u32),
        ("reserved", u32),
    ]


class Cancel(Structure):
    """struct rdma_cancel"""

    _fields_ = [("cookie", u64), ("flags", u32), ("reserved", u32)]


def _number(direction: int, number: int, structure: type[Structure]) -> int:
    """Source: asm-generic/ioctl.h."""
    return direction << 30 | ctypes.sizeof(structure) << 16 | 0xED << 8 | number


_WRITE, _READ = 1, 2

IOC_INFO = _number(_READ, 0x00, Info)
IOC_ALLOC = _number(_READ | _WRITE, 0x10, Alloc)
IOC_FREE = _number(_WRITE, 0x11, Free)
IOC_TRANSFER = _number(_WRITE, 0x20, Request)
IOC_SUBMIT = _number(_WRITE, 0x21, Submit)
IOC_WAIT = _number(_WRITE, 0x22, Wait)
IOC_CANCEL = _number(_WRITE, 0x23, Cancel)
