#!/usr/bin/python3 -B
"""tests/harness/setup.py : the scripts that make and remove the cache do so if they are interrupted, and say what is missing.

Runs in the build root, with a cache of its own. Programs that would need a network or privileges are replaced by others.
"""

import re
import sys
import time

import ktap
from scripts import PROJECT, Scripts


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
        setup = self.lock()
        lock = (self.cache / "lock").stat().st_ino
        process, output = self.start("vm/distclean")
        self.assertEqual(output.readline(), "Another setup is running; waiting for it.\n")
        time.sleep(0.5)
        self.assertIn("root-0123456789ab", self.left())
        setup.kill()
        self.assertEqual(process.wait(), 0)
        self.assertEqual(self.left(), ["lock"])
        self.assertEqual((self.cache / "lock").stat().st_ino, lock)


SOURCE = ". vm/lib.sh && . vm/steps.sh && "


class OtherRoots(Scripts):
    """What is said of build roots that stay."""

    def said(self, *names: str) -> str:
        """What is said if these are there."""
        for name in names:
            (self.cache / name).mkdir()
        return self.run_script("bash", "-c", SOURCE + 'root=$cache/root-1 && mkdir "$cache/root-unstable-$(suite_root_key)" && name_other_roots')[1]

    def test_they_are_named(self) -> None:
        expected = f"  Other build roots stay in {self.cache} until 'make distclean': root-2 root-unstable-3\n"
        self.assertEqual(self.said("root-1", "root-2", "root-2.removed", "root-unstable-3"), expected)

    def test_none(self) -> None:
        self.assertEqual(self.said("root-1", "cargo"), "")


class Privileges(Scripts):
    """What root needs before anything is installed."""

    def test_root_has_them(self) -> None:
        self.assertEqual(self.run_script("bash", "-c", SOURCE + "require_privileges"), (0, ""))

    def test_root_of_a_container_lacks_them(self) -> None:
        self.replace("unshare", "echo 'unshare: unshare failed: Operation not permitted' >&2; exit 1")
        status, printed = self.run_script("bash", "-c", SOURCE + "require_tools")
        self.assertEqual(status, 1)
        self.assertRegex(printed, r"^error: root cannot create namespaces .*unshare failed: Operation not permitted.* docker run --privileged")
        self.assertEqual(len(printed.splitlines()), 1)


class Source(Scripts):
    """The kernel's source, which three scripts unpack; that of DKMS is installed without vm/."""

    def test_all_leave_out_the_same_files(self) -> None:
        left_out = [
            re.findall(r"--exclude='(\*/[^']+)'", (PROJECT / path).read_text())
            for path in ("vm/suites/kernel", "vm/arm64/metadata", "packaging/dkms/pre-build")
        ]
        self.assertGreater(len(left_out[0]), 3)
        self.assertEqual(left_out, [left_out[0]] * 3)


if __name__ == "__main__":
    sys.exit(ktap.main(Distclean, OtherRoots, Privileges, Source))
