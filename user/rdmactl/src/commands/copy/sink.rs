//! The destination of a copy: a file that gets its name when it is complete, or a stream.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Seek, SeekFrom, Write},
    os::{fd::AsFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use crate::failure::Failure;

/// The destination.
pub struct Sink {
    file: Kind,
    name: String,
}

enum Kind {
    /// In the same directory until it is complete; removed if it never is.
    Whole { file: NamedTempFile, path: PathBuf },
    /// Standard output, a device, a pipe.
    Stream(File),
}

impl Sink {
    /// Opens it; - is standard output. A file at `path` does not change until the copy is complete.
    pub fn create(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        if path == Path::new("-") {
            let stdout = io::stdout().as_fd().try_clone_to_owned().map_err(Failure::system("output"))?;
            return Ok(Self { file: Kind::Stream(File::from(stdout)), name: "output".into() });
        }
        let file = kind(path).map_err(Failure::system(&*name))?;
        Ok(Self { file, name })
    }

    /// For messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes bytes.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.file {
            Kind::Whole { file, .. } => file.write_all(bytes),
            Kind::Stream(file) => file.write_all(bytes),
        }
    }

    /// Writes zeros, or leaves a hole.
    pub fn hole(&mut self, length: u64) -> Result<(), Failure> {
        let done = match &mut self.file {
            Kind::Whole { file, .. } => i64::try_from(length)
                .map_err(io::Error::other)
                .and_then(|length| file.seek(SeekFrom::Current(length)))
                .map(drop),
            Kind::Stream(file) => io::copy(&mut io::Read::take(io::repeat(0), length), file).map(drop),
        };
        done.map_err(Failure::system(&*self.name))
    }

    /// All `length` bytes are written: renames the file.
    pub fn finish(self, length: u64) -> Result<(), Failure> {
        let name = self.name;
        match self.file {
            // For a hole at its end.
            Kind::Whole { file, path } => file
                .as_file()
                .set_len(length)
                .and_then(|()| file.persist(path).map_err(|error| error.error))
                .map(drop)
                .map_err(Failure::system(name)),
            Kind::Stream(_) => Ok(()),
        }
    }
}

fn kind(path: &Path) -> io::Result<Kind> {
    // Follows links, so that they stay and point to the new file.
    let path = match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        found => found?,
    };
    let permissions = match fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() => {
            // A file that is not writable must not be replaced either.
            drop(OpenOptions::new().write(true).open(&path)?);
            Some(metadata.permissions())
        }
        Ok(metadata) if metadata.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        Ok(_) => return Ok(Kind::Stream(OpenOptions::new().write(true).open(&path)?)),
        Err(_) => None,
    };
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    // The permissions that the umask allows, as for any new file.
    let file = tempfile::Builder::new()
        .prefix(".rdmactl-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory)?;
    if let Some(permissions) = permissions {
        file.as_file().set_permissions(permissions)?;
    }
    Ok(Kind::Whole { file, path })
}
