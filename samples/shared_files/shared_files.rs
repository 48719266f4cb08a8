// SPDX-License-Identifier: MIT OR Apache-2.0

//! `shared_files`: a disk in a DMA buffer, with an ordinary file system. The engine reads and writes the files in place.
//!
//! Commands on the input, one per line, each with a reply of one line: `send AT LENGTH` transfers bytes of the disk to the
//! start of the device memory, `receive AT LENGTH` transfers them back. After an error, and at the end of the input, the disk stays.

#[path = "../lib/nbd.rs"]
mod nbd;

use std::{fmt, fs::File, io::Read, ops::Range, path::PathBuf};

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

/// The direction of a command.
#[derive(Clone, Copy)]
enum Word {
    Send,
    Receive,
}

impl fmt::Display for Word {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Send => "send",
            Self::Receive => "receive",
        })
    }
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
    let mut has_commands = true;
    loop {
        tokio::select! {
            request = kernel.next() => {
                let request = request?;
                if request.kind == nbd::Kind::Disconnect {
                    return Ok(());
                }
                answer(&mut disk, &request, &mut kernel, &mut to).await?;
            }
            command = commands.next_line(), if has_commands => match command? {
                None => has_commands = false,
                Some(command) => {
                    let (kept, reply) = obey(disk, &command);
                    disk = kept.context("the device still has the disk")?;
                    println!("{reply}");
                }
            },
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

/// Executes a command; returns the disk, unless the device still uses it, and the reply. The engine accesses the disk itself; no CPU copies
/// data.
fn obey(disk: Buffer, command: &str) -> (Option<Buffer>, String) {
    let (word, range) = match parse(command, disk.len()) {
        Ok(parsed) => parsed,
        Err(error) => return (Some(disk), format!("error: {error}")),
    };
    let request = match word {
        Word::Send => Request::to_device(disk, range.clone(), 0),
        Word::Receive => Request::from_device(disk, range.clone(), 0),
    };
    match request.run() {
        Ok(disk) => (Some(disk), format!("{word}: {} bytes, at {} of the disk", range.len(), range.start)),
        Err(failed) => (failed.buffers, format!("error: {}", failed.error)),
    }
}

fn parse(command: &str, size: usize) -> anyhow::Result<(Word, Range<usize>)> {
    let words: Vec<_> = command.split_whitespace().collect();
    let [word, at, length] = words[..] else { bail!("'{command}' is not: send AT LENGTH, receive AT LENGTH") };
    let word = match word {
        "send" => Word::Send,
        "receive" => Word::Receive,
        _ => bail!("'{word}' is neither send nor receive"),
    };
    let (at, length): (usize, usize) = (at.parse()?, length.parse()?);
    let end = at.checked_add(length).filter(|end| *end <= size);
    let end = end.with_context(|| format!("the disk has {size} bytes"))?;
    Ok((word, at..end))
}
