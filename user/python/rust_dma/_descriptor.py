"""Descriptors of nodes, which several threads use and one closes."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rust_dma import _process
from rust_dma._unique import Unique

# How long the calls of other threads are waited for. The driver fails a transfer that does not end within a second, after those before it.
_LONGEST_CALLS_S = 2


class Closed(ValueError):
    """The context is closed."""


class Descriptor(Unique):
    """The descriptor of a node.

    One call closes it. From then on, all other calls fail, and those that have begun can be waited for: the number becomes that of
    another file, and memory of transfers is given back. A child of fork(2) has a descriptor of its own, with the same number.

    There is no lock: a signal handler may close it, and a child of fork(2) gets locks as they are.
    """

    def __init__(self, number: int | None) -> None:
        self._number = number
        self._closers: dict[tuple[int, int], object] = {}  # by process
        self._uses: set[tuple[tuple[int, int], int, object]] = set()  # process, thread, and what is different in each call

    @property
    def is_closed(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._number is None or _process.current() in self._closers

    def fileno(self) -> int:
        """The number, for a call that `wait` does not wait for."""
        number = self._number
        if number is None or self.is_closed:
            raise Closed("the context is closed")
        return number

    @contextmanager
    def used(self) -> Iterator[int]:
        """The number, for calls that `wait` waits for."""
        use = _process.current(), threading.get_ident(), object()
        try:
            self._uses.add(use)  # before the number is read: `claim` and `wait` have the other order
            yield self.fileno()
        finally:
            self._uses.discard(use)

    def claim(self, closer: object) -> int | None:
        """The number, for the calls of the only one that closes it; None for all others."""
        return self._number if self._closers.setdefault(_process.current(), closer) is closer else None

    def is_claimed(self, closer: object) -> bool:
        """Whether this one closes it."""
        return self._closers.get(_process.current()) is closer

    def wait(self) -> bool:
        """Wait for the calls of other threads. Returns whether there were any."""
        deadline = time.monotonic() + _LONGEST_CALLS_S
        was_used = False
        while self._is_used() and time.monotonic() < deadline:
            was_used = True
            time.sleep(0.001)
        return was_used

    def close(self) -> None:
        """Close it, after `claim`."""
        number, self._number = self._number, None
        if number is not None:
            os.close(number)

    def _is_used(self) -> bool:
        # A call of this thread, which a signal handler has interrupted, is not in the kernel now, and will fail.
        process, thread = _process.current(), threading.get_ident()
        return any(use[0] == process and use[1] != thread for use in self._uses.copy())
