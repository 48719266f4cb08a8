"""DMA buffers and a DMA engine for programs: /dev/rdma0 from Python. (Rust DMA. It has nothing to do with InfiniBand.)

    import rust_dma

    with rust_dma.Context("/dev/rdma0") as context:
        buffer = context.allocate(4096)
        buffer[:5] = b"hello"
        context.to_device(buffer, 5)
        buffer[:5] = bytes(5)
        context.from_device(buffer, 5)
        assert bytes(buffer[:5]) == b"hello"

A buffer is memory that the program and the device share, and all views of it are without a copy: indices and slices, memoryview,
numpy.asarray. `context.allocate((64, 16), "float32")` is an array of numbers. While a request is pending, the device accesses these
bytes: reads may return old or new data, and writes may be lost.

`context.register(array)` makes a buffer of memory that the program has already, if the device can access all memory, or has an IOMMU.

`context.allocate_shared(4096)` makes a buffer that other drivers and programs access, too, by its descriptor (dma-buf), and
`context.import_shared(descriptor)` makes a buffer of one of theirs.

`to_device`, `from_device` and `copy` wait for the device. `submit` queues requests, and `wait` collects their completions. In asyncio:

    async def there_and_back(context: rust_dma.Context, buffer: rust_dma.Buffer) -> None:
        await context.run(context.request_to_device(buffer))
        await context.run(context.request_from_device(buffer))

The terms and numbers are those of src/uapi/rdma.h and rdma(4). Errors of the driver are OSError with its errno; arguments that cannot be
right (a freed buffer, another context's buffer, a range that does not fit) are ValueError. Contexts and buffers cannot be copied or
pickled.

When a device is unplugged, or its driver unbound, calls fail with ENODEV. The memory of allocated buffers goes, too: each access to a view
or an array of it raises SIGBUS, which ends the program. `help(rust_dma.Buffer)` says how a program survives this.

A child of fork(2) shares the context. It can use buffers that its parent has allocated, and does not free them. The parent must keep them,
and the context open, as long as the child uses them: the driver gives a freed number to the next buffer, and closing the context frees all
buffers and cancels the requests of both. A child cannot use memory that its parent has registered, but can register its own. Only one of
the processes may collect completions (`wait`, `wait_async`, `run`), because it gets those of all. `to_device`, `from_device` and `copy`
have no completions: all processes can call them.
"""

from rust_dma._buffer import Buffer
from rust_dma._context import Context
from rust_dma._device import Device, Info, devices
from rust_dma._dma_buf import DmaBuf
from rust_dma._memory import Memory
from rust_dma._request import Completion, Operation, Request

__version__ = "0.1.0"
__all__ = ["Buffer", "Completion", "Context", "Device", "DmaBuf", "Info", "Memory", "Operation", "Request", "__version__", "devices"]
