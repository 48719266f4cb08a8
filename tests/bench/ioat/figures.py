"""The figures of tests/bench/ioat/run: by what they are about."""

from collections.abc import Iterable
from typing import Any

Line = dict[str, Any]

KEYS = ["ioat", "peer", "time", "rate", "size", "batch", "flight"]
TIMINGS = [(0, 0), (5000, 2000)]
SIZES = [64, 4096, 65536, 1 << 20]
BATCHES = [1, 8, 64, 1024]


class Figures:
    """Measurements, some of them in two parts: what was counted, and what was timed."""

    def __init__(self, lines: Iterable[Line]) -> None:
        """Begin with these."""
        self._lines: dict[tuple[Any, ...], Line] = {}
        self.add(lines)

    def add(self, lines: Iterable[Line]) -> None:
        """Add measurements, or parts of them."""
        for line in lines:
            self._lines.setdefault(tuple(line.get(key) for key in KEYS), {}).update(line)

    @property
    def lines(self) -> list[Line]:
        """All, in the order in which they were added."""
        return list(self._lines.values())

    def get(self, figure: str, ioat: str, peer: str, **keys: int) -> float | None:
        """A figure, if it was measured."""
        for line in self._lines.values():
            if line["ioat"] == ioat and line["peer"] == peer and all(line.get(key) == value for key, value in keys.items()):
                return line.get(figure)
        return None

    def copies(self, figure: str, peer: str, timing: tuple[int, int], size: int, batch: int, flight: int = 1) -> float | None:
        """A figure of copies."""
        return self.get(figure, "copies", peer, time=timing[0], rate=timing[1], size=size, batch=batch, flight=flight)

    def rate(self, peer: str, timing: tuple[int, int], size: int, batch: int) -> float | None:
        """Copies a second: with two batches in flight, if that was measured, so that the engine does not wait for the program."""
        two = self.copies("per_second", peer, timing, size, batch, 2)
        return two if two is not None else self.copies("per_second", peer, timing, size, batch, 1)
