#!/usr/bin/python3 -B
"""tests/python/units.py : the Python module with a driver in Python (fake.py): without a device, on any Python that the module is for."""

import asyncio
import errno
import gc
import os
import signal
import sys
import threading
import time
import types
from collections import deque
from collections.abc import Callable
from itertools import count
from pathlib import Path
from unittest import mock

PROJECT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(PROJECT / "tests/harness"), str(PROJECT / "user/python")]
import cases  # noqa: E402
import fake  # noqa: E402
import ktap  # noqa: E402
import registered_cases  # noqa: E402
import shared_cases  # noqa: E402
import rust_dma  # noqa: E402
from rust_dma import _abi, _awaited, _collected, _descriptor, _registered  # noqa: E402


class Faked:
    """With the driver in Python."""

    def setUp(self) -> None:
        self.driver = fake.Driver()
        self.driver.install(self)
        super().setUp()

    def submitted(self, count: int) -> None:
        """Submit requests with the cookies 0, 1 and so on."""
        buffer = self.context.allocate(1)
        self.context.submit([self.context.request_to_device(buffer, 1, cookie=place) for place in range(count)])


class Rare(Faked, cases.Cases):
    """What a device does rarely."""

    def interrupted(self) -> None:
        """A call ends for a signal."""
        raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))

    def test_waits_continue_after_signals(self) -> None:
        self.driver.before[_abi.RDMA_IOC_WAIT] = deque([self.interrupted] * 3)
        self.submitted(3)
        self.assertEqual(len(self.context.wait(3)), 3)
        self.assertEqual(self.driver.calls.count(_abi.RDMA_IOC_WAIT), 4)

    def test_waits_that_come_back_short_continue(self) -> None:
        self.submitted(6)
        self.driver.wait, whole = None, self.driver.wait
        limits = deque([2, 0, 3, 64])

        def short(node: int, wait: _abi.rdma_wait) -> int:
            wait.min, wait.max = 0, limits.popleft() or wait.max
            return whole(node, wait) if len(limits) != 2 else 0

        self.driver.actions[_abi.RDMA_IOC_WAIT] = short
        self.assertEqual([item.cookie for item in self.context.wait(6, timeout=60)], list(range(6)))

    def test_a_handler_that_raises_loses_no_completion(self) -> None:
        def handler(*_: object) -> None:
            raise KeyboardInterrupt

        old = signal.signal(signal.SIGUSR1, handler)
        self.addCleanup(signal.signal, signal.SIGUSR1, old)
        self.submitted(4)
        self.driver.collected = lambda: signal.raise_signal(signal.SIGUSR1)
        with self.assertRaises(KeyboardInterrupt):
            self.context.wait(4)
        self.driver.collected = lambda: None
        self.assertEqual([item.cookie for item in self.context.wait(4, timeout=0)], list(range(4)))

    def test_an_error_of_a_handler_is_not_that_of_the_wait(self) -> None:
        def handled() -> None:
            raise TimeoutError

        self.submitted(1)
        self.context._collect()
        self.driver.before[_abi.RDMA_IOC_WAIT] = deque([handled])
        with self.assertRaises(TimeoutError):
            self.context.wait(2, timeout=60)
        self.assertEqual([item.cookie for item in self.context.wait(1, timeout=0)], [0])

    def test_an_exception_in_the_middle_of_a_delivery_loses_no_completion(self) -> None:
        deliver = _awaited.Awaited.deliver

        async def main(collects_again: bool) -> None:
            self.driver.held = True
            buffer, begun = self.context.allocate(1), []

            def second(awaited: _awaited.Awaited, completion: rust_dma.Completion) -> None:
                begun.append(completion)
                if len(begun) == 2:
                    raise KeyboardInterrupt
                deliver(awaited, completion)

            self.context.submit([self.context.request_to_device(buffer, 1, cookie=5)])
            tasks = [asyncio.create_task(self.context.run(self.context.request_to_device(buffer, 1))) for _ in range(3)]
            await asyncio.sleep(0)
            for _ in range(4):
                self.driver.step(self.context.fileno())
            with mock.patch.object(_awaited.Awaited, "deliver", second):
                with self.assertRaises(KeyboardInterrupt):
                    self.context._collect()
                if collects_again:
                    self.context._collect()
            self.assertEqual([item.bytes for item in await asyncio.gather(*tasks)], [1, 1, 1])
            self.assertEqual([item.cookie for item in await self.context.wait_async(0)], [5])

        for collects_again in (True, False):  # without another call, the event loop continues the delivery
            asyncio.run(asyncio.wait_for(main(collects_again), 10))

    def interrupt(self, place: int) -> bool:
        """Wait, with an exception before the line with this number, of those that deliver and return completions. Whether there is one."""
        lines = count()
        functions = [self.context._deliver, self.context._take, _collected.Collected.parts, _awaited.Awaited.deliver, _awaited.Awaited.wake]
        functions += [rust_dma.Completion.__eq__]
        traced = {function.__code__ for function in functions}

        def trace(frame: types.FrameType, event: str, _: object) -> Callable[..., object] | None:
            if frame.f_code not in traced:
                return None
            if event == "line" and next(lines) == place:
                raise KeyboardInterrupt
            return trace

        old = sys.gettrace()
        sys.settrace(trace)
        try:
            self.context.wait(4, timeout=0)
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(old)
        return False

    def test_no_exception_in_a_delivery_loses_a_completion(self) -> None:
        async def main(place: int) -> bool:
            self.driver.held = True
            buffer = self.context.allocate(1)
            self.context.submit([self.context.request_to_device(buffer, 1, cookie=cookie) for cookie in range(4)])
            tasks = [asyncio.create_task(self.context.run(self.context.request_to_device(buffer, 1))) for _ in range(2)]
            await asyncio.sleep(0)
            for _ in range(6):
                self.driver.step(self.context.fileno())
            raised = self.interrupt(place)
            if raised:
                self.assertEqual([item.cookie for item in self.context.wait(4, timeout=0)], list(range(4)), place)
            self.assertEqual([item.bytes for item in await asyncio.gather(*tasks)], [1, 1], place)
            self.assertEqual((self.context.wait(0), self.context._collected), ([], []))
            return raised

        places = 0
        while asyncio.run(asyncio.wait_for(main(places), 10)):
            places += 1
        self.assertGreater(places, 30)

    def test_coroutines_share_what_one_of_them_collects(self) -> None:
        async def main() -> None:
            self.driver.held = True
            buffer = self.context.allocate(1)
            self.context.submit([self.context.request_to_device(buffer, 1, cookie=place) for place in range(2)])
            first = asyncio.create_task(self.context.wait_async(1, 1))
            await asyncio.sleep(0)
            for _ in range(2):
                self.driver.step(self.context.fileno())
            found = await self.context.wait_async(1, 1) + await asyncio.wait_for(first, 10)
            self.assertEqual([item.cookie for item in found], [0, 1])

        asyncio.run(main())

    def test_a_wait_continues_after_another_thread_has_taken_its_completions(self) -> None:
        take, stolen = self.context._take, []

        def taken(*arguments: int) -> list[rust_dma.Completion]:
            if not stolen:
                stolen.extend(take(1))
            return take(*arguments)

        self.driver.held = True
        buffer = self.filled(b"")
        self.context.submit([self.context.request_to_device(buffer, 1, cookie=place) for place in range(5)])
        with mock.patch.object(self.context, "_take", taken):
            self.assertEqual([item.cookie for item in self.context.wait(1, 1)], [1])
            self.assertEqual([item.cookie for item in stolen], [0])
            stolen.clear()
            self.assertEqual([item.cookie for item in self.context.wait(2, 2)], [3, 4])
            stolen.clear()
            self.driver.held = False
            self.submitted(1)
            self.assertEqual(self.context.wait(1, timeout=0.01), [])
            self.submitted(1)
            stolen.clear()
            self.driver.remove()
            with self.assertRaisesRegex(OSError, "has been removed"):
                self.context.wait(2)

    def cookie_of_run(self) -> int:
        """The cookie of a request that a coroutine awaits."""
        cookies = []

        def submit(node: int, submit: _abi.rdma_submit) -> int:
            cookies.append(_abi.rdma_request.from_address(submit.requests).cookie)
            return self.driver.submit(node, submit)

        with mock.patch.dict(self.driver.actions, {_abi.RDMA_IOC_SUBMIT: submit}):
            asyncio.run(self.context.run(self.context.request_to_device(self.filled(b""), 1)))
        return int(cookies[0])

    def test_cookies_of_a_child_are_different(self) -> None:
        def runs() -> None:
            os.write(writer, self.cookie_of_run().to_bytes(8, "little"))

        reader, writer = os.pipe()
        for end in (reader, writer):
            self.addCleanup(os.close, end)
        for _ in range(2):  # in a context with which no coroutine has awaited anything, and with another one
            self.child(runs)
            child, own = int.from_bytes(os.read(reader, 8), "little"), self.cookie_of_run()
            self.assertGreater(abs(child - own), 1 << 20)
            self.assertEqual(self.cookie_of_run(), own + 1)
            self.assertTrue(1 << 63 <= min(child, own) and max(child, own) < (1 << 63) + (1 << 62) + 9)

    def test_no_time_is_enough_for_what_is_completed(self) -> None:
        async def main() -> None:
            self.driver.held = True
            buffer = self.context.allocate(1)
            tasks = [asyncio.create_task(self.context.run(self.context.request_to_device(buffer, 1))) for _ in range(70)]
            await asyncio.sleep(0)
            self.context.submit([self.context.request_to_device(buffer, 1)] * 10)
            for _ in range(80):
                self.driver.step(self.context.fileno())
            self.assertEqual(len(self.context.wait(10, timeout=0)), 10)
            await asyncio.gather(*tasks)
            self.driver.held = False
            self.submitted(200)
            self.assertEqual(len(await self.context.wait_async(200, timeout=0)), 200)

        asyncio.run(asyncio.wait_for(main(), 10))

    def test_interrupted_transfers_are_repeated_without_most_signals(self) -> None:
        blocked = []
        look = lambda: blocked.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))  # noqa: E731
        self.driver.before[_abi.RDMA_IOC_TRANSFER] = deque([self.interrupted, self.interrupted, look, look])
        buffer = self.filled(b"hello")
        self.context.to_device(buffer, 5)
        self.context.to_device(buffer, 5)
        self.assertIn(signal.SIGALRM, blocked[0])
        for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            self.assertNotIn(ending, blocked[0])
        self.assertNotIn(signal.SIGALRM, blocked[1])
        self.assertEqual(self.context.read(5), b"hello")

    def test_what_fails_says_why(self) -> None:
        reasons = {
            errno.ECANCELED: "cancelled, or linked to a request that failed",
            errno.EIO: "an earlier transfer has not ended.*unbind the driver, and bind it again",
            errno.ENODEV: "has been removed: open it again when it is back",
            errno.EREMOTEIO: "the engine reported an error.*undefined bytes: repeat the request",
            errno.ETIMEDOUT: "did not end within a second.*kernel log",
        }

        def fails(number: int) -> None:
            raise fake.fail(number)

        buffer = self.context.allocate(1)
        for number, reason in reasons.items():
            self.driver.before[_abi.RDMA_IOC_TRANSFER] = deque([lambda number=number: fails(number)])
            for call in (
                lambda: self.context.to_device(buffer, 1),
                lambda number=number: rust_dma.Completion(7, 0, number).check(),
                self.context.read,
                lambda: self.context.write(b"1"),
            ):
                with (
                    mock.patch.object(fake._node, "read", lambda *_, number=number: fails(number)),
                    mock.patch.object(fake._node, "write", lambda *_, number=number: fails(number)),
                    self.subTest(os.strerror(number)),
                    self.assertRaisesRegex(OSError, rf"{os.strerror(number)}: .*{reason}") as raised,
                ):
                    call()
                self.assertEqual(raised.exception.errno, number)
        with self.assertRaisesRegex(TimeoutError, r"^\[Errno 110\] request 7: Connection timed out: the transfer"):
            rust_dma.Completion(7, 0, errno.ETIMEDOUT).check()

    def test_copies_repeat_one_piece(self) -> None:
        source, destination = self.context.allocate(20000), self.context.allocate(20000)
        source[:] = bytes(place % 251 for place in range(len(source)))
        self.driver.before[_abi.RDMA_IOC_TRANSFER] = deque([lambda: None, self.interrupted])
        self.context.copy(source, destination, 19000, 7, 99)
        self.assertEqual(bytes(destination[99:19099]), bytes(source[7:19007]))
        self.assertEqual(self.driver.calls.count(_abi.RDMA_IOC_TRANSFER), 6)

    def test_a_buffer_is_not_freed_while_a_call_uses_its_number(self) -> None:
        for number, call in (
            (_abi.RDMA_IOC_TRANSFER, lambda buffer: self.context.to_device(buffer, 4)),
            (_abi.RDMA_IOC_SUBMIT, lambda buffer: self.context.submit([self.context.request_to_device(buffer, 4)])),
        ):
            buffer = self.filled(b"used")
            self.driver.calls.clear()

            def free(buffer: object = buffer) -> None:
                buffer.free()
                self.assertNotIn(_abi.RDMA_IOC_FREE, self.driver.calls)

            self.driver.before[number] = deque([free])
            call(buffer)
            self.assertEqual(self.context.read(4), b"used")
            self.assertEqual(self.driver.calls, [number, _abi.RDMA_IOC_FREE])

    def test_memory_is_unmapped_with_its_last_view(self) -> None:
        def mapped() -> int:
            return Path("/proc/self/maps").read_text().count("rust_dma_fake")

        buffer = self.filled(b"last")
        views = [buffer[:4], buffer.view[2:]]
        buffer.free()
        self.assertEqual((mapped(), bytes(views[0])), (1, b"last"))
        views.clear()
        self.assertEqual(mapped(), 0)

    def test_the_size_of_device_memory_is_the_devices(self) -> None:
        self.driver.memory = bytearray(100)
        with type(self.context)() as context:
            self.assertEqual(len(context.read()), 100)
            with self.assertRaisesRegex(ValueError, "the device memory has 100"):
                context.to_device(context.allocate(4096), 101)

    def test_newer_drivers_are_supported(self) -> None:
        self.driver.abi_version = _abi.RDMA_ABI_VERSION + 1
        with rust_dma.Context() as context:
            self.assertEqual(context.info().abi_version, _abi.RDMA_ABI_VERSION + 1)
        self.driver.abi_version = 0
        with self.assertRaisesRegex(OSError, "version 0: this module needs 1 or later"):
            rust_dma.Context()

    def test_a_device_that_is_gone_ends_what_is_awaited(self) -> None:
        async def main() -> None:
            self.submitted(1)
            self.assertEqual(len(await self.context.wait_async(2)), 1)
            with self.assertRaisesRegex(OSError, "/dev/rdma0 has been removed"):
                await self.context.wait_async()

        self.driver.remove()
        asyncio.run(asyncio.wait_for(main(), 10))
        self.submitted(1)
        self.assertEqual(len(self.context.wait(2)), 1)
        with self.assertRaisesRegex(OSError, "has been removed"):
            self.context.wait()

    def test_buffers_stay_until_their_request_is_completed(self) -> None:
        async def main() -> None:
            task = asyncio.create_task(self.context.run(self.context.request_to_device(self.filled(b"held"), 4)))
            await asyncio.sleep(0)
            self.driver.actions[_abi.RDMA_IOC_CANCEL] = lambda *_: (_ for _ in ()).throw(fake.fail(errno.EALREADY))
            task.cancel()
            await asyncio.wait([task])
            del task
            gc.collect()
            self.assertEqual(len(file.buffers), 1)
            self.driver.step(self.context.fileno())
            while file.buffers:
                await asyncio.sleep(0)
            self.assertEqual(self.context.read(4), b"held")

        file = self.driver.files[self.context.fileno()]
        self.driver.held = True
        asyncio.run(asyncio.wait_for(main(), 10))


class Registered(Faked, registered_cases.Registered):
    """Memory of the program, in requests that do not end at once."""

    def hold(self) -> None:
        self.driver.held = True

    def begun(self, action: Callable[[], object]) -> threading.Thread:
        """A thread that does this."""
        thread = threading.Thread(target=action)
        thread.start()
        self.addCleanup(thread.join)
        return thread

    def test_closing_frees_all_handles_although_a_view_lives(self) -> None:
        file = self.driver.files[self.context.fileno()]
        memory, later = bytearray(4096), bytearray(4096)
        buffer, allocated, shared = self.context.register(memory), self.filled(b"lives"), self.context.allocate_shared(4096)
        view = allocated.view
        imported = self.context.import_shared(shared)
        self.driver.held = True
        self.context.submit([self.context.request_copy(source, buffer, 5) for source in (allocated, imported)])
        freed = self.context.register(later)
        self.context.submit([self.context.request_copy(allocated, freed, 5)])
        freed.free()
        self.assertEqual(len(file.buffers), 5)
        self.context.close()
        self.assertEqual((file.buffers, list(file.queue), bytes(view[:5])), ({}, [], b"lives"))
        for unused in (buffer, allocated, shared, imported):
            unused.free()
        self.assertFalse(self.is_kept(memory) or self.is_kept(later))

    def test_closing_cancels_all_requests(self) -> None:
        file = self.driver.files[self.context.fileno()]
        self.driver.held = True
        self.submitted(3)
        self.child(self.context.close)
        self.assertEqual(len(file.queue), 3)
        self.context.close()
        self.assertEqual(list(file.queue), [])

    def test_a_child_that_closes_a_context_frees_its_own_buffers_only(self) -> None:
        def closes() -> None:
            own = self.filled(b"")
            self.assertEqual(len(file.buffers), 2)
            self.context.close()
            self.assertEqual(list(file.buffers), [buffer.handle])
            own.free()

        file, buffer = self.driver.files[self.context.fileno()], self.filled(b"")
        self.child(closes)

    def test_no_request_begins_while_a_context_is_closed(self) -> None:
        def submits() -> None:
            for use in (lambda: self.context.submit([request]), lambda: self.context.from_device(buffer), self.context.read):
                try:
                    use()
                except ValueError as error:
                    refused.append(str(error))

        file, memory, refused = self.driver.files[self.context.fileno()], bytearray(4096), []
        buffer = self.context.register(memory)
        request = self.context.request_from_device(buffer)
        self.driver.held = True
        self.driver.before[_abi.RDMA_IOC_BUFFER_INFO] = deque([lambda: self.begun(submits).join()])
        self.context.close()
        self.assertEqual((refused, list(file.queue)), (["the context is closed"] * 3, []))
        buffer.free()
        self.assertFalse(self.is_kept(memory))

    def test_closing_waits_for_calls_that_have_begun(self) -> None:
        def waits() -> None:
            buffer.free()  # which the call still uses
            begun.set()
            go_on.wait(10)

        for number, use in (
            (_abi.RDMA_IOC_SUBMIT, lambda context, buffer: context.submit([context.request_from_device(buffer)])),
            (_abi.RDMA_IOC_TRANSFER, lambda context, buffer: context.from_device(buffer)),
            (_abi.RDMA_IOC_BUFFER_INFO, lambda _, buffer: buffer.free()),
        ):
            context, memory, begun, go_on = rust_dma.Context(), bytearray(4096), threading.Event(), threading.Event()
            file, buffer = self.driver.files[context.fileno()], context.register(memory)
            self.driver.held = True
            self.driver.before[number] = deque([waits])
            user = self.begun(lambda use=use, context=context, buffer=buffer: use(context, buffer))
            begun.wait(10)
            closer = self.begun(context.close)
            closer.join(0.1)
            self.assertTrue(closer.is_alive())
            self.assertTrue(self.is_kept(memory))
            go_on.set()
            user.join()
            closer.join()
            self.assertEqual((file.buffers, list(file.queue)), ({}, []))
            self.assertFalse(self.is_kept(memory))

    def test_closing_waits_for_a_call_that_makes_a_buffer(self) -> None:
        def waits() -> None:
            begun.set()
            go_on.wait(10)

        begun, go_on, made = threading.Event(), threading.Event(), []
        file = self.driver.files[self.context.fileno()]
        self.driver.before[_abi.RDMA_IOC_REGISTER] = deque([waits])
        user = self.begun(lambda: made.append(self.context.register(bytearray(4096))))
        begun.wait(10)
        closer = self.begun(self.context.close)
        closer.join(0.1)
        self.assertTrue(closer.is_alive())
        go_on.set()
        user.join()
        closer.join()
        self.assertEqual((len(made), file.buffers), (1, {}))

    def test_closing_does_not_wait_for_ever(self) -> None:
        def waits() -> None:
            begun.set()
            go_on.wait(10)
            raise fake.fail(errno.ENODEV)

        def transfers() -> None:
            with self.assertRaises(OSError):
                self.context.to_device(buffer, 1)

        begun, go_on, buffer = threading.Event(), threading.Event(), self.filled(b"")
        self.driver.before[_abi.RDMA_IOC_TRANSFER] = deque([waits])
        self.begun(transfers)
        self.addCleanup(go_on.set)
        begun.wait(10)
        with mock.patch.object(_descriptor, "_LONGEST_CALLS_S", 0.1):
            self.context.close()
        with self.assertRaisesRegex(ValueError, "closed"):
            self.context.fileno()

    def test_a_signal_handler_may_close_the_context_of_its_call(self) -> None:
        def handled() -> None:
            self.context.close()
            raise fake.fail(errno.EINTR)

        memory = bytearray(4096)
        buffer = self.context.register(memory)
        self.driver.before[_abi.RDMA_IOC_TRANSFER] = deque([handled])
        began = time.monotonic()
        with self.assertRaisesRegex(ValueError, "the context is closed"):
            self.context.from_device(buffer)
        self.assertLess(time.monotonic() - began, 1)
        buffer.free()
        self.assertFalse(self.is_kept(memory))

    def test_two_threads_close_a_context(self) -> None:
        closed, close, descriptor = [], os.close, self.context.fileno()

        def closes(number: int) -> None:
            closed.append(number)
            close(number)

        memory = bytearray(4096)
        buffer = self.context.register(memory)
        self.driver.before[_abi.RDMA_IOC_BUFFER_INFO] = deque([lambda: self.begun(self.context.close).join()])
        with mock.patch.object(os, "close", closes):
            self.context.close()
        self.assertEqual(closed.count(descriptor), 1)
        buffer.free()
        self.assertFalse(self.is_kept(memory))

    def test_an_object_is_released_when_its_transfer_has_ended_after_all(self) -> None:
        def times_out(node: int, request: _abi.rdma_request) -> None:
            self.driver.files[node].unfinished.append(_abi.rdma_request.from_buffer_copy(request))
            raise fake.fail(errno.ETIMEDOUT)

        late, other = bytearray(4096), bytearray(4096)
        buffer = self.context.register(late)
        with mock.patch.dict(self.driver.actions, {_abi.RDMA_IOC_TRANSFER: times_out}), self.assertRaises(TimeoutError):
            self.context.from_device(buffer)
        buffer.free()
        self.context.register(other).free()
        self.assertEqual((self.is_kept(late), self.is_kept(other)), (True, False))
        self.driver.files[self.context.fileno()].unfinished.clear()
        self.context.wait(0)
        self.assertFalse(self.is_kept(late))

    def test_an_object_is_kept_for_ever_if_its_transfer_has_not_ended_at_the_removal(self) -> None:
        memory = bytearray(4096)
        buffer = self.context.register(memory)
        self.driver.held = True
        self.context.submit([self.context.request_from_device(buffer)])
        file = self.driver.files[self.context.fileno()]
        file.unfinished.append(file.queue.popleft())
        self.driver.complete(self.context.fileno(), file.unfinished[0], errno.ETIMEDOUT)
        self.assertEqual(self.context.wait()[0].status, errno.ETIMEDOUT)
        self.driver.remove()
        buffer.free()
        self.context.close()
        self.assertTrue(self.is_kept(memory))

    def keeps_after(self, *errors: int) -> None:
        """An object is kept after a transfer whose calls fail with these errors."""
        left = list(errors)

        def stuck(node: int, request: _abi.rdma_request) -> None:
            error = left.pop(0)
            if error == errno.ETIMEDOUT:
                self.driver.files[node].unfinished.append(_abi.rdma_request.from_buffer_copy(request))
            raise fake.fail(error)

        memory = bytearray(4096)
        buffer = self.context.register(memory)
        self.driver.actions[_abi.RDMA_IOC_TRANSFER] = stuck
        with self.assertRaises(TimeoutError):
            self.context.from_device(buffer)
        self.assertTrue(self.context._registered.stuck)
        buffer.free()
        with mock.patch.object(_registered, "_LONGEST_TRANSFER_S", 0.1):
            self.context.close()
        with self.assertRaises(BufferError):
            memory.append(1)

    def test_an_object_is_kept_for_ever_if_its_transfer_does_not_end(self) -> None:
        self.keeps_after(errno.ETIMEDOUT)

    def test_an_object_is_kept_if_the_repeated_transfer_does_not_end(self) -> None:
        self.keeps_after(errno.EINTR, errno.ETIMEDOUT)

    def being_removed(self, memory: bytearray) -> rust_dma.Buffer:
        """A buffer of this memory, with a request that a device which is being removed executes."""
        buffer = self.context.register(memory)
        self.driver.held = True
        self.context.submit([self.context.request_from_device(buffer)])
        self.driver.closing = True
        return buffer

    def is_kept(self, memory: bytearray) -> bool:
        """Whether this memory cannot be moved."""
        try:
            memory.append(1)
        except BufferError:
            return True
        return False

    def test_a_child_does_not_free_what_its_parent_has_freed(self) -> None:
        def collects() -> None:
            self.driver.step(self.context.fileno())
            self.context.wait(1)
            self.assertEqual(list(file.buffers), [number])

        file = self.driver.files[self.context.fileno()]
        buffer = self.context.register(bytearray(4096))
        number = buffer.handle
        self.driver.held = True
        self.context.submit([self.context.request_from_device(buffer)])
        buffer.free()
        self.child(collects)
        self.driver.step(self.context.fileno())
        self.context.wait(1)
        self.assertEqual(list(file.buffers), [])

    def test_memory_that_a_child_registers(self) -> None:
        def registers() -> None:
            memory, later, context = bytearray(4096), bytearray(4096), contexts.pop()
            context.register(memory).free()
            self.assertFalse(self.is_kept(memory))
            buffer = context.register(later)
            context.submit([context.request_from_device(buffer)])
            buffer.free()
            with mock.patch.object(_registered, "_LONGEST_TRANSFER_S", 0.1):
                context.close()
            del buffer, context
            gc.collect()
            self.assertTrue(self.is_kept(later))
            self.assertNotIn(_abi.RDMA_IOC_CANCEL, self.driver.calls)  # it would cancel the parent's requests, too

        contexts = [rust_dma.Context()]
        self.driver.held = True
        self.child(registers)

    def test_a_removed_device_does_not_access_it(self) -> None:
        memory = bytearray(4096)
        buffer = self.being_removed(memory)
        buffer.free()
        self.assertEqual(self.context.wait(0), [])
        self.assertTrue(self.is_kept(memory))
        self.driver.remove()
        with self.assertRaisesRegex(OSError, "has been removed"):
            self.context.wait(0)
        self.assertFalse(self.is_kept(memory))

    def test_closing_waits_for_the_removal(self) -> None:
        memory = bytearray(4096)
        self.being_removed(memory).free()
        removal = threading.Timer(0.2, self.driver.remove)
        removal.start()
        self.addCleanup(removal.join)
        self.context.close()
        self.assertTrue(self.driver.gone)
        self.assertFalse(self.is_kept(memory))

    def test_an_object_is_kept_for_ever_if_the_removal_does_not_end(self) -> None:
        memory = bytearray(4096)
        self.being_removed(memory).free()
        with mock.patch.object(_registered, "_LONGEST_TRANSFER_S", 0.1):
            self.context.close()
        self.assertTrue(self.is_kept(memory))

    def test_a_context_is_closed_even_if_its_buffers_fail(self) -> None:
        def fails() -> None:
            raise fake.fail(errno.EINVAL)

        memory = bytearray(4096)
        context = rust_dma.Context()
        buffer = context.register(memory)
        self.driver.held = True
        context.submit([context.request_from_device(buffer)])
        buffer.free()
        descriptor = context.fileno()
        self.driver.before[_abi.RDMA_IOC_BUFFER_INFO] = deque([fails])
        with self.assertRaisesRegex(OSError, "Invalid argument"):
            context.close()
        with self.assertRaises(OSError):
            os.fstat(descriptor)
        self.assertEqual(repr(context), "<rust_dma.Context of /dev/rdma0, closed>")
        del context
        gc.collect()
        self.assertTrue(self.is_kept(memory))

    def keeps_after_removal(self, error: BaseException) -> None:
        """Memory is kept if a transfer raises this exception, and the device is then removed."""

        def fails() -> None:
            raise error

        memory = bytearray(4096)
        buffer = self.context.register(memory)
        self.context.from_device(buffer)
        self.driver.before[_abi.RDMA_IOC_TRANSFER] = deque([fails])
        with self.assertRaises(type(error)):
            self.context.from_device(buffer)
        self.driver.remove()
        buffer.free()
        with mock.patch.object(_registered, "_LONGEST_TRANSFER_S", 0.1):
            self.context.close()
        self.assertTrue(self.is_kept(memory))

    def test_an_interrupted_transfer_may_access_it_during_the_removal(self) -> None:
        self.keeps_after_removal(KeyboardInterrupt())

    def test_a_transfer_may_access_it_after_it_has_failed_for_the_removal(self) -> None:
        self.keeps_after_removal(fake.fail(errno.ENODEV))

    def test_an_error_of_a_signal_handler_is_not_that_of_a_transfer(self) -> None:
        def handled() -> None:
            raise TimeoutError

        memory = bytearray(4096)
        buffer = self.context.register(memory)
        self.driver.before[_abi.RDMA_IOC_TRANSFER] = deque([handled])
        with self.assertRaises(TimeoutError):
            self.context.from_device(buffer)
        buffer.free()
        self.context.close()
        self.assertFalse(self.is_kept(memory))

    def test_a_transfer_that_has_ended_does_not_access_it_after_the_removal(self) -> None:
        memory = bytearray(4096)
        self.context.from_device(self.context.register(memory))
        self.driver.remove()
        self.context.close()
        self.assertFalse(self.is_kept(memory))


class FirstProcesses:
    """Each process is the first one of its PID namespace, also a child."""

    def setUp(self) -> None:
        patch = mock.patch.object(os, "getpid", lambda: 1)
        patch.start()
        self.addCleanup(patch.stop)
        super().setUp()


def in_namespaces(case: type[cases.Cases]) -> type[cases.Cases]:
    """The tests of a class that have a child, with such processes."""
    tests = [name for name in dir(case) if name.startswith("test_")]
    again = {f"{name}_in_namespaces": getattr(case, name) for name in tests if "child" in name}
    return type(f"{case.__name__}InNamespaces", (FirstProcesses, case), dict.fromkeys(tests) | again)


class Shared(Faked, shared_cases.Shared):
    """Memory of others: which calls are made."""

    def when_it_came(self, shared: rust_dma.DmaBuf) -> None:
        """The driver of the child is a copy of ours, but its buffers are the same memory."""
        with shared.mapped() as view:
            self.assertEqual(bytes(view[:12]), b"from a child")

    def test_only_readable(self) -> None:
        with rust_dma.Context() as other, self.context.allocate_shared(4096) as shared:
            self.context.copy(self.filled(b"constant"), shared, 8)
            descriptor = self.only_readable(shared)
            imported = other.import_shared(descriptor)
            os.close(descriptor)
            self.assertTrue(imported.readonly)
            self.assertEqual(self.received(imported, 8), b"constant")
            with self.assertRaisesRegex(ValueError, "read-only"):
                other.copy(self.filled(b"", other), imported, 1)
            with imported.mapped() as view:
                self.assertEqual(bytes(view[:8]), b"constant")
                with self.assertRaises(TypeError):
                    view[0] = 1

    def only_readable(self, shared: rust_dma.DmaBuf) -> int:
        """A descriptor of it that is open for reading only."""
        return os.open(f"/proc/self/fd/{shared.fileno()}", os.O_RDONLY | os.O_CLOEXEC)

    def test_an_access_begins_and_ends(self) -> None:
        shared = self.context.allocate_shared(4096)
        with self.assertRaises(KeyError), shared.mapped():
            self.assertEqual(self.driver.synchronized, [3])  # to read and write
            raise KeyError
        self.assertEqual(self.driver.synchronized, [3, 7])

    def test_an_access_for_reading(self) -> None:
        shared = self.context.allocate_shared(4096)
        descriptor = self.only_readable(shared)
        with self.context.import_shared(descriptor).mapped():
            pass
        os.close(descriptor)
        self.assertEqual(self.driver.synchronized, [1, 5])

    def test_a_signal_during_the_beginning(self) -> None:
        def interrupted() -> None:
            raise fake.fail(errno.EINTR)

        shared = self.context.allocate_shared(4096)
        self.driver.before[fake.DMA_BUF_IOCTL_SYNC] = deque([interrupted] * 2)
        with shared.mapped():
            self.assertEqual(self.driver.synchronized, [3])

    def test_imports_continue_after_signals(self) -> None:
        blocked = []

        def interrupted() -> None:
            blocked.append(signal.SIGALRM in signal.pthread_sigmask(signal.SIG_BLOCK, []))
            raise fake.fail(errno.EINTR)

        shared = self.context.allocate_shared(4096)
        self.driver.before[_abi.RDMA_IOC_IMPORT] = deque([interrupted] * 3)
        self.assertEqual(self.context.import_shared(shared).nbytes, 4096)
        self.assertEqual((self.driver.calls.count(_abi.RDMA_IOC_IMPORT), blocked), (4, [False, True, True]))

    def test_an_exception_of_a_signal_handler_ends_an_import(self) -> None:
        def handled() -> None:
            raise InterruptedError

        def interrupted() -> None:
            raise fake.fail(errno.EINTR)

        shared = self.context.allocate_shared(4096)
        files = self.descriptors()
        for calls in ([handled], [interrupted, handled]):
            self.driver.before[_abi.RDMA_IOC_IMPORT] = deque(calls)
            with self.assertRaises(InterruptedError):
                self.context.import_shared(shared)
        self.assertEqual(self.descriptors(), files)

    def test_a_device_that_cannot_access_it(self) -> None:
        for number, calls, message in (
            (errno.EOPNOTSUPP, (_abi.RDMA_IOC_IMPORT,), "the device cannot access this memory"),
            (errno.EOPNOTSUPP, (_abi.RDMA_IOC_EXPORT,), "the kernel has no dma-bufs"),
            (errno.ENOTTY, (_abi.RDMA_IOC_IMPORT, _abi.RDMA_IOC_EXPORT), "older than this module"),
        ):

            def failed(number: int = number) -> None:
                raise fake.fail(number)

            shared = self.context.allocate_shared(4096)
            uses = {
                _abi.RDMA_IOC_IMPORT: lambda shared=shared: self.context.import_shared(shared),
                _abi.RDMA_IOC_EXPORT: lambda: self.context.allocate_shared(4096),
            }
            buffers, files = len(self.driver.files[self.context.fileno()].buffers), self.descriptors()
            for call in calls:
                self.driver.before[call] = deque([failed])
                with self.assertRaisesRegex(OSError, message):
                    uses[call]()
            self.assertEqual((len(self.driver.files[self.context.fileno()].buffers), self.descriptors()), (buffers, files))

    def test_an_error_of_the_exporter_is_not_that_of_the_device(self) -> None:
        def failed(number: int) -> None:
            raise fake.fail(number)

        shared = self.context.allocate_shared(4096)
        for number in (errno.ENODEV, errno.EIO, errno.ETIMEDOUT):
            self.driver.before[_abi.RDMA_IOC_IMPORT] = deque([lambda number=number: failed(number)])
            with self.assertRaisesRegex(OSError, "the exporter") as raised:
                self.context.import_shared(shared)
            self.assertEqual(raised.exception.errno, number)
            self.assertNotIn("removed", str(raised.exception))
        self.driver.before[_abi.RDMA_IOC_IMPORT] = deque([lambda: failed(errno.ENODEV)])
        self.driver.remove()
        with self.assertRaisesRegex(OSError, "/dev/rdma0 has been removed") as raised:
            self.context.import_shared(shared)
        self.assertEqual(raised.exception.errno, errno.ENODEV)


if __name__ == "__main__":
    faked = [type(case.__name__, (Faked, case), {}) for case in cases.CASES]
    sys.exit(ktap.main(Rare, Registered, Shared, *faked, *map(in_namespaces, (Registered, *faked))))
