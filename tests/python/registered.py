#!/usr/bin/python3 -B
"""tests/python/registered.py : memory of the program as buffers. Runs in a guest whose device can access all memory."""

import gc
import mmap
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(PROJECT / "tests/harness"), str(PROJECT / "build/user/python")]
import cases  # noqa: E402
import ktap  # noqa: E402
import registered_cases  # noqa: E402


class OfTheDevice(cases.Cases):
    """What only the driver refuses."""

    def test_memory_that_must_not_be_pinned(self) -> None:
        with self.assertRaisesRegex(OSError, "must not be pinned"):
            self.context.register(self.context.allocate(4096).view)

    def buffers(self) -> str:
        """How many buffers the device has, and how large they are."""
        return Path("/sys/kernel/debug/rust_dma/rdma0/state").read_text().split("buffers ")[1]

    def test_closing_frees_it_although_a_view_of_another_buffer_lives(self) -> None:
        gc.collect()
        view = self.context.allocate(4096).view
        before, memory = self.buffers(), bytearray(1 << 20)
        buffer = self.context.register(memory)
        self.assertNotEqual(self.buffers(), before)
        self.context.close()
        self.assertEqual(self.buffers(), before)
        view[:5] = b"lives"
        buffer.free()
        memory.append(1)

    def test_a_file_in_memory(self) -> None:
        with tempfile.TemporaryFile(dir="/dev/shm") as file:
            file.write(bytes(4096))
            file.flush()
            memory = mmap.mmap(file.fileno(), 4096)
            self.context.copy(self.filled(b"in the file"), self.context.register(memory), 11)
            file.seek(0)
            self.assertEqual(file.read(11), b"in the file")


if __name__ == "__main__":
    sys.exit(ktap.main(registered_cases.Registered, OfTheDevice))
