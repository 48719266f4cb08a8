#!/usr/bin/python3 -B
"""tests/harness/setup.py : the scripts that make and remove the cache do so if they are interrupted, and say what is missing.

Runs in the build root, with a cache of its own. Programs that would need a network or privileges are replaced by others.
"""

import re
import shutil
import sys
import time
import tomllib
from pathlib import Path

import ktap
from scripts import PROJECT, Scripts


class Distclean(Scripts):
    """A cache with a build root, and with what an earlier run has left."""

    def setUp(self) -> None:
        super().setUp()
        for name in ("root-0123456789ab/etc", "root-89abcdef0123.removed/etc", "cargo"):
            (self.cache / name).mkdir(parents=True)
        (self.cache / "root-0123456789ab/etc/rdma-release").touch()

    def left(self) -> list[str]:
        """What is in the cache."""
        return sorted(path.name for path in self.cache.iterdir())

    def test_all_is_removed(self) -> None:
        self.assertEqual(self.run_script("vm/distclean"), (0, ""))
        self.assertEqual(self.left(), ["lock"])

    def test_without_a_cache(self) -> None:
        self.environment["XDG_CACHE_HOME"] = str(self.directory / "none")
        self.assertEqual(self.run_script("vm/distclean"), (0, ""))

    def test_an_interrupted_removal(self) -> None:
        """No part of a build root has the name of a complete one, and the next run removes the rest."""
        self.replace("rm", '[[ $* != *root-0123* ]] || { /bin/rm "${@: -1}"/etc/rdma-release; kill -KILL $$; }; exec /bin/rm "$@"')
        self.assertNotEqual(self.run_script("vm/distclean")[0], 0)
        self.assertEqual([name for name in self.left() if not name.endswith(".removed")], ["lock"])
        self.assertEqual(len(self.left()), 3)
        (self.programs / "rm").unlink()
        self.assertEqual(self.run_script("vm/distclean"), (0, ""))
        self.assertEqual(self.left(), ["lock"])

    def test_not_during_a_setup(self) -> None:
        """It waits, and the lock stays the same file."""
        setup = self.lock()
        lock = (self.cache / "lock").stat().st_ino
        process, output = self.start("vm/distclean")
        self.assertEqual(output.readline(), "Another setup is running; waiting for it.\n")
        time.sleep(0.5)
        self.assertIn("root-0123456789ab", self.left())
        setup.kill()
        self.assertEqual(process.wait(), 0)
        self.assertEqual(self.left(), ["lock"])
        self.assertEqual((self.cache / "lock").stat().st_ino, lock)


SOURCE = ". vm/lib.sh && . vm/steps.sh && "


class OtherRoots(Scripts):
    """What is said of build roots that stay."""

    def said(self, *names: str) -> str:
        """What is said if these are there."""
        for name in names:
            (self.cache / name).mkdir()
        return self.run_script("bash", "-c", SOURCE + 'root=$cache/root-1 && mkdir "$cache/root-unstable-$(suite_root_key)" && name_other_roots')[1]

    def test_they_are_named(self) -> None:
        expected = f"  Other build roots stay in {self.cache} until 'make distclean': root-2 root-unstable-3\n"
        self.assertEqual(self.said("root-1", "root-2", "root-2.removed", "root-unstable-3"), expected)

    def test_none(self) -> None:
        self.assertEqual(self.said("root-1", "cargo"), "")


class Privileges(Scripts):
    """What root needs before anything is installed."""

    def test_root_has_them(self) -> None:
        self.assertEqual(self.run_script("bash", "-c", SOURCE + "require_privileges"), (0, ""))

    def test_root_of_a_container_lacks_them(self) -> None:
        self.replace("unshare", "echo 'unshare: unshare failed: Operation not permitted' >&2; exit 1")
        status, printed = self.run_script("bash", "-c", SOURCE + "require_tools")
        self.assertEqual(status, 1)
        self.assertRegex(printed, r"^error: root cannot create namespaces .*unshare failed: Operation not permitted.* docker run --privileged")
        self.assertEqual(len(printed.splitlines()), 1)


class Source(Scripts):
    """The kernel's source, which three scripts unpack; that of DKMS is installed without vm/."""

    def test_all_leave_out_the_same_files(self) -> None:
        left_out = [
            re.findall(r"--exclude='(\*/[^']+)'", (PROJECT / path).read_text())
            for path in ("vm/suites/kernel", "vm/arm64/metadata", "packaging/dkms/pre-build")
        ]
        self.assertGreater(len(left_out[0]), 3)
        self.assertEqual(left_out, [left_out[0]] * 3)


class Project(Scripts):
    """A project of its own, with some of the scripts, which believe that they run on the host."""

    scripts: tuple[str, ...] = ()

    def setUp(self) -> None:
        super().setUp()
        self.project = self.directory / "a project"
        for script in ("vm/lib.sh", *self.scripts):
            (self.project / script).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / script, self.project / script)
        (self.cache / "root").mkdir()
        with (self.project / "vm/lib.sh").open("a") as file:
            file.write('[[ ${inside-} ]] || root=$cache/root\n')


SETTINGS = """
http.timeout = 9
paths = ["/none"]

[build]
rustc-wrapper = "sccache"
target = "none"
rustflags = [
  "-C",
  "linker=none",
]

[target.x86_64-unknown-linux-gnu]
linker = "none"

[source.crates-io]
replace-with = "mirror"

[source."mirror"]
registry = 'file:///none/"1"/' # ours

[env]
NONE = "1"
"""
TAKEN = {"http": {"timeout": 9}, "source": {"crates-io": {"replace-with": "mirror"}, "mirror": {"registry": 'file:///none/"1"/'}}}


class Cargo(Project):
    """A crate without dependencies, and a user whose settings for cargo are for other programs and directories than those of the build root."""

    scripts = ("vm/cargo",)

    def setUp(self) -> None:
        super().setUp()
        self.home = self.cache / "cargo"
        self.home.mkdir()
        self.settings = self.directory / "home/.cargo/config.toml"
        self.settings.parent.mkdir(parents=True)
        self.settings.write_text(SETTINGS)
        for path, text in {
            "Cargo.toml": '[package]\nname = "one"\nversion = "1.0.0"\nedition = "2021"\n',
            "Cargo.lock": 'version = 4\n\n[[package]]\nname = "one"\nversion = "1.0.0"\n',
            "src/lib.rs": "",
        }.items():
            (self.project / path).parent.mkdir(exist_ok=True)
            (self.project / path).write_text(text)
        # As vm/chroot does: what is passed of the environment, and the two directories.
        self.replace(
            self.project / "vm/enter",
            f"""passed=(inside=yes HOME=/tmp "PATH=$PATH")
            if [[ $1 == --network ]]; then
                shift
                for name in "${{!CARGO_@}}"; do passed+=("$name=${{!name}}"); done
                printenv | grep ^CARGO_ | sort >"{self.directory}/passed"
            fi
            exec unshare --mount sh -c 'mount --bind "$0" /run/cargo && exec "$@"' "{self.home}" env -i "${{passed[@]}}" "${{@/#\\/rdma/{self.project}}}\"""",
        )
        for name in [name for name in self.environment if name.startswith("CARGO_")]:
            del self.environment[name]
        self.environment["HOME"] = str(self.directory / "home")

    def builds(self) -> None:
        """The crate can be built."""
        status, printed = self.run_script("vm/cargo", "build", "--quiet")
        self.assertEqual(status, 0, printed)

    def taken(self) -> object:
        """The settings in the cache."""
        return tomllib.loads((self.home / "config.toml").read_text())

    def test_settings_that_concern_the_network(self) -> None:
        self.builds()
        self.assertEqual(self.taken(), TAKEN)

    def test_settings_that_an_earlier_version_took(self) -> None:
        """They are taken again, without fetching."""
        self.builds()
        (self.home / "config.toml").write_text(SETTINGS)
        (self.directory / "passed").unlink()
        self.builds()
        self.assertEqual(self.taken(), TAKEN)
        self.assertFalse((self.directory / "passed").exists())

    def test_no_settings(self) -> None:
        self.settings.unlink()
        (self.home / "config.toml").write_text(SETTINGS)
        self.builds()
        self.assertFalse((self.home / "config.toml").exists())

    def test_settings_that_are_not_valid(self) -> None:
        self.settings.write_text("[http\n")
        status, printed = self.run_script("vm/cargo", "build")
        self.assertEqual(status, 1)
        self.assertIn(f"error: {self.settings} cannot be read: ", printed)
        self.settings.write_text(SETTINGS)
        self.builds()

    def test_environment(self) -> None:
        network = {"CARGO_HTTP_TIMEOUT": "9", "CARGO_NET_RETRY": "1", "CARGO_REGISTRIES_OURS_INDEX": "file:///none"}
        self.environment |= network | {"CARGO_BUILD_RUSTC_WRAPPER": "sccache", "CARGO_TARGET_DIR": "/none", "CARGO_INCREMENTAL": "1"}
        self.builds()
        passed = (self.directory / "passed").read_text().splitlines()
        self.assertEqual([line for line in passed if not line.startswith("CARGO_HTTP_CAINFO=")], [f"{name}={value}" for name, value in network.items()])


class Check(Project):
    """`make check` in a directory with a space in its name."""

    scripts = ("Makefile",)

    def test_crates_are_fetched(self) -> None:
        for path in ("vm/setup", "vm/enter", "tests/python/versions"):
            self.replace(self.project / path, "exit")
        self.replace(self.project / "vm/cargo", 'echo "$PWD: $*"')
        crates = ["tests/fuzz", "user", "samples", "vm/ioat"]
        for path in crates:
            (self.project / path).mkdir(exist_ok=True)
        status, printed = self.run_script("make", "check")
        self.assertEqual((status, printed.splitlines()), (0, [f"{self.project / path}: fetch --quiet" for path in crates]))


class Submission(Project):
    """`.ci/run` on a machine that is so slow that no time is left after `make test`."""

    scripts = (".ci/run", "vm/patience.py", "tests/tests.toml")

    def test_all_that_is_left_is_counted(self) -> None:
        shutil.copytree(PROJECT / "tests/harness", self.project / "tests/harness")
        (self.project / "tests/run").symlink_to("harness/run")
        self.replace("make", f'echo "$*" >>"{self.directory}/made"')
        self.replace("date", f'if [[ -e "{self.directory}/made" ]]; then exec /bin/date +%s; else echo $(($(/bin/date +%s) - 3600)); fi')
        self.replace(self.project / "vm/enter", 'exec "$@"')
        status, printed = self.run_script(".ci/run")
        self.assertEqual(status, 0, printed)
        self.assertEqual([line.split(" UNTIL")[0] for line in (self.directory / "made").read_text().splitlines()], ["check", "test"])
        skipped = {lane: printed.count(f"@{lane}") for lane in ("arm64", "debug-count")}
        self.assertTrue(all(skipped.values()), skipped)
        counted = sum(line.startswith("skip ") for line in printed.splitlines())
        self.assertEqual(printed.splitlines()[-1], f"0 passed, 0 failed, {counted} skipped")


if __name__ == "__main__":
    sys.exit(ktap.main(Distclean, OtherRoots, Privileges, Source, Cargo, Check, Submission))
