// SPDX-License-Identifier: GPL-2.0
//! How long descriptors take.

use std::time::{Duration, Instant};

/// What each descriptor takes, and what its bytes take.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing {
    /// Of each descriptor, in nanoseconds.
    pub nanoseconds: u32,
    /// Megabytes a second, on top of it; 0: bytes take no time.
    pub rate: u32,
}

impl Timing {
    /// How long a descriptor that moves `bytes` bytes takes.
    #[must_use]
    pub fn of(self, bytes: u32) -> Duration {
        let transfer = if self.rate == 0 { 0 } else { u64::from(bytes) * 1000 / u64::from(self.rate) };
        Duration::from_nanos(u64::from(self.nanoseconds) + transfer)
    }
}

/// When the descriptors of a channel end: each begins when the one before it has ended, however late the model looks. This keeps the rate
/// exact, although the host's timers are not.
#[derive(Default)]
pub struct Schedule {
    free: Option<Instant>,
}

impl Schedule {
    /// The channel had nothing to do: the next descriptor begins when it is fetched.
    pub fn pause(&mut self) {
        self.free = None;
    }

    /// A descriptor that takes so long has been fetched: when it ends.
    pub fn end(&mut self, now: Instant, duration: Duration) -> Instant {
        let end = self.free.unwrap_or(now) + duration;
        self.free = Some(end);
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(Timing::default().of(1 << 20), Duration::ZERO);
        assert_eq!(Timing { nanoseconds: 5000, rate: 0 }.of(4096), Duration::from_micros(5));
        assert_eq!(Timing { nanoseconds: 5000, rate: 2000 }.of(4096), Duration::from_nanos(5000 + 2048));
    }

    #[test]
    fn a_late_look_does_not_delay_what_follows() {
        let (now, step) = (Instant::now(), Duration::from_micros(7));
        let mut schedule = Schedule::default();
        assert_eq!(schedule.end(now, step), now + step);
        assert_eq!(schedule.end(now + 100 * step, step), now + 2 * step);
        schedule.pause();
        assert_eq!(schedule.end(now + 100 * step, step), now + 101 * step);
    }
}
