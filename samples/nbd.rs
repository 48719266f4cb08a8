// SPDX-License-Identifier: MIT OR Apache-2.0

//! The server's side of the kernel's network block device, which `nbd-client` connects to a socket.
//!
//! The negotiation is the `nbd` crate's; then the kernel speaks. Source: NetworkBlockDevice/nbd, doc/proto.md, "Transmission".

use std::{io, os::unix::net::UnixListener, path::Path};

use ::nbd::server::{Export, handshake};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// What the kernel wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Read,
    /// The bytes follow.
    Write,
    Flush,
    /// And nothing any more.
    Disconnect,
}

/// A request of the kernel's.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub kind: Kind,
    /// Comes back in the reply.
    id: [u8; 8],
    pub at: u64,
    pub length: usize,
}

/// Waits at a socket of this name for `nbd-client`, and offers it a disk of so many bytes.
pub fn accept(path: &Path, bytes: u64) -> io::Result<(OwnedReadHalf, OwnedWriteHalf)> {
    let listener = UnixListener::bind(path)?;
    let (stream, _) = listener.accept()?;
    std::fs::remove_file(path)?;
    handshake(&stream, |_| Ok(Export::<()> { size: bytes, ..Export::default() }))?;
    stream.set_nonblocking(true)?;
    Ok(UnixStream::from_std(stream)?.into_split())
}

/// The next request.
pub async fn next(from: &mut OwnedReadHalf) -> io::Result<Request> {
    const MAGIC: u32 = 0x2560_9513;
    if from.read_u32().await? != MAGIC {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "this is no request"));
    }
    let _flags = from.read_u16().await?;
    let kind = match from.read_u16().await? {
        0 => Kind::Read,
        1 => Kind::Write,
        2 => Kind::Disconnect,
        3 => Kind::Flush,
        other => return Err(io::Error::new(io::ErrorKind::Unsupported, format!("request {other} was not offered"))),
    };
    let mut id = [0; 8];
    from.read_exact(&mut id).await?;
    Ok(Request { kind, id, at: from.read_u64().await?, length: from.read_u32().await? as usize })
}

/// The head of the reply; after that of a read that went well, the bytes follow.
pub async fn reply<E>(to: &mut OwnedWriteHalf, request: &Request, result: &Result<(), E>) -> io::Result<()> {
    const MAGIC: u32 = 0x6744_6698;
    const EIO: u32 = 5;
    let mut head = Vec::from(MAGIC.to_be_bytes());
    head.extend(if result.is_ok() { 0 } else { EIO }.to_be_bytes());
    head.extend(request.id);
    to.write_all(&head).await
}
