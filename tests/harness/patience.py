#!/usr/bin/python3 -B
"""tests/harness/patience.py : vm/patience.py ends a command that takes too long, with its descendants, and counts only the time that a busy machine has for it."""

import os
import subprocess
import sys
import time
import unittest
from pathlib import Path

import ktap

PATIENCE = Path(__file__).resolve().parent.parent.parent / "vm/patience.py"
LOOP = "while :; do :; done"


def run(seconds: float, script: str) -> tuple[int, float]:
    """Run a script with a limit in seconds; returns its status, and how long it took."""
    began = time.monotonic()
    done = subprocess.run([PATIENCE, str(seconds), "sh", "-c", script], check=False)
    return done.returncode, time.monotonic() - began


class Patience(unittest.TestCase):
    def test_status(self) -> None:
        self.assertEqual(run(1000, "exit 7")[0], 7)
        self.assertEqual(run(1000, "kill -KILL $$")[0], 128 + 9)

    def test_none_is_for_ever(self) -> None:
        self.assertEqual(run(0, "sleep 1.5; exit 3")[0], 3)

    def test_descriptors_are_handed_on(self) -> None:
        reader, writer = os.pipe()
        subprocess.run([PATIENCE, "1000", "sh", "-c", f"echo there >&{writer}"], pass_fds=[writer], check=True)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            self.assertEqual(pipe.read(), "there\n")

    def test_idle(self) -> None:
        """A command that sleeps has a limit in real time."""
        status, took = run(2, "sleep 1000")
        self.assertEqual(status, 124)
        self.assertGreaterEqual(took, 2)
        self.assertLess(took, 60)

    def test_all_of_it_ends(self) -> None:
        run(1, "(trap '' TERM; sleep 54321; true) & trap '' TERM; sleep 54322; true")
        commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
        self.assertFalse([command for command in commands if b"5432" in command])

    def test_those_that_start_late_end(self) -> None:
        """A process that is created between the signal and the end."""
        run(1, "trap '' TERM; sleep 3; sleep 54323; true")
        commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
        self.assertFalse([command for command in commands if b"54323" in command])

    def test_busy(self) -> None:
        """A command that competes with three others for a CPU has its share of the seconds."""
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(before)})
        self.addCleanup(os.sched_setaffinity, 0, before)
        for _ in range(3):
            other = subprocess.Popen(["sh", "-c", LOOP])
            self.addCleanup(other.wait)
            self.addCleanup(other.kill)
        status, took = run(1, LOOP)
        print(f"# 1 s beside three others took {took:.1f} s")
        self.assertEqual(status, 124)
        self.assertGreater(took, 2.5)


if __name__ == "__main__":
    sys.exit(ktap.main(Patience))
