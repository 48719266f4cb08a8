//! The state of all devices at a time, and the changes between two times.

use std::{collections::BTreeMap, fs, os::unix::fs::FileTypeExt, path::Path, time::Instant};

use serde::Serialize;

use crate::{
    failure::Failure,
    output::{size, table},
    sysfs::{self, Class, State},
};

/// The state at a time.
pub struct Look {
    when: Instant,
    devices: Vec<Device>,
    users: Vec<User>,
}

struct Device {
    name: String,
    state: State,
    counters: BTreeMap<String, u64>,
    latency: Vec<Class>,
}

/// A program that has a device open.
#[derive(Clone, Debug, Serialize)]
pub struct User {
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub command: String,
    /// The device.
    pub device: String,
    /// Number of its buffers.
    pub buffers: u64,
    /// Their size.
    pub memory: u64,
    /// Waiting requests.
    pub queued: u64,
    /// Running requests.
    pub in_flight: u64,
    /// Completions that it has not collected.
    pub completed: u64,
}

/// The changes between two times.
#[derive(Serialize)]
pub struct Change {
    /// Seconds in between.
    pub seconds: f64,
    /// Devices.
    pub devices: Vec<Busy>,
    /// Programs that use them.
    pub users: Vec<User>,
}

/// Activity of a device.
#[derive(Serialize)]
pub struct Busy {
    /// Its name.
    pub name: String,
    #[serde(flatten)]
    pub state: State,
    /// Increase of each counter, per second.
    pub rates: BTreeMap<String, f64>,
    /// Durations of the requests that completed in that time.
    pub latency: Vec<Class>,
}

impl Look {
    /// Reads the state again: at least one device was there.
    pub fn again(names: &[String]) -> Result<Self, Failure> {
        Self::take(names).map_err(|_| Failure::Device(rust_dma::Error::Gone))
    }

    /// Reads the state. A device that is removed is left out.
    pub fn take(names: &[String]) -> Result<Self, Failure> {
        let device = |name: &String| {
            Some(Device {
                name: name.clone(),
                state: sysfs::state(name)?,
                counters: sysfs::counters(name)?,
                latency: sysfs::latency(name)?,
            })
        };
        let devices: Vec<_> = names.iter().filter_map(device).collect();
        if devices.is_empty() {
            let what = "cannot read /sys/kernel/debug/rust_dma: this needs root, a device, and \
                        `mount -t debugfs debugfs /sys/kernel/debug`";
            return Err(Failure::Unavailable(what.into()));
        }
        let mut users = users();
        users.retain(|user| names.contains(&user.device));
        Ok(Self { when: Instant::now(), devices, users })
    }
}

/// Programs that have devices open, if they are visible to this user.
fn users() -> Vec<User> {
    let mut users = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let path = process.path();
        let mut contexts = BTreeMap::new();
        for file in fs::read_dir(path.join("fd")).into_iter().flatten().flatten() {
            // A node may have any name.
            let is_node = fs::metadata(file.path()).is_ok_and(|metadata| metadata.file_type().is_char_device());
            if let Some(user) = is_node.then(|| user(pid, &path, &file.file_name())).flatten() {
                // Two descriptors of one file are one.
                contexts.insert(user.0, user.1);
            }
        }
        users.extend(contexts.into_values());
    }
    users.sort_by_key(|user| (std::cmp::Reverse(user.queued + user.in_flight), user.pid));
    users
}

/// From fdinfo, with the number of the context.
fn user(pid: u32, process: &Path, fd: &std::ffi::OsStr) -> Option<(u64, User)> {
    let lines = sysfs::named(&sysfs::text(process.join("fdinfo").join(fd))?);
    let number = |name| lines.get(name).and_then(|value| value.parse().ok()).unwrap_or_default();
    let user = User {
        pid,
        command: sysfs::text(process.join("comm")).unwrap_or_default(),
        device: lines.get("rdma-node")?.clone(),
        buffers: number("rdma-buffers"),
        memory: number("rdma-memory"),
        queued: number("rdma-queued"),
        in_flight: number("rdma-in-flight"),
        completed: number("rdma-completed"),
    };
    Some((number("rdma-context"), user))
}

impl Change {
    /// Computes the changes.
    pub fn between(before: &Look, now: &Look) -> Self {
        let seconds = now.when.duration_since(before.when).as_secs_f64();
        let devices = now.devices.iter().map(|device| {
            let earlier = before.devices.iter().find(|earlier| earlier.name == device.name);
            Busy {
                name: device.name.clone(),
                state: device.state.clone(),
                rates: rates(earlier, device, seconds),
                latency: classes(earlier.map(|earlier| &*earlier.latency).unwrap_or_default(), &device.latency),
            }
        });
        Self { seconds, devices: devices.collect(), users: now.users.clone() }
    }

    /// As text, line by line.
    pub fn text(&self) -> String {
        let mut text = table(&Busy::HEAD, self.devices.iter().map(Busy::row));
        if !self.users.is_empty() {
            text = format!("{text}\n\n{}", table(&User::HEAD, self.users.iter().map(User::row)));
        }
        text + "\n"
    }
}

impl Busy {
    /// Headings.
    pub const HEAD: [&str; 9] =
        ["DEVICE", "ENGINE", "FILES", "QUEUED", "BUFFERS", "MEMORY", "TRANSFERS/s", "RATE", "MEDIAN"];

    /// Their usual widths.
    pub const WIDTHS: [usize; 9] = [6, 15, 5, 6, 7, 8, 11, 11, 6];

    /// Those that are left out first on a narrow terminal.
    pub const DISPENSABLE: [&str; 5] = ["FILES", "BUFFERS", "TRANSFERS/s", "MEMORY", "QUEUED"];

    /// In columns.
    pub fn row(&self) -> Vec<String> {
        let rate = |name| self.rates.get(name).copied().unwrap_or_default();
        vec![
            self.name.clone(),
            self.state.engine.clone(),
            self.state.contexts.to_string(),
            self.state.queued.to_string(),
            self.state.buffers.to_string(),
            size(self.state.memory),
            format!("{:.1}", rate("transfers")),
            bytes_per_second(rate("bytes")),
            median(&self.latency).map_or_else(|| "-".into(), |class| duration(class.from_ns)),
        ]
    }
}

impl User {
    /// Headings.
    pub const HEAD: [&str; 8] = ["PID", "COMMAND", "DEVICE", "BUFFERS", "MEMORY", "QUEUED", "IN FLIGHT", "DONE"];

    /// Their usual widths.
    pub const WIDTHS: [usize; 8] = [7, 15, 6, 7, 8, 6, 9, 4];

    /// Those that are left out first on a narrow terminal.
    pub const DISPENSABLE: [&str; 4] = ["DONE", "BUFFERS", "IN FLIGHT", "QUEUED"];

    /// In columns.
    pub fn row(&self) -> Vec<String> {
        vec![
            self.pid.to_string(),
            self.command.clone(),
            self.device.clone(),
            self.buffers.to_string(),
            size(self.memory),
            self.queued.to_string(),
            self.in_flight.to_string(),
            self.completed.to_string(),
        ]
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate, for people")]
fn bytes_per_second(rate: f64) -> String {
    format!("{}/s", size(rate as u64))
}

fn rates(before: Option<&Device>, now: &Device, seconds: f64) -> BTreeMap<String, f64> {
    let rate = |(name, &value): (&String, &u64)| {
        let earlier = before.and_then(|device| device.counters.get(name)).copied().unwrap_or(value);
        #[expect(clippy::cast_precision_loss, reason = "a rate, for people")]
        let difference = value.saturating_sub(earlier) as f64;
        (name.clone(), difference / seconds.max(1e-9))
    };
    now.counters.iter().map(rate).collect()
}

/// Increase of each class.
fn classes(before: &[Class], now: &[Class]) -> Vec<Class> {
    let earlier = |from_ns| before.iter().find(|class| class.from_ns == from_ns).map_or(0, |class| class.requests);
    let change = |class: &Class| Class {
        from_ns: class.from_ns,
        requests: class.requests.saturating_sub(earlier(class.from_ns)),
    };
    now.iter().map(change).filter(|class| class.requests > 0).collect()
}

/// The class of the median.
fn median(classes: &[Class]) -> Option<Class> {
    let all: u64 = classes.iter().map(|class| class.requests).sum();
    let mut sum = 0;
    classes.iter().copied().find(|class| {
        sum += class.requests;
        2 * sum >= all
    })
}

/// A time with its unit.
pub fn duration(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{} µs", ns / 1_000),
        1_000_000..1_000_000_000 => format!("{} ms", ns / 1_000_000),
        _ => format!("{} s", ns / 1_000_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(from_ns: u64, requests: u64) -> Class {
        Class { from_ns, requests }
    }

    #[test]
    fn what_has_come_to_classes() {
        let before = [class(2, 5), class(4, 7)];
        let now = [class(2, 5), class(4, 9), class(8, 1)];
        assert_eq!(classes(&before, &now), [class(4, 2), class(8, 1)]);
        // Bound again in between: it starts at zero.
        assert_eq!(classes(&now, &[class(2, 1)]), []);
    }

    #[test]
    fn the_one_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[class(1, 1), class(2, 1), class(4, 1)]), Some(class(2, 1)));
        assert_eq!(median(&[class(1, 9), class(2, 1)]), Some(class(1, 9)));
    }

    #[test]
    fn times() {
        assert_eq!(duration(999), "999 ns");
        assert_eq!(duration(67_108_864), "67 ms");
    }
}
