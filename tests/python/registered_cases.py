"""Memory of the program as buffers, with a device (registered.py) and without one (units.py)."""

import array
import errno
import gc
import mmap
import weakref

import cases
from rust_dma import _abi


class Registered(cases.Cases):
    """Objects of all kinds, and how long they are kept."""

    def test_objects_with_bytes(self) -> None:
        destination = self.context.allocate(4096)
        for source in (b"bytes", bytearray(b"bytes"), array.array("b", b"bytes"), memoryview(b"some bytes")[5:]):
            with self.context.register(source) as buffer:
                self.assertEqual(buffer.nbytes, 5)
                destination.view[:5] = bytes(5)
                self.context.copy(buffer, destination)
                self.assertEqual(bytes(destination.view[:5]), b"bytes")

    def test_the_object_is_written(self) -> None:
        source, memory = self.filled(b"written by the device"), bytearray(100)
        anonymous = mmap.mmap(-1, 8192)
        self.context.copy(source, self.context.register(memory), 7, at=50)
        self.assertEqual(memory, bytes(50) + b"written" + bytes(43))
        self.context.copy(source, self.context.register(anonymous), 7, at=4093)
        self.assertEqual(anonymous[4090:4102], bytes(3) + b"written" + bytes(2))

    def test_read_only_objects(self) -> None:
        source, buffer = self.filled(b""), self.context.register(b"constant")
        with self.assertRaisesRegex(ValueError, "read-only"):
            self.context.copy(source, buffer, 1)
        with self.assertRaises(TypeError):
            buffer[0] = 1

    @cases.with_numpy
    def test_arrays(self) -> None:
        numpy = cases.numpy
        sent, came = numpy.arange(3000, dtype="int32").reshape(30, 100), numpy.zeros((30, 100), "int32")
        with self.context.register(sent) as source, self.context.register(came) as destination:
            self.context.copy(source, destination)
            self.assertTrue(numpy.array_equal(sent, came))
            self.assertIs(destination.array(), came)
            self.assertEqual((source[3, 4], len(source)), (304, 30))
            self.assertIn("int32 (30, 100)", repr(source))
        frozen = numpy.arange(10)
        frozen.flags.writeable = False
        with self.assertRaisesRegex(ValueError, "read-only"):
            self.context.copy(self.filled(b""), self.context.register(frozen), 1)

    @cases.with_numpy
    def test_elements_that_are_apart(self) -> None:
        with self.assertRaisesRegex(ValueError, "ascontiguousarray"):
            self.context.register(cases.numpy.zeros((10, 10))[:, 1])

    def test_arguments(self) -> None:
        with self.assertRaisesRegex(ValueError, "no bytes"):
            self.context.register(b"")
        with self.assertRaises(TypeError):
            self.context.register("text")

    def test_an_object_cannot_be_resized_before_it_is_freed(self) -> None:
        memory = bytearray(100)
        buffer = self.context.register(memory)
        with self.assertRaises(BufferError):
            memory.append(1)
        buffer.free()
        memory.append(1)

    def test_an_object_cannot_be_resized_after_a_view_is_released(self) -> None:
        memory = bytearray(100)
        buffer = self.context.register(memory)
        with buffer.view as view:
            view[0] = 1
        buffer.view.release()
        buffer.__buffer__(0).release()
        with self.assertRaises(BufferError):
            memory.append(1)
        self.assertEqual(buffer.nbytes, 100)
        self.context.copy(self.filled(b"written"), buffer, 7)
        self.assertEqual(memory[:7], b"written")

    def test_an_object_is_kept_until_its_requests_have_ended(self) -> None:
        class Memory(bytearray):
            """One that can be observed."""

        memory = Memory(8192)
        observed = weakref.ref(memory)
        source = self.filled(b"device", self.context)
        buffer = self.context.register(memory)
        self.hold()
        self.context.submit([self.context.request_copy(source, buffer, 6, cookie=place) for place in range(3)])
        del memory, buffer
        gc.collect()
        if self.context.info().device_memory_size:  # I/OAT may be done with them
            self.assertIsNotNone(observed())
        self.context.wait(3, 3, timeout=10)
        self.context.wait(0)
        gc.collect()
        self.assertIsNone(observed())

    def test_an_object_is_kept_until_the_context_is_closed(self) -> None:
        class Memory(bytearray):
            """One that can be observed."""

        memory = Memory(8192)
        observed = weakref.ref(memory)
        source, buffer = self.filled(b"device"), self.context.register(memory)
        self.hold()
        self.context.submit([self.context.request_copy(source, buffer, 6, cookie=place) for place in range(3)])
        del memory, buffer
        gc.collect()
        if self.context.info().device_memory_size:  # I/OAT may be done with them
            self.assertIsNotNone(observed())
        self.context.close()
        gc.collect()
        self.assertIsNone(observed())

    def test_a_child_does_not_free_it(self) -> None:
        memory = bytearray(b"parent")
        buffer = self.context.register(memory)
        self.child(buffer.free)
        destination = self.filled(b"")
        self.context.copy(buffer, destination)
        self.assertEqual(bytes(destination.view[:6]), b"parent")

    def test_a_child_does_not_use_it(self) -> None:
        def uses() -> None:
            for use in (lambda: self.context.submit([request]), lambda: self.context.copy(buffer, destination)):
                with self.assertRaisesRegex(ValueError, "registered memory of another process"):
                    use()
            with self.context.register(bytearray(b"child.")) as own:
                self.context.copy(own, destination)

        buffer, destination = self.context.register(bytearray(b"parent")), self.filled(b"before")
        request = self.context.request_copy(buffer, destination)
        self.child(uses)
        self.assertEqual(bytes(destination[:6]), b"child.")
        self.context.copy(buffer, destination)
        self.assertEqual(bytes(destination[:6]), b"parent")

    def test_a_child_does_not_free_what_its_parent_has_freed(self) -> None:
        if not self.context.info().device_memory_size:
            self.skipTest("I/OAT may be done with it before it is freed")
        buffer = self.context.register(bytearray(4096))
        number = buffer.handle
        self.hold()
        self.context.submit([self.context.request_copy(self.filled(b"device"), buffer, 6)])
        buffer.free()
        self.child(lambda: self.context.wait(1))
        self.context._call(_abi.RDMA_IOC_BUFFER_INFO, _abi.rdma_buffer_info(handle=number))
        self.context.wait(0)
        with self.assertRaises(OSError) as raised:
            self.context._call(_abi.RDMA_IOC_BUFFER_INFO, _abi.rdma_buffer_info(handle=number))
        self.assertEqual(raised.exception.errno, errno.EINVAL)

    def hold(self) -> None:
        """Requests do not end at once."""
