// SPDX-License-Identifier: GPL-2.0
//! A channel: its registers, and what it does with its chain of descriptors.
//!
//! ```text
//!            CHAINADDR            DMACOUNT             all done
//!   Halted ------------> Armed -------------> Active <----------> Idle
//!      ^                   ^                   |  |     DMACOUNT
//!      | error, abort,     | CHAINADDR  SUSPEND|  |
//!      | reset (from       +------- Suspended <+  |
//!      | each state)                   |  RESUME  |
//!      +-------------------------------+----------+
//! ```
//!
//! A channel with errors in `CHANERR` stays halted until they are cleared. It knows no time but the one that it is given, and no interrupts
//! but as an answer: the rest is in `device.rs`.

use std::time::Instant;

use crate::{
    descriptor::{self, Descriptor, Operation},
    faults::{Faults, Kind},
    memory::Memory,
    registers::{State, chancmd, chanctrl, chanerr},
    timing::{Schedule, Timing},
};

/// A descriptor in execution.
struct Running {
    descriptor: Descriptor,
    address: u64,
    /// Never, if there is none.
    end: Option<Instant>,
    /// The bytes of the source, if they were read before the descriptor in front of this one has ended.
    source: Option<Vec<u8>>,
}

/// What happened in a channel, for the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// A descriptor was completed.
    pub completed: bool,
    /// It asks for an interrupt.
    pub interrupt: bool,
    /// It failed: bits of `CHANERR`.
    pub errors: u32,
}

/// When a channel has something to do again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// When a register has been written.
    Register,
    /// At this time.
    At(Instant),
}

/// One channel.
pub struct Channel {
    number: usize,
    largest: u32,
    state: State,
    pub(crate) control: u16,
    pub(crate) in_use: bool,
    /// A reset is done only without errors, and `last` is kept. The source of the next descriptor is read while one without a fence is executed.
    pub(crate) strict: bool,
    /// The number in `DMACOUNT`, and how many of them have been completed.
    announced: u16,
    completed: u16,
    pub(crate) chain: u64,
    pub(crate) completion: u64,
    pub(crate) errors: u32,
    pub(crate) error_mask: u32,
    /// Address of the descriptor that was completed last, and of the one to execute next.
    last: u64,
    next: u64,
    running: Option<Running>,
    /// The bytes of the source of the descriptor behind the running one.
    read_ahead: Option<Vec<u8>>,
    /// The commands of `CHANCMD` that were written and have not ended.
    pending: u8,
    /// The last read of `CHANSTS` has returned what is not true.
    lies: bool,
    schedule: Schedule,
}

impl Channel {
    /// A channel after a reset, with this number, for transfers of at most `largest` bytes.
    #[must_use]
    pub fn new(number: usize, largest: u32) -> Self {
        Self {
            number,
            largest,
            state: State::Halted,
            control: 0,
            in_use: false,
            strict: false,
            announced: 0,
            completed: 0,
            chain: 0,
            completion: 0,
            errors: 0,
            error_mask: 0,
            last: 0,
            next: 0,
            running: None,
            read_ahead: None,
            pending: 0,
            lies: false,
            schedule: Schedule::default(),
        }
    }

    /// `CHANSTS`.
    #[must_use]
    pub fn status(&self) -> u64 {
        self.last | self.state as u64
    }

    /// `CHANSTS` at a read; with [`Kind::ChangingStatus`], every second one shows the descriptor in execution as completed.
    pub fn read_status(&mut self, faults: &mut Faults) -> u64 {
        self.lies = !self.lies && faults.strike(Kind::ChangingStatus, self.number).is_some();
        if self.lies { self.current() | self.state as u64 } else { self.status() }
    }

    /// `DMACOUNT`.
    #[must_use]
    pub fn count(&self) -> u16 {
        self.announced
    }

    /// `CDAR`.
    #[must_use]
    pub fn current(&self) -> u64 {
        self.running.as_ref().map_or(self.next, |running| running.address)
    }

    /// `CHANCMD`: the reset bit, while a reset is not done.
    #[must_use]
    pub fn pending_command(&self) -> u8 {
        self.pending & chancmd::RESET
    }

    /// Reset, with the device.
    pub fn reset(&mut self) {
        *self = Self { strict: self.strict, ..Self::new(self.number, self.largest) };
    }

    fn reset_by_command(&mut self) {
        let last = if self.strict { self.last } else { 0 };
        self.reset();
        self.last = last;
    }

    /// `CHAINADDR` was written: there is a new chain. A channel with errors, or a busy one, cannot take it.
    pub fn set_chain(&mut self, address: u64) -> Events {
        self.chain = address;
        if self.state == State::Active {
            return self.failure(chanerr::CHAIN_ADDRESS);
        }
        self.next = address;
        self.read_ahead = None;
        (self.announced, self.completed) = (0, 0);
        self.pending &= !chancmd::SUSPEND;
        if self.errors == 0 {
            self.state = State::Armed;
        }
        Events::default()
    }

    /// `DMACOUNT` was written: descriptors were appended to the chain.
    pub fn announce(&mut self, count: u16) -> Events {
        self.announced = count;
        if !matches!(self.state, State::Armed | State::Idle) || count == self.completed {
            return Events::default();
        }
        self.state = State::Active;
        self.schedule.pause();
        if self.chain % descriptor::SIZE as u64 == 0 { Events::default() } else { self.failure(chanerr::CHAIN_ADDRESS) }
    }

    /// `CHANCMD` was written.
    pub fn command(&mut self, command: u8, faults: &mut Faults) -> Events {
        match command {
            chancmd::RESET if faults.strike(Kind::StuckReset, self.number).is_some() => self.pending |= chancmd::RESET,
            chancmd::RESET if self.strict && (self.errors != 0 || self.is_not_suspended()) => {
                self.pending |= chancmd::RESET;
            }
            chancmd::RESET => self.reset_by_command(),
            chancmd::ABORT => self.halt(),
            chancmd::SUSPEND if self.running.is_some() => self.pending |= chancmd::SUSPEND,
            chancmd::SUSPEND if self.state != State::Halted => self.state = State::Suspended,
            chancmd::RESUME => self.resume(),
            _ if command.count_ones() > 1 => return self.failure(chanerr::COMMAND),
            _ => {}
        }
        Events::default()
    }

    fn resume(&mut self) {
        self.pending &= !chancmd::SUSPEND;
        if self.state == State::Suspended {
            self.state = self.busy_or_idle();
            self.schedule.pause();
        }
    }

    /// The kernel's driver suspends a channel before it resets it, and waits for at most 100 ms until it is not active any more (`ioat_reset_hw`).
    fn is_not_suspended(&self) -> bool {
        self.state == State::Active && self.pending & chancmd::SUSPEND == 0
    }

    fn busy_or_idle(&self) -> State {
        if self.announced == self.completed { State::Idle } else { State::Active }
    }

    fn halt(&mut self) {
        self.running = None;
        self.read_ahead = None;
        self.pending &= !chancmd::SUSPEND;
        self.state = State::Halted;
    }

    /// Stop with these errors.
    fn failure(&mut self, errors: u32) -> Events {
        self.halt();
        self.errors |= errors;
        let interrupt = self.control & chanctrl::ERROR_INTERRUPT != 0 && errors & !self.error_mask != 0;
        Events { completed: false, interrupt, errors }
    }

    /// Do what is due: fetch a descriptor, or end the one that is running.
    pub fn advance(&mut self, now: Instant, memory: &mut impl Memory, timing: Timing, faults: &mut Faults) -> Events {
        let events = match &self.running {
            Some(running) if running.end.is_some_and(|end| end <= now) => self.execute(memory, faults),
            None if self.state == State::Active => self.fetch(now, memory, timing, faults),
            _ => return Events::default(),
        };
        self.tell(events, memory, faults);
        events
    }

    /// Write the completion of an error, if software asked for it.
    pub fn tell(&self, events: Events, memory: &mut impl Memory, faults: &mut Faults) {
        if events.errors != 0 && self.control & chanctrl::ERROR_COMPLETION != 0 {
            // An error here would be reported in the same way as the first one, which it cannot be.
            let _ = self.write_completion(memory, faults);
        }
    }

    /// When to call [`Channel::advance`].
    #[must_use]
    pub fn next(&self, now: Instant) -> Next {
        match &self.running {
            Some(running) => running.end.map_or(Next::Register, Next::At),
            None if self.state == State::Active => Next::At(now),
            None => Next::Register,
        }
    }

    fn fetch(&mut self, now: Instant, memory: &impl Memory, timing: Timing, faults: &mut Faults) -> Events {
        if self.next % descriptor::SIZE as u64 != 0 {
            return self.failure(chanerr::NEXT_ALIGNMENT);
        }
        let mut bytes = [0; descriptor::SIZE];
        if memory.read(self.next, &mut bytes).is_err() {
            return self.failure(chanerr::NEXT_ADDRESS);
        }
        let descriptor = Descriptor::parse(&bytes);
        let hangs = faults.strike(Kind::Hang, self.number).is_some();
        let end = self.schedule.end(now, timing.of(descriptor.bytes()));
        let source = self.read_ahead.take();
        self.running = Some(Running { descriptor, address: self.next, end: (!hangs).then_some(end), source });
        if self.strict && !descriptor.fences() && self.announced.wrapping_sub(self.completed) > 1 {
            self.read_ahead = self.read_source(descriptor.next, memory);
        }
        Events::default()
    }

    /// The bytes of the source of a copy at this address; [`None`] if it is no copy, or cannot be read, which its execution reports.
    fn read_source(&self, address: u64, memory: &impl Memory) -> Option<Vec<u8>> {
        let mut bytes = [0; descriptor::SIZE];
        memory.read(address, &mut bytes).ok()?;
        let Ok(Operation::Copy { from, size, .. }) = Descriptor::parse(&bytes).operation(self.largest) else {
            return None;
        };
        let mut source = vec![0; size as usize];
        memory.read_pages(from, &mut source).ok()?;
        Some(source)
    }

    fn execute(&mut self, memory: &mut impl Memory, faults: &mut Faults) -> Events {
        let Some(Running { descriptor, address, source, .. }) = self.running.take() else { return Events::default() };
        if let Some(errors) = faults.strike(Kind::Error, self.number) {
            return self.failure(u32::try_from(errors).unwrap_or(u32::MAX));
        }
        let done = descriptor.operation(self.largest).and_then(|operation| match operation {
            Operation::Null => Ok(()),
            Operation::Copy { from, to, size } => match &source {
                Some(source) => memory.write_pages(to, source),
                None => memory.copy(from, to, size),
            },
            Operation::Fill { pattern, to, size } => memory.fill(pattern, to, size),
        });
        if let Err(errors) = done {
            return self.failure(errors);
        }
        self.last = address;
        self.next = descriptor.next;
        self.completed = self.completed.wrapping_add(1);
        let is_suspended = self.pending & chancmd::SUSPEND != 0;
        self.pending &= !chancmd::SUSPEND;
        self.state = if is_suspended { State::Suspended } else { self.busy_or_idle() };
        if descriptor.completes() && self.write_completion(memory, faults).is_err() {
            return self.failure(chanerr::COMPLETION_ADDRESS);
        }
        Events { completed: true, interrupt: descriptor.interrupts(), errors: 0 }
    }

    /// Write the status to where software asked for it, `CHANCMP`.
    fn write_completion(
        &self,
        memory: &mut impl Memory,
        faults: &mut Faults,
    ) -> Result<(), crate::memory::Unreachable> {
        if faults.strike(Kind::LostCompletion, self.number).is_some() {
            return Ok(());
        }
        let flipped = faults.strike(Kind::WrongCompletion, self.number).unwrap_or(0);
        memory.write(self.completion, &(self.status() ^ flipped).to_le_bytes())
    }
}

#[cfg(test)]
#[path = "channel_tests.rs"]
mod tests;
