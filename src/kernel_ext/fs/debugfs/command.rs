// SPDX-License-Identifier: GPL-2.0

//! Files in debugfs that accept commands of root, for tests, in kernels with fault injection only.

use core::marker::PhantomData;
use kernel::{
    bindings,
    error::from_result,
    prelude::*,
    sync::Arc,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

/// A file that accepts commands for a `T`.
pub(crate) struct FileCommand<T> {
    /// The name of the file.
    pub(crate) name: &'static CStr,
    /// Executes the command in the text. May sleep.
    pub(crate) run: fn(&T, &str) -> Result,
}

/// The maximum length of a command, in bytes.
const MAX_LENGTH: usize = 64;

/// Creates the files that accept commands for `source`, for root only.
///
/// # Safety
///
/// `dir` must be a directory in debugfs or an error, and `source` must live until it has been
/// removed.
pub(super) unsafe fn create<T: Send + Sync + 'static>(
    dir: *mut bindings::dentry,
    source: &Arc<T>,
    commands: &'static [FileCommand<T>],
) {
    for command in commands {
        // CAST: The operations use shared references only.
        // SAFETY: The name is copied; by the safety requirement, `dir` is a directory or an error;
        // the operations are those of files that accept commands for a `T`; the command is static.
        unsafe {
            bindings::debugfs_create_file_full(
                command.name.as_char_ptr(),
                0o200,
                dir,
                Arc::as_ptr(source).cast_mut().cast(),
                core::ptr::from_ref(command).cast(),
                &CommandFileOperations::<T>::TABLE,
            )
        };
    }
}

/// The file operations of files that accept commands for a `T`. The private data of the inode is a
/// `T`, and its auxiliary data is a static `FileCommand<T>`.
struct CommandFileOperations<T>(PhantomData<T>);

impl<T: Send + Sync + 'static> CommandFileOperations<T> {
    const TABLE: bindings::file_operations = bindings::file_operations {
        owner: kernel::module::this_module::<crate::LocalModule>().as_ptr(),
        open: Some(bindings::simple_open),
        write: Some(Self::write),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Must be called by debugfs only, for a file of [`create`] that `simple_open` has opened, and
    /// that debugfs does not remove during the call.
    unsafe extern "C" fn write(
        file: *mut bindings::file,
        text: *const c_char,
        length: usize,
        _: *mut bindings::loff_t,
    ) -> isize {
        // SAFETY: By the safety requirement, `simple_open` has set the private data to a `T`, which
        // lives until the file has been removed.
        let source = unsafe { &*(*file).private_data.cast::<T>() };
        // SAFETY: By the safety requirement, `file` is an open file of debugfs.
        let command = unsafe { bindings::debugfs_get_aux(file) };
        // SAFETY: `create` has set the auxiliary data to a static `FileCommand<T>`.
        let command = unsafe { &*command.cast::<FileCommand<T>>() };
        from_result(|| {
            let bytes = Self::read(text, length)?;
            let text = core::str::from_utf8(&bytes).map_err(|_| EINVAL)?;
            (command.run)(source, text)?;
            // CAST: The length is at most `MAX_LENGTH`.
            Ok(length as isize)
        })
    }

    fn read(text: *const c_char, length: usize) -> Result<KVec<u8>> {
        if length > MAX_LENGTH {
            return Err(EINVAL);
        }
        let mut bytes = KVec::new();
        let text = UserPtr::from_addr(text.addr());
        UserSlice::new(text, length).read_all(&mut bytes, GFP_KERNEL)?;
        Ok(bytes)
    }
}
