"""DMA buffers and a DMA engine for programs: /dev/rdma0 from Python. (Rust DMA. It has nothing to do with InfiniBand.)

    import rust_dma

    with rust_dma.Context("/dev/rdma0") as context:
        buffer = context.allocate(4096)
        buffer.view[:5] = b"hello"
        context.to_device(buffer, 5)
        buffer.view[:5] = bytes(5)
        context.from_device(buffer, 5)
        assert bytes(buffer.view[:5]) == b"hello"

A buffer is memory that the program and the device share: `buffer.view` is a memoryview of it, and `buffer.array()` a NumPy array,
both without a copy. While a request is pending, the device accesses these bytes: reads may return old or new data, and writes may
be lost. The terms and numbers are those of src/uapi/rdma.h and rdma(4); errors are OSError with its errno.
"""

from rust_dma._context import Buffer, Completion, Context, Device, Info, devices

__all__ = ["Buffer", "Completion", "Context", "Device", "Info", "devices"]
