// SPDX-License-Identifier: GPL-2.0

//! Counters and the histogram of latencies.

// Not all of it is used here.
#![allow(dead_code)]

#[path = "../../src"]
mod src {
    pub(crate) mod schedule {
        pub(crate) mod stats;
    }
}

use src::schedule::stats::{Counters, Histogram, Stats};
use std::collections::HashSet;

fn buckets(latencies: &[u64]) -> Vec<(u64, u64)> {
    let mut histogram = Histogram::new();
    for latency in latencies {
        histogram.record(*latency);
    }
    histogram.non_empty().collect()
}

#[test]
fn empty() {
    assert_eq!(buckets(&[]), []);
}

#[test]
fn the_first_bucket_is_for_nothing_too() {
    assert_eq!(buckets(&[0, 1]), [(0, 2)]);
}

#[test]
fn each_power_of_two_begins_a_bucket() {
    for power in 1..64 {
        let from = 1u64 << power;
        let below = if power == 1 { 0 } else { from / 2 };
        assert_eq!(buckets(&[from - 1, from, from + 1]).first(), Some(&(below, 1)), "below 2^{power}");
        assert_eq!(buckets(&[from]), [(from, 1)]);
        assert_eq!(buckets(&[2 * (from - 1) + 1]), [(from, 1)], "the last of 2^{power}");
    }
}

#[test]
fn the_longest() {
    assert_eq!(buckets(&[u64::MAX]), [(1 << 63, 1)]);
}

#[test]
fn counts_add_up_in_ascending_order() {
    let latencies = [100_000_000, 5, 6, 7, 100_000_001, 0, 5];
    assert_eq!(buckets(&latencies), [(0, 1), (4, 4), (1 << 26, 2)]);
}

#[test]
fn each_counter_has_a_name_of_its_own_and_its_value() {
    let counters = Counters {
        transfers: 1,
        bytes: 2,
        interrupts: 3,
        spurious_interrupts: 4,
        watchdog_recoveries: 5,
        quarantined: 6,
        cancelled: 7,
        completed: 8,
    };
    let named = counters.named();
    assert_eq!(named.map(|(_, value)| value), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(named.iter().map(|(name, _)| name).collect::<HashSet<_>>().len(), named.len());
    assert_eq!(size_of::<Counters>(), size_of_val(&named.map(|(_, value)| value)), "none is left out");
}

#[test]
fn begins_with_nothing() {
    let stats = Stats::new();
    assert!(stats.counters.named().iter().all(|(_, value)| *value == 0));
    assert_eq!(stats.latency.non_empty().count(), 0);
}
