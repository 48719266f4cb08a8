// SPDX-License-Identifier: GPL-2.0
//! Interrupts: from a channel's event to a vector or to the interrupt line.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use crate::registers::{intrctrl, intrdelay};

/// What sends an interrupt when 8 bytes are written to it: an eventfd of QEMU, which is not counted on to work.
pub type Wire = Box<dyn Write + Send>;

/// What a channel's interrupts are doing.
#[derive(Clone, Copy, Default)]
struct Source {
    /// Bit 0 of `CHANCTRL`: there was an interrupt, and software has not asked for the next one yet.
    disabled: bool,
    /// There was another event meanwhile; its interrupt is sent as soon as it may be.
    pending: bool,
    /// When a posted write of bit 0 arrives.
    posted: Option<Instant>,
    /// When the interrupt delay ends.
    due: Option<Instant>,
}

/// How long a posted write takes, unless another access to the device comes before. It takes less in hardware; a test has to hit it.
const POSTED: Duration = Duration::from_millis(5);

/// What the command register allows.
#[derive(Clone, Copy, Default)]
pub struct Command {
    /// Bit 2, Bus Master: a message is a memory write.
    pub master: bool,
    /// Bit 10: no interrupts by the line.
    pub line_disabled: bool,
}

/// The interrupts of a device.
pub struct Interrupts {
    sources: Vec<Source>,
    /// What is stored of `INTRCTRL`.
    control: u8,
    attention: u32,
    delay: u16,
    command: Command,
    vectors: Vec<Option<Wire>>,
    line: Option<Wire>,
    asserted: bool,
    /// Vectors need [`intrctrl::MASTER`], too; writes of `CHANCTRL` are posted; an event while interrupts are disabled raises none.
    pub strict: bool,
    /// How many interrupts were sent.
    pub sent: u32,
}

impl Interrupts {
    /// The interrupts of a device with this number of channels.
    #[must_use]
    pub fn new(channels: usize) -> Self {
        Self {
            sources: vec![Source::default(); channels],
            control: 0,
            attention: 0,
            delay: 0,
            command: Command::default(),
            vectors: Vec::new(),
            line: None,
            asserted: false,
            strict: false,
            sent: 0,
        }
    }

    /// As after a reset of the device. The wires stay: they are QEMU's.
    pub fn reset(&mut self) {
        self.sources.fill(Source::default());
        (self.control, self.attention, self.delay) = (0, 0, 0);
        self.command = Command::default();
        self.update_line();
    }

    /// As after a reset of a channel.
    pub fn reset_channel(&mut self, channel: usize) {
        self.sources[channel] = Source::default();
    }

    /// Connect a vector of MSI-X.
    pub fn set_vector(&mut self, vector: usize, wire: Option<Wire>) {
        if self.vectors.len() <= vector {
            self.vectors.resize_with(vector + 1, || None);
        }
        self.vectors[vector] = wire;
    }

    /// MSI-X is off.
    pub fn clear_vectors(&mut self) {
        self.vectors.clear();
    }

    /// No wire is connected any more.
    pub fn disconnect(&mut self) {
        self.vectors.clear();
        self.line = None;
    }

    /// Connect the line.
    pub fn set_line(&mut self, wire: Option<Wire>) {
        self.line = wire;
        self.refresh_line();
    }

    /// The command register was written.
    pub fn set_command(&mut self, command: Command) {
        self.command = command;
        self.update_line();
    }

    /// The line was acknowledged: if it still is asserted, this is another interrupt.
    pub fn refresh_line(&mut self) {
        self.asserted = false;
        self.update_line();
    }

    /// Bit 0 of `CHANCTRL`.
    #[must_use]
    pub fn disabled(&self, channel: usize) -> bool {
        self.sources[channel].disabled
    }

    /// Software asks for the next interrupt of a channel.
    pub fn ask(&mut self, channel: usize, now: Instant) {
        if self.strict {
            self.sources[channel].posted = Some(now + POSTED);
        } else {
            self.rearm(channel);
        }
    }

    /// Another access to the device has come, and all posted writes before.
    pub fn arrive(&mut self) {
        for channel in 0..self.sources.len() {
            if self.sources[channel].posted.take().is_some() {
                self.rearm(channel);
            }
        }
    }

    fn rearm(&mut self, channel: usize) {
        self.sources[channel].disabled = false;
        if std::mem::take(&mut self.sources[channel].pending) {
            self.send(channel);
        }
    }

    /// Something happened in a channel.
    pub fn raise(&mut self, channel: usize, now: Instant) {
        if self.sources[channel].posted.take_if(|arrives| *arrives <= now).is_some() {
            self.rearm(channel);
        }
        let delay = self.delay & intrdelay::MICROSECONDS;
        if delay == 0 {
            self.send(channel);
        } else {
            self.sources[channel].due.get_or_insert(now + Duration::from_micros(delay.into()));
        }
    }

    /// Something happened in a channel, and the message of its interrupt is lost. The line is a level, which cannot be lost: it is not raised.
    pub fn lose(&mut self, channel: usize) {
        self.sources[channel].disabled |= !self.vectors.is_empty();
    }

    /// When the delay of a channel's interrupt ends.
    #[must_use]
    pub fn due(&self, channel: usize) -> Option<Instant> {
        self.sources[channel].due
    }

    /// Send the interrupt whose delay has ended.
    pub fn advance(&mut self, channel: usize, now: Instant) {
        if self.sources[channel].due.is_some_and(|due| due <= now) {
            self.sources[channel].due = None;
            self.send(channel);
        }
    }

    fn send(&mut self, channel: usize) {
        if self.sources[channel].disabled {
            self.sources[channel].pending = !self.strict;
            return;
        }
        self.sources[channel].disabled = true;
        self.attention |= 1 << channel;
        if self.vectors.is_empty() {
            self.update_line();
        } else if self.control & intrctrl::VECTORS == 0 {
            if self.control & intrctrl::MASTER != 0 {
                self.pulse(0);
            }
        } else if !self.strict || self.control & intrctrl::MASTER != 0 {
            self.pulse(channel);
        }
    }

    fn pulse(&mut self, vector: usize) {
        if !self.command.master {
            return;
        }
        self.sent = self.sent.wrapping_add(1);
        if let Some(Some(wire)) = self.vectors.get_mut(vector) {
            let _ = wire.write_all(&1u64.to_le_bytes());
        }
    }

    /// The line is a level, the wire an edge.
    fn update_line(&mut self) {
        let level = self.attention != 0
            && self.control & intrctrl::MASTER != 0
            && !self.command.line_disabled
            && self.vectors.is_empty();
        if level && !self.asserted {
            self.sent = self.sent.wrapping_add(1);
            if let Some(wire) = &mut self.line {
                let _ = wire.write_all(&1u64.to_le_bytes());
            }
        }
        self.asserted = level;
    }

    /// Bit 3 of the status register: the line is asserted, or would be.
    #[must_use]
    pub fn line_pending(&self) -> bool {
        self.attention != 0 && self.control & intrctrl::MASTER != 0
    }

    /// Read `INTRCTRL`, which disables interrupts.
    pub fn read_control(&mut self) -> u8 {
        let mut value = self.control;
        if self.attention != 0 {
            value |= intrctrl::STATUS;
            value |= if value & intrctrl::MASTER == 0 { 0 } else { intrctrl::ASSERTED };
        }
        self.control &= !intrctrl::MASTER;
        self.update_line();
        value
    }

    /// Write `INTRCTRL`.
    pub fn write_control(&mut self, value: u8) {
        self.control = value & (intrctrl::MASTER | intrctrl::VECTORS);
        self.update_line();
    }

    /// Read `ATTNSTATUS`, which clears it.
    pub fn read_attention(&mut self) -> u32 {
        let attention = std::mem::take(&mut self.attention);
        self.update_line();
        attention
    }

    /// Read `INTRDELAY`.
    #[must_use]
    pub fn read_delay(&self) -> u16 {
        self.delay | intrdelay::SUPPORTED
    }

    /// Write `INTRDELAY`.
    pub fn write_delay(&mut self, value: u16) {
        self.delay = value & intrdelay::MICROSECONDS;
    }
}

#[cfg(test)]
#[path = "interrupts_tests.rs"]
mod tests;
