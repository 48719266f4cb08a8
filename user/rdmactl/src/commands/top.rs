//! `top`: monitors devices.

mod look;
mod screen;

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use self::look::{Change, Look};
use super::{all_devices, devices};
use crate::{cli::Top, failure::Failure, output::Output};

/// Monitors them.
pub fn run(arguments: &Top, output: &Output) -> Result<(), Failure> {
    let names = match arguments.device.is_empty() {
        true => all_devices()?,
        false => devices(&arguments.device)?,
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
        let now = Look::take(&names)?;
        let change = Change::between(&before, &now);
        output.result(&change, || change.text())?;
        before = now;
    }
    Ok(())
}
