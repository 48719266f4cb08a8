//! Destinations of data: files and streams.
//!
//! A file is written under a temporary name, and renamed when it is complete, so that an interrupted copy leaves the old file as it was.
//! If its owner, mode, links, attributes or mount would be lost by that, it is written in place, as cp(1) does.

use std::{
    fs::{self, File, Metadata, OpenOptions, Permissions},
    io::{self, ErrorKind},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, OFlags, StatxAttributes, StatxFlags, flistxattr_query, fremovexattr, statx},
    io::Errno,
};
use tempfile::NamedTempFile;

use crate::{
    descriptor::{self, Named},
    failure::Failure,
    interrupt::Guard,
    startup, storage, sysfs,
};

/// The number of users and groups that are not mapped, if /proc does not have it. Source: the kernel's include/linux/highuid.h.
const OVERFLOW: u32 = 65534;

/// The attribute that has the ACL of a file. Source: the kernel's include/uapi/linux/xattr.h.
const ACL: &str = "system.posix_acl_access";

/// A destination.
pub enum Destination {
    /// A file that replaces another one, or a new one, when it is complete.
    Whole(Whole),
    /// An existing file that cannot be replaced.
    Place(File),
    /// Standard output, a device, a pipe.
    Stream(File),
}

/// A file in the same directory until it is complete; removed if it never is.
pub struct Whole {
    file: NamedTempFile,
    removed_at_end: Guard,
    path: PathBuf,
}

impl Destination {
    /// Opens it; `accepts` is asked about what exists. A new file gets this mode, as far as the umask allows.
    pub fn open(
        path: &Path,
        mode: Option<u32>,
        accepts: impl FnOnce(&File) -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        let wrong = || Failure::system(path.display().to_string());
        if descriptor::is_stdout(path) {
            startup::needs_stdout()?;
        }
        let named = descriptor::named_by(path).map_err(wrong())?;
        if let Some(Named::Inherited(stream)) = named {
            accepts(&stream)?;
            return Ok(Self::Stream(stream));
        }
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Err(wrong()(ErrorKind::IsADirectory.into())),
            Ok(metadata) if metadata.is_file() => {
                // Otherwise, what the shell has opened would be another file than the one that has this name in the end.
                let stream = descriptor::standard_stream_to(&metadata).map_err(wrong())?;
                let file = stream.map_or_else(|| open(path).map(Self::Place), |stream| Ok(Self::Stream(stream)));
                let file = file.map_err(wrong())?;
                accepts(file.file())?;
                match file {
                    Self::Place(file) if named.is_none() => over(file, path).map_err(wrong()),
                    file => Ok(file),
                }
            }
            Ok(_) => {
                let file = open(path).map_err(wrong())?;
                accepts(&file)?;
                Ok(Self::Stream(file))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Whole::new(path, mode).map(Self::Whole).map_err(wrong())
            }
            Err(error) => Err(wrong()(error)),
        }
    }

    /// To write to, after [`Self::begin`].
    pub fn file(&self) -> &File {
        match self {
            Self::Whole(whole) => whole.file(),
            Self::Place(file) | Self::Stream(file) => file,
        }
    }

    /// Begins to write: what a file in its place had is lost.
    pub fn begin(&self) -> io::Result<()> {
        match self {
            Self::Place(file) => file.set_len(0),
            _ => Ok(()),
        }
    }

    /// All `length` bytes are written: gives a file its size, for a hole at its end, and, when they are stored, its name.
    pub fn finish(self, length: u64) -> io::Result<()> {
        match self {
            Self::Whole(whole) => {
                let file = whole.file();
                file.set_len(length).and_then(|()| storage::store(file)).and_then(|()| whole.finish())
            }
            Self::Place(file) => file.set_len(length).and_then(|()| storage::store(&file)),
            // Nothing to store for a pipe, but for a block device, or a file that was opened by a shell.
            Self::Stream(file) => storage::store(&file),
        }
    }
}

/// Replaces a file, or writes it in place.
fn over(file: File, path: &Path) -> io::Result<Destination> {
    if can_be_replaced(&file, path) {
        match Whole::over(&file, path) {
            Ok(Some(whole)) => return Ok(Destination::Whole(whole)),
            Ok(None) => {}
            // There can be no file in this directory.
            Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Destination::Place(file))
}

/// Opens an existing file for writing, as it is.
fn open(path: &Path) -> io::Result<File> {
    let no_terminal = i32::try_from(OFlags::NOCTTY.bits()).unwrap_or_default();
    OpenOptions::new().write(true).custom_flags(no_terminal).open(path)
}

/// Whether another file can take the place of this one, with nothing lost: it has one name, a known owner, is not mounted, and has no
/// special bits or attributes, such as an ACL.
fn can_be_replaced(file: &File, path: &Path) -> bool {
    let plain = file
        .metadata()
        .is_ok_and(|metadata| metadata.nlink() == 1 && metadata.mode() & 0o7000 == 0 && !has_unknown_owner(&metadata));
    let unmounted = statx(CWD, path, AtFlags::empty(), StatxFlags::empty()).is_ok_and(|found| {
        found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT)
            && !found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
    });
    plain && unmounted && has_no_attributes(file)
}

fn has_no_attributes(file: &File) -> bool {
    matches!(flistxattr_query(file), Ok(0) | Err(Errno::NOTSUP))
}

/// Whether the owner or the group may be another one than it seems: those that a user namespace does not map all appear as the same one
/// (`user_namespaces`(7)).
fn has_unknown_owner(metadata: &Metadata) -> bool {
    let overflow = |name| sysfs::text(format!("/proc/sys/kernel/{name}")).and_then(|text| text.parse().ok());
    [("overflowuid", metadata.uid()), ("overflowgid", metadata.gid())]
        .into_iter()
        .any(|(name, number)| number == overflow(name).unwrap_or(OVERFLOW))
}

impl Whole {
    /// A new file, with the mode of the source as far as the umask allows.
    fn new(path: &Path, mode: Option<u32>) -> io::Result<Self> {
        if path.is_symlink() {
            return Err(io::Error::other("it is a symbolic link to a file that does not exist"));
        }
        let bytes = path.as_os_str().as_bytes();
        if bytes.ends_with(b"/") || bytes.ends_with(b"/.") {
            return Err(ErrorKind::NotADirectory.into());
        }
        Self::create(path.to_owned(), mode.unwrap_or(0o666))
    }

    /// A file that replaces another one, with its owner and mode, and without attributes; none if a new file cannot have these.
    fn over(old: &File, path: &Path) -> io::Result<Option<Self>> {
        let old = old.metadata()?;
        // Follows links, so that they stay and point to the new file. Until it has its owner, no other user may open it.
        let whole = Self::create(fs::canonicalize(path)?, 0o600)?;
        Ok(whole.becomes_like(&old)?.then_some(whole))
    }

    /// Takes the owner and the mode of a file that has no attributes; returns whether it could.
    fn becomes_like(&self, old: &Metadata) -> io::Result<bool> {
        let file = self.file();
        // From the directory's default ACL, which may let more users read it than the mode says.
        if !has_no_attributes(file) {
            let _ = fremovexattr(file, ACL);
        }
        if !has_no_attributes(file) {
            return Ok(false);
        }
        let new = file.metadata()?;
        let same_owner =
            (new.uid(), new.gid()) == (old.uid(), old.gid()) || fchown(file, Some(old.uid()), Some(old.gid())).is_ok();
        Ok(same_owner && file.set_permissions(old.permissions()).is_ok())
    }

    fn create(path: PathBuf, mode: u32) -> io::Result<Self> {
        let directory = directory(&path).to_owned();
        let make = || {
            let permissions = Permissions::from_mode(mode);
            let file = tempfile::Builder::new().prefix(".rdmactl-").permissions(permissions).tempfile_in(&directory)?;
            let there = file.path().to_owned();
            Ok::<_, io::Error>((file, move || drop(fs::remove_file(there))))
        };
        let (file, removed_at_end) = Guard::of(make)?;
        Ok(Self { file, removed_at_end, path })
    }

    fn file(&self) -> &File {
        self.file.as_file()
    }

    /// Gives it its name.
    fn finish(self) -> io::Result<()> {
        let Self { file, removed_at_end, path } = self;
        let named = removed_at_end.keep(|| match file.persist(&path) {
            Ok(_) => Ok(()),
            // Something was mounted there meanwhile, for example. The complete file stays until that one is written in place.
            Err(refused) => {
                let (_, complete) = refused.file.keep()?;
                let written = fs::copy(&complete, &path).and_then(|_| storage::store(&File::open(&path)?));
                match written {
                    Ok(()) => fs::remove_file(&complete),
                    Err(error) => {
                        Err(io::Error::other(format!("{error}; the complete file is {}", complete.display())))
                    }
                }
            }
        });
        named.and_then(|()| store_name(directory(&path)))
    }
}

/// Stores the names of the files in a directory.
fn store_name(directory: &Path) -> io::Result<()> {
    match File::open(directory) {
        // Files can be created in it, but it cannot be read.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        directory => storage::store(&directory?),
    }
}

/// The directory of a file.
fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}
