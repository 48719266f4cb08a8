// SPDX-License-Identifier: GPL-2.0

//! The file operations of a node, which call the functions of [`File`].

use super::{
    file::File,
    open::{
        self,
        Mode, //
    },
    region::{
        self,
        NumberState, //
    },
    uring, //
};
use crate::kernel_ext::mm::{
    shared_ring::SharedRing,
    vma::{
        self,
        shared_ring, //
    }, //
};
use core::marker::PhantomData;
use kernel::{
    bindings,
    error::from_result,
    fs::{
        file::LocalFile,
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

/// `IOCB_NOWAIT`, which has the value of `RWF_NOWAIT`. Neither is in the bindings. Source:
/// `include/uapi/linux/fs.h`.
const IOCB_NOWAIT: c_int = 0x8;

/// The file operations of `F`. The private data of a file is an `Arc<F>`, from [`open`](Self::open)
/// to [`release`](Self::release).
pub(in crate::kernel_ext) struct FileOperations<F>(PhantomData<F>);

impl<F: File> FileOperations<F> {
    pub(in crate::kernel_ext) const TABLE: bindings::file_operations = bindings::file_operations {
        owner: kernel::module::this_module::<crate::LocalModule>().as_ptr(),
        open: Some(Self::open),
        release: Some(Self::release),
        llseek: Some(Self::llseek),
        read_iter: Some(Self::read_iter),
        write_iter: Some(Self::write_iter),
        // These functions of the kernel call the two above, with pages of a pipe.
        splice_read: Some(bindings::copy_splice_read),
        splice_write: Some(bindings::iter_file_splice_write),
        fsync: Some(Self::fsync),
        uring_cmd: Some(uring::UringOperations::<F>::uring_cmd),
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
    /// Must be called by the kernel only, with the `inode` of a node in the region, and a `file`
    /// that is being opened.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        let opened = || -> Result<Arc<F>> {
            // SAFETY: By the safety requirement, `inode` is that of a character device.
            let device_number = unsafe { (*inode).i_rdev };
            let device = region::with::<F, _>(|region| {
                // CAST: The difference of two numbers of one region is small.
                match region.states.get((device_number - region.first) as usize) {
                    Some(NumberState::Published(device)) => Some(device.clone()),
                    _ => None,
                }
            });
            F::open(device.ok().flatten().ok_or(ENXIO)?)
        };
        from_result(|| {
            let open = opened()?;
            // SAFETY: `file` is being opened, so there is no active `fdget_pos` region.
            let kernel_file = unsafe { KernelFile::from_raw_file(file) };
            // SAFETY: `File::address_space` guarantees that the address space lives as long as the
            // file.
            unsafe { open.address_space().adopt(kernel_file) };
            // SAFETY: `file` is being opened, so no other thread uses it.
            unsafe { (*file).private_data = open.into_foreign().cast() };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Must be called by the kernel only, once for each file that was opened, as the last
    /// operation.
    unsafe extern "C" fn release(_: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: `open` has set the private data to an `Arc<F>`; by the safety requirement, it is
        // no longer borrowed.
        drop(unsafe { <Arc<F>>::from_foreign((*file).private_data.cast()) });
        0
    }

    /// # Safety
    ///
    /// Must be called by the kernel only, with an open file.
    unsafe extern "C" fn llseek(
        file: *mut bindings::file,
        offset: bindings::loff_t,
        whence: c_int,
    ) -> bindings::loff_t {
        // SAFETY: By the safety requirement, `file` is open.
        let size = unsafe { open::private_data::<F>(file) }.size();
        // CAST: A size is at most `i64::MAX`.
        // SAFETY: By the safety requirement, `file` is open.
        unsafe { bindings::fixed_size_llseek(file, offset, whence, size as bindings::loff_t) }
    }

    /// # Safety
    ///
    /// Must be called by the kernel only, with an open file and a buffer to read into.
    unsafe extern "C" fn read_iter(
        kiocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: By the safety requirement, the file is open; `open` has set its private data to
        // an `Arc<F>`.
        let kiocb = unsafe { Kiocb::<'_, Arc<F>>::from_raw(kiocb) };
        // SAFETY: By the safety requirement, `iter` is a valid destination.
        let to = unsafe { IovIterDest::from_raw(iter) };
        Self::positioned(kiocb, |file, mode, position| file.read(mode, position, to))
    }

    /// # Safety
    ///
    /// Must be called by the kernel only, with an open file and data to write.
    unsafe extern "C" fn write_iter(
        kiocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: By the safety requirement, the file is open; `open` has set its private data to
        // an `Arc<F>`.
        let kiocb = unsafe { Kiocb::<'_, Arc<F>>::from_raw(kiocb) };
        // SAFETY: By the safety requirement, `iter` is a valid source.
        let from = unsafe { IovIterSource::from_raw(iter) };
        Self::positioned(kiocb, |file, mode, position| {
            file.write(mode, position, from)
        })
    }

    /// Calls `f` with the position of `kiocb`, and advances the position by the result.
    fn positioned(
        mut kiocb: Kiocb<'_, Arc<F>>,
        f: impl FnOnce(ArcBorrow<'_, F>, Mode, u64) -> Result<usize>,
    ) -> isize {
        let raw = kiocb.as_raw();
        // SAFETY: The `kiocb` is valid.
        let (file, kiocb_flags) = unsafe { ((*raw).ki_filp, (*raw).ki_flags) };
        // SAFETY: `file` is the open file of the `kiocb`; an active `fdget_pos` region is that of
        // this system call.
        let mut mode = Mode::of(unsafe { LocalFile::from_raw_file(file) });
        // Only io_uring sets this: the kernel rejects preadv2 and pwritev2 with it for files
        // without FMODE_NOWAIT.
        mode.nonblocking |= kiocb_flags & IOCB_NOWAIT != 0;
        let done = u64::try_from(kiocb.ki_pos())
            .map_err(|_| EINVAL)
            .and_then(|position| f(kiocb.file(), mode, position));
        from_result(|| {
            let bytes = done?;
            // CAST: The number of bytes is at most the size of a buffer.
            *kiocb.ki_pos_mut() += bytes as i64;
            Ok(bytes as isize)
        })
    }

    /// # Safety
    ///
    /// Must be called by the kernel only, with an open file.
    unsafe extern "C" fn fsync(
        file: *mut bindings::file,
        _start: bindings::loff_t,
        _end: bindings::loff_t,
        _data_only: c_int,
    ) -> c_int {
        // SAFETY: By the safety requirement, `file` is open.
        let open = unsafe { open::private_data::<F>(file) };
        from_result(|| open.sync().map(|()| 0))
    }

    /// # Safety
    ///
    /// Must be called by the kernel only, with an open file.
    unsafe extern "C" fn ioctl(
        file: *mut bindings::file,
        command: c_uint,
        argument: c_ulong,
    ) -> c_long {
        // SAFETY: By the safety requirement, `file` is open.
        let open = unsafe { open::private_data::<F>(file) };
        // SAFETY: By the safety requirement, `file` is open; ioctl(2) has no `fdget_pos` region.
        let mode = Mode::of(unsafe { KernelFile::from_raw_file(file) });
        // CAST: The result is at most `i32::MAX`, by the contract of `File::ioctl`.
        from_result(|| Ok(open.ioctl(mode, command, argument)? as c_long))
    }

    /// Returns an address for a mapping, with the alignment of its offset, for huge pages.
    ///
    /// # Safety
    ///
    /// Must be called by the kernel only, with an open file.
    unsafe extern "C" fn get_unmapped_area(
        file: *mut bindings::file,
        address: c_ulong,
        length: c_ulong,
        page: c_ulong,
        flags: c_ulong,
    ) -> c_ulong {
        #[cfg(CONFIG_TRANSPARENT_HUGEPAGE)]
        use bindings::thp_get_unmapped_area as find;
        // This is the case in real-time kernels.
        #[cfg(not(CONFIG_TRANSPARENT_HUGEPAGE))]
        use bindings::mm_get_unmapped_area as find;
        // SAFETY: By the safety requirement, `file` is open.
        unsafe { find(file, address, length, page, flags) }
    }

    /// # Safety
    ///
    /// Must be called by the kernel only, with a mapping of an open file that is being created.
    unsafe extern "C" fn mmap_prepare(desc: *mut bindings::vm_area_desc) -> c_int {
        // SAFETY: By the safety requirement, `desc` describes such a mapping.
        let prepared = if unsafe { shared_ring::shows_ring::<Self>(desc) } {
            // SAFETY: As above; `shows_ring` has returned true.
            unsafe { shared_ring::prepare::<Self>(desc) }
        } else {
            // SAFETY: As above.
            unsafe { vma::prepare::<Self>(desc) }
        };
        from_result(|| prepared.map(|()| 0))
    }

    /// # Safety
    ///
    /// Must be called by the kernel only, with an open file and a table that is valid during the
    /// call.
    unsafe extern "C" fn poll(
        file: *mut bindings::file,
        table: *mut bindings::poll_table_struct,
    ) -> bindings::__poll_t {
        // SAFETY: By the safety requirement, `file` is open.
        let open = unsafe { open::private_data::<F>(file) };
        // SAFETY: By the safety requirement, `file` and `table` are valid; `File::poll_queue`
        // guarantees that the queue lives as long as the file, which a poller keeps open.
        unsafe { bindings::poll_wait(file, open.poll_queue().as_ptr(), table) };
        open.poll().bits()
    }

    /// # Safety
    ///
    /// Must be called by the kernel only, with an open file and a `seq_file` that only this call
    /// uses.
    unsafe extern "C" fn show_fdinfo(to: *mut bindings::seq_file, file: *mut bindings::file) {
        // SAFETY: By the safety requirement, `file` is open.
        let open = unsafe { open::private_data::<F>(file) };
        // SAFETY: By the safety requirement, `to` is valid and used by this call only.
        open.show_fdinfo(unsafe { SeqFile::from_raw(to) });
    }
}

impl<F: File> vma::MappableFiles for FileOperations<F> {
    type Memory = F::Memory;

    unsafe fn memory_at(
        file: *mut bindings::file,
        first_page: usize,
        pages: usize,
    ) -> Result<Arc<F::Memory>> {
        // SAFETY: By the safety requirement, `file` is open.
        unsafe { open::private_data::<F>(file) }.map(first_page, pages)
    }
}

impl<F: File> shared_ring::RingFiles for FileOperations<F> {
    const RING_PAGE: usize = F::RING_PAGE;

    unsafe fn ring<'a>(file: *mut bindings::file) -> Option<&'a SharedRing> {
        // SAFETY: By the safety requirement, `file` is open.
        let open = unsafe { open::private_data::<'a, F>(file) };
        let ring = core::ptr::from_ref(open.ring()?);
        // SAFETY: The file holds a reference to `open`, which has the ring as long as it lives.
        Some(unsafe { &*ring })
    }
}
