#!/usr/bin/python3 -B
"""tests/tool/destinations.py : `rdmactl copy` to files that have links, mounts, owners and modes, or are already open. Runs in the guest, with the driver and two devices."""

import os
import re
import struct
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "harness"))
import ktap  # noqa: E402
from rdmactl import STRANGER, Case, valid  # noqa: E402

STRANGERS = 1001

# The user with this number may read and write all files of a directory that has this default ACL. Source: the kernel's
# include/uapi/linux/posix_acl_xattr.h, posix_acl.h.
OWNER, USER, GROUP, MASK, OTHER, NO_NUMBER = 1, 2, 4, 0x10, 0x20, 0xFFFFFFFF
ENTRIES = ((OWNER, 6, NO_NUMBER), (USER, 6, STRANGERS), (GROUP, 4, NO_NUMBER), (MASK, 6, NO_NUMBER), (OTHER, 0, NO_NUMBER))
ACL = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in ENTRIES)


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

    def test_a_directory_with_a_default_acl(self) -> None:
        """A replaced file can be read by the same users as before."""
        self.directory.chmod(0o755)
        self.to.chmod(0o640)
        os.setxattr(self.directory, "system.posix_acl_default", ACL)
        self.copied()
        self.assertEqual((os.listxattr(self.to), self.to.stat().st_mode & 0o7777), ([], 0o640))
        self.assertNotEqual(subprocess.run([*STRANGER, "cat", self.to], capture_output=True, check=False).returncode, 0)
        # A new file is as others in this directory.
        self.run_tool("copy", "-q", self.source, self.directory / "new")
        self.assertEqual(os.listxattr(self.directory / "new"), ["system.posix_acl_access"])

    def test_the_name_is_stored(self) -> None:
        """The directory, after the file has its name."""
        for to in (self.to, self.directory / "new"):
            calls = self.directory / "calls"
            self.run_tool("copy", "-q", self.source, to, prefix=["strace", "-f", "-y", "-e", "trace=fsync,/^rename", "-o", calls])
            self.assertRegex(calls.read_text(), rf"(?s)fsync\(\d+<[^>]*/\.rdmactl-.* rename.*/{to.name}\W.* fsync\(\d+<{re.escape(str(self.directory))}>\) += 0")

    def written_to(self, path: object, **options: object) -> None:
        """What is open for appending stays the same file, and what it had stays in it."""
        log = self.directory / "log"
        log.write_bytes(b"old")
        before = log.stat().st_ino
        with log.open("ab") as file:
            self.run_tool("copy", "-q", self.source, path, **{"stdout": file, "stderr": subprocess.PIPE, "capture_output": False} | options)
        self.assertEqual(log.stat().st_ino, before, f"{path}: it was replaced")
        self.assertTrue(log.read_bytes() == b"old" + self.source.read_bytes(), f"{path}: the copy differs")

    def test_standard_output_by_its_path(self) -> None:
        (self.directory / "link").symlink_to("/dev/stdout")
        for path in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/proc/thread-self/fd/1", self.directory / "link", self.directory / "log"):
            self.written_to(path)
        with (self.directory / "log").open("ab") as file:
            self.run_tool("read", "-l", 4, "/dev/stdout", stdout=file, stderr=subprocess.PIPE, capture_output=False)
        self.assertEqual((self.directory / "log").stat().st_size, 3 + 9000 + 4)

    def test_standard_error_by_its_path(self) -> None:
        log = self.directory / "log"
        for path in ("/dev/stderr", log):
            log.write_bytes(b"old")
            with log.open("ab") as file:
                self.run_tool("copy", "-q", self.source, path, stdout=subprocess.PIPE, stderr=file, capture_output=False)
            self.assertTrue(log.read_bytes() == b"old" + self.source.read_bytes(), f"{path}: the copy differs")

    def test_results_are_not_between_the_data(self) -> None:
        for words, kind in ((["copy", self.source, "/dev/stdout"], "copy"), (["read", "-l", 9000 - 8192, "/dev/fd/1"], "moved")):
            said = self.run_tool("--json", *words)
            self.assertEqual(valid(kind, said.stderr)["bytes"], len(said.stdout))

    def test_an_inherited_descriptor(self) -> None:
        with self.to.open("r+b", buffering=0) as file:
            file.seek(2)
            before = self.to.stat().st_ino
            for path in (f"/dev/fd/{file.fileno()}", f"/proc/self/fd/{file.fileno()}"):
                self.run_tool("copy", "-q", self.source, path, pass_fds=[file.fileno()])
            self.assertEqual(file.tell(), 2 + 2 * 9000, "the position is not shared")
        self.assertEqual(self.to.stat().st_ino, before)
        self.assertTrue(self.to.read_bytes() == b"ol" + 2 * self.source.read_bytes(), "the copy differs")

    def test_a_descriptor_of_another_program(self) -> None:
        with self.to.open("rb") as file:
            before = self.to.stat().st_ino
            self.copied(Path(f"/proc/{os.getpid()}/fd/{file.fileno()}"))
            self.assertEqual(self.to.stat().st_ino, before)

    def test_a_descriptor_of_its_own(self) -> None:
        # None of these is inherited. Some are its own, for signals and for the source, and the others are none.
        for number in range(3, 9):
            self.run_tool("copy", "-q", self.source, f"/dev/fd/{number}", code=1)

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
