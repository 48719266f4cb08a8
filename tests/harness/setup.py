#!/usr/bin/python3 -B
"""tests/harness/setup.py : the scripts that make and remove the cache do so if they are interrupted, and say what is missing.

Runs in the build root, with a cache of its own. Programs that would need a network or privileges are replaced by others.
"""

import os
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

import ktap

PROJECT = Path(__file__).resolve().parent.parent.parent


class Scripts(unittest.TestCase):
    """A cache, and a directory with programs that scripts call instead of the real ones."""

    def setUp(self) -> None:
        self.directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.programs = self.directory / "programs"
        self.programs.mkdir()
        self.cache = self.directory / "rdma"
        self.cache.mkdir()
        self.environment = os.environ | {"XDG_CACHE_HOME": str(self.directory), "PATH": f"{self.programs}:{os.environ['PATH']}"}

    def replace(self, name: str, script: str) -> None:
        """Replace a program."""
        path = self.programs / name
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)

    def start(self, *command: str | Path) -> "subprocess.Popen[str]":
        """Start a script."""
        return subprocess.Popen(command, cwd=PROJECT, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run_script(self, *command: str | Path) -> tuple[int, str]:
        """Run a script; returns its status and its output."""
        with self.start(*command) as process:
            output = process.communicate()[0]
        return process.returncode, output


class Distclean(Scripts):
    """A cache with a build root, and with what an earlier run has left."""

    def setUp(self) -> None:
        super().setUp()
        for name in ("root-0123456789ab/etc", "root-89abcdef0123.removed/etc", "cargo"):
            (self.cache / name).mkdir(parents=True)
        (self.cache / "root-0123456789ab/etc/rdma-release").touch()

    def left(self) -> list[str]:
        """What is in the cache."""
        return sorted(path.name for path in self.cache.iterdir())

    def test_all_is_removed(self) -> None:
        self.assertEqual(self.run_script("vm/distclean"), (0, ""))
        self.assertEqual(self.left(), ["lock"])

    def test_without_a_cache(self) -> None:
        self.environment["XDG_CACHE_HOME"] = str(self.directory / "none")
        self.assertEqual(self.run_script("vm/distclean"), (0, ""))

    def test_an_interrupted_removal(self) -> None:
        """No part of a build root has the name of a complete one, and the next run removes the rest."""
        self.replace("rm", '[[ $* != *root-0123* ]] || { /bin/rm "${@: -1}"/etc/rdma-release; kill -KILL $$; }; exec /bin/rm "$@"')
        self.assertNotEqual(self.run_script("vm/distclean")[0], 0)
        self.assertEqual([name for name in self.left() if not name.endswith(".removed")], ["lock"])
        self.assertEqual(len(self.left()), 3)
        (self.programs / "rm").unlink()
        self.assertEqual(self.run_script("vm/distclean"), (0, ""))
        self.assertEqual(self.left(), ["lock"])

    def test_not_during_a_setup(self) -> None:
        """It waits, and the lock stays the same file."""
        with self.start("flock", "--no-fork", self.cache / "lock", "sh", "-c", "echo taken; exec sleep 1000") as setup:
            assert setup.stdout
            self.assertEqual(setup.stdout.readline(), "taken\n")
            lock = (self.cache / "lock").stat().st_ino
            with self.start("vm/distclean") as process:
                assert process.stdout
                self.assertEqual(process.stdout.readline(), "Another setup is running; waiting for it.\n")
                time.sleep(0.5)
                self.assertIn("root-0123456789ab", self.left())
                setup.kill()
                self.assertEqual(process.wait(), 0)
        self.assertEqual(self.left(), ["lock"])
        self.assertEqual((self.cache / "lock").stat().st_ino, lock)


if __name__ == "__main__":
    sys.exit(ktap.main(Distclean))
