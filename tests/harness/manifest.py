"""The manifest, tests.toml, for the runner and its part in the guest."""

import itertools
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

MANIFEST = Path(__file__).resolve().parent.parent / "tests.toml"
HERE = Path("/etc/rdma-arch")  # in the build root and in the guest; there is none for amd64
ARCH = HERE.read_text().strip() if HERE.exists() else "amd64"


@dataclass(frozen=True)
class Test:
    """One test in one guest."""

    name: str
    vm: str
    run: str
    module: str | bool = ""
    timeout: int = 120
    long: int = 0
    log: list[str] = field(default_factory=list)
    guarantee: int = 0
    lane: str = "test"
    kernel: str = ""
    arch: str = ""
    amd64_only: str = ""

    @property
    def row(self) -> str:
        """The row of the guarantees that it belongs to, such as g01, or nothing."""
        return f"g{self.guarantee:02}" if self.guarantee else ""


@dataclass(frozen=True)
class Guest:
    """A kind of guest."""

    boot: list[str]
    kernel: str = "stock"
    lane: str = "test"
    exclusive: bool = False
    outside: bool = False
    bind: str = ""
    arch: str = ""
    amd64_only: str = ""
    tolerates: list[str] = field(default_factory=list)

    @property
    def engines(self) -> list[str]:
        """The kinds of engines that its devices have, as it is booted with them."""
        options = list(itertools.pairwise(self.boot))
        edus = [value for option, value in options if option == "--edu" and value != "0" or option == "--device" and value.startswith("edu,")]
        has_edu = edus or "--edu" not in self.boot
        return ["edu"] * bool(has_edu) + ["I/OAT"] * ("--ioat" in self.boot)


ON_HOST = "it runs without a guest, and is part of `make test` for amd64"


def skip_of(entry: dict[str, object], guest: Guest | None) -> str:
    """The reason why a test is for amd64 only, or nothing."""
    return str(entry.get("amd64_only") or (guest.amd64_only if guest else ON_HOST))


def load(arch: str = ARCH) -> tuple[dict[str, Guest], list[Test]]:
    """All guests, by name, and all tests for this architecture, in the manifest's order."""
    manifest = tomllib.loads(MANIFEST.read_text())
    guests = {name: Guest(**entry) for name, entry in manifest["vm"].items()}
    tests = []
    for name, fields in manifest["test"].items():
        entry = {key: value for key, value in fields.items() if key != "vm"}
        for vm in fields["vm"]:
            if vm != "host" and vm not in guests:
                raise ValueError(f"tests.toml: test {name} wants the guest {vm}, which is not there")
            guest = guests.get(vm)
            lane = entry.get("lane") or (guest.lane if guest else "test")
            test = Test(name, vm, **entry | {"lane": lane, "amd64_only": skip_of(entry, guest)})
            if (test.arch or (guest.arch if guest else "")) in ("", arch):
                tests.append(test)
    return guests, tests


def promises() -> dict[int, str]:
    """The rows of the guarantees: number and title."""
    manifest = tomllib.loads(MANIFEST.read_text())
    return {int(number): words for number, words in manifest["promise"].items()}
