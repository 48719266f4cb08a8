//! `top`: monitors devices.

mod look;
mod screen;

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use self::look::{Change, Look};
use super::{all_devices, devices};
use crate::{cli::Top, failure::Failure, interrupt::Interrupt, output::Output};

/// Monitors them.
pub fn run(arguments: &Top, output: &Output) -> Result<(), Failure> {
    let names = match arguments.device.is_empty() {
        true => all_devices()?,
        false => devices(&arguments.device)?,
    };
    let names: Vec<_> = names.into_iter().map(|device| device.name).collect();
    let interval = Duration::from_secs_f64(arguments.interval);
    let count = arguments.count.unwrap_or(u64::MAX);
    let interrupt = Interrupt::new()?;
    let first = Look::take(&names)?;
    if !output.json() && io::stdout().is_terminal() {
        return screen::run(&names, first, interval, count, &interrupt);
    }
    let mut before = first;
    for _ in 0..count {
        wait(interval, &interrupt)?;
        let now = Look::take(&names)?;
        let change = Change::between(&before, &now);
        output.result(&change, || change.text())?;
        before = now;
    }
    Ok(())
}

/// Waits for this time, or until a signal.
fn wait(interval: Duration, interrupt: &Interrupt) -> Result<(), Failure> {
    let mut left = interval;
    while !left.is_zero() {
        interrupt.check()?;
        let nap = left.min(Duration::from_millis(100));
        std::thread::sleep(nap);
        left -= nap;
    }
    interrupt.check()
}
