"""Handles: the numbers that identify buffers."""

import threading
from collections.abc import Callable

from rust_dma import _process
from rust_dma._unique import Unique

FREED = "the buffer has been freed"
_INHERITED = "the buffer is registered memory of another process: a request would access that process's memory; register it in this one"


class Handle(Unique):
    """The number of a buffer within its context: `with handle as number`.

    The driver gives a freed number to the next buffer. Therefore it is freed once, by the process that has allocated it (a child of
    fork(2) shares the context), and not while a call uses it.
    """

    def __init__(self, number: int, release: Callable[[int], None], *, is_shared: bool = True) -> None:
        self._number: int | None = number
        self._release = release
        self._is_shared = is_shared  # whether a child of fork(2) has the same memory
        self._freed = False
        self._uses = 0
        self._process = _process.current()
        # A signal handler may free the buffer while its own thread holds the lock.
        self._lock = threading.RLock()

    @property
    def number(self) -> int | None:
        """The number; None if it is freed."""
        return None if self._freed else self._number

    def free(self) -> None:
        """Free it, or let the last call that uses it free it."""
        with self._lock:
            self._freed = True
            self._release_if_unused()

    def __enter__(self) -> int:
        with self._lock:
            if self._freed or self._number is None:
                raise ValueError(FREED)
            if not self._is_shared and self._process != _process.current():
                raise ValueError(_INHERITED)
            self._uses += 1
            return self._number

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._uses -= 1
            self._release_if_unused()

    def _release_if_unused(self) -> None:
        if self._freed and self._uses == 0 and self._number is not None:
            number, self._number = self._number, None
            if self._process == _process.current():
                self._release(number)
