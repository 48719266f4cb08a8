"""For tests of the project's scripts: a cache, and programs that they call instead of the real ones."""

import os
import signal
import subprocess
import tempfile
import unittest
from pathlib import Path
from typing import TextIO

PROJECT = Path(__file__).resolve().parent.parent.parent


class Scripts(unittest.TestCase):
    """Scripts that run in the build root, from a project's directory."""

    project = PROJECT

    def setUp(self) -> None:
        self.directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.programs = self.directory / "programs"
        self.cache = self.directory / "rdma"
        for directory in (self.programs, self.cache):
            directory.mkdir()
        self.environment = os.environ | {"XDG_CACHE_HOME": str(self.directory), "PATH": f"{self.programs}:{os.environ['PATH']}"}

    def replace(self, program: str | Path, script: str) -> None:
        """Replace a program, by its name or by its path."""
        path = self.programs / program
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)

    def start(self, *command: str | Path) -> "tuple[subprocess.Popen[str], TextIO]":
        """Start a script, in a process group of its own; returns it and its output. It ends with the test."""
        process = subprocess.Popen(
            command,
            cwd=self.project,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
        assert process.stdout
        self.addCleanup(process.wait)
        self.addCleanup(process.stdout.close)
        self.addCleanup(self.end, process)
        return process, process.stdout

    def end(self, process: "subprocess.Popen[str]") -> None:
        """End a script that is still running, with what it has started."""
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)

    def run_script(self, *command: str | Path) -> tuple[int, str]:
        """Run a script; returns its status and its output."""
        process, output = self.start(*command)
        printed = output.read()
        return process.wait(), printed

    def lock(self) -> "subprocess.Popen[str]":
        """Hold the lock of the cache, as a setup does that is running; returns the process that does."""
        process, output = self.start("flock", "--no-fork", self.cache / "lock", "sh", "-c", "echo taken; exec sleep 1000")
        self.assertEqual(output.readline(), "taken\n")
        return process
