//! The destination of a copy.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use super::source::Source;
use crate::{destination::Destination, device, failure::Failure, startup};

/// The destination.
pub struct Sink {
    to: Destination,
    name: String,
}

impl Sink {
    /// Opens it; - is standard output. In a directory, the file gets the name of the source.
    pub fn create(to: &Path, source: &Source) -> Result<Self, Failure> {
        let accepts = |name: &str, file: &File| {
            source.must_differ_from(&file.metadata().map_err(Failure::system(name))?)?;
            device::refuse(file, name, |device| {
                format!("whose memory each copy overwrites: `rdmactl write {device} FILE` writes its memory")
            })
        };
        if to == Path::new("-") {
            startup::needs_stdout()?;
            let name = "standard output";
            let stdout = io::stdout().as_fd().try_clone_to_owned().map(File::from).map_err(Failure::system(name))?;
            accepts(name, &stdout)?;
            return Ok(Self { to: Destination::Stream(stdout), name: name.into() });
        }
        let path = path(to, source.path())?;
        let name = path.display().to_string();
        let to = Destination::open(&path, source.mode(), |file| accepts(&name, file))?;
        to.begin().map_err(Failure::system(&*name))?;
        Ok(Self { to, name })
    }

    /// For messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes bytes.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.file().write_all(bytes)
    }

    /// Writes zeros, or leaves a hole.
    pub fn hole(&mut self, length: u64) -> Result<(), Failure> {
        let done = match &self.to {
            Destination::Stream(file) => io::copy(&mut io::Read::take(io::repeat(0), length), &mut &*file).map(drop),
            to => i64::try_from(length)
                .map_err(io::Error::other)
                .and_then(|length| to.file().seek(SeekFrom::Current(length)))
                .map(drop),
        };
        done.map_err(Failure::system(&*self.name))
    }

    /// All `length` bytes are written.
    pub fn finish(self, length: u64) -> Result<(), Failure> {
        self.to.finish(length).map_err(Failure::system(self.name))
    }
}

/// The path of the destination: in a directory, the name of the source.
fn path(to: &Path, from: Option<&Path>) -> Result<PathBuf, Failure> {
    if !to.is_dir() {
        return Ok(to.to_owned());
    }
    let name = from.and_then(Path::file_name).ok_or_else(|| {
        Failure::Usage(format!("{} is a directory, and the source has no name: name a file in it", to.display()))
    })?;
    Ok(to.join(name))
}

impl Source {
    /// Fails if a file is this one, so that writing to it would change the source.
    fn must_differ_from(&self, other: &std::fs::Metadata) -> Result<(), Failure> {
        match self.is_file_of(other.dev(), other.ino()) {
            true => Err(Failure::Usage(format!("{} cannot be copied onto itself", self.name()))),
            false => Ok(()),
        }
    }
}
