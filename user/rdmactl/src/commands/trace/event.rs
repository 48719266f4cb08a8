//! One event, from the line that the kernel prints for it.

use std::collections::BTreeMap;

use serde::Serialize;

/// One event.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Event<'a> {
    /// Seconds of the trace clock, as text, which keeps all digits.
    time: &'a str,
    cpu: u32,
    /// The program that ran, and its number.
    task: &'a str,
    event: &'a str,
    #[serde(flatten)]
    fields: BTreeMap<&'a str, Value<'a>>,
}

/// The value of a field.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Value<'a> {
    Number(i64),
    Word(&'a str),
}

impl<'a> Event<'a> {
    /// Parses a line `task-pid [cpu] flags time: event: name=value ...`. A task can have any name, also one like an event; therefore
    /// it is divided from its end.
    pub fn parse(line: &'a str) -> Option<Self> {
        let (before, after) = line.rsplit_once(": rdma_")?;
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

/// What the kernel says of events that are not in the trace, because its buffer was full.
pub fn lost(line: &str) -> Option<&str> {
    Some(line.trim()).filter(|line| line.starts_with("CPU:") && line.ends_with(" EVENTS]"))
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
    fn tasks_that_are_named_like_events() {
        for task in ["a: rdma_b-123", "x [0]1: rdma_a:-7"] {
            let line = format!("  {task} [002] d..1.  4711.000123: rdma_start: dev=1 operation=copy");
            let event = Event::parse(&line).unwrap();
            assert_eq!((event.task, event.cpu, event.time, event.event), (task, 2, "4711.000123", "start"));
            assert_eq!(
                event.fields.into_iter().collect::<Vec<_>>(),
                [("dev", Value::Number(1)), ("operation", Value::Word("copy"))]
            );
        }
        assert_eq!(lost("CPU: EVENTS]-123 [002] d..1.  4711.000123: rdma_start: dev=1"), None);
    }

    #[test]
    fn lost_events() {
        assert_eq!(lost("CPU:0 [LOST 7 EVENTS]\n"), Some("CPU:0 [LOST 7 EVENTS]"));
        assert_eq!(lost("CPU:1 [LOST EVENTS]"), Some("CPU:1 [LOST EVENTS]"));
        assert_eq!(lost("x-1 [000] 1.0: rdma_start: dev=0"), None);
    }

    #[test]
    fn what_is_no_event() {
        for line in ["", "CPU:0 [LOST 7 EVENTS]", "x-1 [000] 1.0: sched_switch: a=b"] {
            assert_eq!(Event::parse(line), None, "{line}");
        }
    }
}
