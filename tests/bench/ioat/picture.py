#!/usr/bin/python3 -B
"""tests/bench/ioat/picture.py RESULTS.json PICTURE.svg : draw what copies of 4 KiB by an I/OAT device cost, from the results of `make bench`."""

import json
import math
import sys
from pathlib import Path

from figures import BATCHES, TIMINGS, Figures

SIZE = 4096
PEERS = {"rdma": ("this driver", "#c2571a"), "polling": ("vfio, polling", "#7a7a7a"),
         "eventfd": ("vfio, eventfd", "#3f6fa8"), "ioatdma": ("ioatdma, dmaengine", "#4c8c57")}  # fmt: skip
WIDTH, HEIGHT, PANEL, TOP, BOTTOM = 880, 380, 380, 76, 300
BAR, GAP = 20, 12
WAITING = "#d0d0d0"


def bar(x: float, value: float, lowest: float, highest: float, color: str) -> str:
    """A bar on a logarithmic scale, with its value above."""
    share = (math.log10(value) - math.log10(lowest)) / (math.log10(highest) - math.log10(lowest))
    height = max(1.0, share * (BOTTOM - TOP))
    label = f"{value:,.0f}" if value < 1000 else f"{value / 1000:,.1f}k" if value < 99500 else f"{value / 1000:,.0f}k"
    return (
        f'<rect x="{x:.0f}" y="{BOTTOM - height:.0f}" width="{BAR}" height="{height:.0f}" fill="{color}"/>'
        f'<text x="{x + BAR / 2:.0f}" y="{BOTTOM - height - 4:.0f}" font-size="8" text-anchor="middle">{label}</text>'
    )


def panel(left: int, title: str, subtitle: str, values: dict[tuple[str, int], float]) -> list[str]:
    """One diagram: a group of bars for each batch, a bar for each peer. What is called "waiting" is behind the bar of "polling"."""
    lowest = 10 ** math.floor(math.log10(min(values.values())))
    highest = max(values.values())
    parts = [
        f'<text x="{left}" y="28" font-weight="bold" font-size="15">{title}</text><text x="{left}" y="46">{subtitle}</text>',
        f'<line x1="{left}" y1="{BOTTOM}" x2="{left + PANEL}" y2="{BOTTOM}" stroke="#1a1a1a"/>',
    ]
    for group, batch in enumerate(BATCHES):
        x = left + group * (len(PEERS) * BAR + GAP) + GAP / 2
        parts.append(f'<text x="{x + 2 * BAR:.0f}" y="{BOTTOM + 16}" text-anchor="middle">batch {batch:,}</text>')
        for index, (peer, (_, color)) in enumerate(PEERS.items()):
            if peer == "polling" and (waiting := values.get(("waiting", batch))):
                parts.append(bar(x + index * BAR, waiting + values[peer, batch], lowest, highest, WAITING))
            if (value := values.get((peer, batch))) is not None:
                parts.append(bar(x + index * BAR, value, lowest, highest, color))
    return parts


def main() -> None:
    """Draw it."""
    figures = Figures(line for line in json.loads(Path(sys.argv[1]).read_text()) if "ioat" in line)
    keys = [(peer, batch) for peer in PEERS for batch in BATCHES]
    costs = {key: figures.copies("instructions", key[0], TIMINGS[0], SIZE, key[1]) for key in keys}
    costs |= {("waiting", batch): figures.copies("waiting", "polling", TIMINGS[0], SIZE, batch) for batch in BATCHES}
    rates = {key: figures.rate(key[0], TIMINGS[1], SIZE, key[1]) for key in keys}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12" fill="#1a1a1a">',
        "<title>Copies of 4 KiB by a model of an I/OAT device: instructions of a copy, and copies a second</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        *panel(30, "Instructions of a copy", "logarithmic; the engine takes no time; grey: while it waits", {k: v for k, v in costs.items() if v}),
        *panel(470, "Copies a second", "logarithmic; the engine: 5 µs a copy and 2 GB/s; emulated CPU", {k: v for k, v in rates.items() if v}),
    ]
    for index, (text, color) in enumerate(PEERS.values()):
        x = 40 + index * 200
        parts.append(f'<rect x="{x}" y="342" width="14" height="14" fill="{color}"/><text x="{x + 20}" y="354">{text}</text>')
    Path(sys.argv[2]).write_text("\n".join([*parts, "</svg>\n"]))


if __name__ == "__main__":
    main()
