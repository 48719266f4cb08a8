#!/usr/bin/python3 -B
"""tests/harness/kunit.py [DIRECTORY] : the results of the module's own tests when it was loaded, for each test in the sources.

With DIRECTORY, the tests are those in the sources there, and the kernel ran them when it booted. A kernel without KUnit, or one that does not
run the tests, reports nothing; therefore the expected ones are counted.
"""

import re
import sys
from pathlib import Path

RESULTS = Path("/sys/kernel/debug/kunit")
SUITE = re.compile(r"^#\[kunit_tests\((\w+)\)\]\n(.*?)^\}", re.MULTILINE | re.DOTALL)
TEST = re.compile(r"^    #\[test\]\n    fn (\w+)", re.MULTILINE)
LINE = re.compile(r"^\s+(ok|not ok) \d+ (\w+)(?: # SKIP.*)?$", re.MULTILINE)


def written(sources: Path) -> list[tuple[str, str]]:
    """The suites and their tests, according to the sources."""
    return [
        (suite, name)
        for path in sorted(sources.rglob("*.rs"))
        for suite, body in SUITE.findall(path.read_text())
        for name in TEST.findall(body)
    ]


def main() -> None:
    """Print a line for each test."""
    tests = written(Path(sys.argv[1] if len(sys.argv) > 1 else "src"))
    said = {suite: path.read_text() for suite, _ in tests if (path := RESULTS / suite / "results").exists()}
    outcomes = {
        (suite, name): (outcome, line)
        for suite, text in said.items()
        for line in text.splitlines()
        if (match := LINE.match(line))
        for outcome, name in [match.groups()]
    }
    print(f"KTAP version 1\n1..{len(tests)}")
    failed = False
    for number, test in enumerate(tests, 1):
        outcome, line = outcomes.get(test, ("not ok", "it did not run"))
        if "# SKIP" in line:
            outcome, line = "not ok", "it was skipped"
        if outcome != "ok":
            failed = True
            for said_line in [line, *said.get(test[0], "there are no results of this suite").splitlines()]:
                print(f"# {said_line.strip()}")
        print(f"{outcome} {number} {'.'.join(test)}")
    sys.exit(failed or not tests)


if __name__ == "__main__":
    main()
