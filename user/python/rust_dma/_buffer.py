"""Buffers: memory that the program and the device share."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from rust_dma._handle import FREED, Handle
from rust_dma._memory import Memory

if TYPE_CHECKING:
    import numpy
    import numpy.typing

    from rust_dma._context import Context

    Elements: TypeAlias = memoryview | numpy.ndarray[Any, Any]


@dataclass(frozen=True)
class Layout:
    """What a buffer contains: bytes, whose number is the shape, or an array with this dtype."""

    shape: int | Sequence[int]
    dtype: numpy.typing.DTypeLike | None

    @cached_property
    def size(self) -> int:
        """The size in bytes."""
        if self.dtype is None:
            if isinstance(self.shape, Sequence):
                raise TypeError("a shape needs a dtype; without a dtype, it is a number of bytes")
            return operator.index(self.shape)
        import numpy

        lengths = [operator.index(length) for length in (self.shape if isinstance(self.shape, Sequence) else [self.shape])]
        if min(lengths, default=1) < 0:
            raise ValueError(f"a shape of {self.shape}: lengths must not be negative")
        return math.prod(lengths) * numpy.dtype(self.dtype).itemsize

    def of(self, memory: memoryview) -> tuple[memoryview, Elements]:
        """The bytes in this memory, and the elements."""
        if self.dtype is None:
            return memory, memory
        import numpy

        view = memory[: self.size]
        return view, numpy.frombuffer(view, self.dtype).reshape(self.shape)


class Buffer(Memory):
    """Memory that the device can access; from Context.allocate or Context.register.

    It is a sequence of bytes, or of the elements of its dtype, for indices and slices, for memoryview (from Python 3.12 on; `view`
    in all versions) and for numpy.asarray, all without a copy. The memory stays as long as one of these views exists.

    When the device is unplugged, or its driver unbound, the memory of Context.allocate goes, too: each access to it then raises
    SIGBUS, which ends the program. A program that must survive this lets the kernel copy the bytes: os.write(file, buffer.view) and
    os.readv(file, [buffer.view]) then fail with EFAULT. Or it registers memory of its own (Context.register), which stays.
    """

    def __init__(self, context: Context, handle: Handle, view: memoryview, elements: Elements) -> None:
        super().__init__(context, handle)
        self._view: memoryview | None = view
        self._elements = elements

    @property
    def view(self) -> memoryview:
        """A memoryview of its bytes, a new one each time: releasing it, also by `with`, ends no other use of the memory."""
        return memoryview(self._bytes())

    @property
    def nbytes(self) -> int:
        """Its size in bytes: without a dtype, whole pages."""
        return len(self._bytes())

    @property
    def readonly(self) -> bool:
        """Whether it is registered memory that is read-only."""
        return self._bytes().readonly

    def array(self, dtype: numpy.typing.DTypeLike | None = None, count: int = -1, offset: int = 0) -> numpy.ndarray[Any, Any]:
        """A NumPy array of it, or of `count` elements of a dtype from byte `offset` on. No copy: it is the same memory."""
        elements = self._live()
        import numpy

        elements = numpy.asarray(elements)
        if dtype is None and count == -1 and offset == 0:
            return elements
        return numpy.frombuffer(self.view, elements.dtype if dtype is None else dtype, count, offset)

    def free(self) -> None:
        """Release the handle. The memory stays as long as views, arrays or requests use it."""
        self._view = None
        self._elements = memoryview(b"")
        self._handle.free()

    def _bytes(self) -> memoryview:
        if self._view is None:
            raise ValueError(FREED)
        return self._view

    def _live(self) -> Elements:
        if self._view is None:
            raise ValueError(FREED)
        return self._elements

    def __len__(self) -> int:
        return len(self._live())

    def __getitem__(self, key: Any) -> Any:
        return self._live()[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        elements = self._live()
        if isinstance(key, slice) and isinstance(elements, memoryview):
            place, value = elements[key], memoryview(value).cast("B")
            if len(place) != len(value):
                raise ValueError(f"{len(value)} bytes for a slice of {len(place)}")
        elements[key] = value

    def __buffer__(self, _flags: int) -> memoryview:
        elements = self._live()
        return memoryview(elements) if isinstance(elements, memoryview) else elements.data

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """For numpy.asarray where there is no `__buffer__`: before Python 3.12."""
        # An array keeps what is under "data"; of an address, it would keep this object, which no longer has the memory when it is freed.
        return self.array().__array_interface__ | {"data": self.view}

    def __repr__(self) -> str:
        if self._view is None:
            return "<rust_dma.Buffer, freed>"
        if isinstance(self._elements, memoryview):
            return f"<rust_dma.Buffer {self.handle} of {self._context.node}, {self.nbytes} bytes>"
        return f"<rust_dma.Buffer {self.handle} of {self._context.node}, {self._elements.dtype} {self._elements.shape}>"
