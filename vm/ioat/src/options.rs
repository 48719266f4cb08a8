// SPDX-License-Identifier: GPL-2.0
//! What a device is like: the options after `--ioat N`.

use crate::{
    faults::{Fault, Kind},
    timing::Timing,
};

/// The options, as `vm/boot` lists them.
#[derive(Clone, Debug)]
pub struct Options {
    /// `channels=N`: 1 to 8.
    pub channels: usize,
    /// `version=3.2`: 3.2, 3.3 or 3.4, as in the register: 0x32.
    pub version: u8,
    /// `device=2021`: the PCI device ID; by default that of a processor with an engine of this version.
    pub device: Option<u16>,
    /// `msix=off`: interrupts by the line only. QEMU 11.1 aborts when a device with MSI-X is unplugged: it removes the pending bits' region
    /// twice (`hw/vfio-user/pci.c`, `vfio_user_msix_teardown`).
    pub msix: bool,
    /// `strict=on`: a device that relies on what the kernel's driver does, where other drivers do less: `registers.rs`, "strict".
    pub strict: bool,
    /// `time=5000`: nanoseconds of each descriptor; `rate=2000`: megabytes a second.
    pub timing: Timing,
    /// `fault=KIND:CHANNEL:NTH[:ARGUMENT]`, which may be repeated. `NTH` with a `+`: from then on always.
    pub faults: Vec<Fault>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            channels: 1,
            version: 0x32,
            device: None,
            msix: true,
            strict: false,
            timing: Timing::default(),
            faults: Vec::new(),
        }
    }
}

impl Options {
    /// Options separated by commas.
    ///
    /// # Errors
    ///
    /// The first that is wrong, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut options = Self::default();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            options
                .set(name, value)
                .ok_or_else(|| format!("the device's option {word} is unknown or has a bad value"))?;
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Option<()> {
        match name {
            "channels" => self.channels = value.parse().ok().filter(|count| (1..=8).contains(count))?,
            "version" => self.version = version(value)?,
            "device" => self.device = Some(u16::from_str_radix(value, 16).ok()?),
            "msix" => self.msix = switch(value)?,
            "strict" => self.strict = switch(value)?,
            "time" => self.timing.nanoseconds = value.parse().ok()?,
            "rate" => self.timing.rate = value.parse().ok()?,
            "fault" => self.faults.push(fault(value)?),
            _ => return None,
        }
        Some(())
    }

    /// Whether errors are kept in configuration space. Linux, `init.c`, `ioat_pci_probe` treats a Skylake of any version as 3.2.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.version < 0x33 || self.device_id() == 0x2021
    }

    /// Whether a reset of a channel clears an entry of the MSI-X table. Linux, `init.c`, `is_bwd_ioat`.
    #[must_use]
    pub fn loses_entry(&self) -> bool {
        self.strict && self.msix && (0x6f50..=0x6f53).contains(&self.device_id())
    }

    /// The PCI device ID: of a Skylake, a Broadwell-DE or an Ice Lake Xeon. Linux, `drivers/dma/ioat/hw.h`.
    #[must_use]
    pub fn device_id(&self) -> u16 {
        self.device.unwrap_or(match self.version {
            0x32 => 0x2021,
            0x33 => 0x6f50,
            _ => 0x0b00,
        })
    }
}

fn switch(value: &str) -> Option<bool> {
    [("off", false), ("on", true)].into_iter().find(|(word, _)| *word == value).map(|(_, on)| on)
}

fn version(value: &str) -> Option<u8> {
    [("3.2", 0x32), ("3.3", 0x33), ("3.4", 0x34)]
        .into_iter()
        .find(|(name, _)| *name == value)
        .map(|(_, version)| version)
}

fn fault(value: &str) -> Option<Fault> {
    let mut parts = value.split(':');
    let kind = parts.next()?;
    let kind = Kind::ALL.into_iter().find(|(name, _)| *name == kind)?.1;
    let channel = parts.next().map_or(Some(0), |text| text.parse().ok())?;
    let nth = parts.next().unwrap_or("1");
    let argument = parts.next().map_or(Some(0), |text| u64::from_str_radix(text, 16).ok())?;
    Some(Fault { kind, channel, nth: nth.trim_end_matches('+').parse().ok()?, again: nth.ends_with('+'), argument })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all() {
        let options =
            Options::parse("channels=8,version=3.3,time=5000,rate=2000,fault=error:1:7+:100,fault=hang").unwrap();
        assert_eq!((options.channels, options.version, options.device_id()), (8, 0x33, 0x6f50));
        assert_eq!((options.timing.nanoseconds, options.timing.rate), (5000, 2000));
        let error = Fault { kind: Kind::Error, channel: 1, nth: 7, again: true, argument: 0x100 };
        let hang = Fault { kind: Kind::Hang, channel: 0, nth: 1, again: false, argument: 0 };
        assert_eq!(options.faults, [error, hang]);
        assert_eq!(Options::parse("").unwrap().device_id(), 0x2021);
        assert_eq!([Options::parse("").unwrap().msix, Options::parse("msix=off").unwrap().msix], [true, false]);
        assert_eq!(
            ["", "strict=on", "strict=off"].map(|text| Options::parse(text).unwrap().strict),
            [false, true, false]
        );
        assert_eq!(Options::parse("version=3.3,device=2021").unwrap().device_id(), 0x2021);
    }

    #[test]
    fn bad_ones() {
        for text in [
            "strict=1",
            "channels=9",
            "channels=0",
            "version=3.1",
            "time=",
            "fault=fire",
            "msix=no",
            "speed=3",
            "fault=error:1:x",
        ] {
            assert!(Options::parse(text).unwrap_err().contains(text), "{text}");
        }
    }
}
