// SPDX-License-Identifier: GPL-2.0
//! Faults on demand: what a broken device does, for the tests of its drivers.

/// What goes wrong. The numbers are those of the control registers, `control.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An interrupt is raised, and its message is lost. The line is not raised.
    LostInterrupt = 1,
    /// A descriptor never ends. It can be aborted, and the channel can be reset, but not suspended.
    Hang = 2,
    /// A completion is written with some bits flipped: those of the argument.
    WrongCompletion = 3,
    /// A completion is not written.
    LostCompletion = 4,
    /// A descriptor fails; the argument is added to `CHANERR`. Nothing of it was executed.
    Error = 5,
    /// A reset is never done, and the channel continues.
    StuckReset = 6,
    /// All registers read as ones, writes are ignored, and the engine stands still: a device that has been pulled out.
    AllOnes = 7,
    /// The registers of the channel read as ones.
    ChannelOnes = 8,
    /// What is written to `CHANCMP` is stored with some bits flipped: those of the argument.
    WrongAddress = 9,
    /// Every second read of `CHANSTS` shows the descriptor in execution as completed.
    ChangingStatus = 10,
}

impl Kind {
    /// All kinds, with their names on the command line.
    pub const ALL: [(&'static str, Self); 10] = [
        ("lost-interrupt", Self::LostInterrupt),
        ("hang", Self::Hang),
        ("wrong-completion", Self::WrongCompletion),
        ("lost-completion", Self::LostCompletion),
        ("error", Self::Error),
        ("stuck-reset", Self::StuckReset),
        ("all-ones", Self::AllOnes),
        ("channel-ones", Self::ChannelOnes),
        ("wrong-address", Self::WrongAddress),
        ("changing-status", Self::ChangingStatus),
    ];

    /// The kind with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().map(|(_, kind)| kind).find(|kind| *kind as u8 == number)
    }
}

/// A fault that will happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What happens.
    pub kind: Kind,
    /// To this channel.
    pub channel: usize,
    /// The n-th time that it can, counted from 1.
    pub nth: u16,
    /// From then on always, and not only once.
    pub again: bool,
    /// Depends on the kind.
    pub argument: u64,
}

/// The largest number of faults that have not happened.
const MAX: usize = 4096;

/// The faults that will happen.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// One more, of which the guest can add any number: those beyond [`MAX`] are ignored. As they have no time of their own, [`Kind::AllOnes`] and
    /// [`Kind::ChannelOnes`] begin at once.
    pub fn add(&mut self, fault: Fault) {
        if self.0.len() < MAX {
            self.0.push(fault);
        }
    }

    /// The number of those that have not happened, at most [`MAX`]. One that happens again and again is always counted.
    #[must_use]
    pub fn left(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// None any more.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether all registers read as ones.
    #[must_use]
    pub fn all_ones(&self) -> bool {
        self.0.iter().any(|fault| fault.kind == Kind::AllOnes)
    }

    /// Whether the registers of the channel read as ones.
    #[must_use]
    pub fn channel_ones(&self, channel: usize) -> bool {
        self.0.iter().any(|fault| fault.kind == Kind::ChannelOnes && fault.channel == channel)
    }

    /// A fault of this kind could happen to the channel now: its argument, if it does.
    pub fn strike(&mut self, kind: Kind, channel: usize) -> Option<u64> {
        let at = self.0.iter().position(|fault| fault.kind == kind && fault.channel == channel)?;
        let fault = &mut self.0[at];
        fault.nth = fault.nth.saturating_sub(1);
        if fault.nth > 0 {
            return None;
        }
        let argument = fault.argument;
        if !fault.again {
            self.0.remove(at);
        }
        Some(argument)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_time_and_on_one_channel_only() {
        let mut faults = Faults::default();
        faults.add(Fault { kind: Kind::Error, channel: 1, nth: 3, again: false, argument: 9 });
        let struck: Vec<_> = (0..5).map(|_| faults.strike(Kind::Error, 1)).collect();
        assert_eq!(struck, [None, None, Some(9), None, None]);
        assert_eq!(faults.strike(Kind::Error, 0), None);
    }

    #[test]
    fn again_and_again() {
        let mut faults = Faults::default();
        faults.add(Fault { kind: Kind::Hang, channel: 0, nth: 2, again: true, argument: 0 });
        assert_eq!([(); 4].map(|()| faults.strike(Kind::Hang, 0)), [None, Some(0), Some(0), Some(0)]);
        faults.clear();
        assert_eq!(faults.strike(Kind::Hang, 0), None);
    }

    #[test]
    fn numbers() {
        for (_, kind) in Kind::ALL {
            assert_eq!(Kind::from_number(kind as u8), Some(kind));
        }
        assert_eq!(Kind::from_number(0), None);
    }
}
