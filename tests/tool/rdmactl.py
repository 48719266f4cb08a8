"""Runs rdmactl, with its output, and on a terminal if requested."""

import json
import os
import pty
import select
import signal
import subprocess
import tempfile
import termios
import time
import unittest
from pathlib import Path

import jsonschema

PROJECT = Path(__file__).resolve().parent.parent.parent
TOOL = PROJECT / "build/user/rdmactl"
SCHEMA = json.loads((PROJECT / "user/rdmactl/schema.json").read_text())
MODULE = PROJECT / "build" / os.uname().release / "rdma.ko"
DRIVER = Path("/sys/bus/pci/drivers/rdma")

# The numbers of the system calls that block: read, write, openat. Source: the kernel's arch/x86/entry/syscalls/syscall_64.tbl, scripts/syscall.tbl.
BLOCKING = {"x86_64": {"0", "1", "257"}, "aarch64": {"63", "64", "56"}}[os.uname().machine]

# An unprivileged user: in no group of this system, and not root.
STRANGER = ["setpriv", "--reuid=1001", "--regid=1001", "--clear-groups"]


def valid(name: str, text: str | bytes) -> dict:
    """A line of JSON, which must match the schema."""
    value = json.loads(text)
    jsonschema.validate(value, SCHEMA | {"$ref": f"#/$defs/{name}"}, cls=jsonschema.Draft202012Validator)
    return value


def unload() -> None:
    """Unload the driver."""
    subprocess.run(["rmmod", "rdma"], check=True)


def load() -> None:
    """Load the driver."""
    subprocess.run(["insmod", MODULE], check=True)


class Case(unittest.TestCase):
    """With a directory for each test, in memory."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def run_tool(self, *words: object, code: int = 0, **options: object) -> subprocess.CompletedProcess:
        """Run it to its end; its exit code must be as expected, and it must print a reason if that is not 0."""
        prefix = options.pop("prefix", [])
        done = subprocess.run(
            [*prefix, TOOL, *map(str, words)], **{"capture_output": True, "timeout": 100, "check": False} | options
        )
        self.assertEqual(done.returncode, code, f"rdmactl {words}: {done.stdout!r} {done.stderr!r}")
        if code > 0 and done.stderr is not None and "--json" not in words and "doctor" not in words:
            self.assertRegex(done.stderr, b"^(rdmactl|error): ")
        self.assertNotIn(b"panicked", done.stderr or b"")
        return done

    def start(self, *words: object, **options: object) -> subprocess.Popen:
        """Start it; it is ended with the test."""
        process = subprocess.Popen([TOOL, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        self.addCleanup(process.wait)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.kill)
        return process

    def fresh(self, size: int, name: str = "from") -> Path:
        """A file of random bytes."""
        path = self.directory / name
        path.write_bytes(os.urandom(size))
        return path

    def open_to_all(self) -> None:
        """Until the end of the test, all users may open the devices."""
        for node in Path("/dev").glob("rdma?"):
            mode = node.stat().st_mode
            node.chmod(0o666)
            self.addCleanup(node.chmod, mode)

    def files(self) -> list[str]:
        """The contents of the directory."""
        return sorted(os.listdir(self.directory))

    def wait_until(self, condition: object, seconds: float = 20) -> None:
        """Wait for a condition."""
        deadline = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), deadline, "it did not come")
            time.sleep(0.01)

    def wait_until_blocked(self, pid: int) -> None:
        """Its main thread waits in one of these calls, and stays there."""
        call = Path(f"/proc/{pid}/syscall")
        until = [0.0]

        def stays() -> bool:
            if call.read_text().split()[0] not in BLOCKING:
                until[0] = 0
                return False
            until[0] = until[0] or time.monotonic() + 0.1
            return time.monotonic() > until[0]

        self.wait_until(stays, 60)

    def idle(self) -> bool:
        """Whether no buffer and no request is left on the first device."""
        state = Path("/sys/kernel/debug/rust_dma/rdma0/state").read_text()
        return "engine idle" in state and "contexts 0\n" in state and "buffers 0\n" in state

    def on_terminal(self, *words: object, keys: bytes = b"", when: bytes = b"", send: int = 0, columns: int = 100) -> tuple[int, bytes]:
        """Run it on a terminal; returns its exit code and its output. When `when` has been printed, `keys` are typed, or a signal is sent."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.environ["TERM"] = "xterm"
            os.execv(TOOL, [str(TOOL), *map(str, words)])
        termios.tcsetwinsize(terminal, (30, columns))
        came = b""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if select.select([terminal], [], [], 0.1)[0]:
                try:
                    came += os.read(terminal, 65536)
                except OSError:
                    break
            if when and when in came:
                when = b""
                if keys:
                    os.write(terminal, keys)
                if send:
                    os.kill(pid, send)
        else:
            os.kill(pid, signal.SIGKILL)
        os.close(terminal)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), came
