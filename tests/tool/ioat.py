#!/usr/bin/python3 -B
"""tests/tool/ioat.py : rdmactl with an I/OAT device, which has no memory. Runs in the guest, with the driver bound to one device."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(PROJECT / "tests/harness"), str(PROJECT / "build/user/python")]
import ktap  # noqa: E402
import rust_dma  # noqa: E402
from rdmactl import STRANGER, Case, valid  # noqa: E402

DEVICE = Path("/sys/class/rust_dma/rdma0/device").resolve()
PCI = Path("/sys/bus/pci")

# Registers of the model, and a fault: vm/ioat/src/control.rs, vm/ioat/src/faults.rs.
ARGUMENT, FAULT, RATE = 0x108, 0x110, 0x118
ERROR, READ_ERROR = 5, 0x100

# Megabytes a second: so slow that the CPU of the guest has time left.
SLOW = 50


def control(*writes: tuple[int, int]) -> None:
    """Write these registers of the model."""
    with (DEVICE / "config").open("r+b", buffering=0) as config:
        for at, value in writes:
            os.pwrite(config.fileno(), value.to_bytes(4, "little"), at)


def fault(number: int, argument: int = 0) -> None:
    """The next descriptor goes wrong in this way."""
    control((ARGUMENT, argument), (ARGUMENT + 4, 0), (FAULT, number | 1 << 16))


class Ioat(Case):
    """The driver is bound to the device."""

    def copied(self, source: Path, *words: object) -> dict:
        """Copy it; the copy is the same."""
        said = self.run_tool("--json", "copy", source, self.directory / "to", *words)
        self.assertTrue(source.read_bytes() == (self.directory / "to").read_bytes(), "the copy differs")
        return valid("copy", said.stdout)

    def doctor(self, code: int) -> dict:
        """Its checks, by their names."""
        report = valid("doctor", self.run_tool("--json", "doctor", code=code).stdout)
        return {check["what"]: check for check in report["checks"]}

    def test_list(self) -> None:
        lines = self.run_tool("list").stdout.decode().splitlines()
        self.assertEqual(lines[2].split(), ["rdma0", DEVICE.name, "I/OAT", "MSI-X", "64", "-", "-"])
        (device,) = valid("list", self.run_tool("--json", "list").stdout)["devices"]
        self.assertEqual((device["model"], device["device_memory_bytes"], device["max_transfer_bytes"]), ("I/OAT", 0, 1 << 20))

    def test_info(self) -> None:
        text = self.run_tool("info").stdout.decode()
        self.assertRegex(text, rf"(?m)^device +rdma0, I/OAT 3\.2, at {DEVICE.name}$")
        self.assertRegex(text, r"(?m)^interrupt +MSI-X, IRQ \d+$")
        self.assertRegex(text, r"(?m)^device memory +none$")
        self.assertRegex(text, r"(?m)^copies +from buffer to buffer$")
        self.assertRegex(text, r"(?m)^engine +128 transfers at a time; they can be stopped$")
        info = valid("info", self.run_tool("--json", "info").stdout)
        self.assertEqual((info["capabilities"], info["interrupt"]), (["direct_copy", "abort"], "MSI-X"))

    def test_the_library_for_python(self) -> None:
        with rust_dma.Context() as context:
            self.assertEqual(context.info().interrupt, "MSI-X")

    def test_copies(self) -> None:
        for size in (0, 1, 4097, (512 << 10) - 1, 512 << 10, (512 << 10) + 1, 5_000_000):
            copied = self.copied(self.fresh(size), "--verify")
            self.assertEqual((copied["moved_bytes"], copied["verified"]), (size, True))
        self.wait_until(self.idle)

    def test_copies_in_large_pieces(self) -> None:
        """Without a transfer for each 4096 bytes: there is one for each turn, and for each block of a scattered buffer."""
        before = self.transfers()
        copied = self.copied(self.fresh(32 << 20))
        self.assertLess(self.transfers() - before, 1024)
        print(f"# {copied['bytes_per_second'] / 1e6:.0f} MB/s from file to file")

    def test_copies_at_the_rate_of_the_engine(self) -> None:
        """Files are read and written while the engine copies. On a busy host, a copy may be late: the best of some counts."""
        control((RATE, SLOW))
        self.addCleanup(control, (RATE, 0))
        source = self.fresh(16 << 20)
        shares = []
        while len(shares) < 5 and max(shares, default=0) < 0.9:
            shares.append(self.copied(source)["bytes_per_second"] / (SLOW * 1e6))
        print("# share of the engine's rate: " + ", ".join(f"{share:.2f}" for share in shares))
        self.assertLess(max(shares), 1.02, "the engine does not copy all of it")
        self.assertGreaterEqual(max(shares), 0.9)

    def test_copies_in_little_memory(self) -> None:
        """Of an ordinary user, with fewer pieces in flight than usual."""
        self.open_to_all()
        data = os.urandom(5_000_000)
        for mib in (1, 3):
            said = self.run_tool("copy", "-q", "-d", "all", "-", input=data, prefix=["prlimit", f"--memlock={mib << 20}", *STRANGER])
            self.assertTrue(said.stdout == data, "the copy differs")
        said = self.run_tool("copy", "-q", "-", input=data, prefix=["prlimit", f"--memlock={(1 << 20) - 1}", *STRANGER], code=1)
        self.assertIn(b"RLIMIT_MEMLOCK", said.stderr)

    def transfers(self) -> int:
        """Number of transfers since the driver was bound."""
        return int(re.search(r"^transfers (\d+)$", Path("/sys/kernel/debug/rust_dma/rdma0/counters").read_text(), re.MULTILINE)[1])

    def test_slow_input_comes_out_as_it_comes(self) -> None:
        process = self.start("copy", "-q", "-", stdin=subprocess.PIPE)
        for line in (b"one\n", b"two\n"):
            process.stdin.write(line)
            process.stdin.flush()
            self.assertEqual(os.read(process.stdout.fileno(), 100), line)
        process.stdin.close()
        self.assertEqual(process.wait(20), 0)

    def test_an_error_of_the_engine(self) -> None:
        source = self.fresh(4096)
        fault(ERROR, READ_ERROR)
        said = self.run_tool("copy", source, self.directory / "to", code=4)
        self.assertIn(b"rdma0: the engine reported an error", said.stderr)
        self.assertEqual(self.files(), ["from"])
        self.copied(source)

    def test_no_device_memory(self) -> None:
        for words in (["read"], ["read", "-l", 1], ["hexdump"], ["write", "/etc/hostname"]):
            said = self.run_tool(*words, code=2)
            self.assertIn(b"rdma0 has no device memory", said.stderr)

    def test_top(self) -> None:
        with Path("/dev/zero").open("rb") as zeros:
            self.start("copy", "-q", "-", "/dev/null", stdin=zeros)
        self.wait_until(lambda: self.transfers() > 0 and not self.idle())
        (busy,) = valid("top", self.run_tool("--json", "top", "-n", 1, "-i", 1).stdout)["devices"]
        self.assertGreater(busy["rates"]["bytes"], 1 << 20)
        self.assertRegex(self.run_tool("top", "-n", 1, "-i", 0.5).stdout.decode(), r"(?m)^rdma0 .*[KMG]iB/s")

    def least_time_of_copies(self, size: int) -> float:
        """The shortest time of a copy of this size in microseconds. A busy host lengthens the others."""
        with rust_dma.Context() as context:
            source, destination = context.allocate(size), context.allocate(size)
            times = []
            for _ in range(21):
                began = time.monotonic()
                context.copy(source, destination, size)
                times.append((time.monotonic() - began) * 1e6)
        return min(times)

    def test_bench(self) -> None:
        picture = self.directory / "picture.svg"
        bench = valid("bench", self.run_tool("--json", "bench", "-r", 5, "--svg", picture).stdout)
        (copy,) = bench["latency"]
        self.assertEqual((copy["operation"], copy["points"][-1]["bytes"]), ("copy", 4 << 20))
        # The time of a copy, and not of the allocation of its buffers.
        self.assertLess(copy["points"][0]["min_us"], 10 * self.least_time_of_copies(copy["points"][0]["bytes"]))
        self.assertIn("svg", picture.read_text())
        self.assertRegex(self.run_tool("bench", "-r", 1).stdout.decode(), r"(?m)^copy +4 MiB ")
        self.wait_until(self.idle)

    def test_doctor(self) -> None:
        checks = self.doctor(0)
        self.assertEqual(checks["device"]["found"], f"I/OAT at {DEVICE.name}")
        self.assertEqual(checks["reach"]["finding"], "good")
        self.assertIn("copied from buffer to buffer", checks["transfer"]["found"])

    def test_doctor_hands_over_and_back(self) -> None:
        """Its own commands do this, from ioatdma and from no driver."""
        back = self.commands_of_the_way_back()
        self.assertEqual(self.driver(), "")
        self.follow(self.doctor(3)["I/OAT"]["advice"], "to use it")
        self.assertEqual(self.driver(), "rdma")
        self.doctor(0)
        subprocess.run(["modprobe", "ioatdma"], check=True)
        self.addCleanup(subprocess.run, ["modprobe", "-r", "ioatdma"], check=True)
        self.run_commands(back)
        self.assertEqual(self.driver(), "ioatdma")
        check = self.doctor(3)["I/OAT"]
        self.assertEqual((check["finding"], check["found"]), ("wrong", f"{DEVICE.name} is ioatdma's"))
        self.follow(check["advice"], "to use it")
        self.assertEqual(self.driver(), "rdma")
        self.doctor(0)

    def commands_of_the_way_back(self) -> list[str]:
        """Hand the device back, to no driver; returns the commands of doctor for that."""
        (DEVICE / "driver_override").write_text("\n")
        (DEVICE / "driver/unbind").write_text(DEVICE.name)
        (PCI / "drivers_probe").write_text(DEVICE.name)
        return self.commands(self.doctor(3)["I/OAT"]["advice"].split("; and back: ")[1])

    def follow(self, advice: str, begin: str) -> None:
        """Run the commands of the first part of an advice."""
        self.assertTrue(advice.startswith(begin), advice)
        self.run_commands(self.commands(advice.split("; and back: ")[0]))

    def commands(self, advice: str) -> list[str]:
        """The commands in an advice, without those of driverctl, which the guest does not have."""
        return [command for command in re.findall(r"`(.*?)`", advice) if command.startswith("echo")]

    def run_commands(self, commands: list[str]) -> None:
        """Run them in a shell."""
        self.assertGreaterEqual(len(commands), 2)
        for command in commands:
            subprocess.run(["sh", "-c", command], check=True)

    def driver(self) -> str:
        """The driver that the device is bound to."""
        link = DEVICE / "driver"
        return link.resolve().name if link.exists() else ""


if __name__ == "__main__":
    sys.exit(ktap.main(Ioat))
