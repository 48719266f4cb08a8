"""A guest in memory with QEMU's monitor, for tests/power/run, and what is said about it."""

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

PROJECT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(PROJECT / "vm"), str(PROJECT / "tests/harness")]  # patience is in both
import patience  # noqa: E402
from results import Case, cases, complaints  # noqa: E402

BUILT = PROJECT / "build/tests/power"

# Address of the configuration space of PCI Express, as the guest's firmware sets it up; each bus has 1 MiB of it. Source: QEMU,
# include/hw/pci-host/q35.h, MCH_HOST_BRIDGE_PCIEXBAR_DEFAULT
CONFIGURATION, BUS = 0xB0000000, 1 << 20
COMMAND, BAR0 = 0x04, 0x10
MEMORY, BUS_MASTER = 1 << 1, 1 << 2

MONITOR_SECONDS = 30  # maximum time until QEMU has its monitor, by patience.Clock
FAREWELL = "reboot: Restarting system"

Sight = TypeVar("Sight")


class Monitor:
    """QEMU's monitor, and its events."""

    def __init__(self, path: str, process: "subprocess.Popen[str]") -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        clock = patience.Clock(process.pid)
        while True:
            try:
                self.socket.connect(path)
                break
            except OSError:
                if process.poll() is not None or clock.look() > MONITOR_SECONDS:
                    raise
                time.sleep(0.2)
        self.lines = self.socket.makefile("r")
        self.events: list[dict[str, object]] = []
        self.lines.readline()  # the greeting
        self.do("qmp_capabilities")

    def do(self, command: str, **arguments: object) -> object:
        """Run a command; returns its result."""
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        for line in self.lines:
            answer = json.loads(line)
            if "event" in answer:
                self.events.append(answer)
            elif "error" in answer:
                raise RuntimeError(f"{command}: {answer['error']['desc']}")
            else:
                return answer["return"]
        raise EOFError

    def each_event(self) -> Iterator[tuple[str, dict[str, object]]]:
        """The events in order, until QEMU ends."""
        while True:
            while self.events:
                event = self.events.pop(0)
                yield str(event["event"]), event.get("data") or {}
            line = self.lines.readline()
            if not line:
                return
            answer = json.loads(line)
            if "event" in answer:
                self.events.append(answer)

    def memory(self, address: int, letter: str) -> int:
        """A number in the machine's memory: h has 16 bits, w 32, g 64."""
        text = str(self.do("human-monitor-command", **{"command-line": f"xp /1{letter}x {address:#x}"}))
        return int(text.split(":")[1], 16)


class Machine:
    """A guest in memory, its output, and its monitor. RDMA_BOOT has options of vm/boot, as of its guest in tests.toml."""

    def __init__(self, arguments: argparse.Namespace, command: str, files: dict[str, Path], qemu: list[str], boot: list[str]) -> None:
        self.kernel = arguments.kernel
        self.log = PROJECT / "build/tests/log" / f"power-{arguments.how}-{arguments.kernel}"
        self.log.mkdir(parents=True, exist_ok=True)
        self.work = Path(tempfile.mkdtemp())
        self.output: list[str] = []
        boot = [*shlex.split(os.environ.get("RDMA_BOOT", "")), *boot]
        for name, file in files.items():
            place = self.work / "files" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, place)
        socket_path = self.work / "monitor"
        words = ["-qmp", f"unix:{socket_path},server=on,wait=off", *qemu]
        self.process = subprocess.Popen(
            [PROJECT / "vm/boot", *boot, "--kernel", arguments.kernel, "--mem", "1G" if arguments.kernel == "stock" else "2G", "--ram", self.work / "files", "--log", self.log]
            + ["--timeout", str(arguments.timeout), "--append", "iomem=relaxed retain_initrd"]
            + [word for pair in zip(["--qemu"] * len(words), words) for word in pair]
            + ["--", "sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        self.monitor = Monitor(str(socket_path), self.process)

    def read(self) -> None:
        """Store the guest's output."""
        assert self.process.stdout
        self.output += [line.rstrip("\r\n") for line in self.process.stdout]

    def __enter__(self) -> "Machine":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        shutil.rmtree(self.work)

    def end(self) -> int:
        """Wait for its end; returns the status of its command."""
        status = self.process.wait()
        self.reader.join()
        return status

    def console(self) -> list[str]:
        """What its kernels have logged."""
        return (self.log / "console.log").read_text(errors="replace").splitlines()

    def complaints(self, expected: list[str]) -> list[Case]:
        """Errors that its kernels and QEMU have logged. Messages of the sanitizer kernel during boot are excluded."""
        log = self.console()
        if self.kernel != "stock":
            log = log[next((number for number, line in enumerate(log) if "Run /init" in line), 0) :]
        qemu = (self.log / "qemu.log").read_text(errors="replace").splitlines()
        # The command line contains "panic". As in all guests in real time, interrupts may be late on a busy host.
        return complaints(log + qemu, expected, ["ommand line: ", "lost interrupt"])


def chosen(kernel: str) -> tuple[Path, Path]:
    """A kernel, and the driver for it."""
    script = '. vm/lib.sh; choose_kernel "$1"; echo "$vmlinuz $release"'
    done = subprocess.run(["bash", "-c", script, "-", kernel], cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True)
    vmlinuz, release = done.stdout.split()
    return Path(vmlinuz), PROJECT / "build" / release / "rdma.ko"


def verdict(name: str, holds: bool, lines: list[str]) -> Case:
    """A case of this program."""
    return Case(name, "passed" if holds else "failed", lines)


def found(pattern: str, log: list[str]) -> list[str]:
    """The pattern's group in each line that matches."""
    return [match.group(1) for line in log if (match := re.search(pattern, line))]


def at_each_reset(machine: Machine, count: int, look: Callable[[Monitor], Sight]) -> list[Sight]:
    """The state of the device, which `look` reads, each time that the guest resets the machine; after this many times, the machine ends."""
    seen: list[Sight] = []
    reason = ""
    for event, data in machine.monitor.each_event():
        if event == "SHUTDOWN":
            reason = str(data["reason"])
        elif event == "STOP":
            # The firmware resets the machine once more during boot.
            if reason == "guest-reset" and len(found(f"({FAREWELL})", machine.console())) > len(seen):
                seen.append(look(machine.monitor))
            if reason != "guest-reset" or len(seen) == count:
                machine.monitor.do("quit")
                break
            # For QEMU, this reset is the same as the guest's, at which it must stop.
            machine.monitor.do("set-action", reboot="reset")
            machine.monitor.do("system_reset")
        elif event == "RESET":
            machine.monitor.do("set-action", reboot="shutdown")
            machine.monitor.do("cont")
    machine.end()
    return seen
