//! The latencies as a picture.

use std::{io::Write, path::Path};

use plotters::{coord::combinators::IntoLogRange, prelude::*};

use super::measure::{Point, Series};
use crate::{destination::Destination, failure::Failure};

/// Colours that can be distinguished with colour blindness. Source: Okabe and Ito, "Color Universal Design".
const COLOURS: [RGBColor; 3] = [RGBColor(0, 114, 178), RGBColor(230, 159, 0), RGBColor(0, 0, 0)];

/// The file of the picture. It is open before the measurement, which a wrong path would discard.
pub struct Picture {
    to: Destination,
    name: String,
}

impl Picture {
    /// Opens it. An existing picture stays until it is replaced.
    pub fn create(path: &Path) -> Result<Self, Failure> {
        Ok(Self { to: Destination::open(path, None, |_| Ok(()))?, name: path.display().to_string() })
    }

    /// Draws the latencies, over the sizes of requests.
    pub fn draw(self, title: &str, latency: &[Series]) -> Result<(), Failure> {
        let mut picture = String::new();
        // Only writing can fail, which is checked below.
        picture_of(&mut picture, title, latency).map_err(|error| Failure::Usage(format!("the plot: {error}")))?;
        let written = self.to.begin().and_then(|()| self.to.file().write_all(picture.as_bytes()));
        written.and_then(|()| self.to.finish(picture.len() as u64)).map_err(Failure::system(self.name))
    }
}

fn picture_of(to: &mut String, title: &str, latency: &[Series]) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(to, (800, 480)).into_drawing_area();
    area.fill(&WHITE)?;
    let points = || latency.iter().flat_map(|series| &series.points);
    let longest = points().map(|point| point.max_us / 1000.0).fold(0.0, f64::max);
    let largest = points().map(size).fold(2.0, f64::max);
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 20))
        .margin(16)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d((1.0..largest).log_scale().base(2.0), 0.0..longest * 1.1)?;
    chart
        .configure_mesh()
        .x_desc("bytes of a request")
        .y_desc("ms from submission to completion (median; bars: minimum and maximum)")
        .x_label_formatter(&|bytes| format!("{bytes:.0}"))
        .draw()?;
    // Each thinner than the one below it, because equal lines overlap.
    for (series, (colour, width)) in latency.iter().zip(COLOURS.into_iter().zip([6, 4, 2])) {
        let line = series.points.iter().map(|point| (size(point), point.median_us / 1000.0));
        chart
            .draw_series(LineSeries::new(line, colour.stroke_width(width)))?
            .label(series.operation)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(width)));
        chart.draw_series(series.points.iter().map(|point| {
            let (min, median, max) = (point.min_us / 1000.0, point.median_us / 1000.0, point.max_us / 1000.0);
            ErrorBar::new_vertical(size(point), min, median, max, colour.filled(), 6)
        }))?;
    }
    chart
        .configure_series_labels()
        .background_style(WHITE)
        .border_style(BLACK)
        .position(SeriesLabelPosition::UpperLeft)
        .draw()?;
    area.present()?;
    drop(chart);
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
fn size(point: &Point) -> f64 {
    point.bytes as f64
}
