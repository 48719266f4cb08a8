//! `top`: monitors devices.

mod columns;
mod look;
mod screen;

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use self::look::{Change, Look};
use crate::{cli::Top, device, failure::Failure, output::Output};

/// Monitors them.
pub fn run(arguments: &Top, output: &Output) -> Result<(), Failure> {
    let names = arguments.several.names();
    let names = match names.is_empty() {
        true => device::all()?,
        false => device::some(&names)?,
    };
    let names: Vec<_> = names.into_iter().map(|device| device.name).collect();
    let interval = Duration::from_secs_f64(arguments.interval);
    let count = arguments.count.unwrap_or(u64::MAX);
    let first = Look::take(&names)?;
    if !output.json() && io::stdout().is_terminal() {
        return screen::run(&names, first, interval, count);
    }
    let mut before = first;
    for _ in 0..count {
        std::thread::sleep(interval);
        let now = Look::again(&names)?;
        let change = Change::between(&before, &now);
        output.result(&change, || change.text())?;
        before = now;
    }
    Ok(())
}
