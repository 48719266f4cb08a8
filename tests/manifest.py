"""The manifest, tests.toml, as the runner and its half in the guest see it."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Test:
    """One test in one guest."""

    name: str
    vm: str
    run: str
    module: str | bool = ""
    timeout: int = 120
    log: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Guest:
    """A kind of guest."""

    boot: list[str]
    exclusive: bool = False
    tolerates: list[str] = field(default_factory=list)


def load() -> tuple[dict[str, Guest], list[Test]]:
    """All guests, by name, and all tests, in the manifest's order."""
    manifest = tomllib.loads((HERE / "tests.toml").read_text())
    guests = {name: Guest(**entry) for name, entry in manifest["vm"].items()}
    tests = [
        Test(name, vm, **entry)
        for name, fields in manifest["test"].items()
        for entry in [{key: value for key, value in fields.items() if key != "vm"}]
        for vm in fields["vm"]
    ]
    for test in tests:
        if test.vm != "host" and test.vm not in guests:
            raise ValueError(f"tests.toml: test {test.name} wants the guest {test.vm}, which is not there")
    return guests, tests
