// SPDX-License-Identifier: GPL-2.0
//! A channel with an array as memory.

use std::time::Duration;

use super::*;
use crate::{descriptor::build, faults::Fault, memory::Array};

#[path = "channel_error_tests.rs"]
mod errors;

/// Where things are in memory: descriptors, completion, source and destination.
const RING: u64 = 0x1000;
const COMPLETION: u64 = 0x800;
const SOURCE: u64 = 0x8000;
const DESTINATION: u64 = 0xc000;

struct Bench {
    channel: Channel,
    memory: Array,
    faults: Faults,
    timing: Timing,
    now: Instant,
    events: Vec<Events>,
}

/// While a strict channel executes a descriptor without a fence, it reads the source of the next one.
#[test]
fn a_fence_orders_a_read_after_a_write() {
    for (strict, fence, is_new) in [(true, true, true), (true, false, false), (false, false, true)] {
        let mut bench = Bench::new();
        bench.channel.strict = strict;
        let first = if fence { build::fence } else { build::copy };
        bench.put(0, &first(256, SOURCE, DESTINATION, Bench::at(1)));
        bench.put(1, &build::copy(256, DESTINATION, DESTINATION + 256, Bench::at(2)));
        bench.channel.set_chain(RING);
        bench.channel.announce(2);
        bench.run();
        let copied = bench.memory.bytes[0x8000..0x8100] == bench.memory.bytes[0xc100..0xc200];
        assert_eq!(copied, is_new, "strict {strict}, fence {fence}");
    }
}

/// What was read ahead is not used for another chain.
#[test]
fn a_new_chain_reads_its_own_source() {
    let mut bench = Bench::new();
    bench.channel.strict = true;
    bench.timing.nanoseconds = 1000;
    bench.ring(4);
    bench.channel.announce(2);
    bench.run();
    bench.command(chancmd::SUSPEND);
    bench.now += Duration::from_secs(1);
    bench.run();
    bench.put(2, &build::copy(256, SOURCE + 512, DESTINATION + 512, Bench::at(3)));
    bench.channel.set_chain(Bench::at(2));
    bench.channel.announce(1);
    bench.now += Duration::from_secs(1);
    bench.run();
    bench.now += Duration::from_secs(1);
    bench.run();
    assert!(bench.copied(2));
}

/// A strict channel is suspended before it is reset.
#[test]
fn a_strict_channel_is_not_reset_while_it_is_active() {
    for suspend in [false, true] {
        let mut bench = Bench::new();
        bench.channel.strict = true;
        bench.ring(4);
        bench.fault(Kind::Hang, 1, 0);
        bench.channel.announce(3);
        bench.run();
        if suspend {
            bench.command(chancmd::SUSPEND);
        }
        bench.command(chancmd::RESET);
        assert_eq!(bench.channel.pending_command() == 0, suspend);
    }
}

impl Bench {
    /// A channel that was set up as the kernel's driver does it.
    fn new() -> Self {
        let mut channel = Channel::new(0, 1 << 20);
        channel.control = chanctrl::ERROR_COMPLETION | chanctrl::ERROR_INTERRUPT;
        channel.completion = COMPLETION;
        let mut memory = Array::new(1 << 17);
        memory.write(COMPLETION, &[0; 8]).unwrap();
        let (faults, timing) = (Faults::default(), Timing::default());
        Self { channel, memory, faults, timing, now: Instant::now(), events: Vec::new() }
    }

    /// The address of a descriptor.
    fn at(number: u64) -> u64 {
        RING + 64 * number
    }

    fn put(&mut self, number: u64, bytes: &[u8; 64]) {
        self.memory.write(Self::at(number), bytes).unwrap();
    }

    /// A ring of `count` copies of 256 bytes each.
    fn ring(&mut self, count: u64) {
        for number in 0..count {
            let next = Self::at((number + 1) % count);
            self.put(number, &build::copy(256, SOURCE + 256 * number, DESTINATION + 256 * number, next));
        }
        self.channel.set_chain(RING);
    }

    fn copied(&self, number: usize) -> bool {
        let (source, destination) = (0x8000 + 256 * number, 0xc000 + 256 * number);
        self.memory.bytes[source..source + 256] == self.memory.bytes[destination..destination + 256]
    }

    /// Do everything that is due.
    fn run(&mut self) {
        while matches!(self.channel.next(self.now), Next::At(when) if when <= self.now) {
            let events = self.channel.advance(self.now, &mut self.memory, self.timing, &mut self.faults);
            if events != Events::default() {
                self.events.push(events);
            }
        }
    }

    fn command(&mut self, command: u8) {
        self.channel.command(command, &mut self.faults);
    }

    fn state(&self) -> State {
        self.channel.state
    }

    fn completion(&self) -> u64 {
        self.memory.word(0x800)
    }

    fn fault(&mut self, kind: Kind, nth: u16, argument: u64) {
        self.faults.add(Fault { kind, channel: 0, nth, again: false, argument });
    }
}

#[test]
fn a_chain_of_three() {
    let mut bench = Bench::new();
    assert_eq!(bench.state(), State::Halted);
    bench.ring(4);
    assert_eq!(bench.channel.status(), State::Armed as u64);
    bench.channel.announce(3);
    assert_eq!(bench.state(), State::Active);
    bench.run();
    assert_eq!([0, 1, 2, 3].map(|number| bench.copied(number)), [true, true, true, false]);
    assert_eq!(bench.channel.status(), Bench::at(2) | State::Idle as u64);
    assert_eq!(bench.completion(), bench.channel.status());
    assert_eq!(bench.events, [Events { completed: true, interrupt: true, errors: 0 }; 3]);
}

#[test]
fn a_chain_is_appended_to_while_it_runs() {
    let mut bench = Bench::new();
    bench.timing.nanoseconds = 1000;
    bench.ring(8);
    bench.channel.announce(2);
    bench.run();
    bench.now += Duration::from_nanos(1500);
    bench.run();
    assert_eq!(bench.completion(), Bench::at(0) | State::Active as u64);
    bench.channel.announce(5);
    bench.now += Duration::from_nanos(10_000);
    bench.run();
    assert_eq!(bench.completion(), Bench::at(4) | State::Idle as u64);
}

#[test]
fn the_next_address_is_read_with_the_descriptor() {
    let mut bench = Bench::new();
    bench.put(0, &build::null(0x40)); // not a descriptor that anyone wants
    bench.channel.set_chain(RING);
    bench.channel.announce(1);
    bench.run();
    bench.put(0, &build::null(Bench::at(1)));
    assert_eq!(bench.channel.current(), 0x40);
}

#[test]
fn the_count_wraps() {
    let mut bench = Bench::new();
    for number in 0..4 {
        bench.put(number, &build::null(Bench::at((number + 1) % 4)));
    }
    bench.channel.set_chain(RING);
    let mut executed = 0;
    for count in [0xffff, 1, 0x8001, 0x8000] {
        bench.channel.announce(count);
        bench.run();
        executed = bench.events.len();
        assert_eq!(bench.state(), State::Idle);
    }
    assert_eq!(executed, 0x1_0000 + 0x1_0000 + 0x8000);
    assert_eq!(bench.completion(), Bench::at(3) | State::Idle as u64);
}

#[test]
fn descriptors_take_time() {
    let mut bench = Bench::new();
    bench.timing = Timing { nanoseconds: 5000, rate: 256 };
    bench.ring(4);
    bench.channel.announce(2);
    bench.run();
    assert_eq!(bench.channel.next(bench.now), Next::At(bench.now + Duration::from_nanos(6000)));
    bench.now += Duration::from_nanos(5999);
    bench.run();
    assert!(bench.events.is_empty() && !bench.copied(0));
    bench.now += Duration::from_nanos(1);
    bench.run();
    assert!(bench.copied(0) && !bench.copied(1));
}

#[test]
fn suspend_stops_behind_the_descriptor_and_resume_goes_on() {
    let mut bench = Bench::new();
    bench.timing.nanoseconds = 1000;
    bench.ring(4);
    bench.channel.announce(3);
    bench.run();
    bench.command(chancmd::SUSPEND);
    assert_eq!(bench.state(), State::Active);
    bench.now += Duration::from_nanos(5000);
    bench.run();
    assert_eq!(bench.channel.status(), Bench::at(0) | State::Suspended as u64);
    assert!(bench.copied(0) && !bench.copied(1));
    bench.channel.announce(4);
    assert_eq!(bench.state(), State::Suspended);
    bench.command(chancmd::RESUME);
    bench.run();
    assert!(!bench.copied(1), "the time that it was suspended does not count");
    bench.now += Duration::from_nanos(5000);
    bench.run();
    assert_eq!(bench.channel.status(), Bench::at(3) | State::Idle as u64);
}

#[test]
fn suspend_without_work() {
    let mut bench = Bench::new();
    bench.command(chancmd::SUSPEND);
    assert_eq!(bench.state(), State::Halted);
    bench.ring(2);
    bench.command(chancmd::SUSPEND);
    assert_eq!(bench.state(), State::Suspended);
    bench.command(chancmd::RESUME);
    assert_eq!(bench.state(), State::Idle);
    // As the VFIO selftest's driver does it: a new chain after each.
    bench.command(chancmd::SUSPEND);
    bench.channel.set_chain(RING);
    bench.channel.announce(1);
    bench.run();
    assert_eq!(bench.channel.status(), Bench::at(0) | State::Idle as u64);
}

#[test]
fn nothing_lands_after_an_abort_or_a_reset() {
    for command in [chancmd::ABORT, chancmd::RESET] {
        let mut bench = Bench::new();
        bench.timing.nanoseconds = 1000;
        bench.ring(4);
        bench.channel.announce(3);
        bench.run();
        let before = bench.memory.bytes.clone();
        bench.command(command);
        assert_eq!((bench.state(), bench.channel.pending_command()), (State::Halted, 0));
        bench.now += Duration::from_secs(1);
        bench.run();
        assert!(bench.memory.bytes == before);
        assert_eq!(bench.channel.next(bench.now), Next::Register);
    }
}

#[test]
fn a_reset_forgets() {
    let mut bench = Bench::new();
    bench.ring(4);
    bench.channel.announce(3);
    bench.run();
    bench.command(chancmd::RESET);
    assert_eq!(bench.channel.status(), State::Halted as u64);
    assert_eq!((bench.channel.count(), bench.channel.chain, bench.channel.completion), (0, 0, 0));
    bench.channel.announce(1);
    assert_eq!(bench.state(), State::Halted);
    bench.ring(4);
    assert_eq!(bench.channel.status(), State::Armed as u64);
}
