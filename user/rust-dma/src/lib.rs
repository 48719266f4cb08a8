//! DMA buffers and a DMA engine for programs: the library for `/dev/rdma0`.
//!
//! (*rdma* is *Rust DMA*. It has nothing to do with InfiniBand.)
//!
//! A [`Context`] is one open file of a device. It allocates [`Buffer`]s, memory that the program and the device
//! share, and which dereferences to `[u8]`. A [`Request`] takes ownership of its buffers. Once submitted, it is
//! [`Pending`], which gives no access to their bytes; when it is done, it returns them.
//! A program that reads what the device writes does therefore not compile:
//!
//! ```compile_fail,E0382
//! # fn main() -> Result<(), rust_dma::Error> {
//! # let context = rust_dma::Context::open("/dev/rdma0")?;
//! let buffer = context.allocate(4096)?;
//! let pending = rust_dma::Request::from_device(buffer, .., 0).submit()?;
//! println!("{}", buffer[0]); // error[E0382]: borrow of moved value: `buffer`
//! # pending.wait()?;
//! # Ok(())
//! # }
//! ```
//!
//! The smallest program transfers a few bytes to the device and back:
//!
//! ```
//! use rust_dma::{Context, Request};
//!
//! # fn main() -> Result<(), rust_dma::Error> {
//! let context = Context::open("/dev/rdma0")?;
//! let mut buffer = context.allocate(4096)?;
//!
//! buffer[..5].copy_from_slice(b"hello");
//! let mut buffer = Request::to_device(buffer, ..5, 0).run()?;
//! buffer.fill(0);
//! let buffer = Request::from_device(buffer, ..5, 0).run()?;
//! assert_eq!(&buffer[..5], b"hello");
//! # Ok(())
//! # }
//! ```
//!
//! During a transfer, the program can do something else and check now and then ([`Pending::is_done`]), wait
//! ([`Pending::wait`]), or await it: [`Pending`] is a future. With the feature `tokio`, the runtime itself collects completions (`AsyncContext`);
//! otherwise, a thread does it while tasks wait.
//!
//! # Removal of the device
//!
//! A device can be unplugged, and its driver unbound, at any time. Pending requests then fail with [`Error::Gone`], and
//! so do all other calls. Accessing a buffer's bytes raises SIGBUS, as for a file that was truncated while it was
//! mapped, because the memory is freed. A program that must not be killed moves bytes with read(2) and
//! write(2), which fail with EFAULT instead: `file.read(&mut buffer)`, `file.write_all(&buffer)`.
//!
//! # Sources
//!
//! The terms and values are those of the header, `src/uapi/rdma.h`, and of its manual page, rdma(4).

#[allow(dead_code, non_camel_case_types, clippy::unreadable_literal, reason = "as the header has it")]
mod abi;
mod buffer;
mod context;
mod device;
mod dma_buf;
mod error;
mod inbox;
mod info;
mod pending;
mod request;
mod shared;
mod slots;
mod sys;
mod ticket;
#[cfg(feature = "tokio")]
mod tokio;

#[cfg(feature = "tokio")]
pub use crate::tokio::AsyncContext;
pub use crate::{
    buffer::{Advice, Buffer},
    context::{Context, Submitted},
    device::{Device, devices},
    dma_buf::DmaBuf,
    error::{Error, Failed},
    info::{BufferInfo, Info, Interrupt},
    pending::Pending,
    request::{Buffers, Operand, Request},
};

/// Size of the device memory of `edu` in bytes; for others, see [`Info`]. Source: QEMU, docs/specs/edu.rst, "DMA".
pub const DEVICE_MEMORY_SIZE: u64 = abi::RDMA_DEVICE_MEMORY_SIZE as u64;

/// Size of the largest buffer.
pub const MAX_BUFFER_SIZE: usize = abi::RDMA_MAX_BUFFER_SIZE as usize;

/// Maximum number of requests of a context that are submitted and not yet collected.
pub const QUEUE_DEPTH: usize = abi::RDMA_QUEUE_DEPTH as usize;

/// The examples of the crate's README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
