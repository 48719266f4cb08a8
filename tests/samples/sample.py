#!/usr/bin/python3 -B
"""tests/samples/sample.py NAME : run a sample as `make sample` does, and check its output. Runs in the guest; the sample loads the driver."""

import re
import subprocess
import sys
import unittest
import xml.etree.ElementTree
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(PROJECT / "tests/harness"))
import ktap  # noqa: E402

OUTPUT = Path("/output")


class Sample(unittest.TestCase):
    """The output of a sample."""

    name = ""
    said = ""

    @classmethod
    def setUpClass(cls) -> None:
        OUTPUT.mkdir(exist_ok=True)
        with subprocess.Popen(
            [PROJECT / "samples" / cls.name / "run"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as sample:
            for line in sample.stdout:
                print("# |", line, end="", flush=True)
                cls.said += line
        cls.status = sample.returncode
        cls.further()
        subprocess.run(["rmmod", "rdma"], check=True)

    @classmethod
    def further(cls) -> None:
        """What a test needs while the driver is still loaded."""

    def test_ends_well(self) -> None:
        self.assertEqual(self.status, 0)

    def test_manual(self) -> None:
        """Each command in the guide is run, and its picture exists."""
        manual = (PROJECT / "samples" / self.name / "README.md").read_text()
        commands = re.findall(r"^[$>] .*", manual, re.MULTILINE)
        self.assertTrue(commands)
        for command in commands:
            self.assertIn(f"\n{command}\n", self.said)
        for picture in re.findall(r"\]\((.*?\.svg)\)", manual):
            xml.etree.ElementTree.parse(PROJECT / "samples" / self.name / picture)

    def numbers(self, pattern: str) -> list[tuple[float, ...]]:
        """The numbers in all lines that match this pattern."""
        found = [match.groups() for line in self.said.splitlines() if (match := re.search(pattern, line))]
        self.assertTrue(found, f"no line is like {pattern}")
        return [tuple(float(number) for number in numbers) for numbers in found]

    def picture(self, *labels: str) -> dict[str, float]:
        """It has drawn a bar for each of these, and the table next to the picture has the same. Returns the numbers."""
        table = dict(line.split("\t") for line in (OUTPUT / f"{self.name}.tsv").read_text().splitlines())
        self.assertEqual(tuple(table), labels)
        tree = xml.etree.ElementTree.parse(OUTPUT / f"{self.name}.svg")
        boxes = [box for box in tree.iter() if box.tag.endswith("}rect")]
        self.assertEqual(len(boxes), len(labels) + 1)  # the background is one of them
        words = [(text.text or "").strip() for text in tree.iter() if text.tag.endswith("}text")]
        self.assertEqual([label for label in labels if label not in words], [])
        return {label: float(number) for label, number in table.items()}


class Hello(Sample):
    name = "hello"

    def test_what_went_in_comes_out(self) -> None:
        self.assertIn("\nIt is the same.\n", self.said)
        self.assertIn("\nThe same.\n", self.said)
        self.assertIn("\nHello from Rust, through the device and back!\n", self.said)
        self.assertIn("the largest difference is 0.0.\n", self.said)


class Overlap(Sample):
    name = "overlap"

    def test_all_take_the_time_of_the_device(self) -> None:
        for (milliseconds,) in self.numbers(r"^(?:blocking|polling|wake-up) +10 +([\d.]+)"):
            self.assertAlmostEqual(milliseconds, 1000, delta=20)

    def way(self, name: str) -> tuple[float, ...]:
        """Of a way: elapsed ms, ms of CPU time, percentage that was computed at the same time."""
        (figures,) = self.numbers(rf"^{name} +10 +([\d.]+) +([\d.]+) +([\d.]+)$")
        return figures

    def test_polling_takes_the_cpu(self) -> None:
        elapsed, cpu, computed = self.way("polling")
        self.assertGreater(cpu, 0.95 * elapsed)
        self.assertEqual(computed, 0)

    def test_sleeping_does_not(self) -> None:
        elapsed, cpu, computed = self.way("blocking")
        self.assertLess(cpu, 0.01 * elapsed)
        self.assertEqual(computed, 0)

    def test_overlap(self) -> None:
        elapsed, cpu, computed = self.way("wake-up")
        self.assertLess(cpu, 0.01 * elapsed)
        self.assertGreater(computed, 95)

    def test_picture(self) -> None:
        self.picture("blocking", "polling", "wake-up")


class Database(Sample):
    name = "database"

    def costs(self) -> list[tuple[float, ...]]:
        """Of each query: pages loaded for it, pages loaded in total, faults."""
        return self.numbers(r"^ +(\d+) +(\d+) +(\d+) +[\d.]+  SELECT")

    def test_size(self) -> None:
        ((pages, loaded),) = self.numbers(r"^In the mapping: (\d+) pages, of which (\d+) are loaded$")
        self.assertGreaterEqual(pages * 4096, 64 << 20)
        self.assertEqual(loaded, 0)

    def test_only_what_is_touched(self) -> None:
        point, covered, town, interval, everything = (cost[0] for cost in self.costs()[:5])
        self.assertLess(point, 8)
        self.assertLess(covered, 8)
        self.assertLess(town, 250)
        self.assertLess(interval, 150)
        self.assertGreater(everything, 15000)

    def test_one_fault_for_each_page(self) -> None:
        for loaded, _, faults in self.costs()[:5]:
            self.assertEqual(loaded, faults)

    def test_few_faults_without_advice(self) -> None:
        loaded, _, faults = self.costs()[5]
        self.assertGreaterEqual(loaded, 16384)
        self.assertLess(faults, 80)

    def test_same_answers(self) -> None:
        self.assertIn("\nNo difference.\n", self.said)
        rows = range(1, 160001)
        towns = [i for i in rows if i * 7919 % 1009 == 417]
        self.assertIn(f"\n{len(towns)}|{towns[0]}|{towns[-1]}\n", self.said)
        self.assertIn(f"\n{sum(i * 31 % 997 for i in range(60000, 61000))}\n", self.said)
        self.assertIn(f"\n160000|{sum(i * 31 % 997 for i in rows)}|{160000 * 380}\n", self.said)

    def test_picture(self) -> None:
        names = ("a note, by its id", "statistics of a town", "longest trips of a town", "sum of 1000 ids", "sum of all rows")
        pages = self.picture(*names, "read(2)")
        self.assertEqual([pages[name] for name in names], [total for _, total, _ in self.costs()[:5]])


class Nic(Sample):
    name = "nic"

    def test_ping(self) -> None:
        self.assertIn("5 packets transmitted, 5 received, 0% packet loss", self.said)
        times = [time for (time,) in self.numbers(r"icmp_seq=\d+ ttl=64 time=(\d+) ms")]
        self.assertEqual(len(times), 5)
        self.assertAlmostEqual(min(times), 400, delta=10)

    def test_iperf(self) -> None:
        self.assertIn("\niperf Done.\n", self.said)
        ((sent,),) = self.numbers(r"([\d.]+) KBytes .* sender$")
        self.assertEqual(sent, 60)

    def test_file(self) -> None:
        sums = re.findall(r"^([0-9a-f]{64})  -$", self.said, re.MULTILINE)
        self.assertEqual(len(sums), 2)
        self.assertEqual(sums[0], sums[1])

    def test_the_cpu_is_free(self) -> None:
        ways = self.numbers(r"^ *([\d.]+) % of the CPU for others  \w+ +(\d+) frames.* ([\d.]+) us a frame$")
        (interrupt, frames, cost), (poll, _, poll_cost), (copy, _, copy_cost) = ways
        self.assertGreaterEqual(frames, 8)
        self.assertGreater(interrupt, 90)
        self.assertGreater(copy, 90)
        self.assertLess(poll, 60)
        self.assertGreater(poll_cost, 20 * cost)
        self.assertGreater(copy_cost, 0)

    def test_picture(self) -> None:
        costs = self.picture("interrupt", "poll", "copy")
        self.assertEqual(list(costs.values()), [cost for (cost,) in self.numbers(r"% of the CPU for others .* ([\d.]+) us a frame$")])


class Disk(Sample):
    name = "disk"

    def test_faster_with_more_devices(self) -> None:
        rates = {devices: rate for devices, rate, *_ in self.numbers(r"^ *(\d+) devices: +(\d+) KiB/s written")}
        self.assertEqual(sorted(rates), [1, 2, 4, 8, 16])
        self.assertAlmostEqual(rates[1], 40, delta=2)
        for devices, rate in rates.items():
            self.assertGreater(rate, 0.95 * devices * rates[1])

    def test_fio_verifies(self) -> None:
        self.assertEqual(self.numbers(r"KiB/s read, (\d+) errors$"), [(0,)] * 5)
        self.assertEqual(self.numbers(r"jobs=1\): err= *(\d+):"), [(0,)])

    def test_file_system(self) -> None:
        self.assertRegex(self.said, r"\nPass 5: .*\n/dev/nbd0: \d+/16 files \([\d.]+% non-contiguous\), \d+/64 blocks\n")
        self.assertNotIn("WARNING", self.said)
        self.assertIn("\nIt is there.\n", self.said)

    def test_a_device_less(self) -> None:
        self.assertRegex(self.said, r"\n.*Input/output error")
        self.assertNotIn("Bad address", self.said)

    def test_picture(self) -> None:
        self.picture(*(f"{devices} devices" for devices in (1, 2, 4, 8, 16)))


class SharedFiles(Sample):
    name = "shared_files"

    def test_two_processes(self) -> None:
        self.assertIn("the other one reads: Written by one process, read by another one.\n", self.said)

    def test_out_of_the_blocks(self) -> None:
        self.assertIn("\nWritten by one process, read by another one.\n", self.said)
        self.assertIn("All 3072 bytes are the same.\n", self.said)

    def test_into_the_blocks(self) -> None:
        self.assertIn("\nWritten by the device.\n", self.said)
        self.assertRegex(self.said, r"\n/dev/nbd0: \d+/128 files \(0.0% non-contiguous\), \d+/1024 blocks\n")

    def test_what_cannot_be_had(self) -> None:
        self.assertIn("Bad address (os error 14)", self.said)


class ZeroCopy(Sample):
    name = "zero_copy"

    def test_all_blocks(self) -> None:
        size, blocks, sends = self.numbers(r"^(\d+) bytes in (\d+) blocks: .* sent by (\d+) zero-copy calls$")[0]
        self.assertGreater(size, 10 << 20)
        self.assertEqual(blocks, -(-size // (1 << 20)))
        self.assertGreaterEqual(sends, blocks)

    def test_the_copy_is_the_same(self) -> None:
        self.assertIn("\nNo difference.\n", self.said)
        self.assertIn("\nok\n40000|19917804\n", self.said)


class Camera(Sample):
    name = "camera"

    def test_the_program_accesses_no_frame(self) -> None:
        ((frames, faults),) = self.numbers(r"^(\d+) frames of 460800 bytes, copied by the engine; (\d+) page faults")
        self.assertEqual((frames, faults), (30, 0))
        self.assertGreater(self.numbers(r"copied by the CPU; (\d+) page faults")[0][0], 0)

    def test_the_frames_arrive(self) -> None:
        """Each with its time in it, and below that the colour bars, in the order of their brightness."""
        self.assertEqual(self.numbers(r"^(\d+) frames differ from the one before$"), [(29,), (29,)])
        for bars in self.numbers("^" + " ".join([r"(\d+)"] * 16) + "$"):
            self.assertEqual((bars[:8], len(set(bars))), (tuple(sorted(bars[8:], reverse=True)), 8))


class CopyEngine(Sample):
    name = "copy_engine"
    odd = ""

    @classmethod
    def further(cls) -> None:
        for count in ("1", "3"):
            program = [PROJECT / "build/samples/copy_engine", "-n", count]
            cls.odd += subprocess.run(program, stdout=subprocess.PIPE, text=True, check=True).stdout

    def test_the_rate_is_that_of_what_was_copied(self) -> None:
        """Both odd numbers of MiB are one batch of 2 MiB. The time is rounded to 0.1 ms."""
        figures = [line.split() for line in self.odd.splitlines() if " KiB " in line]
        self.assertEqual(len(figures), 2 * 8)
        for _, _, _, elapsed, _, rate, _ in figures:
            self.assertAlmostEqual(float(elapsed) * float(rate) * 1e3, 2 << 20, delta=float(rate) * 60 + float(elapsed) * 600)

    def costs(self, way: str) -> list[tuple[float, ...]]:
        """For each size in KiB: elapsed ms, ms of CPU time of the thread, and what is left to others in percent."""
        return self.numbers(rf"^ *(\d+) KiB {way} +([\d.]+) +([\d.]+) +\d+ +(\d+)$")

    def test_the_cpu_takes_the_cpu(self) -> None:
        costs = self.costs("CPU")
        self.assertEqual([size for size, *_ in costs], [4, 16, 64, 1024])
        for _, _, _, left in costs:
            self.assertLess(left, 30)

    def test_the_engine_leaves_it(self) -> None:
        costs = {size: left for size, _, _, left in self.costs("engine")}
        self.assertGreater(costs[1024], 40)
        self.assertGreater(costs[1024], costs[4])

    def test_picture(self) -> None:
        self.picture(*(f"{size}, {way}" for size in ("4 KiB", "16 KiB", "64 KiB", "1024 KiB") for way in ("CPU", "engine")))


if __name__ == "__main__":
    (chosen,) = (case for case in Sample.__subclasses__() if case.name == sys.argv[1])
    sys.exit(ktap.main(chosen))
