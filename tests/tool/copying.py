#!/usr/bin/python3 -B
"""tests/tool/copying.py : `rdmactl copy` with all kinds of files, ends and errors. Runs in the guest, with the driver and two devices."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "harness"))
import ktap  # noqa: E402
from rdmactl import DRIVER, STRANGER, TOOL, Case, valid  # noqa: E402


class Copy(Case):
    """Successful copies."""

    def same(self, source: Path, *words: object) -> dict:
        """Copy it; the copy is the same."""
        to = self.directory / "to"
        said = self.run_tool("--json", "copy", source, to, *words)
        self.assertTrue(source.read_bytes() == to.read_bytes(), "the copy differs")
        return valid("copy", said.stdout)

    def test_sizes(self) -> None:
        for size in (0, 1, 4095, 4096, 4097, 20000):
            copied = self.same(self.fresh(size))
            self.assertEqual((copied["bytes"], copied["moved_bytes"], copied["devices"]), (size, size, ["rdma0"]))
        self.assertEqual(self.files(), ["from", "to"])

    def test_compared(self) -> None:
        self.assertTrue(self.same(self.fresh(9000), "--verify")["verified"])

    def test_two_devices_take_half_the_time(self) -> None:
        source = self.fresh(40960)
        one = self.same(source)["seconds"]
        two = self.same(source, "-d", "rdma0", "-d", "/dev/rdma1")
        self.assertEqual(two["devices"], ["rdma0", "rdma1"])
        self.assertLess(two["seconds"], 0.6 * one)
        self.assertEqual(self.same(source, "-d", "all")["devices"], ["rdma0", "rdma1"])

    def test_little_memory(self) -> None:
        """A pair of pages is enough. A device that has none is left out."""
        self.open_to_all()
        data = os.urandom(20000)
        for kib, devices in ((8, ["rdma0"]), (12, ["rdma0"]), (16, ["rdma0", "rdma1"]), (28, ["rdma0", "rdma1"])):
            little = ["prlimit", f"--memlock={kib << 10}", *STRANGER]
            self.wait_until(self.idle)
            said = self.run_tool("--json", "copy", "-d", "all", "-", input=data, prefix=little)
            self.assertTrue(said.stdout == data, "the copy differs")
            self.assertEqual(valid("copy", said.stderr)["devices"], devices)
            said = self.run_tool("copy", "-q", "-d", "all", "-", input=data, prefix=little)
            self.assertEqual(said.stderr.startswith(b"rdmactl: it is copied without rdma1: no memory for 4096 bytes"), len(devices) < 2)
        said = self.run_tool("copy", "-d", "all", "-", input=data, prefix=["prlimit", "--memlock=4096", *STRANGER], code=1)
        self.assertIn(b"rdma0: no memory for 4096 bytes", said.stderr)
        self.assertEqual(said.stdout, b"")

    def test_streams(self) -> None:
        data = os.urandom(10000)
        self.assertEqual(self.run_tool("copy", "-", input=data).stdout, data)
        self.assertEqual(self.run_tool("copy", "-", "-", input=b"").stdout, b"")
        source = self.fresh(5000)
        self.assertEqual(self.run_tool("copy", source).stdout, source.read_bytes())
        said = self.run_tool("--json", "copy", source)
        self.assertEqual(valid("copy", said.stderr)["bytes"], 5000)
        self.assertEqual(self.run_tool("copy", "-q", source).stderr, b"")
        self.assertRegex(self.run_tool("copy", source).stderr, rb"^5000 bytes \(4\.88 KiB\) in \d+\.\d s, [0-9.]+ [KM]iB/s\n$")

    def test_a_file_as_standard_input_from_where_it_stands(self) -> None:
        source = self.fresh(9000)
        with source.open("rb") as file:
            os.lseek(file.fileno(), 1000, os.SEEK_SET)
            self.assertEqual(self.run_tool("copy", "-", stdin=file).stdout, source.read_bytes()[1000:])

    def test_files_without_an_end_to_seek(self) -> None:
        for source in (Path("/proc/filesystems"), Path("/proc/devices")):
            copied = self.same(source)
            self.assertGreater(copied["bytes"], 0)
            self.assertEqual(copied["moved_bytes"], copied["bytes"])

    def test_slow_input_comes_out_as_it_comes(self) -> None:
        process = self.start("copy", "-q", "-", stdin=subprocess.PIPE)
        for line in (b"one\n", b"two\n", b"three\n"):
            process.stdin.write(line)
            process.stdin.flush()
            self.assertEqual(os.read(process.stdout.fileno(), 100), line)
        process.stdin.close()
        self.assertEqual(process.wait(20), 0)

    def test_holes_stay_holes(self) -> None:
        source = self.directory / "from"
        with source.open("wb") as file:
            file.seek(1 << 30)
            file.write(b"data")
            file.truncate((1 << 30) + (64 << 20))
        copied = self.same_sparse(source)
        self.assertEqual(copied["bytes"], source.stat().st_size)
        self.assertLessEqual(copied["moved_bytes"], 8192)
        self.assertLess((self.directory / "to").stat().st_blocks, 100)

    def test_nothing_but_a_hole(self) -> None:
        source = self.directory / "from"
        source.touch()
        os.truncate(source, 1 << 20)
        self.assertEqual(self.same_sparse(source)["moved_bytes"], 0)
        self.assertEqual(self.run_tool("copy", "-q", source).stdout, bytes(1 << 20))

    def same_sparse(self, source: Path) -> dict:
        """As `same`, without reading gigabytes into memory."""
        to = self.directory / "to"
        said = self.run_tool("--json", "copy", source, to)
        subprocess.run(["cmp", source, to], check=True)
        return valid("copy", said.stdout)

    def test_a_file_that_grows(self) -> None:
        source = self.fresh(8192)
        process = self.start("copy", "-q", source, self.directory / "to")
        with source.open("ab") as file:
            for _ in range(4):
                time.sleep(0.1)
                file.write(os.urandom(3000))
                file.flush()
        self.assertEqual(process.wait(60), 0)
        self.assertTrue((self.directory / "to").read_bytes() == source.read_bytes())

    def test_a_destination_keeps_its_mode_and_its_links(self) -> None:
        source, to, link = self.fresh(100), self.directory / "to", self.directory / "link"
        to.write_bytes(b"old")
        to.chmod(0o640)
        link.symlink_to("to")
        self.run_tool("copy", source, link)
        self.assertTrue(link.is_symlink())
        self.assertEqual((to.read_bytes(), to.stat().st_mode & 0o777), (source.read_bytes(), 0o640))
        os.umask(0o27)
        self.run_tool("copy", source, self.directory / "new")
        os.umask(0o22)
        self.assertEqual((self.directory / "new").stat().st_mode & 0o777, 0o640)

    def test_to_what_is_no_file(self) -> None:
        self.run_tool("copy", self.fresh(100), "/dev/null")
        self.assertTrue(Path("/dev/null").is_char_device())

    def test_progress_on_a_terminal_only(self) -> None:
        source, to = self.fresh(20480), self.directory / "to"
        code, came = self.on_terminal("copy", source, to)
        self.assertEqual(code, 0)
        self.assertRegex(came, rb"KiB of 20.00 KiB .*KiB/s, \ds left")
        code, came = self.on_terminal("copy", "--quiet", source, to)
        self.assertEqual((code, came), (0, b""))
        said = self.run_tool("copy", source, to)
        self.assertNotIn(b"\x1b", said.stdout + said.stderr)


class Accidents(Case):
    """Failures: nothing is left behind, no existing file is lost, and the device is free for others."""

    def setUp(self) -> None:
        super().setUp()
        self.to = self.directory / "to"
        self.to.write_bytes(b"old")

    def tearDown(self) -> None:
        self.wait_until(self.idle)
        self.assertEqual(self.to.read_bytes(), b"old")
        self.assertEqual([name for name in self.files() if name.startswith(".")], [])

    def under_way(self, *words: object) -> subprocess.Popen:
        """A copy that is partly done."""
        process = self.start("copy", "-q", self.fresh(200000), self.to, *words)
        self.wait_until(lambda: any(name.startswith(".rdmactl-") and (self.directory / name).stat().st_size for name in self.files()))
        return process

    def test_signals(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGXCPU):
            process = self.under_way()
            process.send_signal(number)
            began = time.monotonic()
            self.assertEqual(process.wait(20), -number)
            self.assertLess(time.monotonic() - began, 2)
            self.assertEqual(process.stderr.read(), b"")
            self.wait_until(self.idle)

    def test_nohup(self) -> None:
        source = self.fresh(20000)
        ignore = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # noqa: E731
        process = self.start("copy", "-q", source, preexec_fn=ignore)
        os.read(process.stdout.fileno(), 1)
        process.send_signal(signal.SIGHUP)
        self.assertEqual(len(process.stdout.read()), 19999)
        self.assertEqual(process.wait(20), 0)

    def test_control_c_on_a_terminal(self) -> None:
        code, came = self.on_terminal("copy", self.fresh(200000), self.to, when=b"KiB of", keys=b"\x03")
        self.assertEqual(code, -signal.SIGINT, came)

    def test_kill(self) -> None:
        # After SIGKILL, one file is left, and the device is free.
        process = self.under_way()
        process.kill()
        process.wait(20)
        for name in self.files():
            if name.startswith(".rdmactl-"):
                (self.directory / name).unlink()

    def test_waiting_for_input_that_does_not_come(self) -> None:
        process = self.start("copy", "-q", "-", self.to, stdin=subprocess.PIPE)
        self.wait_until(lambda: len(self.files()) > 1)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(20), -signal.SIGINT)

    def test_a_pipe_that_nobody_reads(self) -> None:
        process = self.start("copy", self.fresh(200000))
        self.assertEqual(len(os.read(process.stdout.fileno(), 1)), 1)
        process.stdout.close()
        self.assertEqual(process.wait(20), -signal.SIGPIPE)
        self.assertEqual(process.stderr.read(), b"")

    def test_a_full_disk(self) -> None:
        disk = self.directory / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", disk], check=True)
        self.addCleanup(subprocess.run, ["umount", disk], check=True)
        said = self.run_tool("copy", self.fresh(100000), disk / "to", code=1)
        self.assertIn(b"No space left on device", said.stderr)
        self.assertEqual(os.listdir(disk), [])
        said = self.run_tool("copy", self.directory / "from", "/dev/full", code=1)
        self.assertIn(b"No space left on device", said.stderr)

    def test_a_file_that_may_not_become_so_large(self) -> None:
        said = self.run_tool("copy", self.fresh(100000), self.to, prefix=["prlimit", "--fsize=16384"], code=1)
        self.assertIn(b"File too large", said.stderr)

    def test_the_device_goes(self) -> None:
        process = self.under_way("--verify", "-d", "rdma1")
        address = Path("/sys/class/rust_dma/rdma1/device").resolve().name
        (DRIVER / "unbind").write_text(address)
        self.addCleanup((DRIVER / "bind").write_text, address)
        self.assertEqual(process.wait(20), 4)
        self.assertIn(b"rdma1: the device was unplugged", process.stderr.read())

    def test_the_device_goes_while_nothing_is_under_way(self) -> None:
        process = self.start("copy", "-", self.to, "-d", "rdma1", stdin=subprocess.PIPE)
        self.wait_until(lambda: len(self.files()) > 1)
        address = Path("/sys/class/rust_dma/rdma1/device").resolve().name
        (DRIVER / "unbind").write_text(address)
        self.addCleanup((DRIVER / "bind").write_text, address)
        process.stdin.write(b"too late")
        process.stdin.close()
        self.assertEqual(process.wait(20), 4)
        self.assertIn(b"rdma1: the device was unplugged", process.stderr.read())

    def test_bad_use(self) -> None:
        source = self.fresh(10)
        self.assertIn(b"onto itself", self.run_tool("copy", source, source, code=2).stderr)
        (self.directory / "link").symlink_to("from")
        self.run_tool("copy", source, self.directory / "link", code=2)
        self.run_tool("copy", self.directory / "no such", self.to, code=1)
        self.run_tool("copy", self.directory, self.to, code=1)
        self.run_tool("copy", source, self.directory, code=2)
        self.run_tool("copy", source, self.directory / "no such/to", code=1)
        self.run_tool("copy", source, self.to, "-d", "rdma9", code=3)
        self.run_tool("copy", code=2)
        self.assertTrue(source.exists())

    def test_no_permission(self) -> None:
        said = self.run_tool("copy", "/etc/passwd", code=3, prefix=STRANGER)
        self.assertIn(b"group rust-dma", said.stderr)
        self.assertNotIn(b"rdmactl: rdmactl", said.stderr)

    def test_two_at_once(self) -> None:
        sources = [self.fresh(20000, name) for name in ("one", "two", "three")]
        ended = []
        threads = [
            threading.Thread(target=lambda s=source: ended.append(subprocess.run([TOOL, "copy", "-q", s], capture_output=True, check=True).stdout == s.read_bytes()))
            for source in sources
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(ended, [True] * 3)


if __name__ == "__main__":
    sys.exit(ktap.main(Copy, Accidents))
