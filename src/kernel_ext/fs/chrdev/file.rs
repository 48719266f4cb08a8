// SPDX-License-Identifier: GPL-2.0

//! The operations of an open file of a node.

use super::{
    open::Mode,
    region::HasRegion,
    uring::Commands, //
};
use crate::kernel_ext::{
    fs::{
        debugfs::DebugFiles,
        poll::{
            Events,
            PollQueue, //
        }, //
    },
    mm::{
        address_space::AddressSpace,
        shared_ring::SharedRing,
        vma::Mappable, //
    }, //
};
use kernel::{
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    prelude::*,
    seq_file::SeqFile,
    sync::Arc, //
};

/// An open file of a node.
pub(crate) trait File:
    Commands + HasRegion<Published = Arc<Self::Device>> + Send + Sync + Sized + 'static
{
    /// The object of a node, which also has files in debugfs.
    type Device: DebugFiles;

    /// The object that mappings of the file show.
    type Memory: Mappable;

    /// The page of the file at which its ring begins. No other memory has pages there.
    const RING_PAGE: usize;

    /// Creates an open file for open(2). It is dropped when its last file descriptor and its last
    /// mapping are gone.
    fn open(device: Arc<Self::Device>) -> Result<Arc<Self>>;

    /// Returns the size of the file for read(2), write(2) and lseek(2), in bytes.
    fn size(&self) -> u64;

    /// Returns the address space that contains the mappings of the file. It lives at least as long
    /// as the file.
    fn address_space(&self) -> &AddressSpace;

    /// ioctl(2). Returns the result of the call, at most [`i32::MAX`].
    fn ioctl(&self, mode: Mode, command: u32, argument: usize) -> Result<usize>;

    /// mmap(2). Returns the object that these pages of the file show. It must have all of these
    /// pages.
    fn map(&self, first_page: usize, pages: usize) -> Result<Arc<Self::Memory>>;

    /// Returns the ring, if the file has one. A file never loses its ring.
    fn ring(&self) -> Option<&SharedRing>;

    /// read(2) and similar calls, at this position. Returns the number of bytes that were read.
    fn read(&self, mode: Mode, position: u64, to: &mut IovIterDest<'_>) -> Result<usize>;

    /// write(2) and similar calls, at this position. Returns the number of bytes that were written.
    fn write(&self, mode: Mode, position: u64, from: &mut IovIterSource<'_>) -> Result<usize>;

    /// fsync(2), fdatasync(2) and msync(2). Returns when the data of all completed calls of
    /// [`write`](Self::write) has reached the device.
    fn sync(&self) -> Result;

    /// Returns the queue that is notified when the result of [`poll`](Self::poll) may have changed.
    /// It lives at least as long as the file.
    fn poll_queue(&self) -> &PollQueue;

    /// poll(2). Returns the current events.
    fn poll(&self) -> Events;

    /// Prints `/proc/PID/fdinfo/FD`, as lines of `name:<tab>value`.
    fn show_fdinfo(&self, to: &SeqFile);
}
