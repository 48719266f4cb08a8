#!/usr/bin/python3 -B
"""tests/tool/commands.py [iommu|itself] : the commands of rdmactl except copy, with right and wrong arguments. Runs in the guest; loads the driver itself.
iommu: what differs behind an IOMMU. itself: help and completions, which need no device."""

import fcntl
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "harness"))
import ktap  # noqa: E402
from rdmactl import DRIVER, STRANGER, TOOL, Case, load, unload, valid  # noqa: E402

INSTANCES = Path("/sys/kernel/tracing/instances")


def address(name: str) -> str:
    """The address of a device on its bus."""
    return Path(f"/sys/class/rust_dma/{name}/device").resolve().name


class WithDriver(Case):
    """The driver is loaded, and has two devices."""

    @classmethod
    def setUpClass(cls) -> None:
        load()

    @classmethod
    def tearDownClass(cls) -> None:
        unload()

    def bound_to_nothing(self, name: str) -> str:
        """Unbind a device until the end of the test; returns its address."""
        there = address(name)
        (DRIVER / "unbind").write_text(there)
        self.addCleanup((DRIVER / "bind").write_text, there)
        return there

    def test_list(self) -> None:
        lines = self.run_tool("list").stdout.decode().splitlines()
        self.assertEqual(lines[0], f"Linux {os.uname().release}")
        self.assertEqual(lines[2].split(), ["rdma0", address("rdma0"), "edu", "MSI", "28", "4", "KiB", "-"])
        self.assertEqual(lines[3].split()[0], "rdma1")
        devices = valid("list", self.run_tool("--json", "list").stdout)["devices"]
        self.assertEqual([device["pci_address"] for device in devices], [address("rdma0"), address("rdma1")])

    def test_list_by_a_stranger(self) -> None:
        said = self.run_tool("list", prefix=STRANGER)
        self.assertIn(b"group rust-dma", said.stdout)
        devices = valid("list", self.run_tool("list", "--json", prefix=STRANGER).stdout)["devices"]
        self.assertTrue(all("group rust-dma" in device["error"] and device["dma_bits"] is None for device in devices))

    def test_info(self) -> None:
        text = self.run_tool("info").stdout.decode()
        self.assertRegex(text, rf"device +rdma0, edu 1\.0, at {address('rdma0')}\n")
        for word in ("rdma1", "/dev/rdma1", address("rdma1")):
            info = valid("info", self.run_tool("--json", "info", "-d", word).stdout)
            self.assertEqual((info["name"], info["dma_bits"], info["max_context_bytes"]), ("rdma1", 28, 1 << 30))
            self.assertIn(f" {info['irq']}:", Path("/proc/interrupts").read_text())
        self.run_tool("info", "-d", "rdma7", code=3)
        self.run_tool("info", "-d", "", code=2)
        self.run_tool("info", code=3, prefix=STRANGER)

    def test_device_memory(self) -> None:
        data = os.urandom(4096)
        self.assertEqual(self.run_tool("write", input=data).stdout, b"wrote 4096 bytes at offset 0 of rdma0\n")
        self.assertEqual(self.run_tool("read").stdout, data)
        self.assertEqual(self.run_tool("read", "-o", 4000).stdout, data[4000:])
        self.assertEqual(self.run_tool("read", "-o", 100, "-l", 50).stdout, data[100:150])
        self.assertEqual(self.run_tool("read", "-o", 4096).stdout, b"")
        file = self.directory / "file"
        self.run_tool("read", "-l", 10, file)
        self.assertEqual(file.read_bytes(), data[:10])
        file.write_bytes(b"ABC")
        self.assertEqual(valid("moved", self.run_tool("write", "-o", 7, file, "--json").stdout), {"device": "rdma0", "offset": 7, "bytes": 3})
        self.assertEqual(self.run_tool("read", "-l", 12).stdout, data[:7] + b"ABC" + data[10:12])
        self.assertEqual(valid("moved", self.run_tool("read", "--json", "-l", 12).stderr)["bytes"], 12)
        self.run_tool("write", "-d", "rdma1", input=b"other")
        self.assertEqual(self.run_tool("read", "-d", "rdma1", "-l", 5).stdout, b"other")

    def test_device_memory_used_badly(self) -> None:
        self.run_tool("write", input=bytes(4096))
        self.assertIn(b"there are only 4 KiB", self.run_tool("write", input=b"x" * 4097, code=2).stderr)
        self.run_tool("write", "-o", 4090, input=b"x" * 7, code=2)
        self.assertEqual(self.run_tool("read").stdout, bytes(4096), "something was written")
        self.run_tool("read", "-o", 4097, code=2)
        self.run_tool("read", "-o", 4000, "-l", 97, code=2)
        self.run_tool("read", "-l", -1, code=2)
        self.run_tool("write", self.directory / "no such", code=1)
        self.run_tool("write", self.directory, code=1)
        self.run_tool("read", self.directory, code=1)
        with open("/dev/full", "wb") as full:
            self.run_tool("read", stdout=full, stderr=subprocess.PIPE, capture_output=False, code=1)
        code, came = self.on_terminal("read")
        self.assertEqual(code, 2)
        self.assertIn(b"hexdump", came)
        self.run_tool("read", code=3, prefix=STRANGER)

    def test_hexdump(self) -> None:
        self.run_tool("write", "-o", 16, input=b"Hello, hexdump\n\xff")
        self.assertEqual(
            self.run_tool("hexdump", "-o", 16, "-l", 16).stdout,
            b"0010:   48 65 6c 6c  6f 2c 20 68  65 78 64 75  6d 70 0a ff   Hello, hexdump..\n",
        )
        shown = valid("hexdump", self.run_tool("--json", "hexdump", "-o", 16, "-l", 5).stdout)
        self.assertEqual(bytes.fromhex(shown["hex"]), b"Hello")
        self.assertEqual(len(self.run_tool("hexdump").stdout.splitlines()), 256)

    def test_a_closed_pipe(self) -> None:
        process = self.start("hexdump")
        process.stdout.close()
        self.assertEqual(process.wait(20), -signal.SIGPIPE)
        self.assertEqual(process.stderr.read(), b"")

    def test_top(self) -> None:
        copy = self.start("copy", "-q", self.fresh(1 << 21), "/dev/null")
        self.wait_until(lambda: not self.idle())
        top = valid("top", self.run_tool("--json", "top", "-n", 1, "-i", 3).stdout)
        busy, idle = top["devices"]
        self.assertGreater(busy["queued"], 0)
        self.assertRegex(busy["engine"], "busy")
        self.assertAlmostEqual(busy["rates"]["transfers"], 10, delta=1)
        self.assertEqual((idle["engine"], idle["rates"]["transfers"]), ("idle", 0))
        self.assertEqual([(user["pid"], user["command"], user["device"], user["buffers"]) for user in top["users"]], [(copy.pid, "rdmactl", "rdma0", 8)])
        text = self.run_tool("top", "-n", 2, "-d", "rdma0", "-i", 0.5).stdout.decode()
        self.assertEqual(len(re.findall(r"^rdma0 +busy for", text, re.MULTILINE)), 2)
        self.assertNotIn("rdma1", text)

    def test_top_on_a_terminal(self) -> None:
        copy = self.start("copy", "-q", self.fresh(1 << 21), "/dev/null")
        self.wait_until(lambda: not self.idle())
        for keys, send, expected in ((b"q", 0, 0), (b"\x03", 0, 0), (b"", signal.SIGTERM, -signal.SIGTERM)):
            code, came = self.on_terminal("top", "-i", 0.2, when=b"quits", keys=keys, send=send)
            self.assertEqual(code, expected, came)
            self.assertIn(b"Devices", came)
            self.assertIn(b"rdma0", came)
            self.assertTrue(came.rstrip().endswith(b"\x1b[?25h") or b"\x1b[?1049l" in came, "the screen is not given back")
        copy.kill()

    def test_top_ends_by_a_signal(self) -> None:
        process = self.start("top")
        os.read(process.stdout.fileno(), 100)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(20), -signal.SIGINT)

    def test_top_used_badly(self) -> None:
        self.run_tool("top", "-n", 1, code=3, prefix=STRANGER)
        self.run_tool("top", "-i", 0, code=2)
        self.run_tool("top", "-n", 0, code=2)

    def test_trace(self) -> None:
        source = self.fresh(8192)
        lines = self.run_tool("--json", "trace", "--", TOOL, "copy", "-q", source, "/dev/null").stdout.splitlines()
        events = [valid("trace", line) for line in lines]
        names = [event["event"] for event in events]
        self.assertEqual((names.count("submit"), names.count("start"), names.count("complete")), (2, 4, 2))
        done = [event for event in events if event["event"] == "complete"]
        self.assertEqual([(event["status"], event["bytes"]) for event in done], [(0, 4096)] * 2)
        self.assertEqual(list(INSTANCES.iterdir()), [])

    def test_trace_of_some(self) -> None:
        source = self.fresh(8192)
        text = self.run_tool("trace", "-e", "submit", "-e", "rdma_complete", "--", TOOL, "copy", "-q", source, "/dev/null").stdout.decode()
        self.assertEqual(re.findall(r": rdma_(\w+):", text), ["submit", "submit", "complete", "complete"])
        command = ["--", TOOL, "copy", "-q", "-d", "all", source, "/dev/null"]
        lines = self.run_tool("--json", "trace", "-d", "rdma1", "-e", "submit", *command).stdout.splitlines()
        self.assertEqual([valid("trace", line)["dev"] for line in lines], [1])
        self.assertEqual(len(self.run_tool("trace", "-n", 3, *command).stdout.splitlines()), 3)
        began = time.monotonic()
        self.assertEqual(self.run_tool("trace", "-s", 0.5).stdout, b"")
        self.assertLess(time.monotonic() - began, 5)

    def test_trace_has_the_exit_code_of_its_command(self) -> None:
        quiet = {"stderr": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "capture_output": False}
        self.run_tool("trace", "--", "sh", "-c", "exit 7", code=7, **quiet)
        self.run_tool("trace", "--", "sh", "-c", "kill -TERM $$", code=143, **quiet)
        length = 'exit "$(printf %s "$1" | wc -c)"'
        self.run_tool("trace", "--", "sh", "-c", length, "sh", os.fsdecode(b"no text: \xff"), code=10, **quiet)
        self.run_tool("trace", "--", self.directory / "no such", code=127)
        self.run_tool("trace", "--", "/etc/passwd", code=126)
        self.assertEqual(list(INSTANCES.iterdir()), [])

    def test_trace_prints_all_that_was_recorded(self) -> None:
        """Also more than it reads at once: here, markers are in front of the event."""
        process = self.start("trace", "-e", "submit", "--", "cat", stdin=subprocess.PIPE)
        self.wait_until(lambda: list(INSTANCES.iterdir()))
        (instance,) = INSTANCES.iterdir()
        enabled = instance / "events/rust_dma/rdma_submit/enable"
        self.wait_until(lambda: enabled.read_text() == "1\n")
        process.send_signal(signal.SIGSTOP)
        (instance / "buffer_size_kb").write_text("16384")
        with (instance / "trace_marker").open("wb", buffering=0) as marker:
            for _ in range(10000):
                marker.write(b"x" * 1000)
        self.run_tool("read", "-l", 1)
        process.stdin.close()
        time.sleep(0.3)
        process.send_signal(signal.SIGCONT)
        self.assertEqual(process.wait(60), 0)
        self.assertIn(b"rdma_submit", process.stdout.read())

    def test_trace_ends_by_a_signal(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            process = self.start("trace")
            self.wait_until(lambda: list(INSTANCES.iterdir()))
            time.sleep(0.3)
            self.run_tool("read", "-l", 1)
            self.assertIn(b"rdma_submit", os.read(process.stdout.fileno(), 4096))
            process.send_signal(number)
            self.assertEqual(process.wait(20), -number)
            self.assertEqual(list(INSTANCES.iterdir()), [])

    def test_trace_used_badly(self) -> None:
        said = self.run_tool("trace", "-e", "nonsense", code=2)
        self.assertIn(b"unknown event nonsense; known: complete, fault, interrupt, map, start, submit, teardown, zap", said.stderr)
        self.run_tool("trace", "-n", 1, code=3, prefix=STRANGER)
        self.run_tool("trace", "-d", "rdma5", code=3)
        self.assertEqual(list(INSTANCES.iterdir()), [])

    def test_doctor_of_the_healthy(self) -> None:
        text = self.run_tool("doctor").stdout.decode()
        self.assertTrue(text.endswith("It works here.\n"), text)
        self.assertNotIn("WRONG", text)
        report = valid("doctor", self.run_tool("--json", "doctor", "-d", "rdma1").stdout)
        self.assertTrue(report["works"])
        checks = {check["what"]: check for check in report["checks"]}
        self.assertEqual(checks["reach"]["finding"], "note")
        self.assertIn("cma=", checks["reach"]["advice"])
        self.assertEqual(checks["transfer"]["finding"], "good")

    def doctor(self, wrong: str, advice: str, **options: object) -> None:
        """It reports that something does not work, and `wrong` is the reason."""
        words = options.pop("words", [])
        report = valid("doctor", self.run_tool("--json", "doctor", *words, code=3, **options).stdout)
        self.assertFalse(report["works"])
        found = {check["what"]: check.get("advice") for check in report["checks"] if check["finding"] == "wrong"}
        self.assertIn(wrong, found, report)
        self.assertIn(advice, found[wrong])
        self.assertIn("It does not work here.", self.run_tool("doctor", *words, code=3, **options).stdout.decode())

    def test_doctor_of_those_who_may_not(self) -> None:
        self.doctor("node", "adduser", prefix=STRANGER)

    def test_doctor_without_a_bound_device(self) -> None:
        for name in ("rdma1", "rdma0"):
            self.bound_to_nothing(name)
        self.doctor("driver", "bind")

    def test_doctor_without_a_device(self) -> None:
        for number in (0, 1):
            subprocess.run(["vm/guest/qmp", "device_del", f"id=edu{number}"], check=True, stdout=subprocess.DEVNULL)
        try:
            self.doctor("device", "-device edu")
        finally:
            for number in (0, 1):
                plug = ["vm/guest/qmp", "device_add", "driver=edu", f"id=edu{number}", f"bus=rp{number}"]
                subprocess.run(plug, check=True, stdout=subprocess.DEVNULL)
            self.wait_until(lambda: Path("/dev/rdma0").exists() and Path("/dev/rdma1").exists(), 60)

    def test_doctor_of_another_device(self) -> None:
        self.doctor("node", "rdmactl list", words=["-d", "rdma9"])

    def test_bench(self) -> None:
        picture = self.directory / "picture.svg"
        bench = valid("bench", self.run_tool("--json", "bench", "-r", 2, "--svg", picture).stdout)
        self.assertEqual(bench["rounds"], 2)
        self.assertEqual([series["operation"] for series in bench["latency"]], ["to_device", "from_device", "copy"])
        for series in bench["latency"]:
            transfers = 2 if series["operation"] == "copy" else 1
            for point in series["points"]:
                pieces = (point["bytes"] + 4095) // 4096
                self.assertAlmostEqual(point["median_us"], transfers * pieces * 100_000, delta=20_000)
                self.assertLessEqual(point["min_us"], point["median_us"])
        root = xml.etree.ElementTree.parse(picture).getroot()
        self.assertTrue(root.tag.endswith("svg"))
        self.assertIn("to_device", picture.read_text())

    def test_bench_without_room_for_the_picture(self) -> None:
        """The measurement is printed, and the old picture stays."""
        disk = self.directory / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", disk], check=True)
        self.addCleanup(subprocess.run, ["umount", disk], check=True)
        picture = disk / "picture.svg"
        picture.write_text("old")
        result, error = self.run_tool("--json", "bench", "-r", 1, "--svg", picture, code=1).stdout.splitlines()
        self.assertEqual(valid("bench", result)["rounds"], 1)
        self.assertIn("No space left on device", valid("error", error)["error"])
        self.assertEqual((os.listdir(disk), picture.read_text()), (["picture.svg"], "old"))

    def test_bench_without_output(self) -> None:
        """The picture is drawn nevertheless."""
        picture = self.directory / "picture.svg"
        picture.write_text("old")
        with open("/dev/full", "wb") as full:
            self.run_tool("bench", "-r", 1, "--svg", picture, stdout=full, stderr=subprocess.PIPE, capture_output=False, code=1)
        self.assertEqual(self.files(), ["picture.svg"])
        xml.etree.ElementTree.parse(picture)

    def test_bench_for_people(self) -> None:
        text = self.run_tool("bench", "-r", 1).stdout.decode()
        self.assertRegex(text, r"(?m)^REQUEST +SIZE +MIN ms")
        self.assertRegex(text, r"(?m)^to_device +1 byte .*\n.* +64 bytes .*\n.* +1 KiB .*\n.* +4 KiB ")
        self.assertRegex(text, r"(?m)^SUBMIT of 1024 +\d")
        self.run_tool("bench", "-r", 0, code=2)
        counters = Path("/sys/kernel/debug/rust_dma/rdma0/counters")
        before = counters.read_text()
        self.run_tool("bench", "-r", 1, "--svg", self.directory / "no such/x.svg", code=1)
        self.assertEqual(counters.read_text(), before, "it was measured before")
        process = self.start("bench", "-r", 1000)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(20), -signal.SIGINT)
        self.wait_until(self.idle)

    def test_bench_in_little_memory(self) -> None:
        self.open_to_all()
        self.run_tool("bench", "-r", 1, prefix=["prlimit", f"--memlock={2 << 20}", *STRANGER])


class WithoutDriver(Case):
    """The driver is not loaded."""

    def test_all_say_so(self) -> None:
        for words in (["list"], ["info"], ["copy", "/dev/null", "/dev/zero"], ["read", "x"], ["write", "/dev/null"], ["hexdump"], ["top"], ["trace"], ["bench"]):
            said = self.run_tool(*words, code=3)
            self.assertIn(b"rdmactl doctor", said.stderr)
            error = valid("error", self.run_tool("--json", *words, code=3, stdin=subprocess.DEVNULL).stdout)
            self.assertEqual(error["exit_code"], 3)

    def test_doctor(self) -> None:
        report = valid("doctor", self.run_tool("--json", "doctor", code=3).stdout)
        wrong = [check["what"] for check in report["checks"] if check["finding"] == "wrong"]
        self.assertEqual(wrong, ["module"])
        self.assertNotIn("doctor", json.dumps(report))

    def test_bad_use(self) -> None:
        self.assertIn(b"Usage: rdmactl", self.start().stderr.read())
        for words in (["nonsense"], ["list", "--nonsense"], ["trace", "-n", "x"]):
            self.run_tool(*words, code=2)


class AboutItself(Case):
    """Needs no device: help, manual pages, completions."""

    def test_help_and_version(self) -> None:
        self.assertRegex(self.run_tool("--version").stdout, rb"^rdmactl \d+\.\d+\.\d+\n$")
        text = self.run_tool("--help").stdout.decode()
        for word in ("list", "info", "copy", "read", "write", "hexdump", "top", "trace", "doctor", "bench", "Exit codes"):
            self.assertIn(word, text)
        for command in ("list", "info", "copy", "read", "write", "hexdump", "top", "trace", "doctor", "bench"):
            self.assertIn(b"Usage: rdmactl", self.run_tool(command, "--help").stdout)

    def test_manual_pages(self) -> None:
        self.run_tool("generate", "man", self.directory)
        pages = self.files()
        self.assertIn("rdmactl.1", pages)
        self.assertIn("rdmactl-copy.1", pages)
        for page in pages:
            done = subprocess.run(["man", "--warnings=all", "-l", self.directory / page], capture_output=True, check=True)
            self.assertEqual(done.stderr, b"")

    def test_completions(self) -> None:
        self.run_tool("generate", "completions", self.directory)
        bash = f"""
            . {self.directory}/rdmactl.bash
            COMP_WORDS=(rdmactl c) COMP_CWORD=1
            $(complete -p rdmactl | sed -n 's/.* -F \\([^ ]*\\).*/\\1/p') rdmactl c rdmactl
            echo "${{COMPREPLY[@]}}"
        """
        self.assertEqual(subprocess.run(["bash", "-c", bash], capture_output=True, text=True, check=True).stdout, "copy\n")
        fish = f"source {self.directory}/rdmactl.fish; complete -C 'rdmactl co'"
        said = subprocess.run(["fish", "--no-config", "-c", fish], capture_output=True, text=True, check=True)
        self.assertRegex(said.stdout, r"^copy\s")
        zsh = f"autoload -Uz compinit; compinit -u -d {self.directory}/dump; fpath=({self.directory} $fpath); autoload -Uz _rdmactl; _rdmactl 2>&1 | head -1; whence -w _rdmactl"
        said = subprocess.run(["zsh", "-f", "-c", zsh], capture_output=True, text=True, check=True)
        self.assertIn("_rdmactl: function", said.stdout)

    def test_another_device_is_named(self) -> None:
        for node in ("/dev/null", "/dev/urandom"):
            self.assertIn(f"{node} is not a node of the driver rdma".encode(), self.run_tool("info", "-d", node, code=3).stderr)

    def test_a_signal_ends_it_also_if_there_can_be_no_thread(self) -> None:
        process = self.start("generate", "man", "-")
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
        self.assertTrue(process.stdout.peek(1))
        # It needs no memory now, and there is no room for the stack of a thread.
        self.wait_until_blocked(process.pid)
        resource.prlimit(process.pid, resource.RLIMIT_AS, (1, 1))
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(20), -signal.SIGTERM)
        self.assertEqual(process.stderr.read(), b"")


class BehindIommu(Case):
    """With an IOMMU, and the driver loaded: the device can access all memory."""

    def test_doctor(self) -> None:
        report = valid("doctor", self.run_tool("--json", "doctor").stdout)
        reach = next(check for check in report["checks"] if check["what"] == "reach")
        self.assertEqual(reach["finding"], "good")
        self.assertIn("IOMMU", reach["found"])

    def test_doctor_of_an_iommu_that_does_not_translate(self) -> None:
        """As with iommu=pt on the kernel command line."""
        there = address("rdma0")
        kind = Path(f"/sys/bus/pci/devices/{there}/iommu_group/type")
        before = kind.read_text().strip()
        for mode in ("identity", before):
            (DRIVER / "unbind").write_text(there)
            kind.write_text(mode)
            (DRIVER / "bind").write_text(there)
            report = valid("doctor", self.run_tool("--json", "doctor").stdout)
            reach = next(check for check in report["checks"] if check["what"] == "reach")
            self.assertEqual("does not translate" in reach["found"], mode == "identity", reach)
            self.assertEqual("all memory is within range" in reach["found"], mode != "identity", reach)

    def test_info(self) -> None:
        info = valid("info", self.run_tool("--json", "info").stdout)
        group = Path(f"/sys/bus/pci/devices/{address('rdma0')}/iommu_group").resolve().name
        self.assertEqual(info["iommu_group"], group)
        self.assertIn(f"IOMMU group {group}", self.run_tool("info").stdout.decode())


if __name__ == "__main__":
    chosen = {"iommu": [BehindIommu], "itself": [AboutItself]}
    sys.exit(ktap.main(*chosen.get("".join(sys.argv[1:]), [WithoutDriver, WithDriver])))
