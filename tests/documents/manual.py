#!/usr/bin/python3 -B
"""tests/documents/manual.py : docs/rdma.4 renders without a warning, contains the sentences of the header, and its example compiles."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent
PAGE = PROJECT / "docs/rdma.4"
HEADER = (PROJECT / "src/uapi/rdma.h").read_text()

STRUCTURE = re.compile(r"/\*\*\n \* struct (\w+) - .*?\n(.*?)\*/\n(struct \w+ \{.*?\n\};)", re.DOTALL)
FIELD = re.compile(r"@(\w+): +(.*)")
ERROR = re.compile(r" *(-?E[A-Z0-9]+(?:, E[A-Z0-9]+)*) +(\S.*)")


def plain(text: str) -> str:
    """The words of a text, without markup and line breaks."""
    return " ".join(text.replace("@", "").replace("`", "").split())


def comment(text: str) -> list[str]:
    """The lines of a comment."""
    return [re.sub(r"^ \* ?", "", line) for line in text.splitlines()]


def statements(lines: list[str]) -> Iterator[tuple[str, str]]:
    """The statements of a comment: ("@field", text), ("[ERRNO]", text) or ("", sentence)."""
    items: list[list[str]] = []
    kind = ""
    for line in lines:
        if not line.strip(" /*"):
            kind = ""
        elif match := FIELD.match(line):
            kind = "item"
            items.append([f"@{match[1]}", match[2]])
        elif match := ERROR.match(line):
            kind = "item"
            items.append([f"[{match[1]}]", match[2]])
        elif kind == "text" or (kind == "item" and line.startswith(" ")):
            items[-1][1] += f" {line}"
        else:
            kind = "text"
            items.append(["", line])
    for name, text in items:
        parts = re.split(r"(?<=[a-z)0-9][.:]) +(?=[A-Z(])", plain(text)) if not name else [plain(text)]
        yield from ((name, part) for part in parts)


def rendered() -> tuple[str, dict[str, str]]:
    """The page's words, and those of each section by its title."""
    done = subprocess.run(
        ["mandoc", "-T", "ascii", "-O", "width=900", PAGE], stdout=subprocess.PIPE, text=True, check=True
    )
    sections: dict[str, str] = {}
    title = ""
    text = re.sub(".\b", "", done.stdout)
    for line in text.splitlines():
        if re.match(r" {0,3}\S", line):
            title = line.strip()
        sections[title] = sections.get(title, "") + f" {line}"
    return plain(text), {title: plain(words) for title, words in sections.items()}


def renders() -> Iterator[str]:
    """Warnings of the two programs that format manual pages."""
    for command in (["mandoc", "-T", "lint", "-W", "warning", PAGE], ["man", "--warnings=all", "-l", PAGE]):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode or done.stderr or (command[0] == "mandoc" and done.stdout):
            yield f"{command[0]}: {done.stdout if command[0] == 'mandoc' else ''}{done.stderr} (status {done.returncode})"


def constants() -> Iterator[str]:
    """Constants of the header that are missing in the page."""
    text, _ = rendered()
    found = [name for name in re.findall(r"^#define (RDMA_\w+) ", HEADER, re.MULTILINE)]
    yield from (name for name in found if not re.search(rf"\b{name}\b", text))
    if len(found) < 20:
        yield f"only {len(found)} constants in the header"


def structures() -> Iterator[str]:
    """Structures that differ between header and page, and missing statements on them and on their calls."""
    source = PAGE.read_text()
    _, sections = rendered()
    found = STRUCTURE.findall(HEADER)
    for name, text, code in found:
        if code.replace("\t", " " * 8) not in source:
            yield f"struct {name} is another one"
        section = next((words for words in sections.values() if f"struct {name} {{" in words), "")
        for field in re.findall(r"(\w+)(?:\[\d+\])?;", code):
            if not re.search(rf" {field} (in|out): ", section):
                yield f"{name}.{field}"
        for what, words in statements(comment(text)):
            wanted = f"{what.removeprefix('@')} {words}".strip()
            if wanted not in section:
                yield f"struct {name}: {wanted}"
    if len(found) < 9:
        yield f"only {len(found)} structures in the header"


def prose() -> Iterator[str]:
    """Sentences of the header's first and last comments that are missing in the page, and their errors."""
    _, sections = rendered()
    words = " ".join(sections.values())
    comments = re.findall(r"^/\*\n(.*?)\*/", HEADER, re.DOTALL | re.MULTILINE)
    for text in (comments[0], comments[-1]):
        for what, sentence in statements(comment(text)):
            # The first comment describes the header itself and contains a list in two columns.
            if sentence.startswith(("rdma:", "DMA buffers and", "(Rust DMA", "It has nothing", "The words used")):
                continue
            if f"{what} {sentence}".strip() not in words:
                yield f"{what} {sentence}".strip()


def parameters() -> Iterator[str]:
    """Parameters of the module that are missing in the page, or have another default there."""
    _, sections = rendered()
    source = (PROJECT / "src/rdma.rs").read_text()
    found = re.findall(r"^        (\w+): \w+ \{\n +default: (\S+),", source, re.MULTILINE)
    for name, default in found:
        said = re.search(rf" {name} (.*?)\((\w+)\)", sections["MODULE PARAMETERS"])
        if not said or (default.isdigit() and said[2] != default):
            yield name
    if len(found) < 4:
        yield f"only {len(found)} parameters in src/rdma.rs"


def observing() -> Iterator[str]:
    """Names in debugfs, fdinfo and the tracepoints that are missing in the page."""
    _, sections = rendered()
    words = set(re.split(r"[ ,]+", sections["FILES"]))
    for file, pattern in (
        ("src/device/debugfs.rs", r'"(\w+) \w[^"]*\\n"|"(\w+) \{\}\\n"|name: c"(\w+)"'),
        ("src/schedule/stats.rs", r'^            \("(\w+)", self'),
        ("src/file/fdinfo.rs", r'"(rdma-[\w-]+):'),
        ("src/kernel_ext/driver/trace.h", r"^TRACE_EVENT\((\w+),"),
    ):
        found = {"".join(match) for match in re.findall(pattern, (PROJECT / file).read_text(), re.MULTILINE)}
        for name in sorted(found - words):
            if f"/{name} " not in sections["FILES"]:
                yield f"{file}: {name}"
        if len(found) < 8:
            yield f"only {len(found)} names in {file}"


def example() -> Iterator[str]:
    """Messages of the compiler for the example."""
    done = subprocess.run(
        ["make", "--silent", "-C", PROJECT / "tests", "example"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode or done.stdout:
        yield done.stdout


def main() -> int:
    """Run all checks."""
    cases = [renders, constants, structures, prose, parameters, observing, example]
    print(f"TAP version 13\n1..{len(cases)}")
    failed = 0
    for number, case in enumerate(cases, 1):
        wrong = list(case())
        failed += bool(wrong)
        print("".join(f"# {line}\n" for text in wrong for line in text.splitlines()), end="")
        print(f"{'not ok' if wrong else 'ok'} {number} {case.__name__}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
