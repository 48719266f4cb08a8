"""What buffers and dma-bufs have in common: memory that requests of a context access."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from rust_dma._handle import Handle
from rust_dma._unique import Unique

if TYPE_CHECKING:
    from typing import Self

    from rust_dma._context import Context


class Memory(Unique, ABC):
    """The memory that a request is from or to: a Buffer or a DmaBuf."""

    def __init__(self, context: Context, handle: Handle) -> None:
        self._context = context
        self._handle = handle

    @property
    def context(self) -> Context:
        """The context that it belongs to."""
        return self._context

    @property
    def handle(self) -> int | None:
        """Its number within the context; None if it is freed."""
        return self._handle.number

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Its size in bytes."""

    @property
    @abstractmethod
    def readonly(self) -> bool:
        """Whether requests cannot write to it."""

    @abstractmethod
    def free(self) -> None:
        """Release the handle. The memory stays as long as requests use it."""

    def __del__(self) -> None:
        self.free()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.free()
