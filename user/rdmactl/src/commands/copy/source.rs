//! The source of a copy: any file or stream, in pieces, with its holes.

use std::{
    fs::File,
    io::{self, Read},
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{SeekFrom, seek},
    io::Errno,
};

use crate::{device, failure::Failure, startup};

/// The next piece.
pub enum Piece {
    /// Bytes that were read.
    Data(usize),
    /// A hole of this size.
    Hole(u64),
    /// The end.
    End,
}

/// A file or stream to read.
pub struct Source {
    file: File,
    name: String,
    /// None for standard input.
    path: Option<PathBuf>,
    /// For files with holes: start, current position, and end of the data.
    place: Option<Place>,
}

#[derive(Clone, Copy, Default)]
struct Place {
    began: u64,
    now: u64,
    data_until: u64,
}

impl Source {
    /// Opens it; - is standard input.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let path = (path != Path::new("-")).then(|| path.to_owned());
        let (file, name) = if let Some(path) = &path {
            (File::open(path).map_err(Failure::system(&*name))?, name)
        } else {
            startup::needs_stdin()?;
            let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(Failure::system("standard input"))?;
            (File::from(stdin), "standard input".to_owned())
        };
        // The memory of a device has no end that reading would find, and each copy overwrites it.
        device::refuse(&file, &name, |device| {
            format!("not a file: `rdmactl read {device} FILE` copies its memory into a file")
        })?;
        let metadata = file.metadata().map_err(Failure::system(&*name))?;
        if metadata.is_dir() {
            return Err(Failure::system(name)(io::ErrorKind::IsADirectory.into()));
        }
        // From its current position: a shell may have read the beginning.
        let began = seek(&file, SeekFrom::Current(0)).unwrap_or_default();
        let place = metadata.is_file().then_some(Place { began, now: began, data_until: began });
        Ok(Self { file, name, path, place })
    }

    /// For messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its path; none for standard input.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Its permissions, if it is a file.
    pub fn mode(&self) -> Option<u32> {
        self.place.and_then(|_| Some(self.file.metadata().ok()?.mode() & 0o777))
    }

    /// The number of bytes from its start; none if it is unknown.
    pub fn length(&self) -> Option<u64> {
        let metadata = self.file.metadata().ok()?;
        self.place.map(|place| metadata.len().saturating_sub(place.began))
    }

    /// Whether it is the file with these numbers.
    pub fn is_file_of(&self, device: u64, number: u64) -> bool {
        let ours = self.file.metadata();
        self.place.is_some() && ours.is_ok_and(|ours| (ours.dev(), ours.ino()) == (device, number))
    }

    /// Whether reading would not wait.
    pub fn is_ready(&self) -> bool {
        let mut files = [PollFd::new(&self.file, PollFlags::IN)];
        // Errors are reported by reading.
        self.place.is_some() || poll(&mut files, Some(&Timespec::default())) != Ok(0)
    }

    /// Reads the next piece into `buffer`, which is filled except at an end, or if a stream has no more data yet.
    pub fn next(&mut self, buffer: &mut [u8]) -> io::Result<Piece> {
        let mut room = buffer.len();
        if let Some(place) = &mut self.place {
            if place.now >= place.data_until {
                match next_data(&self.file, place)? {
                    0 => {}
                    hole => return Ok(Piece::Hole(hole)),
                }
            }
            // For a file that grows at its end, where there is no data yet, reading shows whether there is more.
            if place.data_until > place.now {
                room = room.min(usize::try_from(place.data_until - place.now).unwrap_or(room));
            }
        }
        let mut length = 0;
        while length < room {
            match (&self.file).read(&mut buffer[length..room]) {
                Ok(0) => break,
                Ok(count) => length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            // Data that has arrived is not delayed.
            if length < room && !self.is_ready() {
                break;
            }
        }
        if let Some(place) = &mut self.place {
            place.now += length as u64;
        }
        Ok(if length == 0 { Piece::End } else { Piece::Data(length) })
    }
}

/// Finds the next data of a file, and seeks to it; returns the size of the hole before it, up to the end if there is
/// none. File systems without support for holes report none (lseek(2)), and files of /proc refuse to look for data or for their end.
fn next_data(file: &File, place: &mut Place) -> io::Result<u64> {
    // Before the data is looked for: what is appended after that is no hole.
    let size = file.metadata()?.len();
    let data = match seek(file, SeekFrom::Data(place.now)) {
        Ok(data) => data,
        Err(Errno::NXIO) => {
            // No data: a hole up to the end, if it is not empty.
            let end = size.max(place.now);
            seek(file, SeekFrom::Start(end))?;
            return Ok(end - std::mem::replace(&mut place.now, end));
        }
        // It is still at its current position, from which it is read to its end.
        Err(Errno::INVAL | Errno::NOTSUP | Errno::SPIPE) => {
            place.data_until = u64::MAX;
            return Ok(0);
        }
        Err(errno) => return Err(errno.into()),
    };
    place.data_until = seek(file, SeekFrom::Hole(data))?;
    seek(file, SeekFrom::Start(data))?;
    Ok(data - std::mem::replace(&mut place.now, data))
}
