#!/usr/bin/python3 -B
"""tests/python/shared.py : buffers that other drivers and programs access, too. Runs in a guest whose device can access all memory."""

import ctypes
import fcntl
import os
import sys
import unittest
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(PROJECT / "tests/harness"), str(PROJECT / "build/user/python")]
import cases  # noqa: E402
import ktap  # noqa: E402
import rust_dma  # noqa: E402
import shared_cases  # noqa: E402


class Devices(cases.Cases):
    """Two devices move the bytes of one buffer."""

    @unittest.skipUnless(Path("/dev/rdma1").exists(), "this guest has one device")
    def test_two_devices(self) -> None:
        with rust_dma.Context("/dev/rdma1") as other, self.context.allocate_shared(4096) as shared, other.import_shared(shared) as imported:
            self.context.copy(self.filled(b"by the first"), shared, 12)
            other.to_device(imported, 12)
            self.assertEqual(other.read(12), b"by the first")
            other.write(b"by the second")
            other.from_device(imported, 13)
            with shared.mapped() as view:
                self.assertEqual(bytes(view[:13]), b"by the second")


class Udmabuf(ctypes.Structure):
    """struct udmabuf_create of linux/udmabuf.h."""

    _fields_ = [("memfd", ctypes.c_uint32), ("flags", ctypes.c_uint32), ("offset", ctypes.c_uint64), ("size", ctypes.c_uint64)]
    CREATE = 0x40187542


class Heap(ctypes.Structure):
    """struct dma_heap_allocation_data of linux/dma-heap.h."""

    _fields_ = [("len", ctypes.c_uint64), ("fd", ctypes.c_uint32), ("fd_flags", ctypes.c_uint32), ("heap_flags", ctypes.c_uint64)]
    ALLOC = 0xC0184800


class Others(cases.Cases):
    """Memory of other drivers as buffers."""

    def moved(self, descriptor: int) -> None:
        """The device reads and writes it, and the program accesses the same bytes."""
        self.addCleanup(os.close, descriptor)
        with self.context.import_shared(descriptor) as imported:
            self.assertEqual(imported.nbytes, 8192)
            with imported.mapped() as view:
                view[4094:4100] = b"others"
            destination = self.filled(b"")
            self.context.copy(imported, destination, 6, 4094)
            self.assertEqual(bytes(destination[:6]), b"others")
            self.context.copy(self.filled(b"device"), imported, 6)
            with imported.mapped() as view:
                self.assertEqual(bytes(view[:6]), b"device")

    def test_a_file_in_memory(self) -> None:
        file = os.memfd_create("shared", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
        self.addCleanup(os.close, file)
        os.truncate(file, 8192)
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        with open("/dev/udmabuf", "rb") as driver:
            self.moved(fcntl.ioctl(driver, Udmabuf.CREATE, Udmabuf(file, 1, 0, 8192)))
        self.assertEqual(os.pread(file, 6, 4094), b"others")
        self.assertEqual(os.pread(file, 6, 0), b"device")

    def test_a_heap(self) -> None:
        self.moved(self.allocated(os.O_RDWR))

    def allocated(self, mode: int) -> int:
        """Memory of the heap, by a descriptor with this access mode."""
        data = Heap(8192, 0, mode | os.O_CLOEXEC, 0)
        with open("/dev/dma_heap/system", "rb") as heap:
            fcntl.ioctl(heap, Heap.ALLOC, data)
        return int(data.fd)

    def test_a_heap_for_reading(self) -> None:
        descriptor = self.allocated(os.O_RDONLY)
        self.addCleanup(os.close, descriptor)
        with self.context.import_shared(descriptor) as imported:
            destination = self.filled(b"before")
            self.context.copy(imported, destination, 6)
            self.assertEqual((imported.readonly, bytes(destination[:6])), (True, bytes(6)))
            with self.assertRaisesRegex(ValueError, "read-only"):
                self.context.copy(destination, imported, 6)
            with imported.mapped() as view, self.assertRaises(TypeError):
                view[0] = 1


if __name__ == "__main__":
    sys.exit(ktap.main(shared_cases.Shared, Devices, Others))
