"""A driver in Python, in place of the system calls of rust_dma._node: for tests without a device, and for what a device does rarely."""

import ctypes
import errno
import os
import time
import unittest
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from unittest import mock

from rust_dma import _abi, _node

NODE = "/dev/rdma0"
PAGE = 4096
DMA_BUF_IOCTL_SYNC = 0x40086200  # _IOW('b', 0, struct dma_buf_sync)
_map_memory = _node.map_memory


def fail(number: int) -> OSError:
    """An error as the kernel's."""
    return OSError(number, os.strerror(number))


def unused(buffers: dict[int, object]) -> int:
    """A handle that is free."""
    return min(set(range(2, len(buffers) + 3)) - set(buffers))


def load(buffer: "int | ctypes.Array[ctypes.c_ubyte]", length: int, at: int) -> bytes:
    """Bytes of a buffer."""
    return os.pread(buffer, length, at) if isinstance(buffer, int) else bytes(buffer[at : at + length])


def store(buffer: "int | ctypes.Array[ctypes.c_ubyte]", data: bytes, at: int) -> None:
    """Store bytes in a buffer."""
    if isinstance(buffer, int):
        os.pwrite(buffer, data, at)
    else:
        ctypes.memmove(ctypes.addressof(buffer) + at, data, len(data))


class File:
    """An open file: its buffers by handle, each a memfd or registered memory, and its requests."""

    def __init__(self) -> None:
        self.buffers: dict[int, int | ctypes.Array[ctypes.c_ubyte]] = {}
        self.queue: deque[_abi.rdma_request] = deque()
        self.completed: deque[_abi.rdma_completion] = deque()
        self.unfinished: list[_abi.rdma_request] = []  # those that timed out, which the device may still execute


class Driver:
    """A device with 4096 bytes of memory. Submitted requests are executed at once, or, while it is `held`, by `step`."""

    def __init__(self) -> None:
        self.memory = bytearray(PAGE)
        self.abi_version = _abi.RDMA_ABI_VERSION
        self.files: dict[int, File] = {}
        self.held = False
        self.closing = False  # an unbind has ended access to the device, and waits for the transfers
        self.gone = False
        self.calls: list[int] = []
        self.dma_bufs: set[int] = set()  # the inodes of the memfds that are exported
        self.synchronized: list[int] = []  # the flags of DMA_BUF_IOCTL_SYNC
        self.before: dict[int, deque[Callable[[], None]]] = {}  # what happens at the beginning of the next calls with this number
        self.collected: Callable[[], None] = lambda: None  # what happens at the end of WAIT
        self.actions = {
            _abi.RDMA_IOC_DEVICE_INFO: self.info,
            _abi.RDMA_IOC_ALLOC: self.alloc,
            _abi.RDMA_IOC_REGISTER: self.register,
            _abi.RDMA_IOC_EXPORT: self.export,
            _abi.RDMA_IOC_IMPORT: self.import_,
            _abi.RDMA_IOC_BUFFER_INFO: self.buffer_info,
            _abi.RDMA_IOC_FREE: self.free,
            _abi.RDMA_IOC_TRANSFER: self.transfer,
            _abi.RDMA_IOC_SUBMIT: self.submit,
            _abi.RDMA_IOC_WAIT: self.wait,
            _abi.RDMA_IOC_CANCEL: self.cancel,
        }

    def install(self, case: unittest.TestCase) -> None:
        """Use it until the end of a test."""
        for name in ("open_node", "ioctl", "read", "write", "map_memory"):
            patch = mock.patch.object(_node, name, getattr(self, name))
            patch.start()
            case.addCleanup(patch.stop)

    def remove(self) -> None:
        """The device is removed."""
        self.gone = True
        for node in self.files:
            os.eventfd_write(node, 1)

    def open_node(self, node: str | os.PathLike[str]) -> int:
        if Path(node) != Path(NODE):
            return os.open(node, os.O_RDWR | os.O_CLOEXEC)
        number = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.files[number] = File()
        return number

    def ioctl(self, node: int, number: int, argument: ctypes.Structure) -> int:
        if number == DMA_BUF_IOCTL_SYNC and node not in self.files:
            return self.synchronize(node, argument)
        if node not in self.files or number not in self.actions:
            raise fail(errno.ENOTTY)
        self.calls.append(number)
        if self.before.get(number):
            self.before[number].popleft()()
        return self.actions[number](node, argument) or 0

    def read(self, _node_: int, length: int, at: int) -> bytes:
        return bytes(self.memory[at : at + length])

    def write(self, _node_: int, data: bytes, at: int) -> int:
        self.memory[at : at + len(data)] = data
        return len(data)

    def map_memory(self, node: int, size: int, offset: int, writable: bool = True) -> memoryview:
        memory = self.files[node].buffers[offset // PAGE] if node in self.files else node
        return _map_memory(memory, size, 0, writable)

    def info(self, _node_: int, info: _abi.rdma_device_info) -> None:
        if self.closing or self.gone:
            raise fail(errno.ENODEV)
        info.abi_version, info.device_memory_size, info.max_transfer_size = self.abi_version, len(self.memory), len(self.memory)
        info.max_buffer_size, info.queue_depth, info.interrupt = _abi.RDMA_MAX_BUFFER_SIZE, _abi.RDMA_QUEUE_DEPTH, _abi.RDMA_INTERRUPT_MSI

    def alloc(self, node: int, alloc: _abi.rdma_alloc) -> None:
        buffers = self.files[node].buffers
        alloc.size = -(-alloc.size // PAGE) * PAGE
        alloc.handle = unused(buffers)
        alloc.mmap_offset = alloc.handle * PAGE
        buffers[alloc.handle] = os.memfd_create("rust_dma_fake")
        os.truncate(buffers[alloc.handle], alloc.size)

    def free(self, node: int, free: _abi.rdma_free) -> None:
        buffer = self.files[node].buffers.pop(free.handle)
        if isinstance(buffer, int):
            os.close(buffer)

    def register(self, node: int, register: _abi.rdma_register) -> None:
        buffers = self.files[node].buffers
        register.handle = unused(buffers)
        buffers[register.handle] = (ctypes.c_ubyte * register.size).from_address(register.address)

    def export(self, node: int, export: _abi.rdma_export) -> None:
        memory = self.files[node].buffers[export.handle]
        if not isinstance(memory, int):
            raise fail(errno.EOPNOTSUPP)
        self.dma_bufs.add(os.fstat(memory).st_ino)
        export.fd = os.dup(memory)

    def import_(self, node: int, request: _abi.rdma_import) -> None:
        state = os.fstat(request.fd)
        if state.st_ino not in self.dma_bufs:
            raise fail(errno.EINVAL)
        if _node.access_mode(request.fd) != os.O_RDWR and not request.flags:
            raise fail(errno.EACCES)
        buffers = self.files[node].buffers
        request.handle, request.size = unused(buffers), state.st_size
        buffers[request.handle] = os.dup(request.fd)

    def synchronize(self, dma_buf: int, sync: ctypes.Structure) -> int:
        if os.fstat(dma_buf).st_ino not in self.dma_bufs:
            raise fail(errno.ENOTTY)
        if self.before.get(DMA_BUF_IOCTL_SYNC):
            self.before[DMA_BUF_IOCTL_SYNC].popleft()()
        self.synchronized.append(sync.flags)
        return 0

    def buffer_info(self, node: int, info: _abi.rdma_buffer_info) -> None:
        if self.closing or self.gone:
            raise fail(errno.ENODEV)
        if info.handle not in self.files[node].buffers:
            raise fail(errno.EINVAL)
        file = self.files[node]
        info.requests = sum(info.handle in (request.source, request.destination) for request in [*file.queue, *file.unfinished])

    def transfer(self, node: int, request: _abi.rdma_request) -> None:
        self.execute(node, request)

    def execute(self, node: int, request: _abi.rdma_request) -> None:
        """Move the bytes of a request."""
        buffers = self.files[node].buffers
        if request.source:
            data = load(buffers[request.source], request.length, request.source_offset)
        else:
            data = self.read(node, request.length, request.source_offset)
        if request.destination:
            store(buffers[request.destination], data, request.destination_offset)
        else:
            self.write(node, data, request.destination_offset)

    def submit(self, node: int, submit: _abi.rdma_submit) -> int:
        file = self.files[node]
        requests = (_abi.rdma_request * submit.count).from_address(submit.requests)
        room = _abi.RDMA_QUEUE_DEPTH - len(file.queue) - len(file.completed)
        if not room:
            raise fail(errno.EAGAIN)
        for request in requests[:room]:
            if not {request.source, request.destination} <= {0, *file.buffers}:
                raise fail(errno.EINVAL)
            file.queue.append(_abi.rdma_request.from_buffer_copy(request))
        while not self.held and file.queue:
            self.step(node)
        return min(submit.count, room)

    def step(self, node: int) -> None:
        """Execute the next request."""
        request = self.files[node].queue.popleft()
        self.execute(node, request)
        self.complete(node, request, 0)

    def complete(self, node: int, request: _abi.rdma_request, status: int) -> None:
        """Complete a request."""
        self.files[node].completed.append(
            _abi.rdma_completion(cookie=request.cookie, bytes=0 if status else request.length, status=-status)
        )
        os.eventfd_write(node, 1)

    def wait(self, node: int, wait: _abi.rdma_wait) -> int:
        file = self.files[node]
        if not (1 <= wait.max and wait.min <= min(wait.max, _abi.RDMA_QUEUE_DEPTH)):
            raise fail(errno.EINVAL)
        while len(file.completed) < wait.min and file.queue:
            self.step(node)
        if self.gone and not file.completed:
            raise fail(errno.ENODEV)
        if len(file.completed) < wait.min and not self.gone:
            if wait.deadline_ns == _abi.RDMA_WAIT_FOREVER:
                raise AssertionError("this waits forever")
            time.sleep(max(wait.deadline_ns - time.monotonic_ns(), 0) / 1e9)
        return self.collect(node, wait)

    def collect(self, node: int, wait: _abi.rdma_wait) -> int:
        """Write completions to the array of WAIT."""
        completed = self.files[node].completed
        count = min(len(completed), wait.max)
        for place in range(count):
            ctypes.memmove(wait.completions + place * wait.completion_size, ctypes.addressof(completed[0]), wait.completion_size)
            completed.popleft()
        if not completed and not self.gone:
            with suppress(BlockingIOError):
                os.eventfd_read(node)
        self.collected()
        return count

    def cancel(self, node: int, cancel: _abi.rdma_cancel) -> int:
        if self.closing or self.gone:
            raise fail(errno.ENODEV)
        file = self.files[node]
        cancelled = [request for request in file.queue if cancel.flags or request.cookie == cancel.cookie]
        if not cancelled and not cancel.flags:
            raise fail(errno.ENOENT)
        for request in cancelled:
            file.queue.remove(request)
            self.complete(node, request, errno.ECANCELED)
        return len(cancelled)
