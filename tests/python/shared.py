#!/usr/bin/python3 -B
"""tests/python/shared.py : buffers that other drivers and programs access, too. Runs in a guest whose device can access all memory."""

import fcntl
import os
import struct
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(PROJECT / "tests/harness"), str(PROJECT / "build/user/python")]
import cases  # noqa: E402
import ktap  # noqa: E402
import shared_cases  # noqa: E402

UDMABUF_CREATE = 0x40187542
DMA_HEAP_IOCTL_ALLOC = 0xC0184800


def from_a_memory_file(size: int) -> int:
    """A dma-buf of pages of a memory file, which may not shrink."""
    file = os.memfd_create("pages", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.truncate(file, size)
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    with Path("/dev/udmabuf").open("r+b", buffering=0) as driver:
        dma_buf = fcntl.ioctl(driver, UDMABUF_CREATE, bytearray(struct.pack("=IIQQ", file, 1, 0, size)))
    os.close(file)
    return dma_buf


def from_a_heap(size: int, mode: int = os.O_RDWR) -> int:
    """A dma-buf of the heap `system`."""
    with Path("/dev/dma_heap/system").open("rb", buffering=0) as heap:
        filled = fcntl.ioctl(heap, DMA_HEAP_IOCTL_ALLOC, struct.pack("=QIIQ", size, 0, mode | os.O_CLOEXEC, 0))
    return struct.unpack("=QIIQ", filled)[1]


class OtherDrivers(cases.Cases):
    """Memory of other drivers of the kernel."""

    def test_memory_of_a_file(self) -> None:
        self.both_ways(from_a_memory_file(8192))

    def test_memory_of_a_heap(self) -> None:
        self.both_ways(from_a_heap(8192))

    def both_ways(self, descriptor: int) -> None:
        """Copies from it and to it."""
        with self.context.import_shared(descriptor) as imported:
            self.assertEqual(imported.nbytes, 8192)
            with imported.mapped() as view:
                view[4094:4098] = b"page"
            there = self.context.allocate(4096)
            self.context.copy(imported, there, 4, 4094)
            self.assertEqual(bytes(there[:4]), b"page")
            self.context.copy(self.filled(b"from a device"), imported, 13)
            with imported.mapped() as view:
                self.assertEqual(bytes(view[:13]), b"from a device")
        os.close(descriptor)

    def test_memory_that_is_read_only(self) -> None:
        descriptor, there = from_a_heap(4096, os.O_RDONLY), self.filled(b"overwritten")
        imported = self.context.import_shared(descriptor)
        os.close(descriptor)
        self.assertTrue(imported.readonly)
        self.context.copy(imported, there, 4)
        self.assertEqual(bytes(there[:11]), b"\0\0\0\0written")
        with self.assertRaisesRegex(ValueError, "read-only"):
            self.context.copy(there, imported, 1)
        with imported.mapped() as view, self.assertRaises(TypeError):
            view[0] = 1


if __name__ == "__main__":
    sys.exit(ktap.main(shared_cases.Shared, OtherDrivers))
