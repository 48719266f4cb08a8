#!/usr/bin/python3 -B
"""tests/tool/destinations.py : `rdmactl copy` to files that have links, mounts, owners and modes. Runs in the guest, with the driver and two devices."""

import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "harness"))
import ktap  # noqa: E402
from rdmactl import STRANGER, Case  # noqa: E402

STRANGERS = 1001


class Destinations(Case):
    """As cp(1) treats them."""

    def setUp(self) -> None:
        super().setUp()
        self.source = self.fresh(9000)
        self.to = self.directory / "to"
        self.to.write_bytes(b"old")

    def copied(self, to: Path | None = None, source: Path | None = None, **options: object) -> None:
        """Copy it; the copy is the same, and nothing else is left."""
        before = set(self.files())
        self.run_tool("copy", "-q", source or self.source, to or self.to, **options)
        self.assertTrue((to or self.to).read_bytes() == self.source.read_bytes(), "the copy differs")
        self.assertEqual([name for name in set(self.files()) - before if name.startswith(".")], [])

    def refused(self, *words: object, why: bytes, code: int = 1, **options: object) -> None:
        """Refused before the first byte: no piece is moved."""
        counters = Path("/sys/kernel/debug/rust_dma/rdma0/counters")
        before = counters.read_text()
        self.assertIn(why, self.run_tool("copy", "-q", *words, code=code, **options).stderr)
        self.assertEqual(counters.read_text(), before)

    def mount(self, what: Path, where: Path, *options: str) -> None:
        """Until the end of the test."""
        subprocess.run(["mount", *(options or ["--bind"]), what, where], check=True)
        self.addCleanup(subprocess.run, ["umount", where], check=True)

    def test_a_bind_mount(self) -> None:
        there = self.directory / "there"
        there.write_bytes(b"a longer one" * 1000)
        self.mount(there, self.to)
        self.copied()
        self.assertEqual(there.read_bytes(), self.source.read_bytes())

    def test_a_file_that_is_mounted_while_it_is_copied(self) -> None:
        there = self.directory / "there"
        there.write_bytes(b"there")
        process = self.start("copy", "-q", "-", self.to, stdin=subprocess.PIPE)
        self.wait_until(lambda: any(name.startswith(".rdmactl-") for name in self.files()))
        self.mount(there, self.to)
        process.stdin.write(self.source.read_bytes())
        process.stdin.close()
        self.assertEqual(process.wait(20), 0, process.stderr.read())
        self.assertEqual(there.read_bytes(), self.source.read_bytes())

    def test_hard_links(self) -> None:
        other = self.directory / "other"
        other.hardlink_to(self.to)
        self.copied()
        self.assertEqual(self.to.stat().st_nlink, 2)
        self.assertEqual(other.read_bytes(), self.source.read_bytes())

    def test_owner_and_mode(self) -> None:
        for mode in (0o600, 0o640, 0o666, 0o755):
            os.chown(self.to, STRANGERS, STRANGERS)
            self.to.chmod(mode)
            self.copied()
            status = self.to.stat()
            self.assertEqual((status.st_uid, status.st_gid, status.st_mode & 0o7777), (STRANGERS, STRANGERS, mode))

    def test_an_owner_that_a_user_namespace_does_not_map(self) -> None:
        os.chown(self.to, STRANGERS, STRANGERS)
        self.to.chmod(0o666)
        self.copied(prefix=["unshare", "--user", "--map-root-user"])
        status = self.to.stat()
        self.assertEqual((status.st_uid, status.st_gid, status.st_mode & 0o7777), (STRANGERS, STRANGERS, 0o666))

    def test_attributes(self) -> None:
        os.setxattr(self.to, "user.origin", b"here")
        self.copied()
        self.assertEqual(os.getxattr(self.to, "user.origin"), b"here")

    def test_the_mode_of_the_source(self) -> None:
        for mode, umask, expected in ((0o600, 0o22, 0o600), (0o644, 0o77, 0o600), (0o755, 0o22, 0o755), (0o666, 0o22, 0o644)):
            new = self.directory / f"new{mode}{umask}"
            self.source.chmod(mode)
            os.umask(umask)
            self.copied(new)
            os.umask(0o22)
            self.assertEqual(new.stat().st_mode & 0o7777, expected)
        self.run_tool("copy", "-q", "-", self.directory / "stream", input=b"x")
        self.assertEqual((self.directory / "stream").stat().st_mode & 0o7777, 0o644)

    def test_a_directory(self) -> None:
        there = self.directory / "there"
        there.mkdir()
        self.run_tool("copy", "-q", self.source, there)
        self.run_tool("copy", "-q", self.source, f"{there}/")
        self.assertEqual((there / "from").read_bytes(), self.source.read_bytes())
        self.refused("-", there, why=b"is a directory", code=2)
        self.refused(self.source, self.directory, why=b"onto itself", code=2)
        (there / "from").unlink()
        (there / "from").mkdir()
        self.refused(self.source, there, why=b"directory")

    def test_what_cannot_be_written(self) -> None:
        (self.directory / "dangling").symlink_to("nowhere")
        self.refused(self.source, self.directory / "dangling", why=b"symbolic link")
        self.refused(self.source, f"{self.directory}/new/", why=b"directory")
        self.refused(self.source, f"{self.directory}/new/.", why=b"directory")
        self.refused(self.source, "", why=b"a value is required", code=2)
        self.refused(self.source, self.directory / ("x" * 256), why=b"name too long")
        self.refused(self.source, self.directory / "none/new", why=b"No such file")
        self.assertEqual(sorted(self.files()), ["dangling", "from", "to"])

    def test_a_read_only_directory(self) -> None:
        there = self.directory / "there"
        there.mkdir()
        file = there / "file"
        file.write_bytes(b"old")
        self.mount(there, there)
        self.mount(self.to, file)
        subprocess.run(["mount", "-o", "remount,bind,ro", there], check=True)
        self.copied(file)
        self.refused(self.source, there / "new", why=b"Read-only")

    def test_anothers_file_in_a_sticky_directory(self) -> None:
        self.open_to_all()
        self.directory.chmod(0o1777)
        self.to.chmod(0o666)
        self.source.chmod(0o644)
        self.copied(prefix=STRANGER)
        self.assertEqual(self.to.stat().st_uid, 0)
        self.to.chmod(0o644)
        self.run_tool("copy", self.source, self.to, prefix=STRANGER, code=1)

    def test_a_hole_in_a_file_that_is_written_in_place(self) -> None:
        os.truncate(self.source, 1 << 20)
        self.to.write_bytes(b"x" * 20000)
        (self.directory / "other").hardlink_to(self.to)
        self.copied()
        self.assertLess(self.to.stat().st_blocks, 100)

    def test_a_file_that_is_appended_to_itself(self) -> None:
        with self.source.open("ab") as file:
            said = self.run_tool("copy", "-q", self.source, stdout=file, stderr=subprocess.PIPE, capture_output=False, code=2)
        self.assertIn(b"onto itself", said.stderr)

    def test_devices_of_the_driver(self) -> None:
        for node in ("/dev/rdma0", self.directory / "node"):
            if node != "/dev/rdma0":
                os.mknod(node, 0o600 | 0o020000, os.stat("/dev/rdma0").st_rdev)
            self.refused(node, self.directory / "new", why=b"`rdmactl read rdma0 FILE`", code=2)
            self.refused(self.source, node, why=b"`rdmactl write rdma0 FILE`", code=2)
        with open("/dev/rdma0", "rb", buffering=0) as device:
            self.run_tool("copy", "-", stdin=device, code=2)
        with open("/dev/rdma0", "wb", buffering=0) as device:
            options = {"stdout": device, "stderr": subprocess.PIPE, "capture_output": False}
            self.refused(self.source, "-", why=b"standard output is the device rdma0, whose memory each copy overwrites", code=2, **options)


if __name__ == "__main__":
    sys.exit(ktap.main(Destinations))
