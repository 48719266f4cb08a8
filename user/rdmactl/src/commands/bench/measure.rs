//! The measurements.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use rust_dma::{Buffer, Context, Error, Request};
use serde::Serialize;

use crate::failure::Failure;

/// Sizes of the requests.
const SIZES: [usize; 4] = [1, 64, 1024, 4096];

/// Sizes of longer copies through the device memory.
const LONG: [usize; 1] = [16 << 10];

/// Sizes of longer copies from buffer to buffer.
const LONG_DIRECT: [usize; 3] = [64 << 10, 1 << 20, 4 << 20];

/// Requests in one call.
const BATCHES: [usize; 3] = [1, 64, 1024];

/// Bytes that are mapped and accessed.
const MAPPED: usize = 1 << 20;

/// All results.
#[derive(Serialize)]
pub struct Measured {
    /// Time from submission to completion, on an idle device.
    pub latency: Vec<Series>,
    /// Cost of calls for the program.
    pub calls: Vec<Call>,
}

/// One kind of request.
#[derive(Serialize)]
pub struct Series {
    /// As in the header.
    pub operation: &'static str,
    /// By size.
    pub points: Vec<Point>,
}

/// Requests of one size. Times are in microseconds.
#[derive(Serialize)]
pub struct Point {
    /// Size of each.
    pub bytes: usize,
    /// The shortest time.
    pub min_us: f64,
    /// The median.
    pub median_us: f64,
    /// The longest.
    pub max_us: f64,
    /// At the median.
    pub bytes_per_second: f64,
}

/// One kind of call. Times are in microseconds.
#[derive(Serialize)]
pub struct Call {
    /// Its name.
    pub call: &'static str,
    /// The shortest time.
    pub min_us: f64,
    /// The median.
    pub median_us: f64,
    /// The longest.
    pub max_us: f64,
}

/// Measures everything.
pub fn all(context: &Context, rounds: u32, shown: bool, of: &impl Fn(Error) -> Failure) -> Result<Measured, Failure> {
    let info = context.info().map_err(of)?;
    let has_memory = info.device_memory_size > 0;
    let mut copies = SIZES.to_vec();
    copies.extend_from_slice(if info.copies_directly() { &LONG_DIRECT } else { &LONG });
    let steps = (if has_memory { 2 * SIZES.len() } else { 0 }) + copies.len() + BATCHES.len() + 2;
    let bar = if shown { ProgressBar::new(steps as u64 * u64::from(rounds)) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{msg:28} {wide_bar} {eta} left") {
        bar.set_style(style);
    }
    let bench = Bench { context, has_memory, rounds, bar, of };
    let measured = bench.run(&copies);
    bench.bar.finish_and_clear();
    measured
}

struct Bench<'a, F> {
    context: &'a Context,
    has_memory: bool,
    rounds: u32,
    bar: ProgressBar,
    of: &'a F,
}

impl<F: Fn(Error) -> Failure> Bench<'_, F> {
    fn run(&self, copies: &[usize]) -> Result<Measured, Failure> {
        let to = |bytes| Ok(Request::to_device(self.context.allocate(bytes)?, ..bytes, 0));
        let from = |bytes| Ok(Request::from_device(self.context.allocate(bytes)?, ..bytes, 0));
        let mut latency = Vec::new();
        if self.has_memory {
            latency.push(self.series("to_device", &SIZES, to)?);
            latency.push(self.series("from_device", &SIZES, from)?);
        }
        latency.push(self.series("copy", copies, |bytes| self.copy(bytes))?);
        let mut calls = Vec::new();
        for (call, batch) in ["SUBMIT of 1", "SUBMIT of 64", "SUBMIT of 1024"].into_iter().zip(BATCHES) {
            calls.push(self.call(call, || self.submit(batch))?);
        }
        calls.push(self.call("ALLOC, mmap, munmap, FREE", || Ok(timed(|| self.context.allocate(MAPPED))?.0))?);
        calls.push(self.call("access 1 MiB, each page", || self.touch())?);
        Ok(Measured { latency, calls })
    }

    fn copy(&self, bytes: usize) -> Result<Request<(Buffer, Buffer)>, Error> {
        Ok(Request::copy(self.context.allocate(bytes)?, ..bytes, self.context.allocate(bytes)?, 0))
    }

    fn series<T>(
        &self,
        operation: &'static str,
        sizes: &[usize],
        make: impl Fn(usize) -> Result<Request<T>, Error>,
    ) -> Result<Series, Failure> {
        let point = |&bytes: &usize| {
            let once = || {
                let request = make(bytes)?;
                let began = Instant::now();
                let buffers = request.run()?;
                let time = began.elapsed();
                drop(buffers);
                Ok(time)
            };
            let times = self.times(format!("{operation}, {bytes} bytes"), once)?;
            let median_us = median(&times);
            #[expect(clippy::cast_precision_loss, reason = "a rate, for people")]
            let bytes_per_second = bytes as f64 / (median_us.max(1e-3) / 1e6);
            Ok(Point { bytes, min_us: times[0], median_us, max_us: times[times.len() - 1], bytes_per_second })
        };
        let points = sizes.iter().map(point).collect::<Result<_, Failure>>()?;
        Ok(Series { operation, points })
    }

    fn call(&self, call: &'static str, once: impl Fn() -> Result<Duration, Error>) -> Result<Call, Failure> {
        let times = self.times(call.to_owned(), once)?;
        Ok(Call { call, min_us: times[0], median_us: median(&times), max_us: times[times.len() - 1] })
    }

    /// Repeats it; returns the times in microseconds, sorted.
    fn times(&self, what: String, once: impl Fn() -> Result<Duration, Error>) -> Result<Vec<f64>, Failure> {
        self.bar.set_message(what);
        let mut times = Vec::new();
        for _ in 0..self.rounds {
            times.push(once().map_err(self.of)?.as_secs_f64() * 1e6);
            self.bar.inc(1);
        }
        times.sort_by(f64::total_cmp);
        Ok(times)
    }

    fn submit(&self, batch: usize) -> Result<Duration, Error> {
        match self.has_memory {
            true => self.submit_all(batch, 1, |piece| Request::to_device(piece, .., 0)),
            false => self.submit_all(batch, 2, |piece| {
                let (from, to) = piece.split_at(1);
                Request::copy(from, .., to, 0)
            }),
        }
    }

    /// Queues this many, and cancels all but the running one. Their pieces are of one buffer, which has less memory than one page for each.
    fn submit_all<T>(
        &self,
        batch: usize,
        piece: usize,
        make: impl Fn(Buffer) -> Request<T>,
    ) -> Result<Duration, Error> {
        let mut rest = self.context.allocate(batch * piece)?;
        let mut requests = Vec::with_capacity(batch);
        for _ in 0..batch {
            let (first, others) = rest.split_at(piece);
            requests.push(make(first));
            rest = others;
        }
        let began = Instant::now();
        let submitted = self.context.submit_all(requests);
        let time = began.elapsed();
        if let Some(error) = submitted.error {
            return Err(error);
        }
        for pending in submitted.pending.iter().rev() {
            pending.cancel()?;
        }
        for pending in submitted.pending {
            match pending.wait() {
                Err(failed) if !matches!(failed.error, Error::Cancelled) => return Err(failed.error),
                _ => {}
            }
        }
        Ok(time)
    }

    fn touch(&self) -> Result<Duration, Error> {
        let mut buffer = self.context.allocate(MAPPED)?;
        let began = Instant::now();
        for place in (0..buffer.len()).step_by(4096) {
            buffer[place] = 1;
        }
        Ok(began.elapsed())
    }
}

/// The time of a call, including dropping its result.
fn timed<T>(run: impl FnOnce() -> Result<T, Error>) -> Result<(Duration, ()), Error> {
    let began = Instant::now();
    drop(run()?);
    Ok((began.elapsed(), ()))
}

/// The median of a non-empty list of sorted times.
fn median(times: &[f64]) -> f64 {
    f64::midpoint(times[(times.len() - 1) / 2], times[times.len() / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_in_the_middle() {
        for (times, expected) in [(vec![1.0], 1.0), (vec![1.0, 2.0], 1.5), (vec![1.0, 2.0, 9.0], 2.0)] {
            assert!((median(&times) - expected).abs() < f64::EPSILON);
        }
    }
}
