//! `copy`: a file through the engine.
//!
//! A piece is one copy from a buffer to another one. Several pieces are in flight on each device, so that its engine is never idle. Devices take turns, and pieces are written in the order in which they were read. Buffers are
//! accessed only by read(2) and write(2), which return an error if a device is removed, while a load would raise SIGBUS.

mod progress;
mod sink;
mod source;

use std::{
    collections::VecDeque,
    fs::File,
    io,
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

use rust_dma::{Buffer, Context, Error, Pending, Request};
use rustix::{
    fs::{MemfdFlags, memfd_create},
    io::Errno,
};
use serde::Serialize;

use self::{
    progress::Progress,
    sink::Sink,
    source::{Piece, Source},
};
use crate::{
    cli::Copy,
    device::{self, Device},
    failure::Failure,
    output::{self, Output, size},
};

/// Size of a piece that goes through the device memory: that of a transfer.
const SMALL: usize = 4096;

/// Size of a piece for engines that copy from buffer to buffer. Those in flight take as many bytes as such an engine accepts at a time.
const LARGE: usize = 512 << 10;

/// Pieces in flight on a device.
const DEPTH: usize = 4;

/// The result.
#[derive(Serialize)]
struct Copied {
    bytes: u64,
    /// Bytes through the engine; the others were holes.
    moved_bytes: u64,
    seconds: f64,
    bytes_per_second: f64,
    devices: Vec<String>,
    verified: bool,
}

/// A device in use.
struct Lane {
    device: Device,
    context: Context,
    /// Size of a piece.
    piece: usize,
    idle: Vec<(Buffer, Buffer)>,
    /// Why there is no memory for further ones.
    full: Option<Error>,
}

/// Its pieces in flight, in order.
enum Flight {
    Data { lane: usize, length: usize, pending: Pending<(Buffer, Buffer)> },
    Hole(u64),
}

/// Copies.
pub fn run(arguments: &Copy, output: &Output) -> Result<(), Failure> {
    let chosen = match arguments.device.is_empty() {
        true => vec![device::one(None)?],
        false => device::some(&arguments.device)?,
    };
    let source = Source::open(&arguments.from)?;
    let (lanes, left_out) = lanes(chosen)?;
    if !output.json() {
        for reason in left_out {
            output::warn(&format!("it is copied without {reason}"));
        }
    }
    let sink = Sink::create(&arguments.to, &source)?;
    let shown = output.shows_progress() && !arguments.quiet;
    let mut work = Copier {
        progress: Progress::new(shown, source.length()),
        scratch: arguments.verify.then(scratch).transpose()?,
        lanes,
        flights: VecDeque::new(),
        next: 0,
        sink,
        copied: 0,
        moved: 0,
    };
    let began = Instant::now();
    work.copy(source)?;
    let copied = work.finish(began.elapsed())?;
    if arguments.quiet {
        return Ok(());
    }
    let text = || {
        let verified = if copied.verified { ", compared" } else { "" };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate, for people")]
        let rate = size(copied.bytes_per_second as u64);
        let bytes = match copied.bytes {
            bytes @ 0..1024 => format!("{bytes} bytes"),
            bytes => format!("{bytes} bytes ({})", size(bytes)),
        };
        format!("{bytes} in {:.1} s, {rate}/s{verified}", copied.seconds)
    };
    output.result(&copied, text)
}

/// The devices, with as much memory as there is, up to that for all pieces in flight. Those without any are left out, and the reasons
/// returned, unless all are.
fn lanes(devices: Vec<Device>) -> Result<(Vec<Lane>, Vec<Failure>), Failure> {
    let mut lanes = devices.into_iter().map(Lane::new).collect::<Result<Vec<_>, _>>()?;
    // In turns, because what a user may have (RLIMIT_MEMLOCK) is for all devices together.
    for _ in 0..DEPTH {
        lanes.iter_mut().try_for_each(Lane::grow)?;
    }
    let (ready, without): (Vec<_>, Vec<_>) = lanes.into_iter().partition(|lane| !lane.idle.is_empty());
    let reasons = without.into_iter().filter_map(|lane| lane.full.map(lane.device.failed()));
    let mut reasons: Vec<_> = reasons.collect();
    match ready.is_empty() && !reasons.is_empty() {
        true => Err(reasons.swap_remove(0)),
        false => Ok((ready, reasons)),
    }
}

impl Lane {
    fn new(device: Device) -> Result<Self, Failure> {
        let context = device.open()?;
        let info = context.info().map_err(device.failed())?;
        let piece = if info.copies_directly() { LARGE } else { SMALL };
        Ok(Self { device, context, piece, idle: Vec::new(), full: None })
    }

    /// Allocates the memory of one more piece, if there is any.
    fn grow(&mut self) -> Result<(), Failure> {
        if self.full.is_some() {
            return Ok(());
        }
        let pair = || Ok((self.context.allocate(self.piece)?, self.context.allocate(self.piece)?));
        match pair() {
            Ok(pair) => self.idle.push(pair),
            Err(error @ (Error::NoMemory { .. } | Error::Quota { .. })) => self.full = Some(error),
            Err(error) => return Err(self.device.failed()(error)),
        }
        Ok(())
    }

    /// An error of a call on a buffer. EFAULT means that the memory was freed because the device was removed.
    fn failure(&self, what: &str, error: io::Error) -> Failure {
        match Errno::from_io_error(&error) {
            Some(Errno::FAULT) if self.context.info().is_err() => self.device.failed()(Error::Gone),
            _ => Failure::system(what)(error),
        }
    }
}

struct Copier {
    lanes: Vec<Lane>,
    flights: VecDeque<Flight>,
    /// The device whose turn it is.
    next: usize,
    sink: Sink,
    progress: Progress,
    /// Memory for comparing pieces.
    scratch: Option<File>,
    copied: u64,
    moved: u64,
}

impl Copier {
    fn copy(&mut self, mut source: Source) -> Result<(), Failure> {
        loop {
            // From a slow stream, each piece is written when it is complete, without waiting for more input.
            while !source.is_ready() && !self.flights.is_empty() {
                self.land()?;
            }
            while self.lanes[self.next].idle.is_empty() {
                self.land()?;
            }
            let lane = &mut self.lanes[self.next];
            let Some((mut from, to)) = lane.idle.pop() else { continue };
            match source.next(&mut from) {
                Ok(Piece::Data(length)) => {
                    let request = Request::copy(from, ..length, to, 0);
                    let pending = request.submit().map_err(Error::from).map_err(lane.device.failed())?;
                    self.flights.push_back(Flight::Data { lane: self.next, length, pending });
                    self.next = (self.next + 1) % self.lanes.len();
                }
                Ok(Piece::Hole(length)) => {
                    lane.idle.push((from, to));
                    self.flights.push_back(Flight::Hole(length));
                }
                Ok(Piece::End) => {
                    lane.idle.push((from, to));
                    if self.flights.is_empty() {
                        return Ok(());
                    }
                    // A file may grow while it is copied: the copy ends where there is no more data when all of it is done.
                    self.land()?;
                }
                Err(error) => return Err(lane.failure(source.name(), error)),
            }
            self.progress.reaches(source.length());
        }
    }

    /// Waits for the oldest piece in flight, and writes it.
    fn land(&mut self) -> Result<(), Failure> {
        match self.flights.pop_front() {
            None => {}
            Some(Flight::Hole(length)) => {
                self.sink.hole(length)?;
                self.advance(length);
            }
            Some(Flight::Data { lane, length, pending }) => {
                let lane = &mut self.lanes[lane];
                let (from, to) = pending.wait().map_err(Error::from).map_err(lane.device.failed())?;
                if let Some(scratch) = &self.scratch {
                    let differs = difference(scratch, &from[..length], &to[..length]);
                    if let Some(at) = differs.map_err(|error| lane.failure("memory to compare in", error))? {
                        return Err(Failure::Mismatch(self.copied + at as u64));
                    }
                }
                self.sink.write(&to[..length]).map_err(|error| lane.failure(self.sink.name(), error))?;
                lane.idle.push((from, to));
                self.moved += length as u64;
                self.advance(length as u64);
            }
        }
        Ok(())
    }

    fn advance(&mut self, bytes: u64) {
        self.copied += bytes;
        self.progress.set(self.copied);
    }

    /// Renames the file.
    fn finish(self, time: Duration) -> Result<Copied, Failure> {
        self.sink.finish(self.copied)?;
        self.progress.finish();
        let seconds = time.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate, for people")]
        let bytes_per_second = self.copied as f64 / seconds.max(1e-9);
        Ok(Copied {
            bytes: self.copied,
            moved_bytes: self.moved,
            seconds,
            bytes_per_second,
            devices: self.lanes.into_iter().map(|lane| lane.device.name).collect(),
            verified: self.scratch.is_some(),
        })
    }
}

/// A file in memory.
fn scratch() -> Result<File, Failure> {
    let fd = memfd_create("rdmactl", MemfdFlags::CLOEXEC);
    fd.map(File::from).map_err(|errno| Failure::system("memory to compare in")(errno.into()))
}

/// The first position at which two pieces differ.
fn difference(scratch: &File, sent: &[u8], received: &[u8]) -> io::Result<Option<usize>> {
    let (sent, received) = (ours(scratch, sent)?, ours(scratch, received)?);
    Ok(sent.iter().zip(&received).position(|(sent, received)| sent != received))
}

/// A copy of bytes that may be revoked at any time, by write(2).
fn ours(scratch: &File, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut copy = vec![0; bytes.len()];
    scratch.write_all_at(bytes, 0)?;
    scratch.read_exact_at(&mut copy, 0)?;
    Ok(copy)
}
