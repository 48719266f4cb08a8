"""Memory that other drivers and other programs access, too: dma-bufs."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rust_dma import _node
from rust_dma._handle import FREED, Handle
from rust_dma._memory import Memory

if TYPE_CHECKING:
    from rust_dma._context import Context

# Source: linux/dma-buf.h
_SYNC = 0x40086200
_SYNC_READ = 1
_SYNC_WRITE = 2
_SYNC_END = 4


class _dma_buf_sync(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64)]


class DmaBuf(Memory):
    """A buffer that other drivers and programs may access at any time (dma-buf), by its file descriptor; from Context.allocate_shared or
    Context.import_shared.

    Requests use it like a Buffer. They do not wait for other drivers, nor do those wait for requests: the order is up to the programs.
    """

    _descriptor: int | None = None

    def __init__(self, context: Context, handle: Handle, size: int, descriptor: int) -> None:
        super().__init__(context, handle)
        self._size = size
        self._descriptor = descriptor

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        self.fileno()
        return self._size

    @property
    def readonly(self) -> bool:
        """Whether its descriptor is open for reading only, so that requests cannot write to it."""
        return _node.access_mode(self.fileno()) == os.O_RDONLY

    def fileno(self) -> int:
        """The descriptor, for other drivers, other contexts, and socket.send_fds. `free` closes it; os.dup makes one that stays."""
        if self._descriptor is None:
            raise ValueError(FREED)
        return self._descriptor

    @contextmanager
    def mapped(self) -> Iterator[memoryview]:
        """Its bytes, while the program accesses them: `with dma_buf.mapped() as view`. DMA_BUF_IOCTL_SYNC begins and ends the access.

        Do not use the view, or arrays of it, afterwards.
        """
        descriptor, writable = self.fileno(), not self.readonly
        view = _node.map_memory(descriptor, self._size, 0, writable)
        flags = _SYNC_READ | _SYNC_WRITE if writable else _SYNC_READ
        own = os.dup(descriptor)  # so that the access can be ended if the buffer is freed meanwhile
        try:
            _sync(own, flags)
            try:
                yield view
            finally:
                _sync(own, flags | _SYNC_END)
        finally:
            os.close(own)

    def free(self) -> None:
        """Close the descriptor and release the handle. The memory stays as long as requests, or others that have descriptors, use it."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)
            self._handle.free()

    def __len__(self) -> int:
        return self.nbytes

    def __repr__(self) -> str:
        if self._descriptor is None:
            return "<rust_dma.DmaBuf, freed>"
        return f"<rust_dma.DmaBuf {self.handle} of {self._context.node}, {self._size} bytes, descriptor {self._descriptor}>"


def _sync(descriptor: int, flags: int) -> None:
    """Begin or end an access by the program. The exporter may wait for fences, which a signal interrupts."""
    while True:
        try:
            _node.ioctl(descriptor, _SYNC, _dma_buf_sync(flags))
            return
        except OSError as error:
            if error.errno not in (errno.EINTR, errno.EAGAIN):
                raise
