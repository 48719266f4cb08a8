"""Test cases of Python's unittest as KTAP: each test is a case with the name of its method without `test_`."""

import unittest


class Result(unittest.TestResult):
    """Prints a line for each case at its end, after the errors."""

    def tell(self, test: unittest.TestCase, word: str, wrong: str = "", remark: str = "") -> None:
        """Print a case."""
        for line in wrong.splitlines():
            print(f"# {line}")
        print(f"{word} {self.testsRun} {test.id().rpartition('.test_')[2]}{remark}", flush=True)

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
