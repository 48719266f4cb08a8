//! `bench`: the speed of a device, and the cost of calls.

mod measure;
mod plot;

use serde::Serialize;

use self::{
    measure::{Measured, Series},
    plot::Picture,
};
use crate::{cli::Bench, device, failure::Failure, output, output::Output, sysfs};

#[derive(Serialize)]
struct Report {
    device: String,
    kernel: String,
    rounds: u32,
    #[serde(flatten)]
    measured: Measured,
}

/// Measures.
pub fn run(arguments: &Bench, output: &Output) -> Result<(), Failure> {
    let device = device::one(arguments.one.name())?;
    let context = device.open()?;
    let picture = arguments.svg.as_deref().map(Picture::create).transpose()?;
    let report = Report {
        kernel: sysfs::release(),
        rounds: arguments.rounds,
        measured: measure::all(&context, arguments.rounds, output.shows_progress(), &device.failed())?,
        device: device.name,
    };
    // Neither error takes the other result away.
    let printed = output.result(&report, || text(&report));
    let title = format!("{} on Linux {}", report.device, report.kernel);
    let drawn = picture.map_or(Ok(()), |picture| picture.draw(&title, &report.measured.latency));
    printed.and(drawn)
}

fn text(report: &Report) -> String {
    let measured = &report.measured;
    let latency = measured.latency.iter().flat_map(|series| series.points.iter().map(move |point| (series, point)));
    let rows = latency.map(|(Series { operation, .. }, point)| {
        let ms = |us: f64| if us < 10_000.0 { format!("{:.3}", us / 1000.0) } else { format!("{:.1}", us / 1000.0) };
        vec![
            (*operation).to_owned(),
            output::size(point.bytes as u64),
            ms(point.min_us),
            ms(point.median_us),
            ms(point.max_us),
            rate(point.bytes_per_second),
        ]
    });
    let latencies = output::table(&["REQUEST", "SIZE", "MIN ms", "MEDIAN ms", "MAX ms", "RATE"], rows);
    let rows = measured.calls.iter().map(|call| {
        vec![
            call.call.to_owned(),
            format!("{:.2}", call.min_us),
            format!("{:.2}", call.median_us),
            format!("{:.2}", call.max_us),
        ]
    });
    let calls = output::table(&["CALL", "MIN µs", "MEDIAN µs", "MAX µs"], rows);
    format!("{}, Linux {}, rounds: {}\n\n{latencies}\n\n{calls}", report.device, report.kernel, report.rounds)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate, for people")]
fn rate(bytes_per_second: f64) -> String {
    format!("{}/s", output::size(bytes_per_second as u64))
}
