// SPDX-License-Identifier: MIT OR Apache-2.0

//! `copy_engine`: the same copy by the CPU and by a DMA engine, and the CPU time of each.
//!
//! The buffers are the same for both. A thread of the lowest priority computes meanwhile: the CPU time that it gets is what a copy leaves
//! to other programs. Also what the kernel does for a copy is missing there, its interrupt handler included.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::ensure;
use clap::Parser;
use rust_dma::{Buffer, Context, Pending, Request};
use rustix::{
    process::nice,
    time::{ClockId, clock_gettime},
};

/// The same copy by the CPU and by a DMA engine, and the CPU time of each.
#[derive(Parser)]
struct Options {
    /// Number of MiB that are copied, for each size and each way: rounded down to an even number, and at least 2.
    #[arg(short = 'n', default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    mebibytes: u32,
    /// The device. It must copy from buffer to buffer.
    #[arg(default_value = "/dev/rdma0")]
    node: String,
}

/// Sizes of a copy.
const SIZES: [usize; 4] = [4 << 10, 16 << 10, 64 << 10, 1 << 20];

/// Bytes of the copies that are submitted by one call, and whose completions are waited for together.
const BATCH: usize = 2 << 20;

/// Batches in flight: the engine has the next one when one ends.
const BATCHES: usize = 2;

/// Source and destination of a copy.
type Pair = (Buffer, Buffer);

/// Who copies.
#[derive(Clone, Copy)]
enum Way {
    Cpu,
    Engine,
}

/// The cost of one way.
struct Cost {
    elapsed: Duration,
    /// CPU time of the thread that copies, without interrupts.
    cpu: Duration,
    /// CPU time of the thread that computes.
    left: Duration,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let context = Context::open(&options.node)?;
    ensure!(context.info()?.copies_directly(), "{} copies through its device memory only", options.node);
    let head = ["size", "by", "elapsed, ms", "its CPU, ms", "MB/s", "left to others, %"];
    println!("{:>8} {:6} {:>12} {:>12} {:>8} {:>18}", head[0], head[1], head[2], head[3], head[4], head[5]);
    for size in SIZES {
        let mut batches = batches(&context, size)?;
        for way in [Way::Cpu, Way::Engine] {
            let count = batches_in(options.mebibytes);
            // The first round, of all batches, is not counted, because the buffers are mapped in it.
            way.measured(&context, &mut batches, BATCHES as u64)?;
            let cost = way.measured(&context, &mut batches, count)?;
            cost.print(size, way, count);
        }
        for (from, to) in batches.iter().flatten() {
            ensure!(from[..] == to[..], "the copy differs");
        }
    }
    Ok(())
}

/// Whole batches, one at least.
fn batches_in(mebibytes: u32) -> u64 {
    ((u64::from(mebibytes) << 20) / BATCH as u64).max(1)
}

/// Buffers for copies of this size, with random contents at the sources.
fn batches(context: &Context, size: usize) -> anyhow::Result<VecDeque<Vec<Pair>>> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut pair = || {
        let mut from = context.allocate(size)?;
        for word in from.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_ne_bytes());
        }
        Ok((from, context.allocate(size)?))
    };
    (0..BATCHES).map(|_| (0..BATCH / size).map(|_| pair()).collect()).collect()
}

impl Cost {
    #[expect(clippy::cast_precision_loss, reason = "a rate, for people")]
    fn print(&self, size: usize, way: Way, count: u64) {
        let (size, way) = (format!("{} KiB", size >> 10), way.name());
        let (elapsed, cpu) = (milliseconds(self.elapsed), milliseconds(self.cpu));
        let rate = (count * BATCH as u64) as f64 / self.elapsed.as_secs_f64() / 1e6;
        let left = self.left.as_secs_f64() / self.elapsed.as_secs_f64() * 100.0;
        println!("{size:>8} {way:6} {elapsed:12.1} {cpu:12.1} {rate:8.0} {left:18.0}");
    }
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::Engine => "engine",
        }
    }

    /// Copies this many batches, and computes at the same time.
    fn measured(self, context: &Context, batches: &mut VecDeque<Vec<Pair>>, count: u64) -> anyhow::Result<Cost> {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let computing = scope.spawn(|| {
                // Of this thread only.
                let _ = nice(19);
                let before = cpu_time();
                compute_until(|| over.load(Relaxed));
                cpu_time().saturating_sub(before)
            });
            let (begin, before) = (Instant::now(), cpu_time());
            let copied = match self {
                Self::Cpu => copy_by_cpu(batches, count),
                Self::Engine => copy_by_engine(context, batches, count),
            };
            let (elapsed, cpu) = (begin.elapsed(), cpu_time().saturating_sub(before));
            over.store(true, Relaxed);
            let left = computing.join().expect("it does not panic");
            copied?;
            Ok(Cost { elapsed, cpu, left })
        })
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as the other way")]
fn copy_by_cpu(batches: &mut VecDeque<Vec<Pair>>, count: u64) -> anyhow::Result<()> {
    for _ in 0..count {
        batches.rotate_left(1);
        for (from, to) in &mut batches[0] {
            to.copy_from_slice(from);
        }
    }
    Ok(())
}

fn copy_by_engine(context: &Context, batches: &mut VecDeque<Vec<Pair>>, count: u64) -> anyhow::Result<()> {
    let mut flights: VecDeque<Vec<Pending<Pair>>> = VecDeque::new();
    for _ in 0..count {
        if batches.is_empty() {
            land(&mut flights, batches)?;
        }
        let batch = batches.pop_front().into_iter().flatten();
        let submitted = context.submit_all(batch.map(|(from, to)| Request::copy(from, .., to, 0)).collect());
        if let Some(error) = submitted.error {
            return Err(error.into());
        }
        flights.push_back(submitted.pending);
    }
    while !flights.is_empty() {
        land(&mut flights, batches)?;
    }
    Ok(())
}

/// Waits for the oldest batch. The completion of its last request is waited for first, so that the thread is woken once.
fn land(flights: &mut VecDeque<Vec<Pending<Pair>>>, batches: &mut VecDeque<Vec<Pair>>) -> Result<(), rust_dma::Error> {
    let mut batch = Vec::new();
    for pending in flights.pop_front().into_iter().flatten().rev() {
        batch.push(pending.wait()?);
    }
    batches.push_back(batch);
    Ok(())
}

/// Computes in small units.
fn compute_until(over: impl Fn() -> bool) {
    let mut state = 88_172_645_463_325_252_u64;
    while !over() {
        for _ in 0..1_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
        }
    }
    std::hint::black_box(state);
}

/// CPU time of the calling thread so far, in user and kernel mode.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
