#!/usr/bin/python3 -B
"""tests/abi/bitness.py PROGRAM[:OPTION...]... : run test programs as 32-bit programs. Each must have the same cases as the 64-bit program, and pass them.

(The 64-bit programs are tests of their own.) Runs in the guest, with the driver loaded. Prints KTAP with a result for each program, and the
output of cases that failed.
"""

import itertools
import re
import subprocess
import sys
import time

CASE = re.compile(r"^(ok|not ok) \d+ ([^#\s]+)(?:.*# (SKIP))?")


def cases(program: str, options: list[str]) -> set[str]:
    """The names of the cases of the 64-bit program, except for excluded ones (-T) and those of excluded fixtures (-F)."""
    excluded = set(itertools.pairwise(options))
    listed = subprocess.run([f"build/tests/{program}", "-l"], stderr=subprocess.PIPE, text=True, check=False).stderr.splitlines()[1:]
    found: set[str] = set()
    for ruled, block in itertools.groupby(listed, lambda line: line.startswith("---")):
        rows = [] if ruled else [(line[:20].strip(), line[21:46].strip(), line[47:].strip()) for line in block]
        fixture = rows[0][0] if rows else ""
        tests = [test for _, _, test in rows if test and ("-T", test) not in excluded]
        variants = [f".{variant}" for _, variant, _ in rows if variant] or [""]
        if ("-F", fixture) not in excluded:
            found |= {f"{fixture}{variant}.{test}" for variant in variants for test in tests}
    return found


def results(program: str, options: list[str]) -> tuple[dict[str, str], list[str]]:
    """The result of each case of the 32-bit program, by name, and the output of those that failed."""
    time.sleep(6)  # the kernel's log takes only so many lines in 5 s
    run = subprocess.run(
        [f"build/tests32/{program}", *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
    )
    found: dict[str, str] = {}
    said: list[str] = []
    block: list[str] = []
    for line in run.stdout.splitlines():
        block.append(line)
        if match := CASE.match(line):
            result, name, skipped = match.groups()
            found[name] = skipped or result
            said += block if result == "not ok" else []
            block = []
    if run.returncode and all(result == "ok" for result in found.values()):
        found["(exit status)"] = str(run.returncode)
    return found, said + block


def check(program: str, options: list[str]) -> tuple[int, int, list[str]]:
    """The number of cases of the 64-bit program, the number that pass as 32-bit ones, and the errors."""
    wide = cases(program, options)
    narrow, said = results(program, options)
    wrong = [f"{name}: {narrow.get(name, 'is not there')}" for name in sorted(wide | set(narrow)) if narrow.get(name) not in ("ok", "SKIP")]
    wrong += [f"{name}: is not there as a 64-bit case" for name in narrow if name not in wide]
    if not wide:
        wrong.append("it has no cases")
    return len(wide), list(narrow.values()).count("ok"), wrong + (said[-60:] if wrong else [])


def main() -> int:
    """Run all programs."""
    totals = [0, 0]
    failed = 0
    print("KTAP version 1")
    print(f"1..{len(sys.argv) - 1}", flush=True)
    for number, word in enumerate(sys.argv[1:], 1):
        program, *options = word.split(":")
        wide, narrow, wrong = check(program, options)
        totals[0] += wide
        totals[1] += narrow
        failed += bool(wrong)
        for line in wrong:
            print(f"# {line}")
        print(f"{'not ok' if wrong else 'ok'} {number} {program}", flush=True)
    print(f"# figure: {len(sys.argv) - 1} programs, as 32-bit ones | {totals[1]} of the {totals[0]} cases that they have as 64-bit ones passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
