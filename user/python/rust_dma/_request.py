"""Requests, and their completions."""

from __future__ import annotations

import errno
import operator
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TYPE_CHECKING, SupportsIndex

from rust_dma import _abi, _node
from rust_dma._memory import Memory

if TYPE_CHECKING:
    from rust_dma._context import Context

# Cookies from here on are those of requests that coroutines await (_awaited.py).
FIRST_AWAITED = 1 << 63

# What the errors of transfers and completions mean, in the words of user/rust-dma/src/error.rs.
FAILING = {
    errno.ECANCELED: "cancelled, or linked to a request that failed",
    errno.EIO: "an earlier transfer has not ended, so that the engine cannot be used, or the device was not a bus master: "
    "unbind the driver, and bind it again",
    errno.ENODEV: "the device has been removed: open it again when it is back",
    errno.EREMOTEIO: "the engine reported an error, and the destination contains undefined bytes: repeat the request",
    errno.ETIMEDOUT: "the transfer did not end within a second, and the device may still access its buffers; "
    "the kernel log has details (dmesg)",
}


def cookie_of(number: SupportsIndex) -> int:
    """A cookie of a request that no coroutine awaits. ctypes would take the number modulo 2**64."""
    cookie = operator.index(number)
    if not 0 <= cookie < FIRST_AWAITED:
        raise ValueError(f"cookie {cookie}: it must be 0 to 2**63 - 1")
    return cookie


class Operation(IntEnum):
    """What a request does."""

    TO_DEVICE = _abi.RDMA_OP_TO_DEVICE
    FROM_DEVICE = _abi.RDMA_OP_FROM_DEVICE
    COPY = _abi.RDMA_OP_COPY


@dataclass(frozen=True)
class Request:
    """An operation on buffers of a context; from Context.request_to_device and others. The source or destination None is the device
    memory. It keeps its buffers, but `free` still frees them: submitting it then raises ValueError."""

    context: Context = field(repr=False)
    operation: Operation
    source: Memory | None
    destination: Memory | None
    source_offset: int
    destination_offset: int
    length: int
    cookie: int = 0

    def __post_init__(self) -> None:
        for name in ("source_offset", "destination_offset", "length"):
            # Those of NumPy are integers, too, but not for ctypes, and have a limited range.
            object.__setattr__(self, name, operator.index(getattr(self, name)))
        object.__setattr__(self, "cookie", cookie_of(self.cookie))
        if self.length < 1:
            raise ValueError(f"a request moves at least 1 byte, not {self.length}")
        self._check(self.source, self.source_offset)
        self._check(self.destination, self.destination_offset)
        if self.destination is not None and self.destination.readonly:
            raise ValueError("the destination is registered or imported memory that is read-only")
        distance = abs(self.source_offset - self.destination_offset)
        if self.source is self.destination and distance < self.length:
            raise ValueError(f"a copy within a buffer, of {self.length} bytes to {distance} bytes from their place: they overlap")

    def _check(self, buffer: Memory | None, offset: int) -> None:
        """Whether this end of it is within the buffer or the device memory."""
        if buffer is not None and buffer.context is not self.context:
            raise ValueError("the buffer belongs to another context")
        name, size = ("device memory", self.context._info.device_memory_size) if buffer is None else ("buffer", buffer.nbytes)
        if offset < 0 or offset + self.length > size:
            raise ValueError(f"{self.length} bytes from {offset} on: the {name} has {size}")

    def _raw(self, used: ExitStack, cookie: int | None = None) -> _abi.rdma_request:
        """As the driver reads it. The numbers of its buffers are valid until `used` is left."""

        def number(buffer: Memory | None) -> int:
            return _abi.RDMA_NO_BUFFER if buffer is None else used.enter_context(buffer._handle)

        return _abi.rdma_request(
            operation=self.operation,
            source=number(self.source),
            destination=number(self.destination),
            source_offset=self.source_offset,
            destination_offset=self.destination_offset,
            length=self.length,
            cookie=self.cookie if cookie is None else cookie,
        )

    def _pieces(self, size: int) -> Iterator[Request]:
        """The same in requests of at most this size."""
        for start in range(0, self.length, size):
            source, destination = self.source_offset + start, self.destination_offset + start
            yield replace(self, source_offset=source, destination_offset=destination, length=min(size, self.length - start))


@dataclass(frozen=True)
class Completion:
    """The result of a submitted request: status is 0 or an errno."""

    cookie: int
    bytes: int
    status: int

    def check(self) -> Completion:
        """Raise OSError if it has failed."""
        if self.status:
            raise _node.explained(OSError(self.status, f"request {self.cookie}: {os.strerror(self.status)}"), FAILING)
        return self
