#!/usr/bin/python3 -B
"""tests/harness/results_of_guests.py : tests/run reports each test once, and a failed one as failed, for any output of its guest, at any time of its end.

The guest is a small program.
"""

import contextlib
import errno
import importlib.machinery
import importlib.util
import io
import json
import math
import os
import subprocess
import sys
import tempfile
import types
import unittest
from pathlib import Path
from unittest import mock

import ktap
from manifest import Guest, Test
from results import Case, cases

RUN = Path(__file__).resolve().parent / "run"
loader = importlib.machinery.SourceFileLoader("run", str(RUN))
spec = importlib.util.spec_from_loader("run", loader)
assert spec
run = importlib.util.module_from_spec(spec)
loader.exec_module(run)


def event(**words: object) -> str:
    """As tests/harness/guest reports it."""
    return "\x1e" + json.dumps(words) + "\n"


def ended(name: str, output: str, status: int) -> str:
    """What a guest prints for a test."""
    return event(begin=name) + output + event(status=status) + event(end=name, wrong="")


class Guests(unittest.TestCase):
    def results(self, printed: str, *names: str, until: float = math.inf) -> dict[str, str]:
        """The result of each test, if the guest prints this and ends, and no test begins after this time."""
        report = run.Report()
        tests = [Test(name, "guest", "true") for name in names]

        class Boot(run.Boot):
            def __init__(self, name: str, guest: Guest, tests: list[Test], *_: object) -> None:
                self.name, self.guest, self.report = name, guest, report
                self.tests = {test.name: test for test in tests}
                self.directory = Path(directory)
                self.late, self.offsets = False, {"console.log": 0, "qemu.log": 0}
                self.until = until
                self.console, self.unlabelled = [], []
                self.process = subprocess.Popen(["printf", "%s", "" if run_before else printed], stdout=subprocess.PIPE, text=True, start_new_session=True)
                run_before.append(name)
                self.clock = types.SimpleNamespace(seconds=0.0)

            def log_of(self, _: str) -> list[str]:
                return []

        run_before: list[str] = []
        said = io.StringIO()
        with tempfile.TemporaryDirectory() as directory, mock.patch.object(run, "Boot", Boot), contextlib.redirect_stdout(said):
            arguments = types.SimpleNamespace(until=until)
            run.run_guest("guest", Guest([]), tests, arguments, report)
            run.fail_those_not_run(tests, report)
        found: dict[str, str] = {}
        for result in report.results:
            self.assertNotIn(result["test"], found)
            found[str(result["test"]).removesuffix("@guest")] = next(word for word in ("failed", "skipped", "passed") if result[word])
        return found

    def test_status(self) -> None:
        self.assertEqual(self.results(ended("good", "text\n", 0) + ended("bad", "text\n", 1), "good", "bad"), {"good": "passed", "bad": "failed"})

    def test_output_without_a_newline(self) -> None:
        printed = ended("bad", "Segmentation fault", 139) + ended("good", "text", 0)
        self.assertEqual(self.results(printed, "bad", "good"), {"bad": "failed", "good": "passed"})

    def test_no_status(self) -> None:
        printed = ended("good", "", 0) + event(begin="bad") + event(end="bad", wrong="")
        self.assertEqual(self.results(printed, "good", "bad"), {"good": "passed", "bad": "failed"})

    def test_killed_in_an_event(self) -> None:
        printed = ended("good", "", 0) + event(begin="bad") + '\x1e{"sta'
        self.assertEqual(self.results(printed, "good", "bad", "later"), {"good": "passed", "bad": "failed", "later": "failed"})

    def test_killed_between_tests(self) -> None:
        self.assertEqual(self.results(ended("good", "", 0) + '\x1e{"beg', "good", "later"), {"good": "passed", "later": "failed"})

    def test_not_run(self) -> None:
        report = run.Report()
        with contextlib.redirect_stdout(io.StringIO()):
            report.end("one@guest", [Case("", "passed")], Test("one", "guest", "true"))
            run.fail_those_not_run([Test("one", "guest", "true"), Test("two", "guest", "true")], report)
        self.assertEqual(report.counts, {"passed": 1, "failed": 1})

    def test_no_time_left(self) -> None:
        self.assertEqual(self.results(ended("good", "", 0), "good", "later", until=0), {"good": "skipped", "later": "skipped"})

        def time_passes() -> float:
            return float(bool(begun))

        begun: list[str] = []
        with mock.patch.object(run.time, "time", time_passes), mock.patch.object(run.Report, "begin", lambda _, label: begun.append(label)):
            for name, status, result in (("good", 0, "passed"), ("bad", 1, "failed")):
                begun.clear()
                printed = ended(name, "", status) + ended("later", "", 0)
                self.assertEqual(self.results(printed, name, "later", until=1), {name: result, "later": "skipped"})


    def test_exit_status(self) -> None:
        for counts, until, status in (
            ({"passed": 1}, math.inf, 0),
            ({"passed": 1, "failed": 1}, math.inf, 1),
            ({"skipped": 1}, math.inf, 1),
            ({"skipped": 1}, 0, 0),
            ({"skipped": 1, "failed": 1}, 0, 1),
        ):
            self.assertEqual(run.status(run.Counter(counts), until), status, counts)


class Saved(unittest.TestCase):
    """The file of results after a run of one of three tests."""

    TESTS = tuple(Test(name, "guest", "true") for name in ("one", "two", "three"))

    def setUp(self) -> None:
        self.directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.path = self.directory / "test.json"
        self.enterContext(mock.patch.object(run, "RESULTS", self.directory))

    def save(self, *run_tests: Test, named: tuple[str, ...] = ()) -> dict[str, str]:
        """Save the results of these tests, with this seed; returns the seed of each test in the file."""
        report = run.Report()
        seed = "first" if len(run_tests) == len(self.TESTS) else "second"
        arguments = types.SimpleNamespace(lane="test", seed=seed, tests=list(named), rows=False)
        with contextlib.redirect_stdout(io.StringIO()):
            for test in run_tests:
                report.end(run.label(test), [Case("", "passed")], test)
            run.write_results(report, {}, arguments, list(self.TESTS))
        return {result["test"]: result["seed"] for result in json.loads(self.path.read_text())["tests"]}

    def test_all(self) -> None:
        self.path.write_text('{"tests": [{"test": "removed@guest", "seed": "old"}]}')
        self.assertEqual(self.save(*self.TESTS), {"one@guest": "first", "two@guest": "first", "three@guest": "first"})

    def test_incomplete(self) -> None:
        """Ctrl-C, or a closed pipe."""
        self.save(*self.TESTS)
        self.assertEqual(self.save(self.TESTS[0]), {"one@guest": "second", "two@guest": "first", "three@guest": "first"})
        self.assertEqual(self.save()["three@guest"], "first")

    def test_unreadable(self) -> None:
        for text in ("", "[]", '{"tes'):
            with self.subTest(text):
                self.path.write_text(text)
                self.assertEqual(self.save(self.TESTS[0], named=("one",)), {"one@guest": "second"})

    def test_disk_is_full(self) -> None:
        self.save(*self.TESTS)
        before = self.path.read_text()

        def write(path: Path, text: str) -> None:
            with path.open("w") as file:
                file.write(text[:10])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with mock.patch.object(Path, "write_text", write), self.assertRaises(OSError):
            self.save(self.TESTS[0])
        self.assertEqual(self.path.read_text(), before)


class Outputs(unittest.TestCase):
    def test_rust_without_tests(self) -> None:
        self.assertEqual([case.result for case in cases(["running 0 tests", "", "test result: ok. 0 passed; 0 failed"], 0)], ["failed"])


if __name__ == "__main__":
    sys.exit(ktap.main(Guests, Saved, Outputs))
