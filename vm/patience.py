#!/usr/bin/python3 -B
"""vm/patience.py SECONDS COMMAND ARGUMENT... : run a command, and end it after this number of seconds (status 124); 0 means no limit.

Like timeout(1), but on a busy machine the seconds are longer: of the time in which the command wants a CPU, only the share in which it has one
counts. Next to nine others on one CPU, a second takes ten. The time in which it sleeps counts in full.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

LOOK_SECONDS = 1
GRACE_SECONDS = 5


class Clock:
    """Seconds of a process and its descendants, less those in which they waited for a CPU."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.seconds = 0.0
        self.last = time.monotonic()
        self.threads: dict[str, tuple[int, int]] = {}

    def look(self) -> float:
        """The seconds until now; must be called about every second."""
        now = time.monotonic()
        threads = self.schedstats()
        ran, waited = (
            sum(times[column] - self.threads.get(thread, (0, 0))[column] for thread, times in threads.items()) for column in (0, 1)
        )
        self.threads = threads
        passed = now - self.last
        self.last = now
        wanted = ran + waited  # several threads can want more than there is
        self.seconds += passed - (min(passed, wanted / 1e9) * waited / wanted if wanted else 0)
        return self.seconds

    def schedstats(self) -> dict[str, tuple[int, int]]:
        """For each thread: nanoseconds that it ran, and that it waited for a CPU. Source: Documentation/scheduler/sched-stats.rst"""
        found = {}
        for pid in descendants({self.pid}):
            for path in Path("/proc", str(pid), "task").glob("*/schedstat"):
                with contextlib.suppress(OSError, ValueError):
                    ran, waited, _ = map(int, path.read_text().split())
                    found[path.parent.name] = (ran, waited)
        return found


def descendants(roots: set[int]) -> set[int]:
    """Processes and all their descendants."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text(errors="replace").rpartition(")")[2].split()[1])
    found = set(roots)
    while new := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= new
    return found


def send(number: signal.Signals, pids: set[int]) -> None:
    """Send a signal to those of these processes that still exist."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def ended(process: "subprocess.Popen[str]", seconds: float) -> bool:
    """Wait for the end of a process, for this number of its seconds; returns whether it has ended."""
    clock = Clock(process.pid)
    while not seconds or clock.look() < seconds:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(LOOK_SECONDS)
            return True
    return False


def end(process: "subprocess.Popen[str]") -> None:
    """End a process and all its descendants; the process can exit properly first."""
    doomed = descendants({process.pid})
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_SECONDS)
    # They are stopped first, so that none of them creates another one. fork(2) starts again after a signal.
    stopped: set[int] = set()
    while new := descendants(doomed) - stopped:
        send(signal.SIGSTOP, new)
        stopped |= new
    handles = []
    for pid in stopped:
        with contextlib.suppress(ProcessLookupError):
            handles.append(os.pidfd_open(pid))
    send(signal.SIGKILL, stopped)
    # Not before they have ended: on a busy machine, this takes time.
    for handle in handles:
        select.select([handle], [], [], GRACE_SECONDS)
        os.close(handle)


def main() -> int:
    """Run the command; returns its status, as in a shell."""
    seconds, *command = sys.argv[1:]
    signal.signal(signal.SIGINT, lambda *_: None)  # the terminal sends it to the command as well, which decides what to do
    with subprocess.Popen(command, close_fds=False) as process:
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        if ended(process, float(seconds)):
            return process.returncode if process.returncode >= 0 else 128 - process.returncode
        end(process)
    return 124


if __name__ == "__main__":
    sys.exit(main())
