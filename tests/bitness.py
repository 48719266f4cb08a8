#!/usr/bin/python3 -B
"""tests/bitness.py PROGRAM[:OPTION...]... : run test programs as 64-bit and as 32-bit ones; each has the same cases, with the same results.

Runs in the guest, with the driver loaded. Says so for each program, in KTAP; what a program says of a case that did not pass is seen.
"""

import re
import subprocess
import sys
import time

CASE = re.compile(r"^(ok|not ok) \d+ ([^#\s]+)(?:.*# (SKIP))?")


def results(directory: str, program: str, options: list[str]) -> tuple[dict[str, str], list[str]]:
    """The result of each case of a program, by name, and what it said of those that did not pass."""
    time.sleep(6)  # the kernel's log takes only so many lines in 5 s
    run = subprocess.run(
        [f"build/{directory}/{program}", *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
    )
    cases: dict[str, str] = {}
    said: list[str] = []
    block: list[str] = []
    for line in run.stdout.splitlines():
        block.append(line)
        if match := CASE.match(line):
            result, name, skipped = match.groups()
            cases[name] = skipped or result
            said += block if result == "not ok" else []
            block = []
    if run.returncode and all(result == "ok" for result in cases.values()):
        cases["(exit status)"] = str(run.returncode)
    return cases, said + block


def same(program: str, options: list[str]) -> tuple[int, int, list[str]]:
    """How many cases of a program passed, as 64 and as 32 bits; and what is wrong."""
    wide, wide_said = results("tests", program, options)
    narrow, narrow_said = results("tests32", program, options)
    passed = [list(cases.values()).count("ok") for cases in (wide, narrow)]
    wrong = [f"{name}: {wide.get(name)}, and {narrow.get(name)}" for name in wide | narrow if wide.get(name) != narrow.get(name)]
    wrong += [f"{name}: {result}" for name, result in narrow.items() if result not in ("ok", "SKIP")]
    if not wide:
        wrong.append("it has no cases")
    return passed[0], passed[1], wrong + (wide_said[-60:] + narrow_said[-60:] if wrong else [])


def main() -> int:
    """Run all that are named."""
    totals = [0, 0]
    failed = 0
    print("KTAP version 1")
    print(f"1..{len(sys.argv) - 1}", flush=True)
    for number, word in enumerate(sys.argv[1:], 1):
        program, *options = word.split(":")
        wide, narrow, wrong = same(program, options)
        totals[0] += wide
        totals[1] += narrow
        failed += bool(wrong)
        for line in wrong:
            print(f"# {line}")
        print(f"{'not ok' if wrong else 'ok'} {number} {program}", flush=True)
    print(f"# figure: {len(sys.argv) - 1} programs, each as 64-bit and as 32-bit one | {totals[0]} and {totals[1]} cases passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
