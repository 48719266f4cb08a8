"""Completions that a call has collected."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Iterator
from itertools import takewhile
from typing import NamedTuple

from rust_dma import _abi
from rust_dma._request import FIRST_AWAITED, Completion


class Parts(NamedTuple):
    """The completions, by who gets them."""

    kept: Iterator[Completion]  # of requests that `wait` returns
    awaited: list[Completion]  # of requests that coroutines await
    is_any: bool
    stuck: bool  # a transfer did not end


class Collected:
    """The completions that one call of WAIT collects."""

    def __init__(self, room: int) -> None:
        self._array = (_abi.rdma_completion * room)()
        # The driver writes 0 to `reserved`. If a signal handler raises an exception, its call returns no number, but may have collected.
        ctypes.memset(self._array, 0xFF, ctypes.sizeof(self._array))
        self._parts: list[Parts] = []

    def wait(self, minimum: int, deadline: int) -> _abi.rdma_wait:
        """The argument of the call."""
        return _abi.rdma_wait(
            completions=ctypes.addressof(self._array),
            min=minimum,
            max=len(self._array),
            completion_size=ctypes.sizeof(_abi.rdma_completion),
            deadline_ns=deadline,
        )

    def parts(self) -> Parts:
        """What the call has written, after its end; the same object each time, also if a signal handler gets it meanwhile."""
        if not self._parts:
            found = [Completion(raw.cookie, raw.bytes, -raw.status) for raw in takewhile(lambda raw: not raw.reserved, self._array)]
            kept = [completion for completion in found if completion.cookie < FIRST_AWAITED]
            awaited = [completion for completion in found if completion.cookie >= FIRST_AWAITED]
            stuck = any(completion.status == errno.ETIMEDOUT for completion in found)
            self._parts.append(Parts(iter(kept), awaited, bool(found), stuck))
        return self._parts[0]
