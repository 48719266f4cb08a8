"""Buffers that other drivers and programs access, too, with a device (shared.py) and without one (units.py)."""

import copy
import gc
import os
import pickle
import socket
import tempfile

import cases
import rust_dma


class Shared(cases.Cases):
    """Memory of two contexts, and how long it stays."""

    def descriptors(self) -> int:
        """How many files this process has open."""
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    def received(self, dma_buf: rust_dma.DmaBuf, length: int, offset: int = 0) -> bytes:
        """Bytes of a buffer, moved by the device of its context."""
        destination = dma_buf.context.allocate(4096)
        dma_buf.context.copy(dma_buf, destination, length, offset)
        return bytes(destination[:length])

    def test_two_contexts_have_the_same_bytes(self) -> None:
        shared = self.context.allocate_shared(5000)
        with rust_dma.Context() as other, other.import_shared(shared) as imported:
            self.assertEqual((shared.nbytes, len(imported), shared.readonly, imported.readonly), (8192, 8192, False, False))
            self.context.copy(self.filled(b"hello"), shared, 5, at=4094)
            self.assertEqual(self.received(imported, 7, 4093), b"\0hello\0")
            other.copy(self.filled(b"again", other), imported, 5)
            self.assertEqual(self.received(shared, 5), b"again")

    def test_the_program_accesses_it(self) -> None:
        with rust_dma.Context() as other, self.context.allocate_shared(4096) as shared, other.import_shared(shared.fileno()) as imported:
            with shared.mapped() as view:
                self.assertEqual((len(view), bytes(view)), (4096, bytes(4096)))
                view[:7] = b"written"
            self.assertEqual(self.received(imported, 7), b"written")
            other.copy(self.filled(b"came back", other), imported, 9)
            with shared.mapped() as view:
                self.assertEqual(bytes(view[:9]), b"came back")

    def test_it_stays_until_the_last_one_frees_it(self) -> None:
        before, other = self.descriptors(), rust_dma.Context()
        shared = self.context.allocate_shared(4096)
        self.context.copy(self.filled(b"stays"), shared, 5)
        imported = other.import_shared(shared)
        shared.free()
        self.assertEqual((shared.handle, repr(shared)), (None, "<rust_dma.DmaBuf, freed>"))
        self.filled(b"other")
        self.assertEqual(self.received(imported, 5), b"stays")
        shared.free()
        del imported
        other.close()
        self.assertEqual(self.descriptors(), before)

    def test_it_is_freed_while_it_is_mapped(self) -> None:
        shared = self.context.allocate_shared(4096)
        with shared.mapped() as view:
            shared.free()
            view[:4] = b"kept"
            self.assertEqual(bytes(view[:4]), b"kept")

    def test_another_program_receives_it(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs, self.context.allocate_shared(4096) as shared:

            def receive() -> None:
                _, descriptors, _, _ = socket.recv_fds(theirs, 1, 1)
                with rust_dma.Context() as context, context.import_shared(descriptors[0]) as imported:
                    context.copy(self.filled(b"from a child", context), imported, 12)

            socket.send_fds(ours, [b" "], [shared.fileno()])
            self.child(receive)
            self.when_it_came(shared)

    def when_it_came(self, shared: rust_dma.DmaBuf) -> None:
        """The bytes of the child are there."""
        self.assertEqual(self.received(shared, 12), b"from a child")

    def test_there_are_no_copies(self) -> None:
        shared = self.context.allocate_shared(4096)
        for copied in (copy.copy, copy.deepcopy, pickle.dumps):
            with self.assertRaisesRegex(TypeError, "a DmaBuf cannot be copied or pickled"):
                copied(shared)
        gc.collect()
        self.context.copy(self.filled(b"kept"), shared, 4)
        self.assertEqual(self.received(shared, 4), b"kept")

    def test_a_child_does_not_free_it(self) -> None:
        shared = self.context.allocate_shared(4096)
        self.child(shared.free)
        self.context.copy(self.filled(b"parent"), shared, 6)
        self.assertEqual(self.received(shared, 6), b"parent")

    def test_arguments(self) -> None:
        before, shared = self.descriptors(), self.context.allocate_shared(4096)
        with tempfile.TemporaryFile() as file, self.assertRaisesRegex(OSError, "not that of a dma-buf"):
            self.context.import_shared(file)
        with self.assertRaises(OSError):
            self.context.import_shared(-1)
        with self.assertRaisesRegex(ValueError, "a buffer of 0 bytes"):
            self.context.allocate_shared(0)
        with self.assertRaisesRegex(ValueError, "4097 bytes from 0 on: the buffer has 4096"):
            self.context.copy(shared, self.context.allocate(8192), 4097)
        with rust_dma.Context() as other, self.assertRaisesRegex(ValueError, "another context"):
            other.copy(shared, other.allocate(4096))
        self.assertRegex(repr(shared), rf"^<rust_dma.DmaBuf {shared.handle} of /dev/rdma0, 4096 bytes, descriptor {shared.fileno()}>$")
        request = self.context.request_copy(shared, self.context.allocate(4096))
        shared.free()
        for use in (
            shared.fileno,
            lambda: shared.nbytes,
            lambda: self.context.copy(shared, self.context.allocate(4096)),
            lambda: self.context.submit([request]),
            lambda: self.context.import_shared(shared),
            lambda: shared.mapped().__enter__(),
        ):
            with self.assertRaisesRegex(ValueError, "the buffer has been freed"):
                use()
        del request
        self.assertEqual(self.descriptors(), before)
