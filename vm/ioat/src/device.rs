// SPDX-License-Identifier: GPL-2.0
//! The device: its registers, and what is shared by its channels.

use std::time::Instant;

use crate::{
    access::{Access, Image},
    channel::{Channel, Events, Next},
    config::{Config, Request},
    control::Control,
    entry::Entry,
    faults::Kind,
    interrupts::{Command, Interrupts},
    memory::{Gate, Memory},
    options::Options,
    registers::{
        ATTNSTATUS, BAR_SIZE, CDAR, CHAINADDR, CHANCMD, CHANCMP, CHANCNT, CHANCTRL, CHANERR, CHANERR_MASK,
        CHANNEL_SIZE, CHANSTS, DMA_COMP, DMACAPABILITY, DMACOUNT, INTRCTRL, INTRDELAY, VERSION, XFERCAP, capability,
        chancmd, chanctrl,
    },
};

/// Largest transfer, as a power of two: 1 MiB, as real ones have it.
const LARGEST: u8 = 20;

/// An I/OAT device.
pub struct Device<M> {
    version: u8,
    config: Config,
    control: Control,
    strict: bool,
    channels: Vec<Channel>,
    /// The first entry of the MSI-X table, if a reset of a channel clears it.
    entry: Option<Entry>,
    /// Its interrupts.
    pub interrupts: Interrupts,
    /// The memory that it can reach.
    pub memory: M,
}

impl<M: Memory> Device<M> {
    /// A device.
    #[must_use]
    pub fn new(options: &Options, memory: M) -> Self {
        let mut control = Control::default();
        control.timing = options.timing;
        for fault in &options.faults {
            control.faults.add(*fault);
        }
        let mut interrupts = Interrupts::new(options.channels);
        interrupts.strict = options.strict;
        Self {
            version: options.version,
            config: Config::new(options),
            control,
            strict: options.strict,
            channels: (0..options.channels)
                .map(|number| {
                    let mut channel = Channel::new(number, 1 << LARGEST);
                    channel.strict = options.strict;
                    channel
                })
                .collect(),
            entry: options.loses_entry().then(Entry::default),
            interrupts,
            memory,
        }
    }

    /// Number of channels.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// Reset, by the bus or by function-level reset: the registers, and nothing of [`Control`].
    pub fn reset(&mut self) {
        self.channels.iter_mut().for_each(Channel::reset);
        self.interrupts.reset();
        self.config.reset();
        // The kernel restores the table itself.
        if let Some(entry) = &mut self.entry {
            *entry = Entry::default();
        }
    }

    /// Read configuration space.
    pub fn read_config(&self, offset: usize, data: &mut [u8]) {
        match self.control.read(offset, self.interrupts.sent) {
            Some(value) if data.len() == 4 => data.copy_from_slice(&value.to_le_bytes()),
            _ if self.control.faults.all_ones() => data.fill(0xff),
            _ => self.config.read(offset, data, self.interrupts.line_pending()),
        }
    }

    /// Write configuration space.
    pub fn write_config(&mut self, offset: usize, data: &[u8]) {
        if self.control.write(offset, data) || self.control.faults.all_ones() {
            return;
        }
        if self.config.write(offset, data) == Request::Reset {
            self.reset();
        }
        let (master, line_disabled) = (self.config.master(), self.config.line_disabled());
        self.interrupts.set_command(Command { master, line_disabled });
    }

    /// Read registers.
    pub fn read(&mut self, offset: usize, data: &mut [u8]) {
        self.control.counters.reads = self.control.counters.reads.wrapping_add(1);
        if self.control.faults.all_ones() || offset + data.len() > BAR_SIZE {
            return data.fill(0xff);
        }
        self.interrupts.arrive();
        if self.entry.as_ref().is_some_and(|entry| entry.read(offset, data)) {
            return;
        }
        let access = Access::new(offset % CHANNEL_SIZE, data.len());
        let image = match (offset / CHANNEL_SIZE).checked_sub(1) {
            None => self.device_registers(access),
            Some(channel) if self.control.faults.channel_ones(channel) => return data.fill(0xff),
            Some(channel) if channel < self.channels.len() => self.channel_registers(channel, access),
            Some(_) => Image::new(),
        };
        image.read(offset % CHANNEL_SIZE, data);
    }

    fn device_registers(&mut self, access: Access) -> Image<CHANNEL_SIZE> {
        let mut image = Image::new();
        image.put(CHANCNT, &[u8::try_from(self.channels.len()).expect("at most 8")]);
        image.put(XFERCAP, &[LARGEST]);
        image.put(VERSION, &[self.version]);
        image.put(INTRDELAY, &self.interrupts.read_delay().to_le_bytes());
        image.put(DMACAPABILITY, &(capability::PAGE_BREAK | capability::FILL).to_le_bytes());
        if access.hits(INTRCTRL, 1) {
            image.put(INTRCTRL, &[self.interrupts.read_control()]);
        }
        if access.hits(ATTNSTATUS, 4) {
            image.put(ATTNSTATUS, &self.interrupts.read_attention().to_le_bytes());
        }
        image
    }

    fn channel_registers(&mut self, number: usize, access: Access) -> Image<CHANNEL_SIZE> {
        let disabled = self.interrupts.disabled(number);
        let channel = &mut self.channels[number];
        let mut control = channel.control;
        control |= if disabled { chanctrl::INTERRUPT_DISABLED } else { 0 };
        control |= if channel.in_use { chanctrl::IN_USE } else { 0 };
        channel.in_use |= access.hits(CHANCTRL, 2);
        let mut image = Image::new();
        image.put(CHANCTRL, &control.to_le_bytes());
        image.put(DMA_COMP, &[2]);
        image.put(CHANCMD, &[channel.pending_command()]);
        image.put(DMACOUNT, &channel.count().to_le_bytes());
        if access.hits(CHANSTS, 8) {
            image.put(CHANSTS, &channel.read_status(&mut self.control.faults).to_le_bytes());
        }
        image.put(CHAINADDR, &channel.chain.to_le_bytes());
        image.put(CHANCMP, &channel.completion.to_le_bytes());
        image.put(CDAR, &channel.current().to_le_bytes());
        image.put(CHANERR, &channel.errors.to_le_bytes());
        image.put(CHANERR_MASK, &channel.error_mask.to_le_bytes());
        image
    }

    /// Write registers.
    pub fn write(&mut self, offset: usize, data: &[u8], now: Instant) {
        if self.control.faults.all_ones() || offset + data.len() > BAR_SIZE {
            return;
        }
        self.interrupts.arrive();
        if let Some(entry) = &mut self.entry {
            entry.write(Access::new(offset, data.len()), data);
        }
        let access = Access::new(offset % CHANNEL_SIZE, data.len());
        match (offset / CHANNEL_SIZE).checked_sub(1) {
            None => self.write_device(access, data),
            Some(channel) if channel < self.channels.len() => self.write_channel(channel, access, data, now),
            Some(_) => {}
        }
    }

    fn write_device(&mut self, access: Access, data: &[u8]) {
        if let Some(value) = access.merge(INTRCTRL, [0], data) {
            self.interrupts.write_control(u8::from_le_bytes(value));
        }
        if let Some(value) = access.merge(INTRDELAY, self.interrupts.read_delay().to_le_bytes(), data) {
            self.interrupts.write_delay(u16::from_le_bytes(value));
        }
    }

    fn write_channel(&mut self, number: usize, access: Access, data: &[u8], now: Instant) {
        if self.strict && data.len() > 4 && (access.hits(CHAINADDR, 8) || access.hits(CHANCMP, 8)) {
            return;
        }
        let channel = &mut self.channels[number];
        if let Some(value) = access.merge(CHANCTRL, channel.control.to_le_bytes(), data) {
            let value = u16::from_le_bytes(value);
            channel.control = value & chanctrl::STORED;
            channel.in_use = value & chanctrl::IN_USE != 0;
            if value & chanctrl::INTERRUPT_DISABLED != 0 {
                self.interrupts.ask(number, now);
            }
        }
        if let Some(value) = access.merge(CHANCMP, channel.completion.to_le_bytes(), data) {
            let flipped = self.control.faults.strike(Kind::WrongAddress, number).unwrap_or(0);
            channel.completion = (u64::from_le_bytes(value) ^ flipped) & !7;
        }
        if let Some(value) = access.merge(CHANERR, [0; 4], data) {
            channel.errors &= !u32::from_le_bytes(value);
        }
        if let Some(value) = access.merge(CHANERR_MASK, channel.error_mask.to_le_bytes(), data) {
            channel.error_mask = u32::from_le_bytes(value);
        }
        if let Some(value) = access.merge(CHAINADDR, channel.chain.to_le_bytes(), data) {
            let events = channel.set_chain(u64::from_le_bytes(value));
            self.answer(number, events, now);
        }
        if let Some(value) = access.merge(DMACOUNT, self.channels[number].count().to_le_bytes(), data) {
            self.control.counters.doorbells = self.control.counters.doorbells.wrapping_add(1);
            let events = self.channels[number].announce(u16::from_le_bytes(value));
            self.answer(number, events, now);
        }
        if let Some([command]) = access.merge(CHANCMD, [0], data).filter(|command| *command != [0]) {
            self.command(number, command, now);
        }
    }

    fn command(&mut self, number: usize, command: u8, now: Instant) {
        let events = self.channels[number].command(command, &mut self.control.faults);
        if command == chancmd::RESET && self.channels[number].pending_command() == 0 {
            self.interrupts.reset_channel(number);
            if let Some(entry) = &mut self.entry {
                entry.clear();
            }
        }
        self.answer(number, events, now);
    }

    /// What a write has caused at once.
    fn answer(&mut self, number: usize, events: Events, now: Instant) {
        let mut memory = Gate { open: self.config.master(), memory: &mut self.memory };
        self.channels[number].tell(events, &mut memory, &mut self.control.faults);
        self.happened(number, events, now);
    }

    /// Do what is due in a channel: at most one descriptor. Returns when there is something to do again.
    pub fn advance(&mut self, number: usize, now: Instant) -> Next {
        if self.control.faults.all_ones() {
            return Next::Register;
        }
        let mut memory = Gate { open: self.config.master(), memory: &mut self.memory };
        let events = self.channels[number].advance(now, &mut memory, self.control.timing, &mut self.control.faults);
        self.happened(number, events, now);
        self.interrupts.advance(number, now);
        match (self.channels[number].next(now), self.interrupts.due(number)) {
            (Next::At(when), Some(due)) => Next::At(when.min(due)),
            (Next::Register, Some(due)) => Next::At(due),
            (next, None) => next,
        }
    }

    fn happened(&mut self, number: usize, events: Events, now: Instant) {
        let counters = &mut self.control.counters;
        counters.descriptors = counters.descriptors.wrapping_add(events.completed.into());
        if events.errors != 0 {
            counters.errors = counters.errors.wrapping_add(1);
            self.config.latch(events.errors);
        }
        if !events.interrupt {
            return;
        }
        let is_lost = self.entry.as_ref().is_some_and(|entry| !entry.is_valid());
        if is_lost || self.control.faults.strike(Kind::LostInterrupt, number).is_some() {
            self.interrupts.lose(number);
        } else {
            self.interrupts.raise(number, now);
        }
    }
}

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;
