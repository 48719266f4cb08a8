"""The system calls on a node. Errors are OSError, with what is known of their reason."""

import ctypes
import fcntl
import mmap
import os
import weakref
from collections.abc import Mapping

_libc = ctypes.CDLL(None, use_errno=True)
_mmap = getattr(_libc, "mmap64", _libc.mmap)
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64]
_munmap = _libc.munmap
_munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_MAP_FAILED = ctypes.c_void_p(-1).value


def explained(error: OSError, reasons: Mapping[int, str]) -> OSError:
    """The same error, with the reason for its errno if there is one."""
    reason = reasons.get(error.errno or 0)
    return OSError(error.errno, f"{error.strerror}: {reason}", error.filename) if reason else error


def open_node(node: str | os.PathLike[str]) -> int:
    """Open a node."""
    return os.open(node, os.O_RDWR | os.O_CLOEXEC)


def ioctl(node: int, number: int, argument: ctypes.Structure) -> int:
    """One call of the driver, which reads the argument and may write it."""
    return int(fcntl.ioctl(node, number, argument))


def read(node: int, length: int, at: int) -> bytes:
    """Read device memory."""
    return os.pread(node, length, at)


def write(node: int, data: bytes | bytearray | memoryview, at: int) -> int:
    """Write device memory."""
    return os.pwrite(node, data, at)


def access_mode(descriptor: int) -> int:
    """O_RDONLY, O_WRONLY or O_RDWR."""
    return fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE


def map_memory(node: int, size: int, offset: int, writable: bool = True) -> memoryview:
    """Map memory, as bytes. It is unmapped when there are no views of it any more.

    mmap.mmap would duplicate the descriptor and keep the duplicate as long as the mapping (before Python 3.13, always).
    """
    address = _mmap(None, size, mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0), mmap.MAP_SHARED, node, offset)
    if address == _MAP_FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    memory = (ctypes.c_ubyte * size).from_address(address)
    # Not at exit, when other threads may still access it.
    weakref.finalize(memory, _munmap, address, size).atexit = False
    view = memoryview(memory).cast("B")
    return view if writable else view.toreadonly()
