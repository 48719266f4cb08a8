#!/usr/bin/python3 -B
"""tests/python/module.py : the Python module as installed by pip, with NumPy and a device. Runs in the guest, with the driver loaded."""

import ctypes
import errno
import gc
import os
import resource
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

import numpy

PROJECT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(PROJECT / "tests/harness"), str(PROJECT / "build/user/python")]
import cases  # noqa: E402
import ktap  # noqa: E402
import rust_dma  # noqa: E402
from rust_dma import _abi  # noqa: E402


class Abi(unittest.TestCase):
    """The module's copy of the interface, compared with the header as the C compiler translates it."""

    STRUCTURES = {name: item for name, item in vars(_abi).items() if name.startswith("rdma_")}
    CONSTANTS = [name for name in dir(_abi) if name.startswith("RDMA_")]

    @unittest.skipUnless(shutil.which("cc"), "this guest has no C compiler")
    def test_is_that_of_the_header(self) -> None:
        lines = []
        expected = []
        for name, structure in self.STRUCTURES.items():
            lines.append(f'printf("%zu\\n", sizeof(struct {name}));')
            expected.append(ctypes.sizeof(structure))
            for field, *_ in structure._fields_:
                place = getattr(structure, field)
                lines.append(f'printf("%zu %zu\\n", offsetof(struct {name}, {field}), sizeof(((struct {name} *)0)->{field}));')
                expected += [place.offset, place.size]
        for name in self.CONSTANTS:
            lines.append(f'printf("%llu\\n", (unsigned long long){name});')
            expected.append(getattr(_abi, name))
        source = "#include <stddef.h>\n#include <stdio.h>\n#include <rdma.h>\nint main(void) {" + "".join(lines) + "}"
        with tempfile.TemporaryDirectory() as directory:
            program = f"{directory}/abi"
            subprocess.run(["cc", "-x", "c", f"-I{PROJECT}/src/uapi", "-o", program, "-"], input=source, text=True, check=True)
            said = subprocess.run([program], stdout=subprocess.PIPE, text=True, check=True).stdout
        self.assertGreater(len(expected), 150)
        self.assertEqual([int(word) for word in said.split()], expected)


class Module(cases.Cases):
    """What needs a device."""

    def test_example_of_its_documentation(self) -> None:
        example = rust_dma.__doc__.split("\n\n")
        code = "\n\n".join(part for part in example if part.startswith("    "))
        exec("if True:\n" + code, {})  # noqa: S102

    def test_its_types_are_installed(self) -> None:
        self.assertTrue(Path(rust_dma.__file__).with_name("py.typed").exists())

    def test_info(self) -> None:
        info = self.context.info()
        self.assertEqual((info.abi_version, info.device_memory_size, info.dma_bits, info.interrupt), (1, 4096, 28, "MSI"))
        self.assertEqual((info.engine_depth, info.address_alignment, info.length_alignment, info.capabilities), (1, 1, 1, 0))
        self.assertEqual([device.name for device in rust_dma.devices()], ["rdma0", "rdma1"])
        self.assertRegex(rust_dma.devices()[0].pci_address, r"^0000:")

    def test_arrays_are_the_buffer(self) -> None:
        source, destination = self.context.allocate(8192), self.context.allocate(8192)
        sent, came = source.array("uint32"), destination.array("uint32")
        sent[:] = numpy.arange(2048)
        self.assertEqual(bytes(source.view[4:8]), b"\1\0\0\0")
        self.assertTrue(numpy.shares_memory(sent, source.array()))
        self.context.copy(source, destination)
        self.assertTrue(numpy.array_equal(sent, came))
        self.assertEqual(len(source.array("float64", count=3, offset=16)), 3)

    def test_there_and_back(self) -> None:
        buffer = self.context.allocate(1)
        buffer.view[:5] = b"hello"
        self.context.to_device(buffer, 5, at=10)
        self.context.from_device(buffer, 5, offset=100, at=10)
        self.assertEqual(bytes(buffer.view[100:105]), b"hello")
        self.assertEqual(self.context.read(5, at=10), b"hello")
        self.assertEqual(self.context.write(b"again", at=4091), 5)

    def test_submitted(self) -> None:
        buffer = self.context.allocate(4096)
        requests = [self.context.request_to_device(buffer, 1, at=place, cookie=place) for place in range(5)]
        self.assertEqual(self.context.submit(requests, linked=True), 5)
        self.assertEqual(self.context.wait(timeout=0), [])
        with selectors.DefaultSelector() as selector:
            selector.register(self.context, selectors.EVENT_READ)
            self.assertTrue(selector.select(10))
        self.assertEqual(self.context.cancel(4), 1)
        done = self.context.wait(5, timeout=10)
        self.assertEqual(sorted(item.cookie for item in done), list(range(5)))
        failed = [item for item in done if item.status]
        self.assertEqual([(item.cookie, item.status) for item in failed], [(4, errno.ECANCELED)])
        with self.assertRaises(OSError) as raised:
            failed[0].check()
        self.assertEqual(raised.exception.errno, errno.ECANCELED)

    def test_a_signal_handler_may_raise(self) -> None:
        def handler(*_: object) -> None:
            raise KeyboardInterrupt

        old = signal.signal(signal.SIGALRM, handler)
        self.addCleanup(signal.signal, signal.SIGALRM, old)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with self.assertRaises(KeyboardInterrupt):
            self.context.wait()

    def test_others_go_on_meanwhile(self) -> None:
        buffer = self.context.allocate(4096)
        thread = threading.Thread(target=self.context.to_device, args=[buffer])
        thread.start()
        count = 0
        while thread.is_alive():
            count += 1
        self.assertGreater(count, 100)

    def test_errors_are_those_of_the_manual(self) -> None:
        for call, number in (
            (lambda: rust_dma.Context("/dev/rdma9"), errno.ENOENT),
            (lambda: rust_dma.Context("/dev/null"), errno.ENOTTY),
            (lambda: self.context.allocate(1 << 30), errno.ENOMEM),
            (lambda: self.context.cancel(99), errno.ENOENT),
        ):
            with self.assertRaises(OSError) as raised:
                call()
            self.assertEqual(raised.exception.errno, number)

    def test_waits_continue_after_signals(self) -> None:
        buffer, calls = self.context.allocate(4096), []
        self.context.submit([self.context.request_to_device(buffer, 64, cookie=place) for place in range(6)])
        with self.alarm(lambda: calls.append(1), 0.25):
            self.assertEqual(len(self.context.wait(6, timeout=60)), 6)
        self.assertEqual(len(calls), 1)

    def test_transfers_continue_after_signals(self) -> None:
        source, destination = self.context.allocate(8192), self.context.allocate(8192)
        source[:] = bytes(range(256)) * 32
        calls = []
        with self.alarm(lambda: calls.append(1), 0.25):
            self.context.copy(source, destination)
        self.assertEqual((len(calls), bytes(destination)), (1, bytes(source)))

    def test_buffers_need_no_descriptors(self) -> None:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, limits[1]))
        before = len(os.listdir("/proc/self/fd"))
        buffers = [self.context.allocate(4096) for _ in range(1100)]
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
        self.assertEqual(len({buffer.handle for buffer in buffers}), 1100)

    def memory(self) -> str:
        """Total size of the device's buffers."""
        return Path("/sys/kernel/debug/rust_dma/rdma0/state").read_text().split("buffers ")[1]

    def test_memory_lives_as_long_as_its_arrays(self) -> None:
        gc.collect()
        before = self.memory()
        array = self.context.allocate(4096).array()
        gc.collect()
        self.assertNotEqual(self.memory(), before)
        array[:] = 3
        self.assertEqual(int(array.sum()), 3 * 4096)
        self.context.close()
        self.assertEqual(int(array.sum()), 3 * 4096)
        del array
        gc.collect()
        self.assertEqual(self.memory(), before)

    def test_memory_of_requests_goes_before_they_are_collected(self) -> None:
        gc.collect()
        before = self.memory()
        for _ in range(20):
            self.assertEqual(self.context.submit([self.context.request_to_device(self.context.allocate(4096), 1)]), 1)
        with selectors.DefaultSelector() as selector:
            selector.register(self.context, selectors.EVENT_READ)
            selector.select(10)
        self.context.to_device(self.context.allocate(4096), 1)  # after them
        gc.collect()
        self.assertEqual(self.memory(), before)
        self.assertEqual(len(self.context.wait(20)), 20)


if __name__ == "__main__":
    sys.exit(ktap.main(Abi, Module, *cases.CASES))
