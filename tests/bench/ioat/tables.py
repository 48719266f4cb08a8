"""The tables of tests/bench/ioat/run, and its goals."""

from figures import BATCHES, SIZES, TIMINGS, Figures

FAST, SLOW = TIMINGS
PAGE, GOAL_BATCH = 4096, 64
MODERN_CPU = 3e9  # instructions a second


def words(size: int) -> str:
    """A size in words."""
    return f"{size} B" if size < 1024 else f"{size >> 10} KiB" if size < 1 << 20 else f"{size >> 20} MiB"


def number(value: float | None) -> str:
    """A number, or a dash if it was not measured."""
    return "-" if value is None else f"{value:,.0f}"


def name(timing: tuple[int, int]) -> str:
    """The speed of the model in words."""
    return "time 0" if timing == FAST else f"{timing[0] / 1000:.0f} us a descriptor and {timing[1] / 1000:.0f} GB/s"


def show_timing(figures: Figures, peers: list[str], timing: tuple[int, int]) -> None:
    """The table of one speed of the model: instructions, and copies a second."""
    columns = [*peers, *(["waiting"] if "polling" in peers else [])]
    print(f"\nThe model with {name(timing)}")
    print(f"{'':14}{'instructions a copy':^{10 * len(columns)}}   {'copies a second':^{11 * len(peers)}}{'MB/s':>8}")
    print(f"{'size':>7}{'batch':>7}" + "".join(f"{c:>10}" for c in columns) + "   " + "".join(f"{p:>11}" for p in peers) + f"{peers[0]:>8}")
    for size in SIZES:
        for batch in BATCHES:
            counted = [figures.copies("instructions", peer, timing, size, batch) for peer in peers]
            if "polling" in peers:
                counted.append(figures.copies("waiting", "polling", timing, size, batch))
            rates = [figures.rate(peer, timing, size, batch) for peer in peers]
            bandwidth = None if rates[0] is None else rates[0] * size / 1e6
            print(
                f"{words(size):>7}{batch:>7}" + "".join(f"{number(c):>10}" for c in counted) + "   "
                + "".join(f"{number(r):>11}" for r in rates) + f"{number(bandwidth):>8}"
            )  # fmt: skip


def show_latency(figures: Figures, peers: list[str]) -> None:
    """From the end of a copy to the program."""
    print("\nFrom the end of a copy to the program, which sleeps (or polls) meanwhile; microseconds include the doorbell")
    for peer in peers:
        instructions, time = (figures.get(figure, "latency", peer) for figure in ("instructions", "ns"))
        if time is not None:
            print(f"{peer:>10}{number(instructions or None):>10} instructions{time / 1000:>10,.0f} us")


def ratio(text: str, value: float | None, base: float | None, goal: float, most: bool = True) -> None:
    """A line of a goal."""
    if value is None or not base:
        return
    reached = value / base
    met = reached <= goal if most else reached >= goal
    print(f"{text:90}{reached:9.2f}  {'<=' if most else '>='} {goal:<5}{'met' if met else 'MISSED'}")


def show_doorbells(figures: Figures) -> None:
    """How often the driver writes to the register that begins transfers."""
    ratio("doorbells a batch", figures.copies("doorbells", "rdma", SLOW, PAGE, GOAL_BATCH), 1, 1)
    lines = [line for line in figures.lines if line["ioat"] == "copies" and line["peer"] == "rdma"]
    most = max(lines, key=lambda line: line["doorbells"])
    ratio(f"... at most: {words(most['size'])}, batch {most['batch']}, {name((most['time'], most['rate']))}", most["doorbells"], 1, 1)


def show_goals(figures: Figures) -> None:
    """Where this driver is, and where it should be."""
    own = figures.copies("instructions", "rdma", FAST, PAGE, GOAL_BATCH)
    if own is None:
        return
    print(f"\nGoals; of copies of 4 KiB in batches of {GOAL_BATCH}, unless something else is said")
    for timing in TIMINGS:
        mine = figures.copies("instructions", "rdma", timing, PAGE, GOAL_BATCH)
        working, waiting = (figures.copies(f, "polling", timing, PAGE, GOAL_BATCH) for f in ("instructions", "waiting"))
        ratio(f"instructions, by those of polling, {name(timing)}", mine, (working or 0) + (waiting or 0), 1.5)
        ratio("... by those of polling without its waiting", mine, working, 1.5)
        ratio("... by those of the VFIO selftest's driver, which polls", mine, figures.copies("instructions", "selftest", timing, PAGE, 1), 1.5)
        ratio("... by those of eventfd, one wait a copy (batch 1)", mine, figures.copies("instructions", "eventfd", timing, PAGE, 1), 0.5)
        ratio("... by those of eventfd, one wait a batch", mine, figures.copies("instructions", "eventfd", timing, PAGE, GOAL_BATCH), 0.5)
    show_doorbells(figures)
    mine = figures.copies("instructions", "rdma", SLOW, PAGE, GOAL_BATCH, 2) or 0
    fastest = 1e9 / (SLOW[0] + PAGE * 1000 / SLOW[1])
    ratio(f"CPU left at the full rate, {name(SLOW)}, of one with 3e9 instructions/s", 1 - mine * fastest / MODERN_CPU, 1, 0.95, False)
    ratio("... of the emulated one, as measured", figures.get("share", "left", "rdma", batch=GOAL_BATCH), 1, 0.95, False)
    for timing in TIMINGS:
        rates = [figures.rate(peer, timing, PAGE, GOAL_BATCH) for peer in ("rdma", "polling")]
        ratio(f"rate, by that of polling, {name(timing)}", rates[0], rates[1], 0.95, False)
    ratio("... by what the model can do", figures.rate("rdma", SLOW, PAGE, GOAL_BATCH), fastest, 0.95, False)


def show(figures: Figures, peers: list[str]) -> None:
    """Print everything."""
    print("Instructions: medians, in batches that are waited for one by one. Rates: the best rounds, with two batches in flight (of 1,024: one).")
    print("waiting: what polling executes in addition, until a batch has ended. selftest: one copy after the other, with its waiting.")
    print("ioatdma: a thread for each copy of a batch, at most 64, of 1 MiB at most 8.")
    for timing in TIMINGS:
        show_timing(figures, peers, timing)
    show_latency(figures, peers)
    show_goals(figures)
