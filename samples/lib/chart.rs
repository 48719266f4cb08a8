// SPDX-License-Identifier: MIT OR Apache-2.0

//! chart: draws a bar chart of a sample's figures. A line of the input is a label, a tab, and a number.

use std::{
    io::{BufRead, stdin},
    path::PathBuf,
};

use anyhow::Context as _;
use clap::Parser;
use plotters::prelude::*;

/// Draws bars: a line of the input is a label, a tab, and a number.
#[derive(Parser)]
struct Options {
    /// The SVG file to write.
    file: PathBuf,
    /// The title.
    title: String,
    /// The unit.
    unit: String,
    /// The length of a bar is the logarithm of its number, which is at least 1.
    #[arg(long)]
    logarithmic: bool,
}

/// A colour that can be distinguished with colour blindness. Source: Okabe and Ito, "Color Universal Design".
const COLOUR: RGBColor = RGBColor(0, 114, 178);

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let mut bars = Vec::new();
    for line in stdin().lock().lines() {
        let line = line?;
        let (label, number) = line.split_once('\t').with_context(|| format!("no tab in '{line}'"))?;
        let number: f64 = number.trim().parse().with_context(|| format!("'{number}' is no number"))?;
        bars.push((label.to_owned(), number));
    }
    draw(&options, &bars).map_err(|error| anyhow::anyhow!("{}: {error}", options.file.display()))
}

/// One bar below the other, with its label on the left and its number on the right.
fn draw(options: &Options, bars: &[(String, f64)]) -> Result<(), Box<dyn std::error::Error>> {
    let row = 34;
    let height = 70 + row * i32::try_from(bars.len())?;
    let area = SVGBackend::new(&options.file, (720, height.unsigned_abs())).into_drawing_area();
    area.fill(&WHITE)?;
    area.draw(&Text::new(options.title.as_str(), (16, 14), ("sans-serif", 18)))?;
    area.draw(&Text::new(options.unit.as_str(), (16, 40), ("sans-serif", 13)))?;
    let scale = |number: f64| if options.logarithmic { number.max(1.0).log10() } else { number };
    let largest = bars.iter().map(|bar| scale(bar.1)).fold(f64::MIN_POSITIVE, f64::max);
    let mut top = 64;
    for (label, number) in bars {
        #[expect(clippy::cast_possible_truncation, reason = "at most 400")]
        let width = (scale(*number) / largest * 400.0).round() as i32;
        area.draw(&Text::new(label.as_str(), (16, top + 5), ("sans-serif", 15)))?;
        area.draw(&Rectangle::new([(220, top), (220 + width.max(1), top + row - 10)], COLOUR.filled()))?;
        area.draw(&Text::new(number.to_string(), (228 + width, top + 5), ("sans-serif", 15)))?;
        top += row;
    }
    area.present()?;
    Ok(())
}
