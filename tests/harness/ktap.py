"""Test cases of Python's unittest as KTAP: each test is a case with the name of its method without `test_`."""

import traceback
import unittest


class Result(unittest.TestResult):
    """Prints a line for each case at its end, after the errors."""

    printed = False  # whether the current case has its line

    def tell(self, test: unittest.TestCase, word: str, wrong: str = "", remark: str = "") -> None:
        """Print a case."""
        self.printed = True
        for line in wrong.splitlines():
            print(f"# {line}")
        print(f"{word} {self.testsRun} {test.id().rpartition('.test_')[2]}{remark}", flush=True)

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802, D102
        super().startTest(test)
        self.printed = False

    def stopTest(self, test: unittest.TestCase) -> None:  # noqa: N802, D102
        # A case that ends, but of which a part (subTest) has failed, is neither a success nor a failure.
        if not self.printed:
            self.tell(test, "not ok")
        super().stopTest(test)

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: tuple | None) -> None:  # noqa: N802, D102
        super().addSubTest(test, subtest, err)
        if err is not None:
            for line in "".join(traceback.format_exception(*err)).splitlines():
                print(f"# {line}")

    def addSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802, D102
        self.tell(test, "ok")

    def addFailure(self, test: unittest.TestCase, err: tuple) -> None:  # noqa: N802, D102
        super().addFailure(test, err)
        self.tell(test, "not ok", self.failures[-1][1])

    def addError(self, test: unittest.TestCase, err: tuple) -> None:  # noqa: N802, D102
        super().addError(test, err)
        self.tell(test, "not ok", self.errors[-1][1])

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:  # noqa: N802, D102
        self.tell(test, "ok", remark=f" # SKIP {reason}")


def main(*cases: type[unittest.TestCase]) -> int:
    """Run all methods `test_...` of these classes; returns the exit status."""
    loader = unittest.defaultTestLoader
    suite = unittest.TestSuite(loader.loadTestsFromTestCase(case) for case in cases)
    print(f"KTAP version 1\n1..{suite.countTestCases()}", flush=True)
    result = Result()
    suite.run(result)
    return 0 if result.wasSuccessful() else 1
