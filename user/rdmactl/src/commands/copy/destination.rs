//! Files as destinations.
//!
//! A file is written under a temporary name, and renamed when it is complete, so that an interrupted copy leaves the old file as it was.
//! If its owner, mode, links, attributes or mount would be lost by that, it is written in place, as cp(1) does.

use std::{
    fs::{self, File, Metadata, OpenOptions, Permissions},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, OFlags, StatxAttributes, StatxFlags, flistxattr_query, statx},
    io::Errno,
};
use tempfile::NamedTempFile;

use crate::{failure::Failure, interrupt::Guard, storage, sysfs};

/// The number of users and groups that are not mapped, if /proc does not have it. Source: the kernel's include/linux/highuid.h.
const OVERFLOW: u32 = 65534;

/// A file in the same directory until it is complete; removed if it never is.
pub struct Whole {
    file: NamedTempFile,
    removed_at_end: Guard,
    path: PathBuf,
}

/// The path of the destination: in a directory, the name of the source.
pub fn path(to: &Path, from: Option<&Path>) -> Result<PathBuf, Failure> {
    if !to.is_dir() {
        return Ok(to.to_owned());
    }
    let name = from.and_then(Path::file_name).ok_or_else(|| {
        Failure::Usage(format!("{} is a directory, and the source has no name: name a file in it", to.display()))
    })?;
    Ok(to.join(name))
}

/// Opens an existing file for writing, as it is.
pub fn open(path: &Path) -> io::Result<File> {
    let no_terminal = i32::try_from(OFlags::NOCTTY.bits()).unwrap_or_default();
    OpenOptions::new().write(true).custom_flags(no_terminal).open(path)
}

/// Whether another file can take the place of this one, with nothing lost: it has one name, a known owner, is not mounted, and has no
/// special bits or attributes, such as an ACL.
pub fn can_be_replaced(file: &File, path: &Path) -> bool {
    let plain = file
        .metadata()
        .is_ok_and(|metadata| metadata.nlink() == 1 && metadata.mode() & 0o7000 == 0 && !has_unknown_owner(&metadata));
    let unmounted = statx(CWD, path, AtFlags::empty(), StatxFlags::empty()).is_ok_and(|found| {
        found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT)
            && !found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
    });
    plain && unmounted && matches!(flistxattr_query(file), Ok(0) | Err(Errno::NOTSUP))
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
    pub fn new(path: &Path, mode: Option<u32>) -> io::Result<Self> {
        if path.is_symlink() {
            return Err(io::Error::other("it is a symbolic link to a file that does not exist"));
        }
        let bytes = path.as_os_str().as_bytes();
        if bytes.ends_with(b"/") || bytes.ends_with(b"/.") {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Self::create(path.to_owned(), mode.unwrap_or(0o666))
    }

    /// A file that replaces another one, with its owner and mode; none if a new file cannot have these.
    pub fn over(old: &File, path: &Path) -> io::Result<Option<Self>> {
        let old = old.metadata()?;
        // Follows links, so that they stay and point to the new file.
        let whole = Self::create(fs::canonicalize(path)?, old.mode() & 0o777)?;
        let same = whole.takes_owner_and_mode(&old);
        Ok(same.is_ok().then_some(whole))
    }

    fn takes_owner_and_mode(&self, old: &Metadata) -> io::Result<()> {
        let new = self.file().metadata()?;
        if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
            fchown(self.file(), Some(old.uid()), Some(old.gid()))?;
        }
        self.file().set_permissions(old.permissions())
    }

    fn create(path: PathBuf, mode: u32) -> io::Result<Self> {
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let make = || {
            let permissions = Permissions::from_mode(mode);
            let file = tempfile::Builder::new().prefix(".rdmactl-").permissions(permissions).tempfile_in(directory)?;
            let there = file.path().to_owned();
            Ok::<_, io::Error>((file, move || drop(fs::remove_file(there))))
        };
        let (file, removed_at_end) = Guard::of(make)?;
        Ok(Self { file, removed_at_end, path })
    }

    /// To write to.
    pub fn file(&self) -> &File {
        self.file.as_file()
    }

    /// Gives it its name.
    pub fn finish(self) -> io::Result<()> {
        let Self { file, removed_at_end, path } = self;
        removed_at_end.keep(|| match file.persist(&path) {
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
        })
    }
}
