#!/usr/bin/python3 -B
"""tests/documents/documents.py host|guest|ioat : run each command in each document, and compare its output with the document's.

A block of commands is ```console. A comment before it, which is not displayed, states where it is run:

    <!-- run: guest -->      in the guest, as at the prompt of `make shell`; all blocks of a document one after the other
    <!-- run: ioat -->       in a guest with an I/OAT device, without the driver
    <!-- run: copy -->       in the build root, in a copy of the project
    <!-- run: make -->       not here, since it takes too long: it must be a target of the Makefile
    <!-- not run: WHY -->

`...` in an output matches anything. Commands without output must have the exit status 0. Prints KTAP in both places.
"""

import doctest
import re
import subprocess
import sys
import unittest
from dataclasses import dataclass, field
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(PROJECT / "tests/harness"))
import ktap  # noqa: E402

DOCUMENTS = sorted(
    path.relative_to(PROJECT) for where in (".", "docs", "packaging", "samples", "samples/*", "tests", "user", "user/*") for path in PROJECT.glob(f"{where}/*.md")
)
WHERE = re.compile(r"<!-- (run: guest|run: ioat|run: copy|run: make|not run: \S.*) -->")
NAMED = re.compile(r"`((?:src|tests|vm|samples|user|packaging)/[\w./-]+\.\w+)`, ((?:`\w+`(?:, )?)+)")
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
COPIED = ["Kbuild", "Makefile", "src", "vm", "docs", "packaging", "samples", "tests", "upstream", "LICENSE", "README.md"]


@dataclass
class Command:
    """A command, and its output in the document."""

    line: int
    words: str
    says: str = ""


@dataclass
class Block:
    """Consecutive commands."""

    line: int
    where: str
    commands: list[Command] = field(default_factory=list)


def blocks(document: Path) -> list[Block]:
    """The blocks of commands in a document."""
    found: list[Block] = []
    where = ""
    inside = ""
    for number, line in enumerate((PROJECT / document).read_text().splitlines(), 1):
        if line.startswith("```"):
            inside = "" if inside else line[3:] or "text"
            if inside == "console":
                found.append(Block(number, where))
            where = ""
        elif inside == "console" and line.startswith(("$ ", "# ")):
            found[-1].commands.append(Command(number, line[2:]))
        elif inside == "console" and line.startswith("> ") or inside == "console" and line == ">":
            found[-1].commands[-1].words += "\n" + line[2:]
        elif inside == "console":
            found[-1].commands[-1].says += line + "\n"
        elif match := WHERE.fullmatch(line):
            where = match[1]
        elif line.strip():
            where = ""
    return found


def is_defined(path: Path, name: str) -> bool:
    """Whether a source file defines this name, as an item of Rust or Python or a function of C."""
    item = rf"\b(?:fn|struct|enum|trait|type|const|static|mod|class|def) {name}\b|^\w[\w\s*]*\b{name}\("
    return bool(re.search(item, path.read_text(), re.MULTILINE))


def there(document: Path, where: str) -> list[Block]:
    """The blocks that are run in one place."""
    return [block for block in blocks(document) if block.where == where]


class Session:
    """A shell that executes commands one by one."""

    def __init__(self, *command: str) -> None:
        self.shell = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(self, words: str) -> tuple[str, int]:
        """The output of a command, and its exit status."""
        self.shell.stdin.write(f"{words}\nprintf '\\036%d\\n' $?\n")
        self.shell.stdin.flush()
        said = ""
        while True:
            line = self.shell.stdout.readline()
            if not line:
                return said, self.shell.wait()
            before, mark, status = line.partition("\x1e")
            said += before
            if mark:
                return said, int(status)

    def close(self) -> None:
        """End the shell."""
        self.shell.stdin.close()
        self.shell.wait()
        self.shell.stdout.close()


def wrong(session: Session, document: Path, wanted: list[Block]) -> list[str]:
    """Descriptions of commands with other output."""
    checker = doctest.OutputChecker()
    found = []
    for command in (command for block in wanted for command in block.commands):
        said, status = session.run(command.words)
        said = re.sub(r"\x1b\[[0-9;]*m", "", said)
        if not checker.check_output(command.says, said, doctest.ELLIPSIS) or (not command.says and status):
            found.append(f"{document}:{command.line}: {command.words}\nsays (status {status}):\n{said}and not:\n{command.says}")
    return found


class Case(unittest.TestCase):
    """Documents, one case each; added below."""

    def run_blocks(self, document: Path, where: str, *command: str) -> None:
        """Run the blocks of a document for one place."""
        session = Session(*command)
        self.addCleanup(session.close)
        if found := wrong(session, document, there(document, where)):
            self.fail("\n".join(found))


class Guest(Case):
    """In the guest."""


class Ioat(Case):
    """In a guest with an I/OAT device."""


class Copy(Case):
    """In a copy of the project, mounted in its place."""


class Text(unittest.TestCase):
    """Checks of the text."""

    def test_all_commands_tell_where_they_are_run(self) -> None:
        lost = [f"{document}:{block.line}" for document in DOCUMENTS for block in blocks(document) if not block.where]
        self.assertEqual(lost, [])
        self.assertGreater(sum(len(blocks(document)) for document in DOCUMENTS), 20)

    def test_no_commands_outside_of_such_blocks(self) -> None:
        # A block of four spaces, or in the language of a shell, would not be found above.
        pattern = re.compile(r"^(    (?:make|apt|insmod|modprobe|rdmactl|\$) .*|```(?:sh|bash|shell).*)$", re.MULTILINE)
        lost = [f"{document}: {line}" for document in DOCUMENTS for line in pattern.findall((PROJECT / document).read_text())]
        self.assertEqual(lost, [])

    def test_the_tour_is_what_make_run_shows(self) -> None:
        readme = (PROJECT / "README.md").read_text()
        tour = (PROJECT / "samples/tour").read_text()
        block = readme.split("```\nThe kernel is Debian's own")[1].split("```")[0]
        shown = re.findall(r"^\$ (.*)$", block, re.MULTILINE)
        run = re.findall(r"^run ['\"](.*)['\"]$", tour, re.MULTILINE)
        expected = [words.replace("$module", "build/7.3.4+deb13-amd64/rdma.ko") for words in run]
        self.assertEqual(shown, expected)
        steps = re.findall(r'^step "(.*)"$', tour, re.MULTILINE)
        self.assertGreater(len(steps), 5)
        self.assertEqual([step for step in steps if f"\n{step}\n" not in readme], [])

    def test_readme_is_short(self) -> None:
        self.assertLessEqual(len((PROJECT / "README.md").read_text().splitlines()), 180)

    def test_what_is_too_long_to_be_run_is_a_target(self) -> None:
        commands = [command for document in DOCUMENTS for block in there(document, "run: make") for command in block.commands]
        self.assertGreater(len(commands), 3)
        self.assertEqual([command.words for command in commands if not command.words.startswith("make ") or command.says], [])

    def test_targets(self) -> None:
        for document in DOCUMENTS:
            text = (PROJECT / document).read_text()
            named = re.findall(r"`make ([a-z][a-z0-9-]*)", text)
            named += re.findall(r"^\$ make (?:--silent )?([a-z][a-z0-9-]*)", text, re.MULTILINE)
            self.assertEqual([target for target in named if target not in TARGETS], [], document)

    def test_links_and_files(self) -> None:
        for document in DOCUMENTS:
            text = (PROJECT / document).read_text()
            here = (PROJECT / document).parent
            links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
            self.assertEqual([link for link in links if link and not (here / link).exists()], [], document)
            files = re.findall(r"`((?:src|tests|docs|vm|samples|user|packaging)/[\w./-]*)`", text)
            self.assertEqual([name for name in files if not (PROJECT / name).exists()], [], document)

    def test_folders_of_tests(self) -> None:
        listed = re.findall(r"`(\w+)/`", "".join(re.findall(r"^\| `.*?\|", (PROJECT / "tests/README.md").read_text(), re.MULTILINE)))
        there = [path.name for path in (PROJECT / "tests").iterdir() if path.is_dir() and path.name != "__pycache__"]
        self.assertEqual(sorted(listed), sorted(there))

    def test_names_are_defined_where_documents_say(self) -> None:
        for document in DOCUMENTS:
            named = NAMED.findall((PROJECT / document).read_text())
            lost = [(path, name) for path, names in named for name in re.findall(r"\w+", names) if not is_defined(PROJECT / path, name)]
            self.assertEqual(lost, [], document)

    def test_decisions_end_with_the_code(self) -> None:
        sections = re.split(r"^### ", (PROJECT / "docs/decisions.md").read_text(), flags=re.MULTILINE)[1:]
        self.assertGreater(len(sections), 40)
        questions = [section.splitlines()[0] for section in sections]
        self.assertEqual([question for question in questions if not question.endswith("?")], [])
        answers = [re.sub(r"^## .*", "", section, flags=re.MULTILINE).strip() for section in sections]
        lost = [question for question, answer in zip(questions, answers, strict=True) if not re.search(r"\bCode: `[^`]*/[^`]*`.*\.$", answer)]
        self.assertEqual(lost, [])

    def test_functions_of_an_engine(self) -> None:
        table = re.findall(r"^\| `(\w+)` \|", (PROJECT / "docs/your-own-driver.md").read_text(), re.MULTILINE)
        trait = (PROJECT / "src/engines/engine.rs").read_text().split("trait DmaEngine {")[1].split("\n}\n")[0]
        self.assertEqual(table, re.findall(r"^    fn (\w+)", trait, re.MULTILINE))


def main() -> int:
    """Run the checks for one place."""
    for name, case in (("guest", Guest), ("ioat", Ioat)):
        if sys.argv[1:] != [name]:
            continue
        for document in filter(lambda document, where=f"run: {name}": there(document, where), DOCUMENTS):
            command = ("bash", "-c", ". vm/guest/environment; exec bash")
            run = lambda self, document=document, where=f"run: {name}": self.run_blocks(document, where, *command)  # noqa: E731
            setattr(case, f"test_{document}", run)
        return ktap.main(case)
    if sys.argv[1:] == ["host"]:
        copy = f"copy=$(mktemp -d) && cp -r {' '.join(COPIED)} $copy && mount --bind $copy /rdma && cd /rdma && exec bash"
        for document in filter(lambda document: there(document, "run: copy"), DOCUMENTS):
            command = ("unshare", "--mount", "bash", "-c", copy)
            setattr(Copy, f"test_{document}", lambda self, document=document: self.run_blocks(document, "run: copy", *command))
        return ktap.main(Text, Copy)
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
