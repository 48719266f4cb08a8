// SPDX-License-Identifier: GPL-2.0

//! What the kernel calls for an open file, and how that becomes a call of [`File`].

use super::{
    file::{
        self,
        File,
        Mode, //
    },
    region::{
        self,
        Slot, //
    }, //
};
use crate::kernel_ext::mm::vma;
use core::marker::PhantomData;
use kernel::{
    bindings,
    fs::{
        file::{
            flags,
            LocalFile, //
        },
        File as KernelFile,
        Kiocb, //
    },
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

/// `IOCB_NOWAIT`, which is `RWF_NOWAIT`: neither is in the bindings. Source:
/// `include/uapi/linux/fs.h`.
const IOCB_NOWAIT: c_int = 0x8;

/// How `file` is open now: fcntl(2) can change it.
fn mode(file: &LocalFile) -> Mode {
    let flags = file.flags();
    let access = flags & flags::O_ACCMODE;
    Mode {
        read: access == flags::O_RDONLY || access == flags::O_RDWR,
        write: access == flags::O_WRONLY || access == flags::O_RDWR,
        nonblocking: flags & flags::O_NONBLOCK != 0,
    }
}

/// The file operations of `F`. A file's private data is an `Arc<F>`, from [`open`](Self::open) to
/// [`release`](Self::release).
pub(in crate::kernel_ext) struct Table<F>(PhantomData<F>);

impl<F: File> Table<F> {
    pub(in crate::kernel_ext) const TABLE: bindings::file_operations = bindings::file_operations {
        owner: kernel::module::this_module::<crate::LocalModule>().as_ptr(),
        open: Some(Self::open),
        release: Some(Self::release),
        llseek: Some(Self::llseek),
        read_iter: Some(Self::read_iter),
        write_iter: Some(Self::write_iter),
        // The kernel's own, by way of the two above: whole pages of a pipe at a time, at the
        // position that they are given.
        splice_read: Some(bindings::copy_splice_read),
        splice_write: Some(bindings::iter_file_splice_write),
        fsync: Some(Self::fsync),
        unlocked_ioctl: Some(Self::ioctl),
        #[cfg(CONFIG_COMPAT)]
        compat_ioctl: bindings::compat_ptr_ioctl,
        mmap_prepare: Some(Self::mmap_prepare),
        get_unmapped_area: Some(Self::get_unmapped_area),
        poll: Some(Self::poll),
        show_fdinfo: Some(Self::show_fdinfo),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by the kernel only: `inode` is that of a node in the region, and `file` is being
    /// opened.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        let opened = || -> Result<Arc<F>> {
            // SAFETY: `inode` is that of a character device.
            let device_number = unsafe { (*inode).i_rdev };
            let device = region::with::<F, _>(|region| {
                // CAST: the difference of two numbers of one region is small.
                match region.slots.get((device_number - region.first) as usize) {
                    Some(Slot::Published(device)) => Some(device.clone()),
                    _ => None,
                }
            });
            F::open(device.ok().flatten().ok_or(ENXIO)?)
        };
        match opened() {
            Ok(open) => {
                // SAFETY: `file` is being opened, and there is no fdget_pos region on it.
                let kernel_file = unsafe { KernelFile::from_raw_file(file) };
                // SAFETY: `File::mappings` promises that what it returns lives as long as the file.
                unsafe { open.mappings().adopt(kernel_file) };
                // SAFETY: `file` is being opened, so that nobody else has it.
                unsafe { (*file).private_data = open.into_foreign().cast() };
                0
            }
            Err(e) => e.to_errno(),
        }
    }

    /// # Safety
    ///
    /// Called by the kernel only, once for each file that was opened, and last.
    unsafe extern "C" fn release(_: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: By the requirement; `open` put it in, and nobody borrows it any more.
        drop(unsafe { <Arc<F>>::from_foreign((*file).private_data.cast()) });
        0
    }

    /// # Safety
    ///
    /// Called by the kernel only, with an open file.
    unsafe extern "C" fn llseek(
        file: *mut bindings::file,
        offset: bindings::loff_t,
        whence: c_int,
    ) -> bindings::loff_t {
        // SAFETY: By the requirement.
        let size = unsafe { file::of::<F>(file) }.size();
        // CAST: a size is less than half of what `u64` reaches.
        // SAFETY: By the requirement.
        unsafe { bindings::fixed_size_llseek(file, offset, whence, size as bindings::loff_t) }
    }

    /// # Safety
    ///
    /// Called by the kernel only, with an open file and room to read into.
    unsafe extern "C" fn read_iter(
        kiocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: By the requirement, and `open`, which put in the private data.
        let kiocb = unsafe { Kiocb::<'_, Arc<F>>::from_raw(kiocb) };
        // SAFETY: By the requirement.
        let to = unsafe { IovIterDest::from_raw(iter) };
        Self::positioned(kiocb, |file, mode, position| file.read(mode, position, to))
    }

    /// # Safety
    ///
    /// Called by the kernel only, with an open file and data to write.
    unsafe extern "C" fn write_iter(
        kiocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: By the requirement, and `open`, which put in the private data.
        let kiocb = unsafe { Kiocb::<'_, Arc<F>>::from_raw(kiocb) };
        // SAFETY: By the requirement.
        let from = unsafe { IovIterSource::from_raw(iter) };
        Self::positioned(kiocb, |file, mode, position| {
            file.write(mode, position, from)
        })
    }

    /// Does `f` at the position of `kiocb`, and moves that on.
    fn positioned(
        mut kiocb: Kiocb<'_, Arc<F>>,
        f: impl FnOnce(ArcBorrow<'_, F>, Mode, u64) -> Result<usize>,
    ) -> isize {
        let raw = kiocb.as_raw();
        // SAFETY: The `kiocb` is valid.
        let (file, kiocb_flags) = unsafe { ((*raw).ki_filp, (*raw).ki_flags) };
        // SAFETY: It is the open file of the `kiocb`; a fdget_pos region on it, if there is one, is
        // that of the call that this is part of.
        let mut mode = mode(unsafe { LocalFile::from_raw_file(file) });
        // io_uring's alone: without FMODE_NOWAIT, preadv2 and pwritev2 are refused before us.
        mode.nonblocking |= kiocb_flags & IOCB_NOWAIT != 0;
        let done = u64::try_from(kiocb.ki_pos())
            .map_err(|_| EINVAL)
            .and_then(|position| f(kiocb.file(), mode, position));
        match done {
            Ok(bytes) => {
                // CAST: no more than a buffer has.
                *kiocb.ki_pos_mut() += bytes as i64;
                bytes as isize
            }
            // CAST: an errno is small.
            Err(e) => e.to_errno() as isize,
        }
    }

    /// # Safety
    ///
    /// Called by the kernel only, with an open file.
    unsafe extern "C" fn fsync(
        file: *mut bindings::file,
        _start: bindings::loff_t,
        _end: bindings::loff_t,
        _data_only: c_int,
    ) -> c_int {
        // SAFETY: By the requirement.
        let open = unsafe { file::of::<F>(file) };
        match open.sync() {
            Ok(()) => 0,
            Err(e) => e.to_errno(),
        }
    }

    /// # Safety
    ///
    /// Called by the kernel only, with an open file.
    unsafe extern "C" fn ioctl(
        file: *mut bindings::file,
        command: c_uint,
        argument: c_ulong,
    ) -> c_long {
        // SAFETY: By the requirement.
        let open = unsafe { file::of::<F>(file) };
        // SAFETY: By the requirement; ioctl has no fdget_pos region.
        let mode = mode(unsafe { KernelFile::from_raw_file(file) });
        match open.ioctl(mode, command, argument) {
            // CAST: at most `i32::MAX`, as `File::ioctl` says.
            Ok(answer) => answer as c_long,
            // CAST: an errno is small.
            Err(e) => e.to_errno() as c_long,
        }
    }

    /// Finds an address for a mapping: one that is aligned as its offset is, for huge pages.
    ///
    /// # Safety
    ///
    /// Called by the kernel only, with an open file.
    unsafe extern "C" fn get_unmapped_area(
        file: *mut bindings::file,
        address: c_ulong,
        length: c_ulong,
        page: c_ulong,
        flags: c_ulong,
    ) -> c_ulong {
        #[cfg(CONFIG_TRANSPARENT_HUGEPAGE)]
        use bindings::thp_get_unmapped_area as find;
        // As on a real-time kernel.
        #[cfg(not(CONFIG_TRANSPARENT_HUGEPAGE))]
        use bindings::mm_get_unmapped_area as find;
        // SAFETY: By the requirement.
        unsafe { find(file, address, length, page, flags) }
    }

    /// # Safety
    ///
    /// Called by the kernel only, with a mapping of an open file that is being made.
    unsafe extern "C" fn mmap_prepare(desc: *mut bindings::vm_area_desc) -> c_int {
        // SAFETY: By the requirement.
        match unsafe { vma::prepare::<Self>(desc) } {
            Ok(()) => 0,
            Err(e) => e.to_errno(),
        }
    }

    /// # Safety
    ///
    /// Called by the kernel only, with an open file and a table that is valid for the call.
    unsafe extern "C" fn poll(
        file: *mut bindings::file,
        table: *mut bindings::poll_table_struct,
    ) -> bindings::__poll_t {
        // SAFETY: By the requirement.
        let open = unsafe { file::of::<F>(file) };
        // SAFETY: By the requirement; `File::poll_queue` promises that the queue lives as long as the
        // file, which whoever polls it keeps open.
        unsafe { bindings::poll_wait(file, open.poll_queue().as_ptr(), table) };
        open.poll().bits()
    }

    /// # Safety
    ///
    /// Called by the kernel only, with an open file and a `seq_file` that nobody else has.
    unsafe extern "C" fn show_fdinfo(to: *mut bindings::seq_file, file: *mut bindings::file) {
        // SAFETY: By the requirement.
        let open = unsafe { file::of::<F>(file) };
        // SAFETY: By the requirement.
        open.show_fdinfo(unsafe { SeqFile::from_raw(to) });
    }
}

impl<F: File> vma::MappableFiles for Table<F> {
    type Memory = F::Memory;

    unsafe fn memory_at(
        file: *mut bindings::file,
        first_page: usize,
        pages: usize,
    ) -> Result<Arc<F::Memory>> {
        // SAFETY: By the requirement.
        unsafe { file::of::<F>(file) }.map(first_page, pages)
    }
}
