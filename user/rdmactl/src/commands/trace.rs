//! `trace`: events of devices, as they happen.

mod child;
mod event;
mod instance;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use self::{child::Traced, event::Event, instance::Instance};
use crate::{
    cli::Trace,
    failure::Failure,
    interrupt,
    output::{self, Output},
};

/// The time between two looks for events. The kernel wakes a reader only when there are many.
const INTERVAL: Duration = Duration::from_millis(100);

/// Traces until the end, and that of the command.
pub fn run(arguments: &Trace, output: &Output) -> Result<ExitCode, Failure> {
    // Events from before a signal are still printed.
    interrupt::ends_itself();
    let mut instance = Instance::create()?;
    instance.start(arguments)?;
    let mut command = match arguments.command.split_first() {
        None => None,
        Some((program, rest)) => Some(Traced::start(program, rest)?),
    };
    let traced = trace(arguments, output, &mut instance, command.as_mut());
    drop(instance);
    let code = match (command, interrupt::received()) {
        // After an error, too: it is not left behind.
        (Some(mut command), None) => command.exit_code().map(ExitCode::from),
        _ => Ok(ExitCode::SUCCESS),
    };
    match interrupt::received() {
        Some(signal) => Err(Failure::Signal(signal)),
        None => traced.and(code),
    }
}

fn trace(
    arguments: &Trace,
    output: &Output,
    instance: &mut Instance,
    mut command: Option<&mut Traced>,
) -> Result<(), Failure> {
    let deadline = arguments.seconds.map(|seconds| Instant::now() + Duration::from_secs_f64(seconds));
    let mut left = arguments.count.unwrap_or(u64::MAX);
    let (mut signalled, mut ended, mut more) = (false, false, false);
    while left > 0 && !signalled && (more || !ended) {
        let interval = if more { Duration::ZERO } else { INTERVAL };
        let time =
            deadline.map_or(interval, |deadline| interval.min(deadline.saturating_duration_since(Instant::now())));
        // After a signal, there is time for one look only.
        signalled = interrupt::sleep(time).is_some();
        if !signalled && !ended && is_over(deadline, command.as_deref_mut())? {
            // All that was recorded until now is printed, however long that takes.
            instance.stop()?;
            ended = true;
        }
        let arrived = instance.lines()?;
        more = arrived.more;
        for line in arrived.lines {
            if let Some(lost) = event::lost(&line) {
                output::warn(&format!("events are missing: {lost}"));
            }
            if let Some(event) = Event::parse(&line).filter(|_| left > 0) {
                output.result(&event, || line.trim_start().to_owned())?;
                left -= 1;
            }
        }
    }
    Ok(())
}

/// Whether the time has passed, or the command has ended.
fn is_over(deadline: Option<Instant>, command: Option<&mut Traced>) -> Result<bool, Failure> {
    let passed = deadline.is_some_and(|deadline| Instant::now() >= deadline);
    Ok(passed || command.map_or(Ok(false), Traced::has_ended)?)
}
