// SPDX-License-Identifier: MIT OR Apache-2.0

//! `shared_files`: a disk in a DMA buffer, with an ordinary file system. The engine reads and writes the files in place.
//!
//! Commands on the input, one per line, each with a reply of one line: `send AT LENGTH` transfers bytes of the disk to the
//! start of the device memory, `receive AT LENGTH` transfers them back.

#[path = "../lib/nbd.rs"]
mod nbd;

use std::{fs::File, io::Read, path::PathBuf};

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use rust_dma::{Buffer, Context, Request};
use rustix::fs::{Mode, OFlags};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::unix::OwnedWriteHalf,
};

/// A disk in a DMA buffer, with an ordinary file system.
#[derive(Parser)]
struct Options {
    /// The device.
    #[arg(long, default_value = "/dev/rdma0")]
    node: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server of the disk.
    Serve {
        /// The socket for nbd-client.
        #[arg(long, default_value = "/run/shared_files")]
        socket: PathBuf,
        /// Its size.
        #[arg(long, default_value_t = 1 << 20)]
        bytes: usize,
    },
    /// Try to read a file into a buffer without a copy (`O_DIRECT`).
    Direct {
        /// The file.
        file: PathBuf,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let context = Context::open(&options.node)?;
    match options.command {
        Command::Direct { file } => {
            let mut buffer = context.allocate(4096)?;
            let flags = OFlags::RDONLY | OFlags::DIRECT | OFlags::CLOEXEC;
            let mut file = File::from(rustix::fs::open(&file, flags, Mode::empty()).context("the file")?);
            let read = file.read(&mut buffer).context("read(2) with O_DIRECT, into a buffer")?;
            println!("{read} bytes came without a copy");
            Ok(())
        }
        Command::Serve { socket, bytes } => {
            let disk = context.allocate(bytes)?;
            let listener = nbd::listen(&socket).context(format!("{}", socket.display()))?;
            println!("a disk of {} bytes", disk.len());
            let (kernel, to) = nbd::accept(&listener, disk.len() as u64)?;
            serve(disk, kernel, to).await
        }
    }
}

/// Executes the kernel's requests and the commands on the input, one at a time.
async fn serve(mut disk: Buffer, mut kernel: nbd::Kernel, mut to: OwnedWriteHalf) -> anyhow::Result<()> {
    let mut commands = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            request = kernel.next() => {
                let request = request?;
                if request.kind == nbd::Kind::Disconnect {
                    return Ok(());
                }
                answer(&mut disk, &request, &mut kernel, &mut to).await?;
            }
            command = commands.next_line() => {
                let Some(command) = command? else { return Ok(()) };
                disk = obey(disk, &command)?;
            }
        }
    }
}

/// Data that the kernel reads is written from the buffer to the socket, data that it writes is read from the socket into the buffer.
async fn answer(
    disk: &mut Buffer,
    request: &nbd::Request,
    kernel: &mut nbd::Kernel,
    to: &mut OwnedWriteHalf,
) -> anyhow::Result<()> {
    let start = usize::try_from(request.at)?;
    let bytes = start
        .checked_add(request.length)
        .and_then(|end| disk.get_mut(start..end))
        .context("a request beyond the end")?;
    if request.kind == nbd::Kind::Write {
        kernel.bytes(bytes).await?;
    }
    nbd::reply(to, request, &Ok::<_, ()>(())).await?;
    if request.kind == nbd::Kind::Read {
        to.write_all(bytes).await?;
    }
    Ok(())
}

/// The engine accesses the disk itself; no CPU copies data.
fn obey(disk: Buffer, command: &str) -> anyhow::Result<Buffer> {
    let words: Vec<_> = command.split_whitespace().collect();
    let [word, at, length] = words[..] else { bail!("'{command}' is not: send AT LENGTH, receive AT LENGTH") };
    let (at, length): (usize, usize) = (at.parse()?, length.parse()?);
    let range = at..at.saturating_add(length);
    let disk = match word {
        "send" => Request::to_device(disk, range, 0).run()?,
        "receive" => Request::from_device(disk, range, 0).run()?,
        _ => bail!("'{word}' is neither send nor receive"),
    };
    println!("{word}: {length} bytes, at {at} of the disk");
    Ok(disk)
}
