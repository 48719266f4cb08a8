"""Memory that the program has, registered as buffers: it must stay where it is as long as the device may access it."""

from __future__ import annotations

import ctypes
import errno
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from rust_dma import _abi, _process
from rust_dma._unique import Unique

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from rust_dma._context import Context

# The driver fails a transfer that does not end within a second (1.0 to 1.1 s).
_LONGEST_TRANSFER_S = 2

# Memory that the device may access until the process ends, because it is not known whether a transfer has ended.
_for_ever: list[memoryview] = []


class Registered(Unique):
    """The memory of the registered buffers of a context, by handle.

    The driver pins the pages, but the process would use the memory for other objects. Therefore the object is kept, and the handle is
    not freed, until the buffer has no requests.

    A child of fork(2) shares the context, but has none of the registrations of its parent: they are of the parent's memory.
    """

    def __init__(self) -> None:
        self.stuck = False  # a transfer did not end within its time, and may still write
        self.ended = False  # the device is removed, and no submitted request is left
        self._removed = False  # the driver does not say which buffers have requests any more
        self._transfers: set[object] = set()  # the calls of TRANSFER that have not ended
        self._memory: dict[int, memoryview] = {}
        self._freed: set[int] = set()
        self._process = _process.current()

    def add(self, handle: int, memory: memoryview) -> None:
        """Keep this memory, by a view of its own, which the program cannot release."""
        self._leave_to_parent()
        self._memory[handle] = memoryview(memory)

    @contextmanager
    def transferring(self) -> Iterator[None]:
        """During a call of TRANSFER."""
        transfer = object()
        self._transfers.add(transfer)
        try:
            yield
        except OSError as error:
            # An unbind fails calls before the engine has ended their transfers. An exception without a number is that of a signal handler.
            if error.errno is not None and error.errno != errno.ENODEV:
                self._transfers.discard(transfer)
            raise
        else:
            self._transfers.discard(transfer)
        # With another exception, that of a signal handler, the engine may still execute the transfer.

    def free(self, context: Context, handle: int) -> None:
        """Free a handle, and release its memory, as soon as it has no requests."""
        self._leave_to_parent()
        self._freed.add(handle)
        self.sweep(context)

    def sweep(self, context: Context) -> None:
        """Free the handles that wait for the end of requests."""
        self._leave_to_parent()
        if self._freed:
            context._deliver()  # which sets `stuck`, if a signal handler has ended it before
        for handle in list(self._freed):
            with context._descriptor.used() as file:  # so that `close` waits for this
                try:
                    self._freed.remove(handle)  # so that no other thread frees it, too
                except KeyError:
                    continue
                if self._is_used(context, handle, file):
                    self._freed.add(handle)
                    continue
                memory = self._memory.pop(handle)
                context._free_at(file, handle)
                self._release(memory)

    def close(self, context: Context, file: int, collects: bool) -> None:
        """Wait for the requests of all buffers, and free them: the context is being closed. No other thread can submit requests now.

        collects: whether the completions are those of this process.
        """
        self._leave_to_parent()
        context._deliver()
        self._freed.clear()
        deadline = time.monotonic() + _LONGEST_TRANSFER_S
        for handle in list(self._memory):
            while is_used := self._is_used(context, handle, file):
                if time.monotonic() > deadline:
                    break
                time.sleep(0.001)
                if collects:
                    with suppress(OSError):  # it sets `ended`
                        context._collect(file=file)
            context._free_at(file, handle)
            memory = self._memory.pop(handle)
            if is_used:
                _for_ever.append(memory)
            else:
                self._release(memory)

    def abandon(self) -> None:
        """Keep memory that `close` has not released, because it raised an exception: requests may still access it."""
        if self._memory and self._process == _process.current():
            _for_ever.extend(self._memory.values())
        self._memory.clear()
        self._freed.clear()

    def _leave_to_parent(self) -> None:
        """In a child of fork(2), forget the registrations of its parent."""
        if self._process != _process.current():
            self._process = _process.current()
            self._memory.clear()
            self._freed.clear()
            self._transfers.clear()

    def _is_used(self, context: Context, handle: int, file: int) -> bool:
        """Return whether a buffer may have requests. The driver counts a request until the device is done with it, also after ETIMEDOUT.

        An unbind ends access to the device before it waits for the transfers, so that ENODEV of BUFFER_INFO does not mean that they have
        ended. ENODEV of WAIT does, for submitted requests, except those that did not end within their time.
        """
        info = _abi.rdma_buffer_info(handle=handle)
        try:
            context._call(_abi.RDMA_IOC_BUFFER_INFO, info, file=file)
        except OSError as error:
            if error.errno == errno.ENODEV:
                self._removed = True
                return not self.ended or bool(self._transfers)
            raise
        return bool(info.requests)

    def _release(self, memory: memoryview) -> None:
        if self.stuck and self._removed:
            _for_ever.append(memory)


def bytes_of(memory: ReadableBuffer) -> memoryview:
    """The bytes of an object, which cannot be moved or resized as long as this view exists."""
    view = memoryview(memory)
    if not view.c_contiguous:
        raise ValueError("the elements of this object are not one after the other in memory (numpy.ascontiguousarray copies them)")
    if not view.nbytes:
        raise ValueError("this object has no bytes")
    return view.cast("B")


class _Py_buffer(ctypes.Structure):
    """Source: Python's Include/pybuffer.h, which is part of the stable ABI."""

    _fields_ = [
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    ]


def address_of(view: memoryview) -> int:
    """The address of the first byte. (ctypes has `from_buffer` for writable objects only.)"""
    raw = _Py_buffer()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(view), ctypes.byref(raw), 0)
    try:
        return int(raw.buf)
    finally:
        ctypes.pythonapi.PyBuffer_Release(ctypes.byref(raw))
