"""The parts of tests/power/run for an I/OAT device."""

import argparse
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from machine import BAR0, BUILT, BUS, BUS_MASTER, COMMAND, CONFIGURATION, Case, Machine, Monitor, at_each_reset, cases, chosen, found, verdict

# Of channel 0. Source: Linux, drivers/dma/ioat/registers.h
STATUS, STATE, ACTIVE = 0x88, 0x7, 0
VENDOR_AND_DEVICE = 0x20218086

FILES = {"leave_ioat": BUILT / "leave_ioat"}


@dataclass
class Sight:
    """The state of the device at one moment, seen from outside."""

    busy: bool
    master: bool


def look(monitor: Monitor) -> Sight | None:
    """Read the device's state; none if it is not on one of the first buses."""
    for config in range(CONFIGURATION, CONFIGURATION + 8 * BUS, BUS):
        if monitor.memory(config, "w") == VENDOR_AND_DEVICE:
            status = monitor.memory((monitor.memory(config + BAR0, "g") & ~0xF) + STATUS, "g")
            return Sight(status & STATE == ACTIVE, bool(monitor.memory(config + COMMAND, "h") & BUS_MASTER))
    return None


def suspend(arguments: argparse.Namespace) -> list[Case]:
    """The guest suspends itself while the device copies, and is woken."""
    bind = "for device in /sys/bus/pci/devices/*; do grep -q 0x2021 $device/device && echo rdma >$device/driver_override && echo ${device##*/} >/sys/bus/pci/drivers_probe; done"
    command = f"insmod /rdma.ko; {bind}; /suspend_ioat && rmmod rdma"
    files = {"rdma.ko": chosen(arguments.kernel)[1], "suspend_ioat": BUILT / "suspend_ioat"}
    with Machine(arguments, command, files, [], ["--smp", "1"]) as machine:
        for event, _ in machine.monitor.each_event():
            if event == "SUSPEND":
                machine.monitor.do("system_wakeup")
        results = cases(machine.output, machine.end())
        print(*[line for line in machine.output if line.startswith("# figure")], sep="\n")
        return results + machine.complaints(["a transfer did not end, and was stopped"])


def reboot(arguments: argparse.Namespace) -> list[Case]:
    """The guest reboots repeatedly; QEMU stops when it does so, and the state of the device is checked."""
    count = arguments.rounds
    files = FILES | {"rdma.ko": chosen(arguments.kernel)[1]}
    with Machine(arguments, "/leave_ioat reboot 0", files, ["-action", "shutdown=pause"], []) as machine:
        seen = at_each_reset(machine, count, look)
        at_rest = seen.count(Sight(busy=False, master=False))
        print(f"# figure: {count} reboots while an I/OAT device copies | {at_rest} with the engine idle and Bus Master off")
        return [verdict("at_rest_when_the_machine_is_reset", at_rest == len(seen) == count, list(map(str, seen))), *machine.complaints([])]


def kexec(arguments: argparse.Namespace) -> list[Case]:
    """A kernel starts the next one, repeatedly; each checks what the device of the previous one does to its memory."""
    count = arguments.rounds
    vmlinuz, module = chosen(arguments.kernel)
    program = shutil.which("kexec") or "/usr/sbin/kexec"
    libraries = subprocess.run(["ldd", program], stdout=subprocess.PIPE, text=True, check=True).stdout
    files = FILES | {"rdma.ko": module, "vmlinuz": vmlinuz, "bin/kexec": Path(program)}
    files |= {path[1:]: Path(path) for path in re.findall(r"(/\S+) \(", libraries)}
    with Machine(arguments, f"/leave_ioat kexec {count}", files, [], []) as machine:
        status = machine.end()
        log = machine.console()
        written = found(r"the memory of round \d+: (\d+) bytes written", log)
        before = found(r"rdma-power: (before the driver: .*)", log)
        idle = [line for line in before if line.endswith("idle, no bus master")]
        print(f"# figure: {count} kexecs while an I/OAT device copies | {written.count('0')} without a byte written to the next kernel's memory")
        return [
            verdict("all_kernels_came", status == 0, machine.output[-30:]),
            verdict("nothing_was_written", written.count("0") == len(written) == count, written),
            verdict("found_idle", len(idle) == len(before) == count + 1, before),
            *machine.complaints([]),
        ]
