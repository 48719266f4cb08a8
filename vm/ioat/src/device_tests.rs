// SPDX-License-Identifier: GPL-2.0
//! A device with an array as memory, through its registers.

use super::*;
use crate::{
    descriptor::build,
    memory::Array,
    registers::{State, chanerr, intrctrl},
};

const RING: u64 = 0x1000;
const COMPLETION: u64 = 0x800;

struct Bench {
    device: Device<Array>,
    now: Instant,
}

impl Bench {
    fn new(options: &str) -> Self {
        let mut device = Device::new(&Options::parse(options).unwrap(), Array::new(1 << 16));
        device.write_config(4, &[6, 4]); // memory and Bus Master, and no interrupt line
        let mut bench = Self { device, now: Instant::now() };
        for number in 0..4 {
            let next = RING + 64 * ((number + 1) % 4);
            let bytes = build::copy(16, 0x4000 + 16 * number, 0x8000 + 16 * number, next);
            bench.device.memory.write(RING + 64 * number, &bytes).unwrap();
        }
        bench
    }

    fn read(&mut self, register: usize, size: usize) -> u64 {
        let mut data = [0; 8];
        self.device.read(register, &mut data[..size]);
        u64::from_le_bytes(data)
    }

    fn write(&mut self, register: usize, size: usize, value: u64) {
        self.device.write(register, &value.to_le_bytes()[..size], self.now);
    }

    /// Set up a channel, and announce descriptors.
    fn start(&mut self, channel: usize, count: u16) {
        let registers = CHANNEL_SIZE * (channel + 1);
        self.write(registers + CHANCTRL, 2, 0x1d);
        self.write(registers + CHANCMP, 4, COMPLETION);
        self.write(registers + CHANCMP + 4, 4, 0);
        self.write(registers + CHAINADDR, 4, RING);
        self.write(registers + CHAINADDR + 4, 4, 0);
        self.write(registers + DMACOUNT, 2, count.into());
    }

    fn run(&mut self, channel: usize) {
        while self.device.advance(channel, self.now) == Next::At(self.now) {}
    }

    fn status(&mut self, channel: usize) -> u64 {
        self.read(CHANNEL_SIZE * (channel + 1) + CHANSTS, 8)
    }

    fn control(&self, register: usize) -> u32 {
        let mut data = [0; 4];
        self.device.read_config(0x100 + register, &mut data);
        u32::from_le_bytes(data)
    }
}

#[test]
fn what_it_can_do() {
    for (options, version) in [("channels=8", 0x32), ("channels=8,version=3.3", 0x33)] {
        let mut bench = Bench::new(options);
        assert_eq!([bench.read(CHANCNT, 1), bench.read(XFERCAP, 1), bench.read(VERSION, 1)], [8, 20, version]);
        assert_eq!(bench.read(DMACAPABILITY, 4), 0x41);
        assert_eq!(bench.read(INTRDELAY, 2), 0x8000);
        assert_eq!(bench.read(8 * CHANNEL_SIZE + CHANSTS, 4), State::Halted as u64);
        assert_eq!(bench.read(9 * CHANNEL_SIZE + CHANSTS, 8), 0);
        assert_eq!(bench.read(BAR_SIZE - 4, 8), u64::MAX);
    }
}

#[test]
fn two_channels() {
    let mut bench = Bench::new("channels=2");
    bench.start(0, 1);
    bench.start(1, 3);
    bench.run(1);
    assert_eq!(bench.status(1), RING + 128 + State::Idle as u64);
    assert_eq!(bench.status(0), State::Active as u64);
    bench.run(0);
    assert_eq!(bench.status(0), RING + State::Idle as u64);
    assert_eq!(bench.read(2 * CHANNEL_SIZE + CHANCMP, 8), COMPLETION);
    assert_eq!([0x1c, 0x20, 0x28].map(|register| bench.control(register)), [4, 2, 0]);
}

#[test]
fn strict_addresses_are_written_in_halves() {
    for register in [CHAINADDR, CHANCMP] {
        let mut bench = Bench::new("strict=on,fault=wrong-address:0:3:10000000000");
        let at = CHANNEL_SIZE + register;
        bench.write(at, 8, 0x1_0000_0840);
        assert_eq!(bench.read(at, 8), 0);
        bench.write(at, 4, 0x840);
        bench.write(at + 4, 4, 1);
        assert_eq!(bench.read(at, 8), 0x1_0000_0840);
        bench.write(at, 4, 0x840);
        let flipped = if register == CHANCMP { 0x100_0000_0000 } else { 0 };
        assert_eq!(bench.read(at, 8), 0x1_0000_0840 | flipped);
    }
}

#[test]
fn a_strict_broadwell_loses_its_entry() {
    let mut bench = Bench::new("strict=on,version=3.3");
    let registers = [0x1000, 0x1008, 0x1800];
    let saved = registers.map(|register| bench.read(register, 8));
    let sent = |bench: &mut Bench| {
        let before = bench.control(0x24);
        bench.write(INTRCTRL, 1, (intrctrl::MASTER | intrctrl::VECTORS).into());
        bench.start(0, 2);
        bench.run(0);
        bench.control(0x24) != before
    };
    bench.device.interrupts.set_vector(0, None);
    bench.write(CHANNEL_SIZE + CHANCMD, 1, chancmd::RESET.into());
    assert_eq!(registers.map(|register| bench.read(register, 8)), [0; 3]);
    assert!(!sent(&mut bench));
    for (register, value) in registers.into_iter().zip(saved) {
        bench.write(CHANNEL_SIZE + CHANCMD, 1, chancmd::SUSPEND.into());
        bench.write(register, 8, value);
        assert_eq!(bench.read(register, 8), value);
        assert_eq!(sent(&mut bench), register == 0x1800);
    }
    bench.device.reset();
    assert_eq!(registers.map(|register| bench.read(register, 8)), saved);
}

#[test]
fn without_bus_master_nothing_is_reached() {
    let mut bench = Bench::new("");
    bench.device.write_config(4, &[2]);
    let before = bench.device.memory.bytes.clone();
    bench.start(0, 1);
    bench.run(0);
    assert_eq!(bench.status(0), State::Halted as u64);
    assert_eq!(bench.read(CHANNEL_SIZE + CHANERR, 4), u64::from(chanerr::NEXT_ADDRESS));
    assert!(bench.device.memory.bytes == before);
}

#[test]
fn errors_are_cleared_by_writing_ones() {
    let mut bench = Bench::new("fault=error:0:1:300");
    bench.start(0, 1);
    bench.run(0);
    assert_eq!(bench.device.memory.word(0x800), State::Halted as u64);
    assert_eq!(bench.control(0x28), 1);
    assert_eq!(bench.control(0x80), 0x300);
    bench.write(CHANNEL_SIZE + CHANERR, 4, 0x100);
    assert_eq!(bench.read(CHANNEL_SIZE + CHANERR, 4), 0x200);
    bench.device.write_config(0x180, &[0, 3, 0, 0]);
    assert_eq!(bench.control(0x80), 0);
}

#[test]
fn errors_that_a_write_causes() {
    let mut bench = Bench::new("version=3.3");
    bench.start(0, 1);
    bench.write(CHANNEL_SIZE + CHANCMD, 1, 0x14);
    assert_eq!(bench.device.memory.word(0x800), State::Halted as u64);
    assert_eq!((bench.control(0x28), bench.control(0x80)), (1, 0));
}

#[test]
fn interrupts_and_the_in_use_bit() {
    let mut bench = Bench::new("channels=2,fault=lost-interrupt:1:2");
    bench.device.interrupts.set_vector(1, Some(Box::new(std::io::sink())));
    bench.write(INTRCTRL, 1, intrctrl::VECTORS.into());
    let control = 2 * CHANNEL_SIZE + CHANCTRL;
    bench.start(1, 1);
    assert_eq!([bench.read(control, 2), bench.read(control, 2)], [0x1c, 0x11c]);
    bench.run(1);
    assert_eq!((bench.read(control, 2), bench.control(0x24)), (0x11d, 1));
    bench.write(control, 2, 0x1d);
    bench.write(2 * CHANNEL_SIZE + DMACOUNT, 2, 2);
    bench.run(1);
    // The channel has raised the one that is lost.
    assert_eq!((bench.read(control, 2), bench.control(0x24)), (0x1d, 1));
    assert_eq!(bench.read(ATTNSTATUS, 4), 2);
    assert_eq!(bench.read(ATTNSTATUS, 4), 0);
}

#[test]
fn function_level_reset() {
    let mut bench = Bench::new("channels=2,time=1000");
    bench.start(1, 3);
    bench.device.advance(1, bench.now);
    let before = bench.device.memory.bytes.clone();
    bench.device.write_config(0x48, &[0, 0x80]);
    bench.now += std::time::Duration::from_secs(1);
    assert_eq!(bench.device.advance(1, bench.now), Next::Register);
    assert_eq!((bench.status(1), bench.read(2 * CHANNEL_SIZE + CHANCTRL, 2)), (State::Halted as u64, 0));
    assert!(bench.device.memory.bytes == before);
    assert_eq!(bench.control(0x14), 1000);
}

#[test]
fn ones_of_one_channel() {
    let mut bench = Bench::new("channels=2");
    bench.device.write_config(0x110, &[8, 1, 0, 0]);
    assert_ne!(bench.status(0), u64::MAX);
    assert_eq!(bench.status(1), u64::MAX);
    bench.device.write_config(0x110, &[0; 4]);
    assert_ne!(bench.status(1), u64::MAX);
}

#[test]
fn all_ones() {
    let mut bench = Bench::new("");
    bench.start(0, 1);
    bench.device.write_config(0x110, &[7, 0, 0, 0]);
    bench.run(0);
    assert_eq!((bench.status(0), bench.control(0)), (u64::MAX, u32::MAX));
    bench.write(CHANNEL_SIZE + CHANCMD, 1, chancmd::RESET.into());
    assert_eq!(bench.control(0x1c), 0);
    bench.device.write_config(0x110, &[0; 4]);
    bench.run(0);
    assert_eq!(bench.status(0), RING + State::Idle as u64);
}
