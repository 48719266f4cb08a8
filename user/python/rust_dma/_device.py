"""What devices there are, and their properties."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rust_dma import _abi

_CLASS = Path("/sys/class/rust_dma")
_INTERRUPTS = {_abi.RDMA_INTERRUPT_INTX: "INTx", _abi.RDMA_INTERRUPT_MSI: "MSI", _abi.RDMA_INTERRUPT_MSIX: "MSI-X"}


@dataclass(frozen=True)
class Device:
    """A device of the driver: its name such as rdma0, its node such as /dev/rdma0, its address on the PCI bus."""

    name: str
    node: Path
    pci_address: str

    def __fspath__(self) -> str:
        """The node, for Context and open."""
        return str(self.node)


def devices() -> list[Device]:
    """The devices of the driver, by their numbers; none if it is not loaded."""
    names = sorted((entry.name for entry in _CLASS.glob("rdma*")), key=lambda name: (len(name), name))
    return [Device(name, Path("/dev") / name, (_CLASS / name / "device").resolve().name) for name in names]


@dataclass(frozen=True)
class Info:
    """The properties of a device and its driver; sizes are in bytes."""

    abi_version: int
    operations: int
    capabilities: int
    device_memory_size: int
    max_transfer_size: int
    max_buffer_size: int
    dma_bits: int
    interrupt: str
    hardware_version: tuple[int, int]
    queue_depth: int
    engine_depth: int
    address_alignment: int
    length_alignment: int


def info_of(raw: _abi.rdma_device_info) -> Info:
    """The properties as the driver writes them."""
    return Info(
        raw.abi_version,
        raw.operations,
        raw.capabilities,
        raw.device_memory_size,
        raw.max_transfer_size,
        raw.max_buffer_size,
        raw.dma_bits,
        _INTERRUPTS.get(raw.interrupt, str(raw.interrupt)),
        (raw.hardware_version >> 8, raw.hardware_version & 0xFF),
        raw.queue_depth,
        raw.engine_depth,
        raw.address_alignment,
        raw.length_alignment,
    )
