"""What the Python module does, with a device (module.py) and without one (units.py)."""

import asyncio
import copy
import dataclasses
import gc
import operator
import os
import pickle
import selectors
import signal
import time
import unittest
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import ECANCELED

import rust_dma

try:
    import numpy
except ModuleNotFoundError:
    numpy = None
with_numpy = unittest.skipUnless(numpy, "this Python has no NumPy")


class Cases(unittest.TestCase):
    """A context, and tools for tests."""

    def setUp(self) -> None:
        self.context = rust_dma.Context()
        self.addCleanup(self.context.close)

    def filled(self, text: bytes, context: rust_dma.Context | None = None) -> rust_dma.Buffer:
        """A buffer that begins with these bytes."""
        buffer = (context or self.context).allocate(4096)
        buffer.view[: len(text)] = text
        return buffer

    @contextmanager
    def alarm(self, handler: Callable[[], None], seconds: float) -> Iterator[None]:
        """Call a handler in this time."""
        old = signal.signal(signal.SIGALRM, lambda *_: handler())
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, old)

    def child(self, action: Callable[[], object]) -> None:
        """Do this in a child, which must succeed."""
        process = os.fork()
        if process == 0:
            status = 1
            try:
                action()
                gc.collect()
                status = 0
            finally:
                os._exit(status)
        self.assertEqual(os.waitpid(process, 0)[1], 0)


class Handles(Cases):
    """Buffers are named by numbers, which the driver gives to others later."""

    def requests(self, first: rust_dma.Buffer, second: rust_dma.Buffer) -> dict[str, Callable[[], rust_dma.Request]]:
        """A request of each operation, in which the first buffer is used, by its role."""
        context = self.context
        return {
            "to device": lambda: context.request_to_device(first, 4),
            "from device": lambda: context.request_from_device(first, 4),
            "copy from": lambda: context.request_copy(first, second, 4),
            "copy to": lambda: context.request_copy(second, first, 4),
        }

    def calls(self, first: rust_dma.Buffer, second: rust_dma.Buffer) -> dict[str, Callable[[], None]]:
        """The same for calls that wait."""
        context = self.context
        return {
            "to device": lambda: context.to_device(first, 4),
            "from device": lambda: context.from_device(first, 4),
            "copy from": lambda: context.copy(first, second, 4),
            "copy to": lambda: context.copy(second, first, 4),
        }

    def test_requests_of_freed_buffers_are_refused(self) -> None:
        for role in self.requests(self.filled(b""), self.filled(b"")):
            with self.subTest(role):
                self.context.write(b"none")
                buffer, second = self.filled(b"gone"), self.filled(b"2222")
                request = self.requests(buffer, second)[role]()
                buffer.free()
                later = self.filled(b"late")
                with self.assertRaisesRegex(ValueError, "the buffer has been freed"):
                    self.context.submit([request])
                for calls in (self.requests, self.calls):
                    with self.assertRaisesRegex(ValueError, "the buffer has been freed"):
                        calls(buffer, second)[role]()
                self.assertEqual((self.context.read(4), bytes(later.view[:4]), bytes(second.view[:4])), (b"none", b"late", b"2222"))

    def test_requests_keep_their_buffers(self) -> None:
        request = self.context.request_to_device(self.filled(b"kept"), 4)
        gc.collect()
        self.filled(b"late")
        self.context.submit([request])
        self.context.wait()
        self.assertEqual(self.context.read(4), b"kept")

    def test_buffers_of_another_context_are_refused(self) -> None:
        with rust_dma.Context() as other:
            foreign, own = self.filled(b"they", other), self.filled(b"ours")
            self.context.write(b"none")
            for role in self.requests(foreign, own):
                for calls in (self.requests, self.calls):
                    with self.subTest(role), self.assertRaisesRegex(ValueError, "another context"):
                        calls(foreign, own)[role]()
            with self.assertRaisesRegex(ValueError, "another context"):
                self.context.submit([other.request_to_device(foreign, 4)])
            with self.assertRaisesRegex(ValueError, "another context"):
                asyncio.run(self.context.run(other.request_to_device(foreign, 4)))
            self.assertEqual((self.context.read(4), bytes(foreign.view[:4]), bytes(own.view[:4])), (b"none", b"they", b"ours"))

    def test_a_child_frees_nothing_of_its_parent(self) -> None:
        def leave(buffer: rust_dma.Buffer) -> None:
            with buffer:
                pass

        for way in (lambda kept: kept.clear(), lambda kept: kept[0].free(), lambda kept: leave(kept[0])):
            kept = [self.filled(b"mine")]
            request = self.context.request_to_device(kept[0], 4)
            self.context.write(b"none")
            self.child(lambda way=way, kept=kept: way(kept))
            self.filled(b"late")
            self.context.submit([request])
            self.context.wait()
            self.assertEqual(self.context.read(4), b"mine")

    def test_there_are_no_copies(self) -> None:
        context = rust_dma.Context()
        buffer, second = self.filled(b"kept", context), context.allocate(4096)
        request = context.request_copy(buffer, second, 4)
        for unique in (context, buffer, request):
            for copied in (copy.deepcopy, pickle.dumps):
                with self.subTest(repr(unique)), self.assertRaisesRegex(TypeError, "cannot be copied or pickled"):
                    copied(unique)
        for unique in (context, buffer):
            with self.assertRaisesRegex(TypeError, "cannot be copied or pickled"):
                copy.copy(unique)
        with self.assertRaisesRegex(TypeError, "a Context cannot be copied or pickled"):
            dataclasses.asdict(request)
        gc.collect()
        self.filled(b"late", context)
        context.submit([request])
        context.wait()
        self.assertEqual(bytes(second[:4]), b"kept")
        context.close()

    def test_freed_buffers_are_not_accessed(self) -> None:
        buffer = self.filled(b"old")
        array = buffer.view[:3]
        with buffer:
            self.assertIsNotNone(buffer.handle)
        self.assertIsNone(buffer.handle)
        for access in (lambda: buffer[0], lambda: buffer.view, lambda: operator.setitem(buffer, 0, 1), lambda: len(buffer), buffer.array):
            with self.assertRaisesRegex(ValueError, "the buffer has been freed"):
                access()
        buffer.free()
        self.assertEqual((bytes(array), repr(buffer)), (b"old", "<rust_dma.Buffer, freed>"))


class Arguments(Cases):
    """Errors say what is wrong."""

    def test_what_does_not_fit_is_named(self) -> None:
        context, buffer, large = self.context, self.filled(b""), self.context.allocate(8192)
        for message, call in {
            "5000 bytes from 0 on: the buffer has 4096": lambda: context.to_device(buffer, 5000),
            "8192 bytes from 0 on: the device memory has 4096": lambda: context.to_device(large),
            "4096 bytes from 1 on: the device memory has 4096": lambda: context.from_device(buffer, at=1),
            "1 bytes from -1 on: the buffer has 4096": lambda: context.copy(buffer, large, 1, -1),
            "8192 bytes from 0 on: the buffer has 4096": lambda: context.copy(large, buffer),
            "a request moves at least 1 byte, not 0": lambda: context.request_to_device(buffer, 0),
            "they overlap": lambda: context.copy(large, large, 100, at=99),
            "cookie -1": lambda: context.request_to_device(buffer, cookie=-1),
            "cookie -2: it must be 0 to": lambda: context.cancel(-2),
            "cookie 9223372036854775808: it must be": lambda: context.cancel(1 << 63),  # that of a coroutine
            "cookie 18446744073709551617": lambda: context.cancel((1 << 64) + 1),
            "5 bytes from 4093 on: the device memory has 4096": lambda: context.write(b"again", at=4093),
            "6 bytes for a slice of 5": lambda: operator.setitem(buffer, slice(5), b"123456"),
            "a buffer of 0 bytes": lambda: context.allocate(0),
            "a buffer of 2147483648 bytes: it must have 1 to 1073741824": lambda: context.allocate(1 << 31),
            "no requests": lambda: context.submit([]),
            "a chain of 1025 requests: it can have at most 1024": lambda: context.submit(
                [context.request_to_device(buffer, 1)] * 1025, linked=True
            ),
            "at least 2 and at most 1 completions": lambda: context.wait(2, 1),
            "at least 3 and at most 2 completions": lambda: asyncio.run(context.wait_async(3, 2)),
        }.items():
            with self.subTest(message), self.assertRaisesRegex(ValueError, message):
                call()

    @with_numpy
    def test_numbers_can_be_those_of_numpy(self) -> None:
        for kind in (numpy.int64, numpy.uint8):
            buffer = self.filled(b"0123456789")
            self.context.to_device(buffer, kind(5), kind(2), kind(200))
            self.context.from_device(buffer, kind(3), kind(100), kind(201))
            self.assertEqual(bytes(buffer[100:103]), b"345")
            self.context.copy(buffer, buffer, kind(2), kind(4), kind(250))
            self.assertEqual(bytes(buffer[250:252]), b"45")
            self.assertEqual(self.context.request_to_device(buffer, offset=kind(1)).length, 4095)
            request = self.context.request_from_device(buffer, kind(1), kind(0), kind(0), kind(77))
            self.assertEqual(type(request.cookie), int)
            self.context.submit([request])
            self.assertEqual([item.cookie for item in self.context.wait(kind(1), kind(9))], [77])
            with self.assertRaisesRegex(OSError, "no request with the cookie 77"):
                self.context.cancel(kind(77))
            with self.assertRaisesRegex(ValueError, "4096 bytes from 200 on"):
                self.context.write(bytes(4096), kind(200))

    def test_only_integers_are_numbers_of_bytes(self) -> None:
        with self.assertRaisesRegex(TypeError, "float"):
            self.context.request_to_device(self.filled(b""), 5.0)

    def test_what_cannot_be_opened_is_named(self) -> None:
        with self.assertRaisesRegex(FileNotFoundError, r"no such device node.*rdmactl doctor.*'/dev/rdma99'"):
            rust_dma.Context("/dev/rdma99")
        with self.assertRaisesRegex(OSError, "no node of the driver"):
            rust_dma.Context("/dev/null")
        with self.assertRaisesRegex(OSError, "no request with the cookie 99"):
            self.context.cancel(99)
        self.context.close()
        for call in (self.context.info, self.context.wait, lambda: self.context.allocate(1), lambda: self.context.read(1)):
            with self.assertRaisesRegex(ValueError, "the context is closed"):
                call()

    def test_names_are_in_representations(self) -> None:
        buffer = self.context.allocate(1)
        self.assertEqual(repr(self.context), "<rust_dma.Context of /dev/rdma0>")
        self.assertEqual(repr(buffer), f"<rust_dma.Buffer {buffer.handle} of /dev/rdma0, 4096 bytes>")
        self.assertRegex(repr(self.context.request_to_device(buffer, 5)), "TO_DEVICE.*length=5")
        self.context.close()
        self.assertEqual(repr(self.context), "<rust_dma.Context of /dev/rdma0, closed>")
        self.assertRegex(rust_dma.__version__, r"^\d+\.\d+\.\d+$")


class Views(Cases):
    """A buffer as bytes and as arrays."""

    def test_a_buffer_is_a_sequence_of_bytes(self) -> None:
        buffer = self.context.allocate(5000)
        self.assertEqual((len(buffer), buffer.nbytes), (8192, 8192))
        buffer[:5] = b"hello"
        buffer[5] = 33
        self.assertEqual((bytes(buffer[:6]), buffer[1], buffer[-1]), (b"hello!", ord("e"), 0))
        buffer[1:3] = bytearray(b"EL")
        self.assertEqual(bytes(buffer.view[:6]), b"hELlo!")
        with self.assertRaises(IndexError):
            buffer[8192]

    def test_memoryview_takes_it(self) -> None:
        buffer = self.filled(b"hello")
        if not hasattr(type(b""), "__buffer__"):
            self.skipTest("the buffer protocol is for classes in Python from version 3.12 on")
        view = memoryview(buffer)
        view[0] = 72
        buffer.free()
        self.assertEqual(bytes(view[:5]), b"Hello")

    def test_views_can_be_released(self) -> None:
        buffer = self.context.allocate(4096)
        with buffer.view as view:
            view[:5] = b"hello"
        buffer.__buffer__(0).release()
        self.assertEqual((buffer.nbytes, buffer.readonly, bytes(buffer[:5])), (4096, False, b"hello"))
        self.context.copy(buffer, buffer, 5, at=100)
        self.assertEqual(bytes(buffer.view[100:105]), b"hello")

    @with_numpy
    def test_asarray_copies_nothing(self) -> None:
        buffer = self.context.allocate(4096)
        array = numpy.asarray(buffer)
        self.assertEqual((array.dtype, array.shape), (numpy.uint8, (4096,)))
        array[:3] = 1, 2, 3
        self.assertEqual(bytes(buffer[:4]), b"\1\2\3\0")
        buffer.free()
        gc.collect()
        self.assertEqual(int(array.sum()), 6)

    @with_numpy
    def test_the_array_interface_keeps_the_memory(self) -> None:
        class Old:  # a class without __buffer__, as in Python before 3.12
            def __init__(self, buffer: rust_dma.Buffer) -> None:
                self.__array_interface__ = buffer.__array_interface__

        for shape, dtype in ((4096, None), ((3, 4), "complex64"), ((2,), "datetime64[s]")):
            buffer = self.context.allocate(shape, dtype)
            array = numpy.asarray(Old(buffer))
            self.assertEqual((array.dtype, array.shape), (buffer.array().dtype, buffer.array().shape))
            self.assertTrue(numpy.shares_memory(array, buffer.array()))
            buffer.free()
            gc.collect()
            array[:] = array[::-1]
            self.assertFalse(array.astype(bool).any())

    @with_numpy
    def test_allocate_makes_arrays(self) -> None:
        buffer = self.context.allocate((3, 5), "float32")
        self.assertEqual((len(buffer), buffer.nbytes), (3, 60))
        array = numpy.asarray(buffer)
        self.assertEqual((array.dtype, array.shape), (numpy.float32, (3, 5)))
        buffer[1] = 7
        buffer[2, 4] = 8
        self.assertEqual((float(array.sum()), buffer[1, 0]), (43, 7))
        self.assertTrue(numpy.shares_memory(array, buffer.array("uint8")))
        self.assertRegex(repr(buffer), r"float32 \(3, 5\)>")
        self.context.to_device(buffer)
        array[:] = 0
        self.context.from_device(buffer)
        self.assertEqual(float(array.sum()), 43)
        with self.assertRaises(ValueError):
            self.context.allocate(3, object)
        with self.assertRaisesRegex(TypeError, "a shape needs a dtype"):
            self.context.allocate((3, 5))


class Waiting(Cases):
    """Collecting completions."""

    def test_minima_can_be_large(self) -> None:
        buffer = self.filled(b"")
        requests = [self.context.request_to_device(buffer, 1, cookie=place) for place in range(200)]
        self.assertEqual(self.context.submit(requests), 200)
        self.context.cancel()  # most of them, to save time
        self.assertEqual(sorted(item.cookie for item in self.context.wait(200)), list(range(200)))
        self.assertEqual(self.context.wait(2000, timeout=0), [])

    def test_timeouts_can_be_any_number(self) -> None:
        self.context.submit([self.context.request_to_device(self.filled(b""), 1)])
        self.assertEqual(len(self.context.wait(timeout=float("inf"))), 1)
        for timeout in (-1, -1.5e10, float("-inf")):
            self.assertEqual(self.context.wait(timeout=timeout), [])
        began = time.monotonic()
        self.assertEqual(self.context.wait(timeout=0.3), [])
        self.assertAlmostEqual(time.monotonic() - began, 0.3, delta=0.25)


class Coroutines(Cases):
    """With asyncio."""

    def test_requests_are_awaited(self) -> None:
        async def main() -> None:
            buffer = self.filled(b"hello")
            first = await self.context.run(self.context.request_to_device(buffer, 5))
            self.assertEqual((first.bytes, first.status), (5, 0))
            await asyncio.gather(*(self.context.run(self.context.request_from_device(buffer, 5, place)) for place in (10, 20, 30)))
            self.assertEqual([bytes(buffer[place : place + 5]) for place in (10, 20, 30)], [b"hello"] * 3)

        asyncio.run(main())
        asyncio.run(main())  # in another event loop

    def test_more_than_the_queue_has_room_for(self) -> None:
        async def main() -> None:
            request = self.context.request_to_device(self.filled(b""), 1)
            tasks = [asyncio.create_task(self.context.run(request)) for _ in range(1100)]
            while not any(task.done() for task in tasks):
                await asyncio.sleep(0)
            ended = 0
            while ended < len(tasks):
                self.context.cancel()  # to save time
                await asyncio.sleep(0)
                ended = sum(task.done() for task in tasks)
            results = await asyncio.gather(*tasks, return_exceptions=True)
            for result in results:
                if isinstance(result, OSError):
                    self.assertEqual(result.errno, ECANCELED)
                else:
                    self.assertIsInstance(result, rust_dma.Completion)

        asyncio.run(asyncio.wait_for(main(), 60))

    def test_others_wait_meanwhile(self) -> None:
        async def main() -> None:
            buffer = self.filled(b"")
            self.context.submit([self.context.request_to_device(buffer, 1, cookie=place) for place in (1, 2)])
            collected, awaited = await asyncio.gather(
                self.context.wait_async(2, timeout=60), self.context.run(self.context.request_to_device(buffer, 1))
            )
            self.assertEqual([item.cookie for item in collected], [1, 2])
            self.assertEqual(awaited.bytes, 1)
            self.assertEqual(await self.context.wait_async(timeout=0.1), [])
            self.assertEqual(await self.context.wait_async(0), [])

        asyncio.run(main())
        with selectors.DefaultSelector() as selector:  # and nothing else watches it now
            selector.register(self.context, selectors.EVENT_READ)
            self.context.submit([self.context.request_to_device(self.filled(b""), 1, cookie=3)])
            self.assertTrue(selector.select(10))
            self.assertEqual([item.cookie for item in self.context.wait()], [3])

    def test_cancelling_a_task_cancels_its_request(self) -> None:
        async def main() -> None:
            requests = [self.context.request_to_device(self.filled(b""), 1, at=place) for place in range(20)]
            tasks = [asyncio.create_task(self.context.run(request)) for request in requests]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            self.assertTrue(all(isinstance(result, asyncio.CancelledError) for result in results))
            await self.context.run(requests[0])

        began = time.monotonic()
        asyncio.run(main())
        self.assertLess(time.monotonic() - began, 1.5)  # 20 requests take 2 s

    def test_a_child_that_closes_the_context_stops_no_coroutine(self) -> None:
        async def main() -> None:
            task = asyncio.create_task(self.context.wait_async(timeout=10))
            await asyncio.sleep(0.01)
            self.child(self.context.close)
            self.context.submit([self.context.request_to_device(self.filled(b""), 1)])
            self.assertEqual(len(await task), 1)

        asyncio.run(main())

    def test_a_child_that_ends_a_coroutine_stops_none_of_its_parent(self) -> None:
        async def main() -> None:
            task = asyncio.create_task(self.context.wait_async(timeout=10))
            await asyncio.sleep(0.01)
            self.child(task.get_coro().close)
            self.context.submit([self.context.request_to_device(self.filled(b""), 1)])
            self.assertEqual(len(await task), 1)

        asyncio.run(main())

    def test_a_child_awaits_requests_of_its_own(self) -> None:
        async def awaits() -> None:
            self.assertEqual((await self.context.run(self.context.request_to_device(self.filled(b""), 1))).bytes, 1)

        def in_the_child() -> None:
            asyncio.run(awaits())
            asyncio.run(awaits())

        async def main() -> None:
            task = asyncio.create_task(self.context.wait_async(timeout=10))
            await asyncio.sleep(0.01)
            self.child(in_the_child)
            task.cancel()
            await asyncio.wait([task])

        asyncio.run(awaits())
        self.child(in_the_child)
        asyncio.run(main())

    def test_closing_ends_what_is_awaited(self) -> None:
        async def main() -> None:
            task = asyncio.create_task(self.context.wait_async())
            await asyncio.sleep(0.01)
            self.context.close()
            with self.assertRaisesRegex(ValueError, "the context is closed"):
                await task

        asyncio.run(main())


CASES = (Handles, Arguments, Views, Waiting, Coroutines)
