// SPDX-License-Identifier: MIT OR Apache-2.0

//! overlap: the same transfers in three ways, and what the CPU does in that time.
//!
//! - *blocking*: one call for each, which sleeps until the device is done;
//! - *polling*: submitted, and polled in a loop;
//! - *wake-up*: submitted by a thread that sleeps until the driver wakes it, while the program computes.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use rust_dma::{Buffer, Context, Request};
use rustix::time::{ClockId, clock_gettime};

/// The same transfers in three ways, and what the CPU does in that time.
#[derive(Parser)]
struct Options {
    /// Number of transfers of 4096 bytes, for each way.
    #[arg(short = 'n', default_value_t = 10)]
    transfers: u32,
    /// Print the CPU time of each way as a label, a tab, and a number, for `chart`.
    #[arg(long)]
    for_chart: bool,
    /// The device.
    #[arg(default_value = "/dev/rdma0")]
    node: String,
}

/// How a transfer is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Blocking,
    Polling,
    WakeUp,
}

/// The cost of one way.
struct Cost {
    way: &'static str,
    elapsed: Duration,
    /// CPU time of the thread that requests the transfers.
    cpu: Duration,
    /// Units of work that the program has computed in that time.
    work: u64,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let context = Context::open(&options.node)?;
    let mut buffer = context.allocate(4096)?;
    let mut costs = Vec::new();
    // The first round is not counted, because the program is loaded in it.
    for transfers in [1, options.transfers] {
        costs.clear();
        for way in Way::ALL {
            let (returned, cost) = way.measured(buffer, transfers)?;
            buffer = returned;
            costs.push(cost);
        }
    }

    // The work that is possible in the same time without transfers.
    let end = Instant::now() + costs.iter().map(|cost| cost.elapsed).max().unwrap_or_default();
    let alone = compute_until(|| Instant::now() >= end);

    if !options.for_chart {
        println!("{:10} {:>9} {:>12} {:>14} {:>16}", "way", "transfers", "elapsed, ms", "its CPU, ms", "computed, %");
    }
    for cost in costs {
        if options.for_chart {
            println!("{}\t{:.3}", cost.way, milliseconds(cost.cpu));
        } else {
            let (way, elapsed, cpu) = (cost.way, milliseconds(cost.elapsed), milliseconds(cost.cpu));
            println!("{way:10} {:9} {elapsed:12.1} {cpu:14.3} {:16.1}", options.transfers, percent(cost.work, alone));
        }
    }
    Ok(())
}

impl Way {
    const ALL: [Self; 3] = [Self::Blocking, Self::Polling, Self::WakeUp];

    fn name(self) -> &'static str {
        match self {
            Self::Blocking => "blocking",
            Self::Polling => "polling",
            Self::WakeUp => "wake-up",
        }
    }

    fn transfer(self, buffer: Buffer) -> Result<Buffer, rust_dma::Error> {
        let request = Request::to_device(buffer, .., 0);
        if self == Self::Blocking {
            return Ok(request.run()?);
        }
        let pending = request.submit()?;
        while self == Self::Polling && !pending.is_done() {}
        Ok(pending.wait()?)
    }

    /// Requests transfers in a separate thread; computes at the same time, if this way allows it.
    fn measured(self, mut buffer: Buffer, transfers: u32) -> Result<(Buffer, Cost), rust_dma::Error> {
        let over = AtomicBool::new(false);
        let begin = Instant::now();
        thread::scope(|scope| {
            let over = &over;
            let transferring = scope.spawn(move || {
                let before = cpu_time();
                for _ in 0..transfers {
                    buffer = self.transfer(buffer)?;
                }
                over.store(true, Relaxed);
                Ok::<_, rust_dma::Error>((buffer, cpu_time().saturating_sub(before)))
            });
            let over = || over.load(Relaxed) || transferring.is_finished();
            let work = if self == Self::WakeUp { compute_until(over) } else { 0 };
            let (buffer, cpu) = transferring.join().expect("it does not panic")?;
            Ok((buffer, Cost { way: self.name(), elapsed: begin.elapsed(), cpu, work }))
        })
    }
}

/// Computes in small units, and returns their number.
fn compute_until(over: impl Fn() -> bool) -> u64 {
    let mut state = 88_172_645_463_325_252_u64;
    let mut pieces = 0;
    while !over() {
        for _ in 0..10_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
        }
        pieces += 1;
    }
    std::hint::black_box(state);
    pieces
}

/// CPU time of the calling thread so far, in user and kernel mode.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "some thousands")]
fn percent(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64 * 100.0
}
