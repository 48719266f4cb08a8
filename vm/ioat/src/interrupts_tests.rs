// SPDX-License-Identifier: GPL-2.0
//! Interrupts on wires that count.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::*;

/// A wire that counts.
#[derive(Clone, Default)]
struct Counter(Arc<AtomicUsize>);

impl Counter {
    fn take(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Two channels with MSI-X.
fn vectors(control: u8) -> (Interrupts, [Counter; 2]) {
    let mut interrupts = Interrupts::new(2);
    interrupts.set_command(Command { master: true, line_disabled: false });
    let counters = [Counter::default(), Counter::default()];
    for (vector, counter) in counters.iter().enumerate() {
        interrupts.set_vector(vector, Some(Box::new(counter.clone())));
    }
    interrupts.write_control(control);
    (interrupts, counters)
}

#[test]
fn a_vector_for_each_channel() {
    let (mut interrupts, counters) = vectors(intrctrl::VECTORS);
    interrupts.raise(1, Instant::now());
    assert_eq!([counters[0].take(), counters[1].take()], [0, 1]);
    assert_eq!(interrupts.read_attention(), 2);
}

#[test]
fn strict_vectors_are_enabled() {
    for (control, sent) in [(intrctrl::VECTORS, 0), (intrctrl::VECTORS | intrctrl::MASTER, 1)] {
        let (mut interrupts, counters) = vectors(control);
        interrupts.strict = true;
        interrupts.raise(1, Instant::now());
        assert_eq!([counters[0].take(), counters[1].take()], [0, sent]);
    }
}

#[test]
fn one_vector_for_all() {
    let (mut interrupts, counters) = vectors(intrctrl::MASTER);
    interrupts.raise(1, Instant::now());
    assert_eq!([counters[0].take(), counters[1].take()], [1, 0]);
    let (mut interrupts, counters) = vectors(0);
    interrupts.raise(1, Instant::now());
    assert_eq!([counters[0].take(), counters[1].take()], [0, 0]);
}

#[test]
fn one_interrupt_until_it_is_armed_again() {
    let (mut interrupts, counters) = vectors(intrctrl::VECTORS);
    for _ in 0..3 {
        interrupts.raise(0, Instant::now());
    }
    assert_eq!((counters[0].take(), interrupts.disabled(0)), (1, true));
    interrupts.ask(0, Instant::now());
    assert_eq!((counters[0].take(), interrupts.disabled(0)), (1, true));
    interrupts.ask(0, Instant::now());
    assert_eq!((counters[0].take(), interrupts.disabled(0)), (0, false));
}

#[test]
fn a_strict_device_is_armed_by_a_posted_write() {
    let (mut interrupts, counters) = vectors(intrctrl::VECTORS | intrctrl::MASTER);
    let now = Instant::now();
    interrupts.strict = true;
    for _ in 0..2 {
        interrupts.raise(0, now);
    }
    assert_eq!(counters[0].take(), 1);
    // There is no interrupt for the second event, nor for one before the write arrives.
    interrupts.ask(0, now);
    interrupts.raise(0, now + POSTED / 2);
    assert_eq!(counters[0].take(), 0);
    interrupts.raise(0, now + POSTED);
    assert_eq!(counters[0].take(), 1);
    interrupts.ask(0, now);
    interrupts.arrive();
    interrupts.raise(0, now);
    assert_eq!(counters[0].take(), 1);
}

#[test]
fn the_delay_makes_one_of_many() {
    let (mut interrupts, counters) = vectors(intrctrl::VECTORS);
    let (now, step) = (Instant::now(), Duration::from_micros(1));
    interrupts.write_delay(0x8000 | 20);
    assert_eq!(interrupts.read_delay(), 0x8000 | 20);
    for late in 0..10 {
        interrupts.raise(0, now + late * step);
    }
    interrupts.advance(0, now + 19 * step);
    assert_eq!(counters[0].take(), 0);
    assert_eq!(interrupts.due(0), Some(now + 20 * step));
    interrupts.advance(0, now + 20 * step);
    assert_eq!((counters[0].take(), interrupts.due(0)), (1, None));
}

#[test]
fn the_line() {
    let (mut interrupts, line) = (Interrupts::new(2), Counter::default());
    interrupts.set_line(Some(Box::new(line.clone())));
    interrupts.raise(1, Instant::now());
    assert_eq!(line.take(), 0);
    interrupts.write_control(intrctrl::MASTER);
    assert_eq!(line.take(), 1);
    // Not acknowledged by the driver yet, but by the interrupt controller.
    interrupts.refresh_line();
    assert_eq!(line.take(), 1);
    // As the kernel's handler does it.
    assert_eq!(interrupts.read_control(), intrctrl::MASTER | intrctrl::STATUS | intrctrl::ASSERTED);
    interrupts.refresh_line();
    assert_eq!(interrupts.read_attention(), 2);
    interrupts.write_control(intrctrl::MASTER);
    assert_eq!((line.take(), interrupts.read_control()), (0, intrctrl::MASTER));
}

#[test]
fn the_line_can_be_disabled() {
    let (mut interrupts, line) = (Interrupts::new(1), Counter::default());
    interrupts.set_line(Some(Box::new(line.clone())));
    interrupts.write_control(intrctrl::MASTER);
    interrupts.set_command(Command { master: true, line_disabled: true });
    interrupts.raise(0, Instant::now());
    assert_eq!((line.take(), interrupts.line_pending()), (0, true));
}

#[test]
fn a_message_needs_bus_master() {
    let (mut interrupts, counters) = vectors(intrctrl::MASTER | intrctrl::VECTORS);
    interrupts.set_command(Command::default());
    interrupts.raise(0, Instant::now());
    assert_eq!((counters[0].take(), interrupts.sent), (0, 0));
}
