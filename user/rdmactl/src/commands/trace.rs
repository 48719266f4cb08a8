//! `trace`: events of devices, as they happen.
//!
//! In a tracing instance of its own, which does not interfere with other users of tracing, and is removed at the end. Source: the kernel's
//! Documentation/trace/ftrace.rst, "Instances".

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::{fs::OpenOptionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{self, Child, ExitCode},
    time::{Duration, Instant},
};

use rustix::fs::OFlags;
use serde::Serialize;

use super::devices;
use crate::{
    cli::Trace,
    failure::Failure,
    interrupt::{Interrupt, readable_within},
    output::Output,
};

/// The directory of the kernel's tracing.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// One event.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Event<'a> {
    /// Seconds of the trace clock, as text, which keeps all digits.
    time: &'a str,
    cpu: u32,
    /// The program that ran, and its number.
    task: &'a str,
    event: &'a str,
    #[serde(flatten)]
    fields: BTreeMap<&'a str, Value<'a>>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Value<'a> {
    Number(i64),
    Word(&'a str),
}

/// Traces until the end.
pub fn run(arguments: &Trace, output: &Output) -> Result<ExitCode, Failure> {
    let interrupt = Interrupt::new()?;
    let instance = Instance::create()?;
    instance.choose(arguments)?;
    let mut events = instance.follow()?;
    let mut child = match arguments.command.split_first() {
        None => None,
        Some((program, rest)) => {
            let child = process::Command::new(program).args(rest).spawn();
            Some(child.map_err(Failure::system(&**program))?)
        }
    };
    let deadline = arguments.seconds.map(|seconds| Instant::now() + Duration::from_secs_f64(seconds));
    let mut left = arguments.count.unwrap_or(u64::MAX);
    let mut ended = None;
    while left > 0 {
        // Events from before the end are still printed.
        let last = ended.is_some()
            || deadline.is_some_and(|deadline| Instant::now() >= deadline)
            || interrupt.came().is_some();
        for line in events.next(if last { Duration::ZERO } else { Duration::from_millis(100) })? {
            if let Some(event) = Event::parse(&line).filter(|_| left > 0) {
                output.result(&event, || line.trim_start().to_owned())?;
                left -= 1;
            }
        }
        if last {
            break;
        }
        if let Some(child) = &mut child {
            ended = child.try_wait().map_err(Failure::system("the command"))?;
        }
    }
    // In this order: an instance that is being read cannot be removed.
    drop(events);
    drop(instance);
    let code = match child {
        None => 0,
        Some(child) => exit_code(child, interrupt.came())?,
    };
    match interrupt.came() {
        // A signal is the usual end of a trace without a limit, and not an error.
        Some(signal) if arguments.command.is_empty() => Err(Failure::Signal(signal)),
        _ => Ok(ExitCode::from(code)),
    }
}

/// Waits for the command; returns its exit code as in a shell.
fn exit_code(mut child: Child, came: Option<i32>) -> Result<u8, Failure> {
    if came.is_some() {
        // Ctrl-C has reached the command, too; other signals have not.
        let _ = child.kill();
    }
    let status = child.wait().map_err(Failure::system("the command"))?;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// An instance of the kernel's tracing; removed when dropped.
struct Instance {
    path: PathBuf,
}

impl Instance {
    fn create() -> Result<Self, Failure> {
        let there = TRACEFS.iter().map(Path::new).find(|path| path.join("instances").is_dir());
        let Some(there) = there else {
            let what = "cannot access the kernel's tracing: this needs root, and `mount -t tracefs tracefs /sys/kernel/tracing`";
            return Err(Failure::Usage(what.into()));
        };
        if !there.join("events/rust_dma").is_dir() {
            return Err(Failure::NoDevice(
                "the driver is not loaded, so that it has no events: `rdmactl doctor` finds the reason".into(),
            ));
        }
        let path = there.join(format!("instances/rdmactl-{}", process::id()));
        fs::create_dir(&path).map_err(Failure::system("an instance of the kernel's tracing"))?;
        Ok(Self { path })
    }

    /// Enables the selected events, for the selected devices.
    fn choose(&self, arguments: &Trace) -> Result<(), Failure> {
        let events = self.path.join("events/rust_dma");
        let numbers: Vec<_> = devices(&arguments.device)?
            .iter()
            .map(|device| format!("dev == {}", device.name.trim_start_matches("rdma")))
            .collect();
        if !numbers.is_empty() {
            self.write(&events.join("filter"), &numbers.join(" || "))?;
        }
        if arguments.event.is_empty() {
            return self.write(&events.join("enable"), "1");
        }
        for name in &arguments.event {
            let event = events.join(format!("rdma_{}", name.trim_start_matches("rdma_")));
            if !event.is_dir() {
                return Err(Failure::Usage(format!("there is no event {name}, but {}", names(&events))));
            }
            self.write(&event.join("enable"), "1")?;
        }
        Ok(())
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), Failure> {
        fs::write(path, text)
            .map_err(Failure::system(path.strip_prefix(&self.path).unwrap_or(path).display().to_string()))
    }

    fn follow(&self) -> Result<Events, Failure> {
        let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        let pipe = OpenOptions::new().read(true).custom_flags(nonblocking).open(self.path.join("trace_pipe"));
        Ok(Events { pipe: pipe.map_err(Failure::system("trace_pipe"))?, rest: Vec::new() })
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // Busy while the pipe is open; it is closed by then, except after errors.
        for _ in 0..50 {
            match fs::remove_dir(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                _ => return,
            }
        }
    }
}

/// The names of the existing events.
fn names(events: &Path) -> String {
    let entries = fs::read_dir(events).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| Some(entry.file_name().to_str()?.strip_prefix("rdma_")?.to_owned()));
    let mut names: Vec<_> = names.collect();
    names.sort();
    names.join(", ")
}

/// Lines as they arrive.
struct Events {
    pipe: File,
    rest: Vec<u8>,
}

impl Events {
    /// Complete lines that arrive within this time.
    fn next(&mut self, time: Duration) -> Result<Vec<String>, Failure> {
        readable_within(&self.pipe, time);
        let mut bytes = [0; 4096];
        loop {
            match self.pipe.read(&mut bytes) {
                Ok(0) => break,
                Ok(count) => self.rest.extend(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::system("trace_pipe")(error)),
            }
        }
        let end = self.rest.iter().rposition(|&byte| byte == b'\n').map_or(0, |place| place + 1);
        let lines: Vec<_> = self.rest.drain(..end).collect();
        Ok(String::from_utf8_lossy(&lines).lines().map(str::to_owned).collect())
    }
}

impl<'a> Event<'a> {
    /// Parses a line `task-pid [cpu] flags time: event: name=value ...`.
    fn parse(line: &'a str) -> Option<Self> {
        let (before, after) = line.split_once(": rdma_")?;
        let (event, fields) = after.split_once(':')?;
        let (task, rest) = before.rsplit_once(" [")?;
        let (cpu, rest) = rest.split_once(']')?;
        let fields = fields.split_whitespace().filter_map(|field| {
            let (name, value) = field.split_once('=')?;
            Some((name, value.parse().map_or(Value::Word(value), Value::Number)))
        });
        Some(Self {
            time: rest.split_whitespace().last()?,
            cpu: cpu.parse().ok()?,
            task: task.trim(),
            event,
            fields: fields.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line() {
        let line = "  my [odd]: task-123 [002] d..1.  4711.000123: rdma_complete: dev=0 context=3 cookie=7 status=-125 operation=copy";
        let event = Event::parse(line).unwrap();
        assert_eq!(
            (event.task, event.cpu, event.time, event.event),
            ("my [odd]: task-123", 2, "4711.000123", "complete")
        );
        assert_eq!(event.fields["status"], Value::Number(-125));
        assert_eq!(event.fields["operation"], Value::Word("copy"));
    }

    #[test]
    fn what_is_no_event() {
        for line in ["", "CPU:0 [LOST 7 EVENTS]", "x-1 [000] 1.0: sched_switch: a=b"] {
            assert_eq!(Event::parse(line), None, "{line}");
        }
    }
}
