"""Contexts: open files of a device."""

from __future__ import annotations

import ctypes
import errno
import operator
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import repeat, starmap
from pathlib import Path
from typing import TYPE_CHECKING

from rust_dma import _abi, _node, _process
from rust_dma._buffer import Buffer, Layout
from rust_dma._collected import Collected
from rust_dma._descriptor import Closed, Descriptor
from rust_dma._device import Info, info_of
from rust_dma._dma_buf import DmaBuf
from rust_dma._handle import Handle
from rust_dma._memory import Memory
from rust_dma._registered import Registered, address_of, bytes_of
from rust_dma._request import FAILING, Completion, Operation, Request, cookie_of
from rust_dma._unique import Unique

if TYPE_CHECKING:
    import numpy.typing
    from _typeshed import HasFileno, ReadableBuffer

    from rust_dma._awaited import Awaited

_BATCH = 64
_OLDEST_ABI_VERSION = 1
_ENDING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}
_NOT_A_NODE = "this is no node of the driver rdma"
_OPENING = {
    errno.ENOENT: "there is no such device node; `rdmactl list` shows those that exist, and `rdmactl doctor` says why there is none",
    errno.EACCES: "not allowed; members of the group rust-dma can open it where the package's udev rule is installed",
}
_ALLOCATING = {
    errno.ENOMEM: "no memory that the device can access, or the limit of locked memory (ulimit -l); the kernel log says which",
    errno.EDQUOT: "the limit of the context or the device (parameters context_mib and device_mib); the kernel log says which",
}
_REGISTERING = {
    **_ALLOCATING,
    errno.EFAULT: "this memory must not be pinned: it is a mapping of a device or of a file that is written back, or is not there any more",
    errno.EOPNOTSUPP: "the device cannot access this memory; the kernel log says why, and a buffer of `allocate` can be used instead",
}
_EXPORTING = {
    errno.ENOTTY: "this driver exports no buffers: it is older than this module",
    errno.EOPNOTSUPP: "the kernel has no dma-bufs (CONFIG_DMA_SHARED_BUFFER)",
}
_IMPORTING = {
    **_ALLOCATING,
    errno.ENOTTY: "this driver imports no dma-bufs: it is older than this module; or the exporter of the dma-buf refuses it",
    errno.EACCES: "the descriptor is not open for reading",
    errno.EBADF: "the descriptor does not open the file (O_PATH)",
    errno.EINVAL: "the descriptor is not that of a dma-buf, or the dma-buf is larger than max_buffer_size",
    errno.EOPNOTSUPP: "the device cannot access this memory, or its exporter refuses it; the kernel log says why",
}


class _TooFew(Exception):
    """Another thread has taken completions that this one has counted."""


class Context(Unique):
    """One open file of a device: it owns buffers and requests, and releases them when it is closed."""

    _descriptor = Descriptor(None)

    def __init__(self, node: str | os.PathLike[str] = "/dev/rdma0") -> None:
        self.node = Path(node)
        self._coroutines: Awaited | None = None
        self._opener = _process.current()
        self._allocated: set[tuple[tuple[int, int], int]] = set()  # the handles of allocated and imported buffers, each with its process
        self._registered = Registered()
        self._collected: list[Collected] = []  # those of which not all are delivered
        self._kept: deque[Completion] = deque()  # delivered, but not yet returned
        try:
            self._descriptor = Descriptor(_node.open_node(node))
        except OSError as error:
            raise _node.explained(error, _OPENING) from None
        try:
            self._info = self.info()
            version = self._info.abi_version
            if version < _OLDEST_ABI_VERSION:  # later versions only add to the interface
                raise OSError(errno.ENOTSUP, f"the driver's interface is version {version}: this module needs {_OLDEST_ABI_VERSION} or later")
        except OSError:
            self._descriptor.close()
            raise

    def fileno(self) -> int:
        """For select and selectors: readable when completions can be collected."""
        return self._descriptor.fileno()

    def close(self) -> None:
        """Close it: cancel its requests, and free its buffers. The memory of allocated buffers stays as long as views or arrays use it.

        All other calls fail from now on. Those of other threads that have begun are waited for, except `wait`; so are requests on
        registered memory. A child of fork(2) frees only buffers that it has made itself, and cancels no requests.
        """
        if self._descriptor.is_closed:
            return
        closer = object()
        try:
            file = self._descriptor.claim(closer)
            if file is None:  # another thread closes it
                return
            if self._coroutines is not None:
                self._coroutines.close()
            self._cancel_at_the_end(file)
            if self._descriptor.wait():  # they may have submitted more
                self._cancel_at_the_end(file)
            self._registered.close(self, file, self._is_opener)
            for process, handle in list(self._allocated):
                if process == _process.current():
                    self._free_at(file, handle)
        finally:
            if self._descriptor.is_claimed(closer):
                self._registered.abandon()
                self._descriptor.close()

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<rust_dma.Context of {self.node}{', closed' if self._descriptor.is_closed else ''}>"

    def info(self) -> Info:
        """The properties of the device and its driver."""
        raw = _abi.rdma_device_info()
        self._call(_abi.RDMA_IOC_DEVICE_INFO, raw, {errno.ENOTTY: _NOT_A_NODE, errno.EINVAL: _NOT_A_NODE})
        return info_of(raw)

    def allocate(self, shape: int | Sequence[int], dtype: numpy.typing.DTypeLike | None = None) -> Buffer:
        """Allocate a buffer, all zero: of at least `shape` bytes, rounded up to whole pages; or, with a dtype, an array of this shape."""
        layout = Layout(shape, dtype)
        with self._descriptor.used() as file:
            alloc = self._allocate(layout.size)
            handle = self._own(alloc.handle)
            try:
                return Buffer(self, handle, *layout.of(_node.map_memory(file, alloc.size, alloc.mmap_offset)))
            except BaseException:
                handle.free()
                raise

    def register(self, memory: ReadableBuffer) -> Buffer:
        """Make a buffer of the memory of an object: bytes, a bytearray, a NumPy array, an mmap, or anything else with the buffer protocol.

        Nothing is copied, and the object is kept as long as requests may access it. Requests cannot write to what is read-only for Python.
        A child of fork(2) has a copy of most objects, and cannot use the buffer: it can register its own object.
        """
        view = bytes_of(memory)
        limit = self._info.max_buffer_size
        if view.nbytes > limit:
            raise ValueError(f"a buffer of {view.nbytes} bytes: it can have {limit}")
        self._registered.sweep(self)
        flags = _abi.RDMA_REGISTER_READ_ONLY if view.readonly else 0
        register = _abi.rdma_register(address=address_of(view), size=view.nbytes, flags=flags)
        with self._descriptor.used() as file:
            self._call(_abi.RDMA_IOC_REGISTER, register, _REGISTERING, file)
            self._registered.add(register.handle, view)
        numpy = sys.modules.get("numpy")
        elements = memory if numpy is not None and isinstance(memory, numpy.ndarray) else view
        return Buffer(self, Handle(register.handle, self._free_registered, is_shared=False), view, elements)

    def allocate_shared(self, size: int) -> DmaBuf:
        """Allocate a buffer, all zero, of at least `size` bytes, that other drivers and programs access, too, by a descriptor (dma-buf)."""
        with self._descriptor.used() as file:
            alloc = self._allocate(operator.index(size))
            handle = self._own(alloc.handle)
            try:
                export = _abi.rdma_export(handle=alloc.handle, fd=-1)
                self._call(_abi.RDMA_IOC_EXPORT, export, _EXPORTING, file)
                return DmaBuf(self, handle, alloc.size, export.fd)
            except BaseException:
                handle.free()
                raise

    def import_shared(self, dma_buf: int | HasFileno) -> DmaBuf:
        """Make a buffer of a dma-buf: of another context, also of another device (a DmaBuf), or of another driver (a descriptor, or an
        object with `fileno`).

        The descriptor is duplicated. Requests cannot write to the memory if it is open for reading only.
        """
        descriptor = os.dup(dma_buf if isinstance(dma_buf, int) else dma_buf.fileno())
        try:
            flags = _abi.RDMA_IMPORT_READ_ONLY if _node.access_mode(descriptor) == os.O_RDONLY else 0
            request = _abi.rdma_import(fd=descriptor, flags=flags)
            with self._descriptor.used():
                try:
                    self._call_to_its_end(_abi.RDMA_IOC_IMPORT, request, _IMPORTING)
                except OSError as error:
                    raise self._not_imported(error) from None
                return DmaBuf(self, self._own(request.handle), request.size, descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    def to_device(self, buffer: Memory, length: int | None = None, offset: int = 0, at: int = 0) -> None:
        """Transfer bytes of a buffer to device memory, from `at` on, and wait for it."""
        self._transfer(self.request_to_device(buffer, length, offset, at))

    def from_device(self, buffer: Memory, length: int | None = None, offset: int = 0, at: int = 0) -> None:
        """Transfer device memory, from `at` on, to bytes of a buffer, and wait for it."""
        self._transfer(self.request_from_device(buffer, length, offset, at))

    def copy(self, source: Memory, destination: Memory, length: int | None = None, offset: int = 0, at: int = 0) -> None:
        """Copy bytes of a buffer, from `offset` on, to another one, from `at` on, and wait for it. An engine with device memory overwrites
        that."""
        # In pieces: after a signal handler, only the current one is repeated.
        for piece in self.request_copy(source, destination, length, offset, at)._pieces(self._info.max_transfer_size):
            self._transfer(piece)

    def request_to_device(
        self, buffer: Memory, length: int | None = None, offset: int = 0, at: int = 0, cookie: int = 0
    ) -> Request:
        """A request for submit and run; without a length, for the rest of the buffer."""
        length = buffer.nbytes - operator.index(offset) if length is None else length
        return Request(self, Operation.TO_DEVICE, buffer, None, offset, at, length, cookie)

    def request_from_device(
        self, buffer: Memory, length: int | None = None, offset: int = 0, at: int = 0, cookie: int = 0
    ) -> Request:
        """A request for submit and run; without a length, for the rest of the buffer."""
        length = buffer.nbytes - operator.index(offset) if length is None else length
        return Request(self, Operation.FROM_DEVICE, None, buffer, at, offset, length, cookie)

    def request_copy(
        self,
        source: Memory,
        destination: Memory,
        length: int | None = None,
        offset: int = 0,
        at: int = 0,
        cookie: int = 0,
    ) -> Request:
        """A request for submit and run; without a length, for the rest of the source."""
        length = source.nbytes - operator.index(offset) if length is None else length
        return Request(self, Operation.COPY, source, destination, offset, at, length, cookie)

    def submit(self, requests: Iterable[Request], *, linked: bool = False) -> int:
        """Queue requests, without waiting; linked: each starts only if the previous one succeeds. Returns how many were accepted,
        from the first one on."""
        requests = list(requests)
        depth = self._info.queue_depth
        if not requests:
            raise ValueError("no requests to submit")
        if linked and len(requests) > depth:
            raise ValueError(f"a chain of {len(requests)} requests: it can have at most {depth}")
        with ExitStack() as used:
            array = [self._raw(request, used) for request in requests[:depth]]
            if linked:
                for raw in array[:-1]:
                    raw.flags |= _abi.RDMA_REQUEST_LINK
            return self._submit(array)

    def wait(self, minimum: int = 1, maximum: int | None = None, timeout: float | None = None) -> list[Completion]:
        """Collect completions in order: at least `minimum`, at most `maximum` (without one, 64, or `minimum` if that is more), but wait
        for at most `timeout` seconds. There are fewer, too, if the device is gone. Each completion is returned once, to one thread."""
        minimum, maximum = _numbers(minimum, maximum)
        deadline = _deadline(timeout)
        self._deliver()  # what is left if a signal handler has raised an exception
        while True:
            enough = self._gather(minimum, maximum, deadline)
            with suppress(_TooFew):
                return self._take(maximum, enough)

    async def run(self, request: Request) -> Completion:
        """Submit a request and wait for its completion, in asyncio's event loop; when the queue is full, wait for room first.

        If it fails, this raises OSError. That of a transfer which did not end within a second (ETIMEDOUT) is a TimeoutError, as is that
        of asyncio.timeout and asyncio.wait_for: its `errno` is errno.ETIMEDOUT, and theirs None. If the task is cancelled, so is the
        request, unless the engine has begun it. Its cookie is not used.

        The event loop collects the completions of all other requests, too: get them by `wait_async`, and do not watch the
        context by `select`, nor call `wait` in another thread meanwhile: it would not notice completions that the loop has collected.
        """
        return (await self._awaited().run(self, request)).check()

    async def wait_async(self, minimum: int = 1, maximum: int | None = None, timeout: float | None = None) -> list[Completion]:
        """The same as `wait`, in asyncio's event loop."""
        import asyncio

        minimum, maximum = _numbers(minimum, maximum)
        try:
            while len(self._kept) < maximum and self._collect():
                pass
            async with asyncio.timeout(timeout):
                while len(self._kept) < minimum:
                    await self._awaited().next(self)
        except TimeoutError:
            pass
        except OSError:
            if not self._kept:
                raise
        return self._take(maximum)

    def cancel(self, cookie: int | None = None) -> int:
        """Cancel the requests that the engine has not started, with this cookie or all; return their number.

        With RDMA_CAP_ABORT, also one that has started, unless all of its transfers have begun.
        """
        return self._cancel(None if cookie is None else cookie_of(cookie))

    def read(self, length: int | None = None, at: int = 0) -> bytes:
        """Read device memory, from `at` on; fewer bytes than `length` at its end.

        A signal with a handler interrupts the transfer, which is repeated: with a timer of less than the time of a transfer, it never ends.
        `from_device` does not have this limitation. The same applies to `write` and `to_device`.
        """
        try:
            with self._descriptor.used() as file:
                return _node.read(file, self._info.device_memory_size if length is None else length, at)
        except OSError as error:
            raise self._explained(error, FAILING) from None

    def write(self, data: bytes | bytearray | memoryview, at: int = 0) -> int:
        """Write device memory, from `at` on, where all of the data must fit; returns their number of bytes."""
        length, at, size = memoryview(data).nbytes, operator.index(at), self._info.device_memory_size
        if at < 0 or at + length > size:
            raise ValueError(f"{length} bytes from {at} on: the device memory has {size}")
        try:
            with self._descriptor.used() as file:
                return _node.write(file, data, at)
        except OSError as error:
            raise self._explained(error, FAILING) from None

    def _allocate(self, size: int) -> _abi.rdma_alloc:
        limit = self._info.max_buffer_size
        if not 1 <= size <= limit:
            raise ValueError(f"a buffer of {size} bytes: it must have 1 to {limit}")
        alloc = _abi.rdma_alloc(size=size)
        self._call(_abi.RDMA_IOC_ALLOC, alloc, _ALLOCATING)
        return alloc

    def _own(self, number: int) -> Handle:
        """The handle of a buffer that has been allocated or imported."""
        self._allocated.add((_process.current(), number))
        return Handle(number, self._free)

    @property
    def _is_opener(self) -> bool:
        """Whether this process has opened it, so that requests are its own; a child of fork(2) may share them."""
        return self._opener == _process.current()

    def _awaited(self) -> Awaited:
        """The requests that coroutines await. Only they need asyncio, which takes long to import."""
        if self._coroutines is None:
            from rust_dma._awaited import Awaited

            self._coroutines = Awaited()
        return self._coroutines

    def _transfer(self, request: Request) -> None:
        """Execute a request. Completions of submitted requests must not be taken here; therefore this uses the blocking call."""
        with ExitStack() as used:
            raw = self._raw(request, used)
            used.enter_context(self._registered.transferring())
            try:
                self._call_to_its_end(_abi.RDMA_IOC_TRANSFER, raw, FAILING)
            except TimeoutError as error:
                self._registered.stuck |= error.errno == errno.ETIMEDOUT  # without a number, it is that of a signal handler
                raise

    def _raw(self, request: Request, used: ExitStack, cookie: int | None = None) -> _abi.rdma_request:
        if request.context is not self:
            raise ValueError("the request belongs to another context")
        self.fileno()  # raises an exception if it is closed
        return request._raw(used, cookie)

    def _submit(self, requests: list[_abi.rdma_request]) -> int:
        array = (_abi.rdma_request * len(requests))(*requests)
        size = ctypes.sizeof(_abi.rdma_request)
        submit = _abi.rdma_submit(requests=ctypes.addressof(array), count=len(array), request_size=size)
        full = f"{self._info.queue_depth} requests are queued or not yet collected"
        return self._call(_abi.RDMA_IOC_SUBMIT, submit, {**FAILING, errno.EAGAIN: full})

    def _submit_awaited(self, request: Request, cookie: int) -> bool:
        """Queue a request, if there is room."""
        try:
            with ExitStack() as used:
                return self._submit([self._raw(request, used, cookie)]) == 1
        except BlockingIOError:
            return False

    def _gather(self, minimum: int, maximum: int, deadline: int) -> int:
        """Collect completions until `minimum` are kept, or the deadline has passed. Returns how many are enough then."""
        while len(self._kept) < maximum:
            try:
                more = self._collect(max(minimum - len(self._kept), 0), maximum - len(self._kept), deadline)
            except OSError as error:
                if not self._kept or error.errno is None:  # that of a signal handler
                    raise
                return min(minimum, 1)
            if len(self._kept) >= minimum:
                break
            if time.monotonic_ns() >= deadline and not more:
                return 0
        return minimum

    def _collect(self, minimum: int = 0, maximum: int = _BATCH, deadline: int = 0, *, file: int | None = None) -> bool:
        """Collect completions, by one call that a signal may end, and deliver them to the coroutines that await them, or keep them.

        Returns whether there may be more: the call has returned as many as it may. `close` passes the number of the descriptor.
        """
        depth = self._info.queue_depth
        collected = Collected(min(maximum, depth))
        wait = collected.wait(min(minimum, depth), deadline)
        more = False
        try:
            # `close` does not wait for this call, which may wait forever.
            more = self._call(_abi.RDMA_IOC_WAIT, wait, file=self.fileno() if file is None else file) == wait.max
        except InterruptedError:
            pass
        except BlockingIOError:  # the file has O_NONBLOCK, and there are none
            if minimum:
                raise
        except OSError as error:
            if error.errno == errno.ENODEV:
                self._registered.ended = True
                if file is None:
                    self._registered.sweep(self)
            raise
        finally:
            self._collected.append(collected)
            self._deliver()
        if file is None:
            self._registered.sweep(self)
        return more

    def _deliver(self) -> None:
        """Deliver what has been collected: to the coroutines that await it, or to `wait`.

        A signal handler may raise an exception before any line, or call this: what is left is delivered the next time. Therefore, each line
        can be repeated.
        """
        try:
            for collected in list(self._collected):
                parts = collected.parts()
                self._registered.stuck |= parts.stuck
                self._kept.extend(parts.kept)  # this empties the iterator
                if self._coroutines is not None and parts.is_any:
                    for completion in parts.awaited:
                        self._coroutines.deliver(completion)
                    self._coroutines.wake()
                with suppress(ValueError):  # a signal handler or another thread has removed it
                    self._collected.remove(collected)
        except BaseException:
            if self._coroutines is not None:
                self._coroutines.deliver_soon(self)
            raise

    def _take(self, maximum: int, enough: int = 0) -> list[Completion]:
        """Take completions that are kept, if there are enough."""
        found: list[Completion] = []
        try:
            with suppress(IndexError):  # there are no more; another thread may take them, too
                # One call, which executes nothing of Python, so that no completion is in neither of the two when a signal handler raises an
                # exception.
                found.extend(starmap(self._kept.popleft, repeat((), maximum)))
            if len(found) < enough:
                raise _TooFew
            return found
        except BaseException:
            self._kept.extendleft(reversed(found))
            raise

    def _cancel(self, cookie: int | None, file: int | None = None) -> int:
        cancel = _abi.rdma_cancel(flags=_abi.RDMA_CANCEL_ALL) if cookie is None else _abi.rdma_cancel(cookie=cookie)
        none = f"no request with the cookie {cookie} is queued or executing"
        return self._call(_abi.RDMA_IOC_CANCEL, cancel, {errno.ENOENT: none, errno.EALREADY: "the engine has begun the request"}, file)

    def _cancel_at_the_end(self, file: int) -> None:
        """Cancel all requests, because it is being closed, unless another process may have submitted them."""
        if self._is_opener:
            with suppress(OSError):  # the device is being removed
                self._cancel(None, file)

    def _free(self, handle: int) -> None:
        """Free the handle of an allocated or imported buffer, unless it has gone with the context."""
        with suppress(Closed), self._descriptor.used() as file:  # closed: `close` frees it
            self._allocated.discard((_process.current(), handle))
            self._free_at(file, handle)

    def _free_registered(self, handle: int) -> None:
        with suppress(Closed):  # as above
            self._registered.free(self, handle)

    def _free_at(self, file: int, handle: int) -> None:
        """Free a handle, unless it has gone with the device."""
        try:
            self._call(_abi.RDMA_IOC_FREE, _abi.rdma_free(handle=handle), file=file)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise

    def _call(
        self, number: int, argument: ctypes.Structure, reasons: Mapping[int, str] | None = None, file: int | None = None
    ) -> int:
        """Make a call. `close` waits for it, unless it is given the number of the descriptor."""
        if file is None:
            with self._descriptor.used() as file:
                return self._call(number, argument, reasons, file)
        try:
            return _node.ioctl(file, number, argument)
        except InterruptedError:
            raise
        except OSError as error:
            raise self._explained(error, reasons or {}) from None

    def _call_to_its_end(self, number: int, argument: ctypes.Structure, reasons: Mapping[int, str]) -> None:
        """A call that is repeated after signals whose handlers raise no exception (PEP 475)."""
        try:
            self._call(number, argument, reasons)
            return
        except InterruptedError as error:
            if error.errno is None:  # that of a signal handler
                raise
        # Without most signals, because a timer of less than the time of the call would interrupt each attempt.
        with _signals_blocked():
            while True:
                try:
                    self._call(number, argument, reasons)
                    return
                except InterruptedError as error:
                    if error.errno is None:
                        raise

    def _explained(self, error: OSError, reasons: Mapping[int, str]) -> OSError:
        return _node.explained(error, {**reasons, errno.ENODEV: f"{self.node} has been removed: open it again when it is back"})

    def _not_imported(self, error: OSError) -> OSError:
        """The error of IMPORT, which may be that of the exporter: the device then works."""
        number = error.errno
        if number is None or number in _IMPORTING:  # without a number, it is that of a signal handler
            return error
        if number == errno.ENODEV:
            try:
                self.info()
            except OSError:
                return error
        return OSError(number, f"{os.strerror(number)}: this is an error of the exporter of the dma-buf, not of {self.node}")


def _numbers(minimum: int, maximum: int | None) -> tuple[int, int]:
    """The smallest and the largest number of completions to return."""
    minimum = operator.index(minimum)
    maximum = max(minimum, _BATCH) if maximum is None else operator.index(maximum)
    if minimum < 0 or maximum < max(minimum, 1):
        raise ValueError(f"at least {minimum} and at most {maximum} completions")
    return minimum, maximum


def _deadline(timeout: float | None) -> int:
    """The time of CLOCK_MONOTONIC, in nanoseconds, at which a timeout that begins now ends."""
    if timeout is None:
        return _abi.RDMA_WAIT_FOREVER
    return int(min(max(time.monotonic_ns() + timeout * 1e9, 0), _abi.RDMA_WAIT_FOREVER))


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Without signals, except those by which users end a program: the queue can be long."""
    old = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
