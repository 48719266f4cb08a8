//! The destination of a copy: a file that gets its name when it is complete, a file that is written in place, or a stream.

use std::{
    fs::File,
    io::{self, ErrorKind, Seek, SeekFrom, Write},
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::Path,
};

use super::{
    destination::{self, Whole},
    source::Source,
};
use crate::{device, failure::Failure, startup, storage};

/// The destination.
pub struct Sink {
    file: Kind,
    name: String,
}

enum Kind {
    /// A file that replaces another one, or a new one, when it is complete.
    Whole(Whole),
    /// An existing file that cannot be replaced.
    Place(File),
    /// Standard output, a device, a pipe.
    Stream(File),
}

impl Sink {
    /// Opens it; - is standard output. In a directory, the file gets the name of the source.
    pub fn create(to: &Path, source: &Source) -> Result<Self, Failure> {
        if to == Path::new("-") {
            startup::needs_stdout()?;
            let wrong = || Failure::system("standard output");
            let stdout = File::from(io::stdout().as_fd().try_clone_to_owned().map_err(wrong())?);
            source.must_differ_from(&stdout.metadata().map_err(wrong())?)?;
            refuse_device(&stdout, "standard output")?;
            return Ok(Self { file: Kind::Stream(stdout), name: "standard output".into() });
        }
        let path = destination::path(to, source.path())?;
        let name = path.display().to_string();
        let wrong = || Failure::system(&*name);
        let file = match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => return Err(wrong()(ErrorKind::IsADirectory.into())),
            Ok(metadata) => {
                source.must_differ_from(&metadata)?;
                let file = destination::open(&path).map_err(wrong())?;
                refuse_device(&file, &name)?;
                match metadata.is_file() {
                    true => over(file, &path).map_err(wrong())?,
                    false => Kind::Stream(file),
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Kind::Whole(Whole::new(&path, source.mode()).map_err(wrong())?)
            }
            Err(error) => return Err(wrong()(error)),
        };
        Ok(Self { file, name })
    }

    /// For messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes bytes.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file().write_all(bytes)
    }

    /// Writes zeros, or leaves a hole.
    pub fn hole(&mut self, length: u64) -> Result<(), Failure> {
        let done = match &self.file {
            Kind::Stream(file) => io::copy(&mut io::Read::take(io::repeat(0), length), &mut &*file).map(drop),
            _ => i64::try_from(length)
                .map_err(io::Error::other)
                .and_then(|length| self.file().seek(SeekFrom::Current(length)))
                .map(drop),
        };
        done.map_err(Failure::system(&*self.name))
    }

    /// All `length` bytes are written: gives the file its size, for a hole at its end, and, when they are stored, its name.
    pub fn finish(self, length: u64) -> Result<(), Failure> {
        let done = match self.file {
            Kind::Whole(whole) => {
                let file = whole.file();
                file.set_len(length).and_then(|()| storage::store(file)).and_then(|()| whole.finish())
            }
            Kind::Place(file) => file.set_len(length).and_then(|()| storage::store(&file)),
            // Nothing to store for a pipe, but for a block device, or a file that was opened by a shell.
            Kind::Stream(file) => storage::store(&file),
        };
        done.map_err(Failure::system(self.name))
    }

    fn file(&self) -> &File {
        match &self.file {
            Kind::Whole(whole) => whole.file(),
            Kind::Place(file) | Kind::Stream(file) => file,
        }
    }
}

/// Fails if the destination is a device.
fn refuse_device(file: &File, name: &str) -> Result<(), Failure> {
    device::refuse(file, name, |device| {
        format!("whose memory each copy overwrites: `rdmactl write {device} FILE` writes its memory")
    })
}

/// Replaces a file, or writes it in place, from its start.
fn over(file: File, path: &Path) -> io::Result<Kind> {
    if destination::can_be_replaced(&file, path) {
        match Whole::over(&file, path) {
            Ok(Some(whole)) => return Ok(Kind::Whole(whole)),
            Ok(None) => {}
            // There can be no file in this directory.
            Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {}
            Err(error) => return Err(error),
        }
    }
    file.set_len(0).map(|()| Kind::Place(file))
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
