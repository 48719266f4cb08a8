// SPDX-License-Identifier: MIT OR Apache-2.0

//! disk: a block device on the device memories of several devices, striped, exported to the kernel by nbd.
//!
//! Data that the kernel writes is read from a socket into buffers, one for each device that has a part of it; the engines transfer all
//! parts in parallel. Many requests can be in flight.

#[path = "../lib/nbd.rs"]
mod nbd;

use std::{cell::RefCell, io, path::PathBuf, rc::Rc};

use anyhow::{Context as _, ensure};
use clap::Parser;
use rust_dma::{AsyncContext, Buffer, Context, DEVICE_MEMORY_SIZE, Request};
use tokio::{
    io::AsyncWriteExt,
    net::unix::OwnedWriteHalf,
    sync::Mutex,
    task::{LocalSet, spawn_local},
};

/// Consecutive bytes on one device.
const UNIT: usize = 1024;

/// A block device on the device memories of these devices, striped.
#[derive(Parser)]
struct Options {
    /// The socket for nbd-client.
    #[arg(long, default_value = "/run/disk")]
    socket: PathBuf,
    /// The devices.
    #[arg(required = true)]
    nodes: Vec<PathBuf>,
}

/// One device, and its unused buffers.
struct Device {
    context: AsyncContext,
    free: RefCell<Vec<Buffer>>,
}

struct Disk {
    devices: Vec<Device>,
}

/// The part of a request on one device, where it is contiguous.
struct Share {
    device: usize,
    at: u64,
    length: usize,
    buffer: Buffer,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let mut devices = Vec::new();
    for node in &options.nodes {
        let context = AsyncContext::new(Context::open(node)?)?;
        devices.push(Device { context, free: RefCell::default() });
    }
    let disk = Rc::new(Disk { devices });
    let listener = nbd::listen(&options.socket).context(format!("{}", options.socket.display()))?;
    println!("{} devices, {} bytes", disk.devices.len(), disk.bytes());
    let (kernel, to) = nbd::accept(&listener, disk.bytes())?;
    LocalSet::new().run_until(serve(disk, kernel, to)).await
}

/// Executes the kernel's requests in parallel; replies are sent as they complete.
async fn serve(disk: Rc<Disk>, mut kernel: nbd::Kernel, to: OwnedWriteHalf) -> anyhow::Result<()> {
    let to = Rc::new(Mutex::new(to));
    loop {
        let request = kernel.next().await?;
        ensure!(request.at + request.length as u64 <= disk.bytes(), "a request beyond the end");
        let (disk, to) = (Rc::clone(&disk), Rc::clone(&to));
        match request.kind {
            nbd::Kind::Disconnect => return Ok(()),
            // Replies to writes are sent when the data is on the devices.
            nbd::Kind::Flush => nbd::reply(&mut *to.lock().await, &request, &Ok::<_, ()>(())).await?,
            nbd::Kind::Write => {
                let shares = disk.receive(&mut kernel, &request).await?;
                spawn_local(async move {
                    let done = match shares {
                        Ok(shares) => {
                            disk.transfer(shares, Request::to_device).await.map(|shares| disk.put_back(shares))
                        }
                        Err(error) => Err(error),
                    };
                    said(nbd::reply(&mut *to.lock().await, &request, &done).await);
                });
            }
            nbd::Kind::Read => {
                spawn_local(async move {
                    let shares = match disk.shares(request.at, request.length) {
                        Ok(shares) => disk.transfer(shares, Request::from_device).await,
                        Err(error) => Err(error),
                    };
                    said(disk.send(&mut *to.lock().await, &request, shares).await);
                });
            }
        }
    }
}

/// A reply that has failed half-way cannot be repaired, so that the connection is closed. This also happens if a device is removed while data
/// that was read from it is being sent: the kernel cannot access the buffer any more (EFAULT).
fn said(reply: io::Result<()>) {
    let Err(error) = reply else { return };
    let removed = error.raw_os_error() == Some(rustix::io::Errno::FAULT.raw_os_error());
    let reason = if removed { "device removed while its data was being sent".to_owned() } else { error.to_string() };
    eprintln!("The disk ends: {reason}");
    std::process::exit(1);
}

impl Disk {
    fn bytes(&self) -> u64 {
        DEVICE_MEMORY_SIZE * self.devices.len() as u64
    }

    /// The units of a range in order, and the number of bytes of each: piece `n` is on the device after that of piece `n - 1`.
    fn pieces(at: u64, length: usize) -> impl Iterator<Item = (u64, usize)> {
        let end = at + length as u64;
        let (first, last) = (at / UNIT as u64, end.div_ceil(UNIT as u64));
        (first..last).map(move |unit| {
            let start = at.max(unit * UNIT as u64);
            let end = end.min((unit + 1) * UNIT as u64);
            (start, usize::try_from(end - start).unwrap_or(UNIT))
        })
    }

    /// The parts of a range on each device: that of piece `n` is `shares[n % devices]`.
    fn shares(&self, at: u64, length: usize) -> Result<Vec<Share>, rust_dma::Error> {
        let mut shares: Vec<Share> = Vec::new();
        for (number, (start, bytes)) in Self::pieces(at, length).enumerate() {
            if let Some(share) = shares.get_mut(number % self.devices.len()) {
                share.length += bytes;
                continue;
            }
            let devices = self.devices.len() as u64;
            let (unit, within) = (start / UNIT as u64, start % UNIT as u64);
            let device = usize::try_from(unit % devices).unwrap_or(0);
            let at = unit / devices * UNIT as u64 + within;
            shares.push(Share { device, at, length: bytes, buffer: self.devices[device].buffer()? });
        }
        Ok(shares)
    }

    /// Reads the bytes to write from the socket into the buffers. All of them are read, also after an error, because the next request follows them.
    async fn receive(
        &self,
        kernel: &mut nbd::Kernel,
        request: &nbd::Request,
    ) -> io::Result<Result<Vec<Share>, rust_dma::Error>> {
        let mut shares = self.shares(request.at, request.length);
        let mut nowhere = [0; UNIT];
        let mut filled = vec![0; self.devices.len()];
        for (number, (_, bytes)) in Self::pieces(request.at, request.length).enumerate() {
            let number = number % self.devices.len();
            let place = match &mut shares {
                Ok(shares) => &mut shares[number].buffer[filled[number]..],
                Err(_) => &mut nowhere[..],
            };
            kernel.bytes(&mut place[..bytes]).await?;
            filled[number] += bytes;
        }
        Ok(shares)
    }

    /// All devices in parallel. If one fails, the others are still waited for.
    async fn transfer(
        &self,
        shares: Vec<Share>,
        direction: impl Fn(Buffer, std::ops::RangeTo<usize>, u64) -> Request<Buffer>,
    ) -> Result<Vec<Share>, rust_dma::Error> {
        let submitted: Vec<_> = shares
            .into_iter()
            .map(|Share { device, at, length, buffer }| (device, at, length, direction(buffer, ..length, at).submit()))
            .collect();
        let mut done = Ok(Vec::new());
        for (device, at, length, pending) in submitted {
            let ended = match pending {
                Ok(pending) => self.devices[device].context.wait(pending).await,
                Err(failed) => Err(failed),
            };
            match (ended, &mut done) {
                (Ok(buffer), Ok(shares)) => shares.push(Share { device, at, length, buffer }),
                (Err(failed), Ok(_)) => done = Err(failed.error),
                (_, Err(_)) => {}
            }
        }
        done
    }

    /// Writes the bytes that were read from the buffers to the socket.
    async fn send(
        &self,
        to: &mut OwnedWriteHalf,
        request: &nbd::Request,
        shares: Result<Vec<Share>, rust_dma::Error>,
    ) -> io::Result<()> {
        nbd::reply(to, request, &shares.as_ref().map(|_| ())).await?;
        let Ok(shares) = shares else { return Ok(()) };
        let mut sent = vec![0; shares.len()];
        for (number, (_, bytes)) in Self::pieces(request.at, request.length).enumerate() {
            let number = number % self.devices.len();
            to.write_all(&shares[number].buffer[sent[number]..][..bytes]).await?;
            sent[number] += bytes;
        }
        self.put_back(shares);
        Ok(())
    }

    fn put_back(&self, shares: Vec<Share>) {
        for share in shares {
            self.devices[share.device].free.borrow_mut().push(share.buffer);
        }
    }
}

impl Device {
    /// A buffer as large as the device memory.
    fn buffer(&self) -> Result<Buffer, rust_dma::Error> {
        match self.free.borrow_mut().pop() {
            Some(buffer) => Ok(buffer),
            None => self.context.allocate(4096),
        }
    }
}
