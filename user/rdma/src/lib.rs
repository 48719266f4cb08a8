//! DMA buffers and a DMA engine for programs: the library for `/dev/rdma0`.
//!
//! (*rdma* is *Rust DMA*. It has nothing to do with InfiniBand.)
//!
//! A [`Context`] is one open file of a device. It allocates [`Buffer`]s, memory that the program and the device
//! work on alike: a buffer is a `[u8]` for as long as it is the program's. A [`Request`] takes its buffers along;
//! once submitted, it is [`Pending`], through which nobody gets at their bytes; and when it is done, they come back.
//! So a program that reads what the device is writing does not compile:
//!
//! ```compile_fail,E0382
//! # fn main() -> Result<(), rdma::Error> {
//! # let context = rdma::Context::open("/dev/rdma0")?;
//! let buffer = context.allocate(4096)?;
//! let pending = rdma::Request::from_device(buffer, .., 0).submit()?;
//! println!("{}", buffer[0]); // error[E0382]: borrow of moved value: `buffer`
//! # pending.wait()?;
//! # Ok(())
//! # }
//! ```
//!
//! The smallest program sends a few bytes to the device and gets them back:
//!
//! ```
//! use rdma::{Context, Request};
//!
//! # fn main() -> Result<(), rdma::Error> {
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
//! While the device works, the program does something else, and looks now and then ([`Pending::is_done`]), waits
//! ([`Pending::wait`]), or awaits (`AsyncContext`, with the feature `tokio`).
//!
//! # When the device goes
//!
//! A device can be unplugged, and its driver unbound, at any time. What is pending then ends with [`Error::Gone`], and
//! all other calls answer with it. Touching a buffer's bytes raises SIGBUS, as with a file that was cut off under
//! its mapping: there is no memory any more. A program that has to survive it moves bytes with read(2) and
//! write(2), which answer EFAULT instead: `file.read(&mut buffer)`, `file.write_all(&buffer)`.
//!
//! # Sources
//!
//! The words and the numbers are those of the interface's header, `src/uapi/rdma.h`, and of its manual page, rdma(4).

#[allow(dead_code, non_camel_case_types, clippy::unreadable_literal, reason = "as the header has it")]
mod abi;
mod buffer;
mod context;
mod device;
mod error;
mod inbox;
mod pending;
mod request;
mod sys;
#[cfg(feature = "tokio")]
mod tokio;

#[cfg(feature = "tokio")]
pub use crate::tokio::AsyncContext;
pub use crate::{
    buffer::Buffer,
    context::{BufferInfo, Context, Info, Interrupt, Submitted},
    device::{Device, devices},
    error::{Error, Failed},
    pending::Pending,
    request::Request,
};

/// Bytes of device memory. Source: QEMU, docs/specs/edu.rst, "DMA".
pub const DEVICE_MEMORY_SIZE: u64 = abi::RDMA_DEVICE_MEMORY_SIZE as u64;

/// Bytes of the largest buffer.
pub const MAX_BUFFER_SIZE: usize = abi::RDMA_MAX_BUFFER_SIZE as usize;

/// Requests that a context can have submitted and not yet collected.
pub const QUEUE_DEPTH: usize = abi::RDMA_QUEUE_DEPTH as usize;
