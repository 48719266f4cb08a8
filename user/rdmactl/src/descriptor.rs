//! Paths that name an open descriptor: /dev/stdout, /dev/fd/3, /proc/self/fd/3.
//!
//! Opening such a path opens its file a second time, from its start, without the `O_APPEND` of the first. A program that writes there means
//! the descriptor.

use std::{
    fs::{self, File, Metadata},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{OFlags, fcntl_getfl},
    io::{Errno, FdFlags, fcntl_dupfd_cloexec, fcntl_getfd},
    stdio,
};

/// The number of links that the kernel follows in a path. Source: `path_resolution`(7).
const LINKS: usize = 40;

/// What a path names.
pub enum Named {
    /// A descriptor that this program was started with, and that can be written to: a duplicate of it.
    Inherited(File),
    /// A descriptor of another program, or one that can only be read: its file can be opened.
    Other,
}

/// The descriptor that a path names; none for other paths.
pub fn named_by(path: &Path) -> io::Result<Option<Named>> {
    let Some((directory, number)) = resolve(path) else { return Ok(None) };
    if !is_ours(&directory) {
        return Ok(Some(Named::Other));
    }
    let fd = inherited(number)?;
    Ok(Some(if is_writable(&fd) { Named::Inherited(fd.into()) } else { Named::Other }))
}

/// Whether a path names standard output; - does, too.
pub fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
        || resolve(path).is_some_and(|(directory, number)| number == stdio::raw_stdout() && is_ours(&directory))
}

/// A duplicate of standard output or standard error, if that one writes to this file.
pub fn standard_stream_to(file: &Metadata) -> io::Result<Option<File>> {
    for fd in [io::stdout().as_fd(), io::stderr().as_fd()] {
        let copy = fcntl_dupfd_cloexec(fd, 0)?;
        let stream = File::from(copy);
        let there = stream.metadata()?;
        if (there.dev(), there.ino()) == (file.dev(), file.ino()) && is_writable(&stream) {
            return Ok(Some(stream));
        }
    }
    Ok(None)
}

/// The directory of descriptors that a path leads to, and the number in it.
fn resolve(path: &Path) -> Option<(PathBuf, RawFd)> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        let parent = path.parent()?;
        let parent = fs::canonicalize(if parent == Path::new("") { Path::new(".") } else { parent }).ok()?;
        let target = fs::read_link(&path).ok()?;
        if parent.starts_with("/proc") && parent.ends_with("fd") {
            let number: u32 = path.file_name()?.to_str()?.parse().ok()?;
            return Some((parent, RawFd::try_from(number).ok()?));
        }
        path = parent.join(target);
    }
    None
}

/// Whether this directory is that of this program, or of one of its threads.
fn is_ours(directory: &Path) -> bool {
    fs::canonicalize("/proc/self").is_ok_and(|this| directory.starts_with(this))
}

/// A duplicate of an inherited descriptor. Those that this program has opened itself are closed when it executes another one.
#[expect(unsafe_code, reason = "descriptors that were not opened here have numbers only")]
fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: It is not -1. Nothing in this program closes an inherited descriptor, and another one is only looked at.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    match fcntl_getfd(fd)?.contains(FdFlags::CLOEXEC) {
        true => Err(Errno::BADF.into()),
        false => Ok(fcntl_dupfd_cloexec(fd, 0)?),
    }
}

fn is_writable(fd: impl AsFd) -> bool {
    fcntl_getfl(fd).is_ok_and(|flags| flags & OFlags::RWMODE != OFlags::RDONLY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_standard_output() {
        for path in ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/proc/thread-self/fd/1"] {
            assert!(is_stdout(Path::new(path)), "{path}");
        }
        for path in ["/dev/stderr", "/proc/self/fd/+1", "/proc/self/fd/-1", "/dev/null", "1", "/proc/1/fd/1", "/"] {
            assert!(!is_stdout(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn own_files_are_not_inherited() {
        let file = File::open("/dev/null").unwrap();
        let path = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        assert!(
            named_by(Path::new(&path)).is_err_and(|error| error.raw_os_error() == Some(Errno::BADF.raw_os_error()))
        );
    }
}
