// SPDX-License-Identifier: GPL-2.0

//! The mode and the private data of an open file.

use kernel::{
    bindings,
    fs::file::{
        flags,
        LocalFile, //
    },
    sync::{
        Arc,
        ArcBorrow, //
    },
    types::ForeignOwnable, //
};

/// The open mode of a file at the time of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mode {
    /// The file is open for reading.
    pub(crate) read: bool,
    /// The file is open for writing.
    pub(crate) write: bool,
    /// The call must not block (`O_NONBLOCK`).
    pub(crate) nonblocking: bool,
}

impl Mode {
    /// Returns the access mode of the file, as a flag of open(2).
    pub(crate) fn access(self) -> u32 {
        match (self.read, self.write) {
            (true, true) => flags::O_RDWR,
            (false, true) => flags::O_WRONLY,
            (_, false) => flags::O_RDONLY,
        }
    }

    /// Returns the current open mode of `file`, which fcntl(2) can change.
    pub(super) fn of(file: &LocalFile) -> Self {
        let flags = file.flags();
        let access = flags & flags::O_ACCMODE;
        Self {
            read: access == flags::O_RDONLY || access == flags::O_RDWR,
            write: access == flags::O_WRONLY || access == flags::O_RDWR,
            nonblocking: flags & flags::O_NONBLOCK != 0,
        }
    }
}

/// Returns the private data of a file.
///
/// # Safety
///
/// `file` must be a file of a node of `F` that is open during `'a`.
pub(super) unsafe fn private_data<'a, F: 'static>(file: *mut bindings::file) -> ArcBorrow<'a, F> {
    // SAFETY: By the safety requirement, the file is open; `open` has set its private data to an
    // `Arc<F>`.
    unsafe { <Arc<F>>::borrow((*file).private_data.cast()) }
}
