#!/usr/bin/python3 -B
"""tests/tool/ending.py : rdmactl ends by a signal in any system call, and says when its output is lost. Runs in the guest, with the driver and two devices."""

import os
import pty
import signal
import subprocess
import sys
import termios
import textwrap
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "harness"))
import ktap  # noqa: E402
from rdmactl import TOOL, Case  # noqa: E402

INSTANCES = Path("/sys/kernel/tracing/instances")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Blocked(Case):
    """A pipe blocks it."""

    def setUp(self) -> None:
        super().setUp()
        self.fifo = self.directory / "fifo"
        os.mkfifo(self.fifo)
        self.out, full = os.pipe()
        self.addCleanup(os.close, self.out)
        self.addCleanup(os.close, full)
        os.set_blocking(full, False)
        try:
            while True:
                os.write(full, bytes(65536))
        except BlockingIOError:
            os.set_blocking(full, True)
        self.full = full

    def ends(self, *words: object, active: bool = False, **options: object) -> None:
        """Each signal ends it within 100 ms, and it leaves nothing."""
        for number in SIGNALS:
            self.ends_by(number, *words, active=active, **options)

    def ends_by(self, number: int, *words: object, active: bool, **options: object) -> None:
        """This signal does."""
        before = self.files()
        process = subprocess.Popen([TOOL, *map(str, words)], stderr=subprocess.PIPE, **{"stdout": subprocess.DEVNULL, "stdin": subprocess.DEVNULL} | options)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.kill)
        if active:
            self.wait_until(lambda: list(INSTANCES.iterdir()))
            time.sleep(0.2)
            self.run_tool("read", "-l", 1)
        self.wait_until_blocked(process.pid)
        process.send_signal(number)
        began = time.monotonic()
        self.assertEqual(process.wait(20), -number, words)
        self.assertLess(time.monotonic() - began, 0.1, words)
        self.assertEqual(process.stderr.read(), b"")
        self.assertEqual(self.files(), before)
        self.assertEqual(list(INSTANCES.iterdir()), [])
        self.wait_until(self.idle)

    def test_a_pipe_without_a_writer(self) -> None:
        self.ends("copy", "-q", self.fifo, self.directory / "to")
        self.ends("write", self.fifo)

    def test_a_pipe_without_a_reader(self) -> None:
        source = self.fresh(4096)
        self.ends("copy", "-q", source, self.fifo)
        self.ends("read", self.fifo)
        self.ends("bench", "-r", 1, "--svg", self.fifo)

    def test_input_that_does_not_come(self) -> None:
        for words in (["copy", "-q", "-", self.directory / "to"], ["write"]):
            there, here = os.pipe()
            self.ends(*words, stdin=there)
            os.close(there)
            os.close(here)

    def test_a_full_pipe(self) -> None:
        source = self.fresh(4096)
        for words in (["copy", "-q", source], ["read"], ["hexdump"], ["list"], ["info"], ["doctor"], ["bench", "-r", 1], ["generate", "man", "-"]):
            self.ends(*words, stdout=self.full)
        for words in (["top", "-i", 0.1], ["--json", "top", "-i", 0.1]):
            self.ends(*words, stdout=self.full)

    def test_a_full_pipe_of_a_trace(self) -> None:
        self.ends("trace", stdout=self.full, active=True)

    def test_a_terminal_whose_output_is_stopped(self) -> None:
        for number in SIGNALS:
            pid, terminal = pty.fork()
            if pid == 0:
                os.environ["TERM"] = "xterm"
                os.execv(TOOL, [str(TOOL), "top", "-i", "0.1"])
            termios.tcsetwinsize(terminal, (30, 100))
            came = b""
            while b"quits" not in came:
                came += os.read(terminal, 65536)
            with open(os.ptsname(terminal), "rb", buffering=0) as other:
                before = termios.tcgetattr(other)[3]
                self.assertFalse(before & termios.ICANON)
                termios.tcflow(other, termios.TCOOFF)
                self.wait_until_blocked(pid)
                os.kill(pid, number)
                began = time.monotonic()
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                self.assertLess(time.monotonic() - began, 0.1)
                self.assertEqual(code, -number)
                self.assertTrue(termios.tcgetattr(other)[3] & termios.ICANON, "the terminal is not given back")
            os.close(terminal)

    def test_the_first_process_of_a_container(self) -> None:
        first = ["unshare", "--pid", "--fork"]
        script = "kill -TERM 1; while :; do sleep 0.01; done"
        self.assertEqual(self.run_tool("--json", "trace", "--", "sh", "-c", script, prefix=first, code=128 + signal.SIGTERM).stderr, b"")
        self.assertEqual(list(INSTANCES.iterdir()), [])
        out, closed = os.pipe()
        os.close(out)
        said = self.run_tool("--json", "hexdump", prefix=first, stdout=closed, stderr=subprocess.PIPE, capture_output=False, code=128 + signal.SIGPIPE)
        os.close(closed)
        self.assertEqual(said.stderr, b"")

    def test_an_instance_of_the_same_name(self) -> None:
        """Of the same process number in another container, or left behind by SIGKILL."""
        first = ["unshare", "--pid", "--fork"]
        others = [INSTANCES / "rdmactl-1", INSTANCES / "rdmactl-1-1"]
        for other in others:
            other.mkdir()
            self.addCleanup(other.rmdir)
            self.run_tool("trace", "--", "true", prefix=first)
        self.assertEqual(sorted(INSTANCES.iterdir()), others)

    def test_there_can_be_no_instance(self) -> None:
        script = 'cd /sys/kernel && mount --bind tracing tracing && mount -o remount,bind,ro tracing && exec "$@"'
        said = self.run_tool("trace", "-n", 1, prefix=["unshare", "--mount", "sh", "-c", script, "sh"], code=1)
        self.assertRegex(said.stderr, rb"^rdmactl: /sys/kernel/tracing/instances/rdmactl-\d+: Read-only file system")

    def test_a_traced_command_ignores_no_signal(self) -> None:
        said = self.run_tool("trace", "--", "grep", "SigIgn", "/proc/self/status")
        self.assertEqual(int(said.stdout.split()[1], 16), 0)

    def test_a_traced_command_gets_the_signal(self) -> None:
        script = "trap 'echo ended >ended; exit' TERM; echo >began; while :; do sleep 0.01; done"
        process = self.start("trace", "--", "sh", "-c", script, cwd=self.directory)
        self.wait_until(lambda: (self.directory / "began").exists())
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        self.assertEqual(process.wait(20), -signal.SIGTERM)
        self.assertLess(time.monotonic() - began, 0.1)
        self.wait_until(lambda: (self.directory / "ended").exists())
        self.assertEqual(list(INSTANCES.iterdir()), [])

    def test_a_traced_command_gets_ctrl_c_once(self) -> None:
        """The terminal sends it to both. The command outlives the trace, which ends the session (SIGHUP)."""
        count = self.directory / "count"
        script = f"""
            import os, signal
            signals = [signal.SIGINT]
            signal.pthread_sigmask(signal.SIG_BLOCK, [*signals, signal.SIGHUP])
            print("begun", flush=True)
            came = 0
            while signal.sigtimedwait(signals, 1 if came else 20):
                came += 1
            open("{count}.part", "w").write(str(came))
            os.rename("{count}.part", "{count}")
        """
        code, _ = self.on_terminal("trace", "--", sys.executable, "-c", textwrap.dedent(script), when=b"begun", keys=b"\x03")
        self.assertEqual(code, -signal.SIGINT)
        self.wait_until(count.exists)
        self.assertEqual(count.read_text(), "1")
        self.assertEqual(list(INSTANCES.iterdir()), [])


class Lost(Case):
    """Standard output or input is closed, or full: it says so."""

    def commands(self) -> list[list[object]]:
        """Those that write to standard output."""
        source, to = self.fresh(100), self.directory / "to"
        memory = [["read"], ["read", to], ["write", source], ["hexdump"]]
        files = [["copy", "-q", source, "-"], ["copy", source, to], ["generate", "man", "-"], ["generate", "bash"]]
        devices = [["list"], ["--json", "list"], ["info"], ["doctor"], ["bench", "-r", 1], ["top", "-n", 1, "-i", 0.1], ["trace", "-n", 1, "--", TOOL, "read", to]]
        return [*memory, *files, *devices, ["--help"], ["--version"], ["copy", "-h"]]

    def test_closed_output(self) -> None:
        for words in self.commands():
            done = self.run_tool(*words, stdout=None, stderr=subprocess.PIPE, capture_output=False, code=1, preexec_fn=lambda: os.close(1))
            self.assertIn(b"standard output", done.stderr, words)
        self.assertFalse((self.directory / "to").exists(), "something was done before")

    def test_full_output(self) -> None:
        for words in self.commands():
            with open("/dev/full", "wb") as full:
                done = self.run_tool(*words, stdout=full, stderr=subprocess.PIPE, capture_output=False, code=1)
            self.assertIn(b"No space left on device", done.stderr, words)

    def test_a_traced_command_is_not_left_behind(self) -> None:
        """An error of the trace is reported when the command has ended."""
        source, ended = self.fresh(100), self.directory / "ended"
        # Its end is that of the tool only if it does not hold a pipe of the test.
        script = f"exec 2>/dev/null; {TOOL} copy -q {source} /dev/null; sleep 1; echo >{ended}; exit 7"
        closed, broken = os.pipe()
        os.close(closed)
        full = os.open("/dev/full", os.O_WRONLY)
        for output, code, error in ((full, 1, b"No space left on device"), (broken, -signal.SIGPIPE, b"")):
            done = self.run_tool("trace", "--", "sh", "-c", script, stdout=output, stderr=subprocess.PIPE, capture_output=False, code=code)
            os.close(output)
            self.assertIn(error, done.stderr)
            self.assertTrue(ended.exists(), "the command was left behind")
            ended.unlink()
            self.assertEqual(list(INSTANCES.iterdir()), [])

    def test_what_prints_nothing_needs_no_output(self) -> None:
        source, to = self.fresh(100), self.directory / "to"
        self.run_tool("copy", "-q", source, to, stdout=None, stderr=subprocess.PIPE, capture_output=False, preexec_fn=lambda: os.close(1))
        self.assertEqual(to.read_bytes(), source.read_bytes())
        self.run_tool("list", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, capture_output=False)

    def test_closed_input(self) -> None:
        for words in (["copy", "-q", "-", self.directory / "to"], ["write"]):
            said = self.run_tool(*words, code=1, stdin=None, preexec_fn=lambda: os.close(0))
            self.assertIn(b"standard input: it is closed", said.stderr)
        self.assertEqual(self.files(), [])


if __name__ == "__main__":
    sys.exit(ktap.main(Blocked, Lost))
