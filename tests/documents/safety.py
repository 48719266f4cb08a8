#!/usr/bin/python3 -B
"""docs/safety.md and docs/memory-ordering.md are right: what they name exists, numbers are right, and all `unsafe` is where they say. Prints KTAP."""

import re
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(PROJECT / "tests/harness"))
import declarations  # noqa: E402
from manifest import load  # noqa: E402

DOCUMENT = (PROJECT / "docs/safety.md").read_text()
ORDERING = (PROJECT / "docs/memory-ordering.md").read_text()
UNSAFE = re.compile(r"\bunsafe\b")


def unsafe_in(path: Path) -> int:
    """How often a file contains `unsafe`, except in comments and strings."""
    return sum(len(UNSAFE.findall(re.sub(r'"[^"]*"', "", re.sub(r"//.*", "", line)))) for line in path.read_text().splitlines())


def missing_files() -> list[str]:
    """Paths that do not exist."""
    return [name for name in re.findall(r"`((?:src|tests|docs|vm)/[\w./-]+)`", DOCUMENT + ORDERING) if not (PROJECT / name).exists()]


def missing_functions() -> list[str]:
    """Functions and types, named after their files, that do not exist, and files with atomics that memory-ordering.md does not name."""
    wrong = []
    for path, names in re.findall(r"`(src/[\w./]+)`((?:, `\w+`)+)", DOCUMENT + ORDERING):
        text = (PROJECT / path).read_text()
        wrong += [f"{path}: no {name}" for name in re.findall(r"`(\w+)`", names) if not re.search(rf"\b(fn|int|bool|struct|enum|trait) {name}\b", text)]
    ordered = {str(path.relative_to(PROJECT)) for path in PROJECT.glob("src/**/*.rs") if is_ordered(path)}
    return wrong + [f"{path} is not named" for path in sorted(ordered) if f"`{path}`" not in ORDERING]


def is_ordered(path: Path) -> bool:
    """Whether a file, without its tests, uses atomics, barriers or volatile accesses."""
    code = re.sub(r"//.*", "", path.read_text().split("#[kunit_tests")[0])
    return bool(re.search(r"\b(Relaxed|Acquire|Release|dma_mb|smp_mb|(?:read|write)_volatile)\b", code))


def missing_tests() -> list[str]:
    """Tests in the last column of a table that do not exist."""
    tests = {test.name for test in load()[1]}
    rows = [line.strip().strip("|").split("|") for line in DOCUMENT.splitlines() if line.startswith("| ") and line.count("|") == 4]
    named = [name for cells in rows if not cells[0].strip().startswith("`src") for name in re.findall(r"`([\w-]+)`", cells[-1]) if "`src" not in cells[-1]]
    return [name for name in named if name not in tests and not name.startswith("refused-")]


def missing_contracts() -> list[str]:
    """Files without a contract of the name that the document states."""
    rows = re.findall(r"^\| [^|]+ \| `(src/[\w./]+)`, `(\w+)` \| `(src/[\w./]+)`", DOCUMENT, re.MULTILINE)
    wrong = [f"{path}: no unsafe at {name}" for path, name, _ in rows if not contract(path, name)]
    return wrong or ([] if rows else ["no contract is named"])


def contract(path: str, name: str) -> bool:
    """Whether the item of this name in a file is unsafe. A type is if it contains unsafe code, and so is a private function."""
    text = re.sub(r"//.*", "", (PROJECT / path).read_text().split("#[kunit_tests")[0])
    items = re.finditer(rf"^( *)([^\n]*)\b(fn|struct|trait|impl[^\n]*)\s+{name}\b.*?^\1\}}", text, re.MULTILINE | re.DOTALL)
    return any(UNSAFE.search(item[2] if "pub" in item[2] and item[3] == "fn" else item[0]) for item in items)


def unproven() -> list[str]:
    """Mutants that the compiler must refuse and that are missing, here or in the document; and those that change files with `unsafe`."""
    named = set(re.findall(r"`(refused-[\w-]+)`", DOCUMENT))
    patches = {path.stem: path.read_text() for path in (PROJECT / "tests/mutants").glob("*.patch") if re.search(r"^Refused:", path.read_text(), re.MULTILINE)}
    touching = [f"{name} changes src/kernel_ext" for name, text in patches.items() if "+++ b/src/kernel_ext" in text]
    return sorted(named ^ set(patches)) + touching


def wrong_counts() -> list[str]:
    """Files with a wrong number of `unsafe`, or that are missing in the list."""
    said = {path: int(count) for path, count in re.findall(r"^\| `(src/[\w./]+)` \| (\d+) \|", DOCUMENT, re.MULTILINE)}
    there = {str(path.relative_to(PROJECT)): count for path in sorted(PROJECT.glob("src/**/*.rs")) if (count := unsafe_in(path))}
    return [f"{path}: {said.get(path, 0)} said, {there.get(path, 0)} there" for path in sorted(said | there) if said.get(path) != there.get(path)]


def unsafe_elsewhere() -> list[str]:
    """Files outside of the folder of abstractions that contain `unsafe` or use bindings."""
    above = [path for path in sorted(PROJECT.glob("src/**/*.rs")) if "kernel_ext" not in path.parts]
    code = {path: re.sub(r"//.*", "", path.read_text()) for path in above}
    return [str(path) for path, text in code.items() if UNSAFE.search(text) or "bindings::" in text]


def wrong_declarations() -> list[str]:
    """C functions whose declaration in Rust is not that of C."""
    return declarations.wrong(PROJECT / "src")


def main() -> int:
    """Run all checks."""
    checks = [missing_files, missing_functions, missing_tests, missing_contracts, unproven, wrong_counts, unsafe_elsewhere, wrong_declarations]
    print(f"TAP version 13\n1..{len(checks)}")
    failed = 0
    for number, check in enumerate(checks, 1):
        found = check()
        failed += bool(found)
        for line in found:
            print(f"# {line}")
        print(f"{'not ok' if found else 'ok'} {number} {check.__name__}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
