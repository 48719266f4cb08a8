//! Small files in which the kernel describes devices.

use std::{collections::BTreeMap, fs, path::Path};

use serde::Serialize;

/// The driver's directory for a device, readable for root.
const DEBUGFS: &str = "/sys/kernel/debug/rust_dma";

/// The state of a device.
#[derive(Clone, Debug, Serialize)]
pub struct State {
    /// idle, busy for a number of ms, stuck for a number of ms, or gone.
    pub engine: String,
    /// Open files.
    pub contexts: u64,
    /// Waiting requests.
    pub queued: u64,
    /// Buffers.
    pub buffers: u64,
    /// Their size.
    pub memory: u64,
    /// Maximum size.
    pub memory_limit: u64,
}

/// Requests that took at least `from_ns`, and less than twice that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Class {
    /// Nanoseconds from submission to completion.
    pub from_ns: u64,
    /// Their number.
    pub requests: u64,
}

/// The kernel's release, as in uname(2).
pub fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// The text of a small file, without its newline; none if it cannot be read.
pub fn text(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim_end().to_owned())
}

/// The last component of a link's target.
pub fn link_name(path: impl AsRef<Path>) -> Option<String> {
    let target = fs::read_link(path).ok()?;
    Some(target.file_name()?.to_string_lossy().into_owned())
}

/// The state of a device.
pub fn state(device: &str) -> Option<State> {
    let lines = named(&text(format!("{DEBUGFS}/{device}/state"))?);
    let number = |name| lines.get(name).and_then(|value| value.parse().ok()).unwrap_or_default();
    Some(State {
        engine: lines.get("engine")?.clone(),
        contexts: number("contexts"),
        queued: number("queued"),
        buffers: number("buffers"),
        memory: number("memory"),
        memory_limit: number("memory_limit"),
    })
}

/// Counters of a device since its driver was bound.
pub fn counters(device: &str) -> Option<BTreeMap<String, u64>> {
    let lines = named(&text(format!("{DEBUGFS}/{device}/counters"))?);
    Some(lines.into_iter().filter_map(|(name, value)| Some((name, value.parse().ok()?))).collect())
}

/// Durations of requests, by classes that double.
pub fn latency(device: &str) -> Option<Vec<Class>> {
    let lines = text(format!("{DEBUGFS}/{device}/latency"))?;
    let class = |line: &str| {
        let (from, count) = line.split_once(' ')?;
        Some(Class { from_ns: from.parse().ok()?, requests: count.parse().ok()? })
    };
    Some(lines.lines().filter_map(class).collect())
}

/// Lines of a name and a value.
pub fn named(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once(|character: char| character == ':' || character.is_whitespace()))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_name_and_a_value() {
        let lines = named("engine busy for 3 ms\nrdma-queued:\t17\nalone\n");
        assert_eq!(lines["engine"], "busy for 3 ms");
        assert_eq!(lines["rdma-queued"], "17");
        assert_eq!(lines.len(), 2);
    }
}
