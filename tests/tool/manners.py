#!/usr/bin/python3 -B
"""tests/tool/manners.py : how rdmactl is given which device, numbers and formats, and what it says. Runs in the guest, with the driver and two devices."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "harness"))
import ktap  # noqa: E402
from rdmactl import STRANGER, TOOL, Case, valid  # noqa: E402

COMMANDS = ("list", "info", "copy", "read", "write", "hexdump", "top", "trace", "doctor", "bench", "generate")
LOCKDOWN = Path("/sys/kernel/security/lockdown")


def address(name: str) -> str:
    """The address of a device on its bus."""
    return Path(f"/sys/class/rust_dma/{name}/device").resolve().name


class Devices(Case):
    """What names a device."""

    def node(self, name: str = "dma") -> Path:
        """A node of the second device, under another name."""
        node = self.directory / name
        os.mknod(node, 0o600 | 0o020000, os.stat("/dev/rdma1").st_rdev)
        return node

    def test_by_position(self) -> None:
        for word in ("rdma1", "/dev/rdma1", address("rdma1"), address("rdma1").split(":", 1)[1]):
            self.assertEqual(valid("info", self.run_tool("--json", "info", word).stdout)["name"], "rdma1")
            self.run_tool("write", word, input=word.encode())
            self.assertEqual(self.run_tool("read", word, "-l", len(word)).stdout.decode(), word)
            self.assertEqual(self.run_tool("read", "-d", word, "-l", len(word)).stdout.decode(), word)
            self.assertEqual(valid("hexdump", self.run_tool("--json", "hexdump", word, "-l", 1).stdout)["device"], "rdma1")
            self.assertTrue(valid("doctor", self.run_tool("--json", "doctor", word).stdout)["works"])
            top = valid("top", self.run_tool("--json", "top", word, "-n", 1, "-i", 0.1).stdout)
            self.assertEqual([device["name"] for device in top["devices"]], ["rdma1"])
        file = self.directory / "file"
        self.run_tool("read", "rdma1", file, "-l", 4)
        self.assertEqual(self.run_tool("write", "rdma0", file).stdout, b"wrote 4 bytes at offset 0 of rdma0\n")
        events = self.run_tool("--json", "trace", "rdma1", "-e", "submit", "--", TOOL, "copy", "-q", "-d", "all", self.fresh(8192), "/dev/null")
        self.assertEqual([valid("trace", line)["dev"] for line in events.stdout.splitlines()], [1])
        for word in ("rdma9", "00:1f.7", "/dev/rdma9"):
            self.assertIn(b"rdmactl list", self.run_tool("info", word, code=3).stderr)
        self.assertIn(b"not a node", self.run_tool("info", "/dev/null", code=3).stderr)
        self.assertIn(b"not a node", self.run_tool("info", "/etc/passwd", code=3).stderr)
        self.run_tool("info", "rdma0", "-d", "rdma1", code=2)
        # No file in the place of a device that is gone.
        for word in ("/dev/rdma9", "/dev/rdma/by-path/pci-0000:00:1f.7"):
            self.run_tool("read", word, code=3)
            self.run_tool("write", word, code=3)
            self.assertFalse(Path(word).exists())

    def test_a_file_of_such_a_name(self) -> None:
        self.run_tool("read", "./rdma1", "-l", 3, cwd=self.directory)
        self.assertEqual((self.directory / "rdma1").stat().st_size, 3)

    def test_a_node_of_another_name(self) -> None:
        node = self.node()
        self.run_tool("write", node, input=b"by node")
        self.assertEqual(self.run_tool("read", "-d", "rdma1", "-l", 7).stdout, b"by node")
        info = valid("info", self.run_tool("--json", "info", node).stdout)
        self.assertEqual((info["name"], info["node"], info["pci_address"]), ("rdma1", str(node), address("rdma1")))
        copied = self.run_tool("--json", "copy", "-d", node, self.fresh(100), self.directory / "to")
        self.assertEqual(valid("copy", copied.stdout)["devices"], ["rdma1"])
        self.assertTrue(valid("doctor", self.run_tool("--json", "doctor", node).stdout)["works"])
        waits = self.start("copy", "-q", "-d", node, self.fresh(1 << 20), "/dev/null")
        self.wait_until(lambda: "contexts 1\n" in Path("/sys/kernel/debug/rust_dma/rdma1/state").read_text())
        top = valid("top", self.run_tool("--json", "top", node, "-n", 1, "-i", 0.2).stdout)
        self.assertEqual([user["pid"] for user in top["users"]], [waits.pid])

    def test_a_relative_node(self) -> None:
        node = self.node()
        for word in (node.name, f"./{node.name}"):
            self.run_tool("write", word, input=word.encode(), cwd=self.directory)
            self.run_tool("write", "rdma0", input=b"another device")
            self.assertEqual(self.run_tool("read", word, "-l", len(word), cwd=self.directory).stdout.decode(), word)
            self.assertEqual(self.run_tool("read", "rdma1", "-l", len(word)).stdout.decode(), word)

    def test_a_node_is_not_taken_for_a_file(self) -> None:
        # The name of a device is text, which this name is not.
        node = self.node(os.fsdecode(b"dma\xff"))
        for name, content in (("rdma0", b"first"), ("rdma1", b"other")):
            self.run_tool("write", name, input=content)
        self.assertIn(b"is the device rdma1, not a file: `rdmactl read rdma1", self.run_tool("read", node, code=2).stderr)
        self.assertIn(b"is the device rdma1, not a file: `rdmactl write rdma1", self.run_tool("write", node, code=2).stderr)
        self.run_tool("read", node, self.directory / "to", code=3)
        self.assertEqual(self.files(), [node.name])
        for name, content in (("rdma0", b"first"), ("rdma1", b"other")):
            self.assertEqual(self.run_tool("read", name, "-l", 5).stdout, content)

    def test_without_sysfs(self) -> None:
        self.run_tool("write", "rdma0", input=b"a container")
        script = 'mount -t tmpfs none /sys && exec "$@"'
        hidden = ["unshare", "--mount", "sh", "-c", script, "sh"]
        for words in ([], ["/dev/rdma0"], ["rdma0"]):
            self.assertIn(b"a container", self.run_tool("hexdump", *words, "-l", 16, prefix=hidden).stdout)
        devices = valid("list", self.run_tool("--json", "list", prefix=hidden).stdout)["devices"]
        self.assertEqual([(device["name"], device["dma_bits"], device["pci_address"]) for device in devices], [("rdma0", 28, None), ("rdma1", 28, None)])
        self.assertEqual(valid("info", self.run_tool("--json", "info", self.node(), prefix=hidden).stdout)["name"], "rdma1")
        report = valid("doctor", self.run_tool("--json", "doctor", prefix=hidden).stdout)
        self.assertTrue(report["works"])
        self.run_tool("info", "0000:01:00.0", prefix=hidden, code=3)

    def test_an_unreadable_sysfs(self) -> None:
        self.open_to_all()
        self.run_tool("write", "rdma0", input=b"a container", prefix=STRANGER)
        script = 'mount -t tmpfs -o mode=0700 none /sys && exec "$@"'
        hidden = ["unshare", "--mount", "sh", "-c", script, "sh", *STRANGER]
        for words in ([], ["/dev/rdma0"], ["rdma0"]):
            self.assertIn(b"a container", self.run_tool("hexdump", *words, "-l", 16, prefix=hidden).stdout)
        devices = valid("list", self.run_tool("--json", "list", prefix=hidden).stdout)["devices"]
        self.assertEqual([(device["name"], device["dma_bits"], device["pci_address"]) for device in devices], [("rdma0", 28, None), ("rdma1", 28, None)])
        self.assertTrue(valid("doctor", self.run_tool("--json", "doctor", prefix=hidden).stdout)["works"])
        self.run_tool("info", "0000:01:00.0", prefix=hidden, code=3)

    def test_only_one_node(self) -> None:
        script = 'mount -t tmpfs none /dev && mknod /dev/rdma1 c "$0" "$1" && shift 2 && exec "$@"'
        number = os.stat("/dev/rdma1").st_rdev
        prefix = ["unshare", "--mount", "sh", "-c", script.replace('"$0" "$1" && shift 2', f"{os.major(number)} {os.minor(number)}"), "sh"]
        self.assertEqual(valid("info", self.run_tool("--json", "info", prefix=prefix).stdout)["name"], "rdma1")


class Words(Case):
    """Arguments and messages."""

    def test_numbers(self) -> None:
        data = os.urandom(4096)
        self.run_tool("write", input=data)
        for offset, length, expected in (("0x100", "0x10", data[256:272]), ("1KiB", "1k", data[1024:2048]), ("2K", "2 KiB", data[2048:]), ("1kB", "1", data[1000:1001])):
            self.assertEqual(self.run_tool("read", "-o", offset, "-l", length).stdout, expected)
        self.assertIn(b"like 4096, 0x1000 or 4KiB", self.run_tool("read", "-o", "1x", code=2).stderr)
        self.run_tool("top", "-n", "0x1", "-i", "100ms")
        self.assertEqual(valid("bench", self.run_tool("--json", "bench", "-r", "0x1").stdout)["rounds"], 1)
        for wrong in ("0", "1KiB"):
            self.assertIn(b"from 1 to 1000", self.run_tool("bench", "-r", wrong, code=2).stderr)

    def test_sizes(self) -> None:
        self.assertIn("device memory  4 KiB\n", self.run_tool("info").stdout.decode())
        self.assertIn("one buffer     1 GiB at most\n", self.run_tool("info").stdout.decode())

    def test_plain_words(self) -> None:
        self.assertEqual(self.run_tool("write", "-o", 10, input=b"sixsix").stdout, b"wrote 6 bytes at offset 10 of rdma0\n")
        self.assertEqual(self.run_tool("read", "-l", 6, self.directory / "to").stdout, b"read 6 bytes at offset 0 of rdma0\n")
        self.assertIn(b"unknown event nosuch; known: complete, fault,", self.run_tool("trace", "-e", "nosuch", code=2).stderr)
        self.assertEqual(self.run_tool("copy", "/no such", code=1).stderr, b"rdmactl: /no such: No such file or directory\n")

    def test_errors_as_json(self) -> None:
        for words, code in ((["info", "rdma9"], 3), (["read", "-o", "5000", "x"], 2), (["copy", "/no such", "x"], 1), (["nonsense"], 2), (["top", "-n", "x"], 2), (["trace", "-e", "x"], 2)):
            said = self.run_tool("--json", *words, code=code, cwd=self.directory)
            self.assertEqual(valid("error", said.stdout)["exit_code"], code)
            self.assertEqual(said.stderr, b"")
        # Here, standard output is for data, and results are on standard error.
        said = self.run_tool("--json", "copy", "/no such", code=1)
        self.assertEqual((said.stdout, valid("error", said.stderr)["exit_code"]), (b"", 1))
        # And here, whether it is for data cannot be known.
        wrong = (["read", "-o", "1x"], ["copy", "--wrong"], ["copy", "x", "y", "--wrong"], ["-d", "rdma0", "read"], ["generate", "nonsense"])
        for words in (*wrong, ["generate", "completions"]):
            said = self.run_tool("--json", *words, code=2)
            self.assertEqual(said.stdout, b"", words)
            self.assertEqual(valid("error", said.stderr)["exit_code"], 2)

    def test_exit_codes_agree(self) -> None:
        for words in (["top", "-n", 1], ["trace", "-n", 1], ["read"], ["info"], ["bench"]):
            self.run_tool(*words, prefix=STRANGER, code=3)
        self.run_tool("trace", "--", "no such command", code=127)

    def test_help(self) -> None:
        self.run_tool("generate", "man", self.directory)
        for command in COMMANDS:
            for option in ("-h", "--help"):
                text = self.run_tool(command, option).stdout.decode()
                self.assertRegex(text, rf"(?s)Examples:\n.*rdmactl {command}.*Exit codes:\n  0 ", command)
            page = (self.directory / f"rdmactl-{command}.1").read_text()
            for section in ("EXIT STATUS", "EXAMPLES", "SEE ALSO"):
                self.assertRegex(page, rf'\.SH "?{section}"?\n')

    def test_examples_are_accepted(self) -> None:
        (self.directory / "data").write_bytes(b"x")
        for command in COMMANDS:
            for line in re.findall(r"^  ((?:.*\| )?rdmactl .*)$", self.run_tool(command, "-h").stdout.decode(), re.MULTILINE):
                words = re.search(r"rdmactl ([^|>]*)", line)[1].split(" -- ")[0].split()
                # With a wrong option at the end, only that is wrong.
                said = self.run_tool(*words, "--wrong", code=2, cwd=self.directory)
                self.assertIn(b"unexpected argument '--wrong'", said.stdout + said.stderr, line)

    def test_generate_to_standard_output(self) -> None:
        self.run_tool("generate", "completions", self.directory)
        for shell, name in (("bash", "rdmactl.bash"), ("zsh", "_rdmactl"), ("fish", "rdmactl.fish")):
            for words in ([shell], [shell, "-"]):
                self.assertEqual(self.run_tool("generate", *words).stdout, (self.directory / name).read_bytes())
        self.assertIn(b"generate bash", self.run_tool("generate", "completions", "-", code=2).stderr)
        pages = self.run_tool("generate", "man", "-").stdout
        self.assertEqual(len(re.findall(rb"(?m)^\.TH ", pages)), 1 + len(COMMANDS))

    def test_top_on_terminals(self) -> None:
        for columns, left_out in ((90, []), (80, ["FILES"]), (60, ["FILES", "BUFFERS"])):
            copy = self.start("copy", "-q", self.fresh(1 << 21), "/dev/null")
            self.wait_until(lambda: not self.idle())
            code, came = self.on_terminal("top", "-n", 2, "-i", 1.5, columns=columns)
            self.assertEqual(code, 0)
            # Only what changes is drawn, and spaces do not.
            text = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]|\s", b"", came).decode()
            for head in ("DEVICE", "ENGINE", "FILES", "QUEUED", "BUFFERS", "MEMORY", "MEDIAN"):
                self.assertEqual(head in text.partition("PID")[0], head not in left_out, (columns, head))
            # The median, which is in the last column, and not the label of a bar.
            self.assertRegex(text, r"(?<!≥)(134|268|536)ms", columns)
            copy.send_signal(signal.SIGKILL)
            copy.wait()
            self.wait_until(self.idle)


class Doctor(Case):
    """One cause, one message."""

    @contextlib.contextmanager
    def lockdown(self, modes: str) -> Iterator[None]:
        """The kernel says that it is locked down. (It is not: it would be so until it reboots.)"""
        fake = self.directory / "lockdown"
        fake.write_text(modes)
        if not LOCKDOWN.exists():
            subprocess.run(["mount", "-t", "securityfs", "securityfs", LOCKDOWN.parent], check=True)
            self.addCleanup(subprocess.run, ["umount", LOCKDOWN.parent], check=True)
        subprocess.run(["mount", "--bind", fake, LOCKDOWN], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", LOCKDOWN], check=True)

    def wrong(self, **options: object) -> dict[str, str]:
        """What is wrong, and the advice."""
        report = valid("doctor", self.run_tool("--json", "doctor", code=3, **options).stdout)
        self.assertNotIn("doctor", json.dumps(report), "it points to itself")
        return {check["what"]: check["found"] + check["advice"] for check in report["checks"] if check["finding"] == "wrong"}

    def test_no_memory_may_be_locked(self) -> None:
        self.open_to_all()
        wrong = self.wrong(prefix=["prlimit", "--memlock=0", *STRANGER])
        self.assertEqual(list(wrong), ["memory"])
        self.assertIn("RLIMIT_MEMLOCK", wrong["memory"])
        self.assertIn("ulimit -l", wrong["memory"])

    def test_no_permission(self) -> None:
        wrong = self.wrong(prefix=STRANGER)
        self.assertEqual(list(wrong), ["node"])

    def test_no_node(self) -> None:
        wrong = self.wrong(prefix=["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /dev && exec "$@"', "sh"])
        self.assertEqual(list(wrong), ["node"])
        self.assertIn("--device", wrong["node"])

    def test_lockdown(self) -> None:
        with self.lockdown("none [integrity] confidentiality\n"):
            self.assertIn("integrity: the kernel loads only signed modules", self.run_tool("doctor").stdout.decode())
        with self.lockdown("none integrity [confidentiality]\n"):
            self.assertIn("rdmactl trace", self.run_tool("doctor").stdout.decode())
        with self.lockdown("[none] integrity confidentiality\n"):
            self.assertNotIn("lockdown", self.run_tool("doctor").stdout.decode())

    def test_lockdown_without_the_module(self) -> None:
        modules = self.directory / "modules"
        modules.write_text("other 16384 0 - Live 0x0\n")
        script = f'mount --bind {modules} /proc/modules && mount -t tmpfs none /dev && exec "$@"'
        hidden = ["unshare", "--mount", "sh", "-c", script, "sh"]
        self.assertEqual(list(self.wrong(prefix=hidden)), ["module"])
        with self.lockdown("none [integrity] confidentiality\n"):
            wrong = self.wrong(prefix=hidden)
        self.assertEqual(list(wrong), ["module"])
        self.assertIn("kernel lockdown (integrity) refuses a module that is not signed", wrong["module"])


if __name__ == "__main__":
    sys.exit(ktap.main(Devices, Words, Doctor))
