"""Devices, contexts and buffers."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rust_dma import _abi

if TYPE_CHECKING:
    import numpy


@dataclass(frozen=True)
class Device:
    """A device of the driver: its name such as rdma0, its node such as /dev/rdma0, its address on the PCI bus."""

    name: str
    node: Path
    pci_address: str


def devices() -> list[Device]:
    """The devices of the driver, by their numbers; none if it is not loaded."""
    found = Path("/sys/class/rust_dma").glob("rdma*")
    names = sorted((entry.name for entry in found), key=lambda name: (len(name), name))
    return [Device(name, Path("/dev") / name, (Path("/sys/class/rust_dma") / name / "device").resolve().name) for name in names]


@dataclass(frozen=True)
class Info:
    """The properties of a device and its driver; sizes are in bytes."""

    abi_version: int
    operations: int
    capabilities: int
    device_memory_size: int
    max_transfer_size: int
    max_buffer_size: int
    dma_bits: int
    interrupt: str
    hardware_version: tuple[int, int]
    queue_depth: int
    engine_depth: int
    address_alignment: int
    length_alignment: int


@dataclass(frozen=True)
class Completion:
    """The result of a submitted request: status is 0 or an errno."""

    cookie: int
    bytes: int
    status: int

    def check(self) -> Completion:
        """Raise OSError if it has failed."""
        if self.status:
            raise OSError(self.status, f"request {self.cookie}: {os.strerror(self.status)}")
        return self


class Buffer:
    """Coherent memory that the device can access; from Context.allocate. It has the buffer protocol through `view`."""

    handle: int | None = None

    def __init__(self, context: Context, size: int) -> None:
        alloc = _abi.rdma_alloc(size=size)
        context._call(_abi.RDMA_IOC_ALLOC, alloc)
        self._context = context
        self.handle = alloc.handle
        try:
            self._mapping = mmap.mmap(context.fileno(), alloc.size, mmap.MAP_SHARED, offset=alloc.mmap_offset)
        except OSError:
            self.free()
            raise
        self.view = memoryview(self._mapping)

    def __len__(self) -> int:
        return len(self._mapping)

    def array(self, dtype: Any = "uint8", count: int = -1, offset: int = 0) -> numpy.ndarray:
        """A NumPy array of it, or of `count` elements from byte `offset` on. No copy: it is the same memory."""
        import numpy

        return numpy.frombuffer(self._mapping, dtype, count, offset)

    def free(self) -> None:
        """Release the handle. The memory stays as long as views, arrays or requests use it."""
        if self.handle is not None and self._context._file is not None:
            handle, self.handle = self.handle, None
            self._context._call(_abi.RDMA_IOC_FREE, _abi.rdma_free(handle=handle))

    def __del__(self) -> None:
        self.free()

    def __enter__(self) -> Buffer:
        return self

    def __exit__(self, *_: object) -> None:
        self.free()


def _request(operation: int, buffer: Buffer, length: int | None, offset: int, cookie: int) -> _abi.rdma_request:
    """A request without its offsets: without a length, for the rest of a buffer."""
    length = len(buffer) - offset if length is None else length
    return _abi.rdma_request(operation=operation, length=length, cookie=cookie)


class Context:
    """One open file of a device: it owns buffers and requests, and releases them when it is closed."""

    _file: int | None = None

    def __init__(self, node: str | os.PathLike[str] = "/dev/rdma0") -> None:
        self._file = os.open(node, os.O_RDWR | os.O_CLOEXEC)
        try:
            version = self.info().abi_version
            if version != _abi.RDMA_ABI_VERSION:
                raise OSError(errno.ENOTSUP, f"the driver's interface is version {version}, and this module's {_abi.RDMA_ABI_VERSION}")
        except OSError:
            self.close()
            raise

    def fileno(self) -> int:
        """For select and selectors: readable when completions can be collected."""
        if self._file is None:
            raise ValueError("the context is closed")
        return self._file

    def close(self) -> None:
        """Close it. Mappings stay as long as views or arrays use them."""
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def info(self) -> Info:
        """The properties of the device and its driver."""
        info = _abi.rdma_device_info()
        self._call(_abi.RDMA_IOC_DEVICE_INFO, info)
        kinds = {_abi.RDMA_INTERRUPT_INTX: "INTx", _abi.RDMA_INTERRUPT_MSI: "MSI"}
        return Info(
            info.abi_version,
            info.operations,
            info.capabilities,
            info.device_memory_size,
            info.max_transfer_size,
            info.max_buffer_size,
            info.dma_bits,
            kinds.get(info.interrupt, str(info.interrupt)),
            (info.hardware_version >> 8, info.hardware_version & 0xFF),
            info.queue_depth,
            info.engine_depth,
            info.address_alignment,
            info.length_alignment,
        )

    def allocate(self, size: int) -> Buffer:
        """Allocate a buffer of at least `size` bytes, rounded up to whole pages, all zero."""
        return Buffer(self, size)

    def to_device(self, buffer: Buffer, length: int | None = None, offset: int = 0, at: int = 0) -> None:
        """Transfer bytes of a buffer to device memory, from `at` on, and wait for it."""
        self._run(self.request_to_device(buffer, length, offset, at))

    def from_device(self, buffer: Buffer, length: int | None = None, offset: int = 0, at: int = 0) -> None:
        """Transfer device memory, from `at` on, to bytes of a buffer, and wait for it."""
        self._run(self.request_from_device(buffer, length, offset, at))

    def copy(self, source: Buffer, destination: Buffer, length: int | None = None, offset: int = 0, at: int = 0) -> None:
        """Copy bytes of one buffer to another one, through the device memory, and wait for it."""
        self._run(self.request_copy(source, destination, length, offset, at))

    def request_to_device(
        self, buffer: Buffer, length: int | None = None, offset: int = 0, at: int = 0, cookie: int = 0
    ) -> _abi.rdma_request:
        """A request for submit."""
        request = _request(_abi.RDMA_OP_TO_DEVICE, buffer, length, offset, cookie)
        request.source, request.source_offset, request.destination_offset = buffer.handle, offset, at
        return request

    def request_from_device(
        self, buffer: Buffer, length: int | None = None, offset: int = 0, at: int = 0, cookie: int = 0
    ) -> _abi.rdma_request:
        """A request for submit."""
        request = _request(_abi.RDMA_OP_FROM_DEVICE, buffer, length, offset, cookie)
        request.destination, request.destination_offset, request.source_offset = buffer.handle, offset, at
        return request

    def request_copy(
        self, source: Buffer, destination: Buffer, length: int | None = None, offset: int = 0, at: int = 0, cookie: int = 0
    ) -> _abi.rdma_request:
        """A request for submit."""
        request = _request(_abi.RDMA_OP_COPY, source, length, offset, cookie)
        request.source, request.source_offset = source.handle, offset
        request.destination, request.destination_offset = destination.handle, at
        return request

    def submit(self, requests: Iterable[_abi.rdma_request], *, linked: bool = False) -> int:
        """Queue requests, without waiting; linked: each starts only if the previous one succeeds. Returns how many were accepted,
        from the first one on."""
        array = [_abi.rdma_request.from_buffer_copy(request) for request in requests]
        if linked:
            for request in array[:-1]:
                request.flags |= _abi.RDMA_REQUEST_LINK
        array = (_abi.rdma_request * len(array))(*array)
        size = ctypes.sizeof(_abi.rdma_request)
        submit = _abi.rdma_submit(requests=ctypes.addressof(array), count=len(array), request_size=size)
        return self._call(_abi.RDMA_IOC_SUBMIT, submit)

    def wait(self, minimum: int = 1, maximum: int = 64, timeout: float | None = None) -> list[Completion]:
        """Collect completions in order: at least `minimum`, but wait for at most `timeout` seconds."""
        array = (_abi.rdma_completion * maximum)()
        deadline = _abi.RDMA_WAIT_FOREVER
        if timeout is not None:
            deadline = min(time.monotonic_ns() + round(timeout * 1e9), deadline)
        wait = _abi.rdma_wait(
            completions=ctypes.addressof(array),
            min=minimum,
            max=maximum,
            completion_size=ctypes.sizeof(_abi.rdma_completion),
            deadline_ns=deadline,
        )
        while True:
            try:
                count = self._call(_abi.RDMA_IOC_WAIT, wait)
            except InterruptedError:
                continue  # Python has called its handler, which may have raised an exception (PEP 475)
            return [Completion(item.cookie, item.bytes, -item.status) for item in array[:count]]

    def cancel(self, cookie: int | None = None) -> int:
        """Cancel the requests that have not started, of this cookie or all; returns their number."""
        cancel = _abi.rdma_cancel(flags=_abi.RDMA_CANCEL_ALL) if cookie is None else _abi.rdma_cancel(cookie=cookie)
        return self._call(_abi.RDMA_IOC_CANCEL, cancel)

    def read(self, length: int = _abi.RDMA_DEVICE_MEMORY_SIZE, at: int = 0) -> bytes:
        """Read device memory, from `at` on."""
        return os.pread(self.fileno(), length, at)

    def write(self, data: bytes, at: int = 0) -> int:
        """Write device memory, from `at` on; returns the number of bytes that fit."""
        return os.pwrite(self.fileno(), data, at)

    def _run(self, request: _abi.rdma_request) -> None:
        # Completions of submitted requests must not be taken here; therefore this uses the blocking call. A signal
        # during the call raises InterruptedError: it is unknown what has been transferred.
        self._call(_abi.RDMA_IOC_TRANSFER, request)

    def _call(self, number: int, argument: ctypes.Structure) -> int:
        return fcntl.ioctl(self.fileno(), number, argument)
