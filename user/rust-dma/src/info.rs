//! Properties of devices and buffers.

use crate::abi;

/// Properties of a device and its driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// Version of the driver's ABI.
    pub abi_version: u32,
    /// The supported operations: one bit for each, by its number.
    pub operations: u32,
    /// Optional capabilities, as bits; `edu` has none. [`copies_directly`](Self::copies_directly), [`can_abort`](Self::can_abort).
    pub capabilities: u64,
    /// Size of the device memory; 0 if there is none.
    pub device_memory_size: u64,
    /// Maximum number of bytes of one transfer; longer copies are divided into pieces of this size.
    pub max_transfer_size: u64,
    /// Size of the largest buffer.
    pub max_buffer_size: u64,
    /// The number of bits of a bus address that the device uses.
    pub dma_bits: u32,
    /// How the device signals the end of a transfer.
    pub interrupt: Interrupt,
    /// The hardware's version: major, minor.
    pub hardware_version: (u8, u8),
    /// Maximum number of requests of a context that are submitted and not yet collected.
    pub queue_depth: u32,
    /// Maximum number of transfers that the engine has at a time.
    pub engine_depth: u32,
    /// Offsets of requests must be multiples of this.
    pub address_alignment: u32,
    /// Lengths of requests must be multiples of this.
    pub length_alignment: u32,
}

impl Info {
    /// Whether a copy does not change the device memory.
    #[must_use]
    pub fn copies_directly(&self) -> bool {
        self.has(abi::RDMA_CAP_DIRECT_COPY)
    }

    /// Whether a request that has begun can be cancelled, and a transfer that does not end is stopped.
    #[must_use]
    pub fn can_abort(&self) -> bool {
        self.has(abi::RDMA_CAP_ABORT)
    }

    fn has(&self, capability: u32) -> bool {
        self.capabilities & u64::from(capability) != 0
    }
}

/// How a device signals the end of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Interrupt {
    /// By an interrupt line, which other devices may share.
    Intx,
    /// By a message.
    Msi,
    /// By a message with a vector of its own.
    MsiX,
    /// Another kind, added by a later version of the driver.
    Other(u32),
}

/// Properties of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BufferInfo {
    /// The handle, which identifies it within its context.
    pub handle: u32,
    /// Size in bytes.
    pub size: u64,
    /// Its offset for mmap(2); `0x7fff_ffff_ffff_ffff` for registered and imported memory, which cannot be mapped.
    pub mmap_offset: u64,
    /// Number of its mappings, in all processes.
    pub mappings: u32,
    /// Number of its requests that are queued or executing.
    pub requests: u32,
}

impl From<abi::rdma_device_info> for Info {
    fn from(info: abi::rdma_device_info) -> Self {
        let [_, _, major, minor] = info.hardware_version.to_be_bytes();
        Self {
            abi_version: info.abi_version,
            operations: info.operations,
            capabilities: info.capabilities,
            device_memory_size: info.device_memory_size,
            max_transfer_size: info.max_transfer_size,
            max_buffer_size: info.max_buffer_size,
            dma_bits: info.dma_bits,
            interrupt: match info.interrupt {
                abi::RDMA_INTERRUPT_INTX => Interrupt::Intx,
                abi::RDMA_INTERRUPT_MSI => Interrupt::Msi,
                abi::RDMA_INTERRUPT_MSIX => Interrupt::MsiX,
                other => Interrupt::Other(other),
            },
            hardware_version: (major, minor),
            queue_depth: info.queue_depth,
            engine_depth: info.engine_depth,
            address_alignment: info.address_alignment,
            length_alignment: info.length_alignment,
        }
    }
}

impl From<abi::rdma_buffer_info> for BufferInfo {
    fn from(info: abi::rdma_buffer_info) -> Self {
        Self {
            handle: info.handle,
            size: info.size,
            mmap_offset: info.mmap_offset,
            mappings: info.mappings,
            requests: info.requests,
        }
    }
}
