#!/usr/bin/python3 -B
"""The driver's files depend on each other in one direction, as the head of src/rdma.rs says. Reads their imports. Prints KTAP.

With --list, prints the imports instead. An import is a `use` or a path that is written out, of another file of the driver, comments and KUnit's tests
apart. A name that a file only passes on (`pub use`) is that of the file that has it; `mod` alone is no import.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent
SOURCES = PROJECT / "src"
TOP = "rdma"
Import = tuple[str, str]  # the importing file, and the imported one

# The rooms, from the lowest floor up. A room imports from floors below its own, and from no other room on its own.
FLOORS = [
    ["kernel_ext"],
    ["uapi"],
    ["engines"],
    ["memory", "schedule"],
    ["device"],
    ["file"],
    ["driver"],
    [TOP],
]

USE = re.compile(r"^[ \t]*(pub(?:\([^)]*\))?\s+)?use\s+([^;]+);", re.MULTILINE)
MACRO_MADE = {"module_parameters", "LocalModule"}  # by `module!`, in the crate's root


def paths_of(tree: str) -> Iterator[list[str]]:
    """The paths of a `use`, each as a list of names."""
    tokens = re.findall(r"\w+|[{},]", re.sub(r"\bas\s+\w+", "", tree))
    outer: list[list[str]] = []
    path: list[str] = []
    depth = 0
    for token in [*tokens, ","]:
        if token == "{":
            outer.append(path)
            path, depth = list(path), 0
        elif token in ",}":
            if depth:
                yield path
            path, depth = list(outer[-1]) if outer else [], 0
            if token == "}":
                outer.pop()
        else:
            path = [*path, token]
            depth += 1


class Source:
    """A file of the driver."""

    def __init__(self, name: str, text: str, children: set[str]) -> None:
        self.name = name
        self.place = [] if name == TOP else name.split("::")
        self.children = children
        text = re.split(r"#\[kunit_tests", re.sub(r"//.*", "", text))[0]
        code = USE.sub("", text)
        self.passes_on: list[list[str]] = []
        self.uses: list[list[str]] = []
        for public, tree in USE.findall(text):
            for path in paths_of(tree):
                only_passed_on = public and not re.search(rf"\b{path[-1]}\b", code)
                self.uses += [] if only_passed_on else [path]
                self.passes_on += [path] if public else []
        first = "|".join(["crate", "super", *children])
        self.uses += [path.split("::") for path in re.findall(rf"(?<!::)\b(?:{first})(?:::\w+)+", code)]
        while (plain := re.sub(r"<[^<>\n]*>", "", code)) != code:
            code = plain  # without the arguments of types
        self.traits = set(re.findall(r"\btrait (\w+)", code))
        self.implements = set(re.findall(r"^impl (?:\w+::)*(\w+) for\b", code, re.MULTILINE))

    def absolute(self, path: list[str]) -> list[str] | None:
        """A path from the crate's root; None if it leads out of the crate."""
        up = next((number for number, name in enumerate(path) if name != "super"), len(path))
        if path[0] == "crate":
            return path[1:]
        if path[0] == "self":
            return self.place + path[1:]
        if up:
            return self.place[: len(self.place) - up] + path[up:]
        return self.place + path if path[0] in self.children else None


def load() -> dict[str, Source]:
    """All files, by their names in the crate."""
    texts = {"::".join(path.relative_to(SOURCES).with_suffix("").parts): path.read_text() for path in sorted(SOURCES.glob("**/*.rs"))}
    parents = [(name.rpartition("::")[0] or TOP, name.rpartition("::")[2]) for name in texts if name != TOP]
    return {name: Source(name, text, {child for parent, child in parents if parent == name}) for name, text in texts.items()}


def file_of(sources: dict[str, Source], path: list[str], seen: frozenset[Import] = frozenset()) -> str:
    """The file that has what a path from the crate's root leads to."""
    length = next(length for length in range(len(path), -1, -1) if not length or "::".join(path[:length]) in sources)
    name, wanted = "::".join(path[:length]) or TOP, path[length : length + 1]
    for passed_on in sources[name].passes_on if wanted and (name, wanted[0]) not in seen else []:
        absolute = sources[name].absolute(passed_on)
        if absolute and passed_on[-1:] == wanted:
            return file_of(sources, absolute, seen | {(name, wanted[0])})
    return name


def imports(sources: dict[str, Source]) -> set[Import]:
    """Which file imports which."""
    absolute = [(source.name, source.absolute(path)) for source in sources.values() for path in source.uses]
    found = {(name, file_of(sources, path)) for name, path in absolute if path and path[0] not in MACRO_MADE}
    return {(name, imported) for name, imported in found if name != imported}


def room(name: str) -> str:
    """The room that a file is in."""
    return name.split("::")[0]


def rooms_without_a_floor(sources: dict[str, Source], _: set[Import]) -> list[str]:
    """What is in src/ and not in the order, or the other way round."""
    return sorted({room(name) for name in sources} ^ {name for rooms in FLOORS for name in rooms})


def uphill(_: dict[str, Source], edges: set[Import]) -> list[str]:
    """Imports that are against the order."""
    floor = {name: number for number, rooms in enumerate(FLOORS) for name in rooms}
    wrong = {(a, b) for a, b in edges if room(a) != room(b) and floor[room(b)] >= floor[room(a)]}
    return [f"{a} imports {b}" for a, b in sorted(wrong)]


def around(edges: set[Import]) -> list[set[str]]:
    """Sets of files each of which imports, directly or not, all others of its set."""
    after: dict[str, set[str]] = {}
    for a, b in edges:
        after.setdefault(a, set()).add(b)

    def reached(start: str) -> set[str]:
        found: set[str] = set()
        left = [start]
        while left:
            new = after.get(left.pop(), set()) - found
            found |= new
            left += new
        return found

    reach = {name: reached(name) for name in after}
    groups = {frozenset(b for b in reach[a] if a in reach.get(b, set())) for a in after}
    return [set(group) for group in groups if group]


def circles(_: dict[str, Source], edges: set[Import]) -> list[str]:
    """Files that import each other."""
    return sorted(f"a circle: {' '.join(sorted(f'{a}->{b}' for a, b in edges if a in group and b in group))}" for group in around(edges))


def imports_of_the_driver(_: dict[str, Source], edges: set[Import]) -> list[str]:
    """Files besides the module's own that import the driver."""
    return [f"{a} imports {b}" for a, b in sorted(edges) if b == "driver" and a != TOP]


def head() -> str:
    """The text at the head of src/rdma.rs."""
    return " ".join(re.findall(r"^//! ?(.*)$", (SOURCES / "rdma.rs").read_text(), re.MULTILINE))


def order_in_words(_: dict[str, Source], __: set[Import]) -> list[str]:
    """Rooms that the head of src/rdma.rs does not name in this order."""
    sentence = re.search(r"in this order: (.*?)\. ", head())
    said = re.findall(r"\[`(\w+)`\]", sentence[1]) if sentence else []
    order = [name for rooms in reversed(FLOORS[:-1]) for name in rooms]
    return [] if said == order else [f"said: {said}, checked: {order}"]


def calls_upwards_in_words(sources: dict[str, Source], _: set[Import]) -> list[str]:
    """Traits that a room calls a higher one through, and that the head of src/rdma.rs does not name."""
    floor = {name: number for number, rooms in enumerate(FLOORS) for name in rooms}
    pairs = [(low, high, name) for low in sources.values() for high in sources.values() for name in low.traits & high.implements]
    said = set(re.findall(r"`(\w+)`", head()))
    unsaid = {(room(high.name), name) for low, high, name in pairs if floor[room(low.name)] < floor[room(high.name)] and name not in said}
    return [f"{name} is implemented in {where}" for where, name in sorted(unsaid)]


def main() -> int:
    """Check it all."""
    sources = load()
    edges = imports(sources)
    if sys.argv[1:] == ["--list"]:
        print("\n".join(f"{a} -> {b}" for a, b in sorted(edges)))
        return 0
    checks = [rooms_without_a_floor, uphill, circles, imports_of_the_driver, order_in_words, calls_upwards_in_words]
    print(f"TAP version 13\n1..{len(checks)}")
    failed = 0
    for number, check in enumerate(checks, 1):
        found = check(sources, edges)
        failed += bool(found)
        for line in found:
            print(f"# {line}")
        print(f"{'not ok' if found else 'ok'} {number} {check.__name__}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
