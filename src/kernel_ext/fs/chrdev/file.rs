// SPDX-License-Identifier: GPL-2.0

//! What an open file of a node does.

use super::region::HasRegion;
use crate::kernel_ext::{
    fs::{
        debugfs::Shown,
        poll::{
            Events,
            PollQueue, //
        }, //
    },
    mm::{
        mapping::Mappings,
        vma::Mappable, //
    }, //
};
use kernel::{
    bindings,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    prelude::*,
    seq_file::SeqFile,
    sync::{
        Arc,
        ArcBorrow, //
    },
    types::ForeignOwnable, //
};

/// How a file is open at the time of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mode {
    /// For reading.
    pub(crate) read: bool,
    /// For writing.
    pub(crate) write: bool,
    /// The call must not wait (`O_NONBLOCK`).
    pub(crate) nonblocking: bool,
}

/// An open file of a node.
pub(crate) trait File:
    HasRegion<Stands = Arc<Self::Device>> + Send + Sync + Sized + 'static
{
    /// What a node stands for. It is shown in debugfs, too.
    type Device: Shown;

    /// What its mappings show.
    type Memory: Mappable;

    /// Called when a node is opened. Dropped when the last descriptor is closed.
    fn open(device: Arc<Self::Device>) -> Result<Arc<Self>>;

    /// Size of what reading, writing and seeking see, in bytes.
    fn size(&self) -> u64;

    /// Where the mappings of the file are to be found. What is returned lives as long as the file
    /// does.
    fn mappings(&self) -> &Mappings;

    /// ioctl(2). Returns what the call does, at most [`i32::MAX`].
    fn ioctl(&self, mode: Mode, command: u32, argument: usize) -> Result<usize>;

    /// mmap(2): the memory that these pages of the file show, all of which it must have.
    fn map(&self, first_page: usize, pages: usize) -> Result<Arc<Self::Memory>>;

    /// read(2) and its relatives, at this position. Returns how many bytes were read.
    fn read(&self, mode: Mode, position: u64, to: &mut IovIterDest<'_>) -> Result<usize>;

    /// write(2) and its relatives, at this position. Returns how many bytes were written.
    fn write(&self, mode: Mode, position: u64, from: &mut IovIterSource<'_>) -> Result<usize>;

    /// fsync(2), fdatasync(2) and msync(2): returns when everything that [`write`](Self::write) has
    /// returned for is where it is to stay.
    fn sync(&self) -> Result;

    /// What is notified whenever [`poll`](Self::poll) may answer something else. What is returned lives
    /// as long as the file does.
    fn poll_queue(&self) -> &PollQueue;

    /// poll(2): what is so now.
    fn poll(&self) -> Events;

    /// `/proc/PID/fdinfo/FD`: lines of `name:<tab>value`.
    fn show_fdinfo(&self, to: &SeqFile);
}

/// The open file behind a pointer from the kernel.
///
/// # Safety
///
/// `file` must be a file of a node of `F` that is open for as long as `'a`.
pub(in crate::kernel_ext) unsafe fn of<'a, F: File>(file: *mut bindings::file) -> ArcBorrow<'a, F> {
    // SAFETY: By the requirement; it was put in when the file was opened.
    unsafe { <Arc<F>>::borrow((*file).private_data.cast()) }
}
