#!/usr/bin/python3 -B
"""tests/host/kernel_tree.py : what `make modules KDIR=` says of trees for which no module can be built. Prints KTAP."""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(PROJECT / "tests/harness"))
import ktap  # noqa: E402

CLANG = "CONFIG_RUST=y\nCONFIG_CC_IS_CLANG=y\nCONFIG_MODVERSIONS=y\nCONFIG_GENDWARFKSYMS=y\n"


class Tree(unittest.TestCase):
    """A kernel's tree, of which there is only what vm/kernel-tree looks at."""

    def setUp(self) -> None:
        """An empty directory."""
        self.tree = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def add(self, path: str, text: str = "") -> None:
        """One file in it."""
        (self.tree / path).parent.mkdir(parents=True, exist_ok=True)
        (self.tree / path).write_text(text)

    def prepared(self, release: str, config: str) -> None:
        """As after `make prepare`."""
        self.add("include/config/kernel.release", release + "\n")
        self.add("include/config/auto.conf", config)
        self.add("rust/libkernel.rmeta")

    def check(self, llvm: str = "") -> subprocess.CompletedProcess[str]:
        """What is said of it."""
        environment = {name: value for name, value in os.environ.items() if name not in ("CC", "LLVM")}
        environment |= {"LLVM": llvm} if llvm else {}
        return subprocess.run([PROJECT / "vm/kernel-tree", self.tree], capture_output=True, text=True, env=environment, check=False)

    def refused(self, *words: str, llvm: str = "") -> None:
        """It is refused in these words."""
        done = self.check(llvm)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stdout, "")
        for word in words:
            self.assertIn(word, done.stderr)

    def test_not_built(self) -> None:
        """An unpacked source."""
        self.refused("not a kernel that has been built")

    def test_too_old(self) -> None:
        """The release before the first one that the driver supports."""
        self.prepared("7.2.13", "CONFIG_RUST=y\n")
        self.refused("too old", "7.3")

    def test_without_rust(self) -> None:
        """CONFIG_RUST is off."""
        self.prepared("7.3.4", "CONFIG_MODULES=y\n")
        self.refused("CONFIG_RUST")

    def test_without_metadata(self) -> None:
        """As distributions' headers."""
        self.prepared("7.3.4", "CONFIG_RUST=y\n")
        (self.tree / "rust/libkernel.rmeta").unlink()
        self.refused("rust/libkernel.rmeta", "make prepare")

    def test_only_prepared(self) -> None:
        """`make prepare` makes no Module.symvers."""
        self.prepared("7.3.4", "CONFIG_RUST=y\n")
        self.refused("Module.symvers", "build the kernel and its modules there: make\n")

    def test_only_prepared_clang(self) -> None:
        """The same for a kernel that clang builds, where symbols have checksums."""
        self.prepared("7.3.4", CLANG)
        self.refused("Module.symvers", "CONFIG_MODVERSIONS", "make LLVM=-19\n", llvm="-19")

    def test_clang(self) -> None:
        """A module needs the kernel's compiler."""
        self.prepared("7.3.4", CLANG)
        self.add("Module.symvers")
        self.refused("built with clang", "LLVM=")

    def test_complete(self) -> None:
        """One that has all."""
        self.prepared("7.3.4", CLANG)
        self.add("Module.symvers")
        done = self.check("-19")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "7.3.4\n", ""))


if __name__ == "__main__":
    sys.exit(ktap.main(Tree))
