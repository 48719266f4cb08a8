// SPDX-License-Identifier: MIT OR Apache-2.0

//! `hello_mmap` with the library: transfers a message from a mapped buffer to the device and back by DMA.

use anyhow::ensure;
use rust_dma::{Context, Request};

const MESSAGE: &[u8] = b"Hello from Rust, through the device and back!";

fn main() -> anyhow::Result<()> {
    let node = std::env::args_os().nth(1).unwrap_or_else(|| "/dev/rdma0".into());

    // Coherent memory that the device can access. It is an ordinary `[u8]`.
    let mut buffer = Context::open(node)?.allocate(4096)?;
    buffer[..MESSAGE.len()].copy_from_slice(MESSAGE);

    // The request takes ownership of the buffer: during the transfer, no code of this program can access its bytes.
    let mut buffer = Request::to_device(buffer, .., 0).run()?;
    buffer.fill(0);
    let buffer = Request::from_device(buffer, .., 0).run()?;

    println!("{}", String::from_utf8_lossy(&buffer[..MESSAGE.len()]));
    ensure!(buffer.starts_with(MESSAGE), "it has come back different");
    Ok(())
}
