// SPDX-License-Identifier: MIT OR Apache-2.0

//! The server of the kernel's network block device, which `nbd-client` connects to a socket.
//!
//! The negotiation is done by the `nbd` crate, the rest here. Source: NetworkBlockDevice/nbd, doc/proto.md, "Transmission".

use std::{io, os::unix::net::UnixListener, path::Path};

use ::nbd::server::{Export, handshake};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// The operation of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Read,
    /// The bytes follow.
    Write,
    Flush,
    /// The end of the connection.
    Disconnect,
}

/// A request of the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub kind: Kind,
    /// Repeated in the reply.
    id: [u8; 8],
    pub at: u64,
    pub length: usize,
}

/// A socket for `nbd-client`.
pub struct Listener<'a>(UnixListener, &'a Path);

/// Waits for `nbd-client` from now on.
pub fn listen(path: &Path) -> io::Result<Listener<'_>> {
    Ok(Listener(UnixListener::bind(path)?, path))
}

/// The receiving half of the kernel's socket.
pub struct Kernel {
    from: OwnedReadHalf,
    /// The part of the next request's header that has arrived.
    head: [u8; 28],
    come: usize,
}

/// Offers the first client a disk of this size.
pub fn accept(listener: &Listener<'_>, bytes: u64) -> io::Result<(Kernel, OwnedWriteHalf)> {
    let (stream, _) = listener.0.accept()?;
    std::fs::remove_file(listener.1)?;
    handshake(&stream, |_| Ok(Export::<()> { size: bytes, ..Export::default() }))?;
    stream.set_nonblocking(true)?;
    let (from, to) = UnixStream::from_std(stream)?.into_split();
    Ok((Kernel { from, head: [0; 28], come: 0 }, to))
}

impl Kernel {
    /// The next request. If waiting for it is cancelled, nothing is lost.
    pub async fn next(&mut self) -> io::Result<Request> {
        while self.come < self.head.len() {
            self.from.readable().await?;
            match self.from.try_read(&mut self.head[self.come..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.come += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        self.come = 0;
        Request::new(&self.head)
    }

    /// Bytes of the header of a write.
    pub async fn bytes(&mut self, to: &mut [u8]) -> io::Result<()> {
        self.from.read_exact(to).await.map(drop)
    }
}

impl Request {
    fn new(head: &[u8; 28]) -> io::Result<Self> {
        const MAGIC: u32 = 0x2560_9513;
        let number =
            |bytes: std::ops::Range<usize>| head[bytes].iter().fold(0, |sum, &byte| (sum << 8) | u64::from(byte));
        let kind = match (number(0..4), number(6..8)) {
            (magic, _) if magic != u64::from(MAGIC) => return Err(io::Error::other("this is no request")),
            (_, 0) => Kind::Read,
            (_, 1) => Kind::Write,
            (_, 2) => Kind::Disconnect,
            (_, 3) => Kind::Flush,
            (_, other) => return Err(io::Error::other(format!("request {other} was not offered"))),
        };
        let mut id = [0; 8];
        id.copy_from_slice(&head[8..16]);
        Ok(Self { kind, id, at: number(16..24), length: usize::try_from(number(24..28)).unwrap_or(usize::MAX) })
    }
}

/// The header of the reply; after that of a successful read, the bytes follow.
pub async fn reply<E>(to: &mut OwnedWriteHalf, request: &Request, result: &Result<(), E>) -> io::Result<()> {
    const MAGIC: u32 = 0x6744_6698;
    const EIO: u32 = 5;
    let mut head = Vec::from(MAGIC.to_be_bytes());
    head.extend(if result.is_ok() { 0 } else { EIO }.to_be_bytes());
    head.extend(request.id);
    to.write_all(&head).await
}
