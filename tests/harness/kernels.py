#!/usr/bin/python3 -B
"""tests/harness/kernels.py : `make test-kernels` counts a kernel as passed only if its tests passed, and ends with Ctrl-C; no row of its table is lost.

Runs in the build root, in a project that has only the scripts of tests/kernels. What they call is replaced by small programs.
"""

import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import ktap
from scripts import PROJECT, Scripts

RELEASE = Path("/etc/rdma-release").read_text().strip()
OTHER = RELEASE.replace("-", "-other-", 1)
ROWS = f"| {RELEASE} | trixie-backports, 1 | gcc | 1 | 7 passed, 0 failed, 0 skipped | 2026-11-28 |\n"
DOCUMENT = "before\n<!-- kernels: begin -->\n" + ROWS + "<!-- kernels: end -->\nafter\n"
LIST = f"trixie-backports amd64 {RELEASE} 1\ntrixie-backports amd64 {OTHER} 1\n"


class Kernels(Scripts):
    """A project with two kernels, of which one is in its table."""

    def setUp(self) -> None:
        super().setUp()
        self.project = self.directory / "project"
        self.rows = self.project / "build/kernels"
        for path in ("vm/lib.sh", "tests/kernels/one", "tests/kernels/run", "tests/kernels/table"):
            (self.project / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / path, self.project / path)
        self.rows.mkdir(parents=True)
        self.document = self.project / "docs/kernels.md"
        self.document.parent.mkdir()
        self.document.write_text(DOCUMENT)
        for program in ("vm/setup", "vm/modules"):
            self.replace(self.project / program, "exit")
        self.replace("make", "exit")
        self.listed(LIST, 0)
        self.prints("ok      info@kernels  7 passed  (1.0 s)\n7 passed, 0 failed, 0 skipped", 0)

    def listed(self, printed: str, status: int) -> None:
        """What vm/suites/list prints."""
        (self.directory / "list").write_text(printed)
        (self.directory / "list-status").write_text(str(status))

    def prints(self, printed: str, status: int, script: str = "") -> None:
        """What tests/run prints."""
        (self.directory / "tests").write_text(printed + "\n")
        self.replace(
            self.project / "vm/enter",
            f"""cd {self.directory}
            while [[ $1 == --* ]]; do shift; done
            case $1 in
            vm/suites/list) cat list; exit "$(cat list-status)" ;;
            tests/run) {script}
                cat tests; exit {status} ;;
            *) cd project && exec "$@" ;;
            esac""",
        )

    def outcome(self) -> tuple[int, str]:
        """The status of tests/kernels/one, and what it writes as the outcome."""
        status, _ = self.run_script("tests/kernels/one", RELEASE)
        lines = (self.rows / f"{RELEASE}.row").read_text().splitlines()
        return status, next(line.removeprefix("outcome ") for line in lines if line.startswith("outcome "))

    def test_passed(self) -> None:
        self.assertEqual(self.outcome(), (0, "7 passed, 0 failed, 0 skipped"))

    def test_failed(self) -> None:
        self.prints("FAILED  info@kernels  6 passed, 1 failed  (1.0 s)\n6 passed, 1 failed, 0 skipped", 1)
        self.assertEqual(self.outcome(), (1, "6 passed, 1 failed, 0 skipped: info"))

    def test_failed_after_all_tests(self) -> None:
        self.prints("ok      info@kernels  7 passed  (1.0 s)\nFAILED  (after all)@kernels  1 failed  (0.0 s)\n7 passed, 1 failed, 0 skipped", 1)
        self.assertEqual(self.outcome(), (1, "7 passed, 1 failed, 0 skipped: (after all)"))

    def test_all_skipped(self) -> None:
        self.prints("skip    info@kernels  3 skipped  (1.0 s)\n0 passed, 0 failed, 3 skipped", 1)
        self.assertEqual(self.outcome(), (1, "0 passed, 0 failed, 3 skipped: the status of tests/run is 1"))

    def test_no_result(self) -> None:
        self.prints("Traceback\nerror: no space left", 1)
        self.assertEqual(self.outcome(), (1, "no result: error: no space left"))

    def test_interrupted(self) -> None:
        """In the tests of the first kernel: neither it nor the second one is in the table, whose rows stay."""
        self.prints("7 passed, 0 failed, 0 skipped", 130, f'echo begun >>"{self.directory}/begun"; trap : INT; sleep 1000')
        process, _ = self.start("tests/kernels/run")
        while not (self.directory / "begun").exists():
            self.assertIsNone(process.poll())
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        self.assertEqual(process.wait(), 130)
        self.assertEqual((self.directory / "begun").read_text(), "begun\n")
        self.assertEqual(list(self.rows.glob("*.row")), [])
        self.assertEqual(self.document.read_text(), DOCUMENT)

    def test_table(self) -> None:
        """One kernel was run, and the other one was not."""
        status, _ = self.run_script("tests/kernels/run", RELEASE)
        self.assertEqual(status, 0)
        table = self.document.read_text().splitlines()
        self.assertRegex("\n".join(table), rf"\| {re.escape(RELEASE)} \| trixie-backports, 1 \|.*\| 7 passed, 0 failed, 0 skipped \|")
        self.assertIn(f"| {OTHER} | trixie-backports, 1 | | | not run | |", table)

    def test_no_list(self) -> None:
        """Without a network."""
        for printed, status in (("", 1), (LIST.splitlines()[0] + "\n", 1), ("", 0)):
            with self.subTest(printed=printed, status=status):
                self.listed(printed, status)
                self.assertNotEqual(self.run_script("tests/kernels/run", OTHER)[0], 0)
                self.assertEqual(self.document.read_text(), DOCUMENT)

    def test_list_without_a_network(self) -> None:
        self.project = PROJECT
        status, printed = self.run_script("unshare", "--net", "vm/suites/list", "testing")
        self.assertEqual(status, 1, printed)
        self.assertIn("the package indexes of testing cannot be read", printed)
        self.assertNotIn("testing -", printed)

    def test_one_list_at_a_time(self) -> None:
        """A setup that is running may be writing it."""
        setup = self.lock()
        process, output = self.start("tests/kernels/run", RELEASE)
        self.assertEqual([output.readline(), output.readline()][1], "Another setup is running; waiting for it.\n")
        self.assertFalse((self.cache / "kernels").exists())
        setup.kill()
        self.assertIn("1 passed, 0 failed", output.read())
        self.assertEqual((self.cache / "kernels").read_text(), LIST)


if __name__ == "__main__":
    sys.exit(ktap.main(Kernels))
