"""Results of a test from its output and the logs: cases that passed, failed or were skipped, and errors of the kernel."""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

# The kernel's own parser of KTAP.
sys.path.insert(0, "/usr/src/linux/tools/testing/kunit")
import kunit_parser  # noqa: E402
import kunit_printer  # noqa: E402

SKIPPED = 4  # KSFT_SKIP, the exit status of a test program that is skipped as a whole

# Messages of the kernel and of QEMU that fail a test.
COMPLAINT = re.compile(
    r"WARNING|\bBUG\b|Oops|Call [Tt]race|DMAR:|arm-smmu-v3.*event|EDU:|hung task|blocked for more than|refcount_t|nobody cared|[Pp]anic"
    r"|KASAN|KCSAN|KFENCE|UBSAN|DMA-API|lockdep|possible .* (deadlock|recursive)|scheduling while atomic|sleeping function"
    r"|general protection|double fault|soft lockup|hard LOCKUP|rcu.* stall|memory corruption|corruption|[Bb]ad page"
    r"|page allocation failure|[Oo]ut of memory|oom-kill|lost interrupt|Unable to handle|Guest error|guest_error|[Ii]nvalid (read|write)"
)

LIBTEST = re.compile(r"^test (\S.*?)(?: - should panic)? \.\.\. (ok|FAILED|ignored)(?:, (.*))?$")

FIGURE = re.compile(r"^[#\s]*figure: ([^|]*)\|(.*)$")


@dataclass
class Case:
    """One test case."""

    name: str
    result: str  # "passed", "failed" or "skipped"
    lines: list[str] = field(default_factory=list)  # the reason


def cases(output: list[str], status: int) -> list[Case]:
    """The cases in a test's output; its status as one case, if there are none."""
    if any(line.startswith(("TAP version", "KTAP version")) for line in output):
        found = list(ktap(output))
    else:
        found = list(libtest(output))
    if status == SKIPPED and not any(case.result == "failed" for case in found):
        reason = [line for line in output if "SKIP" in line][:1]
        return [case for case in found if case.name] or [Case("", "skipped", reason)]
    if status and not any(case.result == "failed" for case in found):
        found.append(Case("", "failed", [*output[-30:], f"It ended with status {status}."]))
    if not found and "running 0 tests" in output:
        return [Case("", "failed", ["It has no tests."])]
    return found or [Case("", "passed")]


def figures(output: list[str]) -> list[tuple[str, str]]:
    """What was run, and its result, as printed by a test: `# figure: 1000 kills | gone in at most 112 ms`."""
    found = []
    for line in output:
        if match := FIGURE.match(line):
            ran, came = match.groups()
            found.append((ran.strip(), came.strip()))
    return found


def ktap(output: list[str]) -> Iterator[Case]:
    """The cases of a test with KTAP output."""
    status = kunit_parser.TestStatus
    names = {status.SUCCESS: "passed", status.SKIPPED: "skipped"}
    for test in leaves(kunit_parser.parse_run_tests(output, kunit_printer.null_printer)):
        result = names.get(test.status, "failed")
        lines = [test.skip_reason] if result == "skipped" else test.log
        if not test.name:
            lines = [*output[-30:], "It ended before its last case."]
        yield Case(test.name.strip(), result, lines)


def leaves(test: kunit_parser.Test) -> Iterator[kunit_parser.Test]:
    """The cases in a tree of tests."""
    if not test.subtests:
        yield test
    for subtest in test.subtests:
        yield from leaves(subtest)


def libtest(output: list[str]) -> Iterator[Case]:
    """The cases of a Rust test program."""
    results = {"ok": "passed", "FAILED": "failed", "ignored": "skipped"}
    for line in output:
        if match := LIBTEST.match(line):
            name, word, reason = match.groups()
            yield Case(name, results[word], output[-40:] if word == "FAILED" else [reason or ""])


def without_foreign_races(log: list[str]) -> list[str]:
    """The log without KCSAN's reports of races outside of this module, which the kernel has. Reports on this driver contain the module's name."""
    kept: list[str] = []
    report: list[str] = []
    for line in log:
        if "BUG: KCSAN" in line:
            report = [line]
        elif report and "======" in line:
            kept += report if any("rdma]" in said or "4rdma" in said for said in report) else []
            report = []
        elif report:
            report.append(line)
        else:
            kept.append(line)
    return kept + report


def without_excused(log: list[str], excused: list[re.Pattern[str]]) -> list[str]:
    """The log without the excused lines; for an excused WARNING, also without the first line of its trace."""
    kept: list[str] = []
    trace_follows = False
    for line in log:
        if any(pattern.search(line) for pattern in excused):
            trace_follows |= "WARNING:" in line
        elif trace_follows and "call trace:" in line.lower():
            trace_follows = False
        else:
            kept.append(line)
    return kept


def complaints(log: list[str], expected: list[str], tolerated: list[str]) -> list[Case]:
    """Errors in the lines that the kernel and QEMU logged during a test."""
    log = without_foreign_races(log)
    wanted = [re.compile(pattern) for pattern in expected]
    found = [
        Case("log", "failed", [f"The log lacks what the test was to provoke: {pattern.pattern}"])
        for pattern in wanted
        if not any(pattern.search(line) for line in log)
    ]
    rest = without_excused(log, wanted + [re.compile(pattern) for pattern in tolerated])
    if bad := [number for number, line in enumerate(rest) if COMPLAINT.search(line)]:
        found.append(Case("log", "failed", rest[max(0, bad[0] - 5) : bad[0] + 40]))
    return found
