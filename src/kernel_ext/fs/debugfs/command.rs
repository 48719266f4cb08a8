// SPDX-License-Identifier: GPL-2.0

//! Files in debugfs that take commands of root, for tests: only in a kernel with fault injection.

use core::marker::PhantomData;
use kernel::{
    bindings,
    prelude::*,
    sync::Arc,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

/// A file that takes commands for a `T`.
pub(crate) struct Command<T> {
    /// Its name.
    pub(crate) name: &'static CStr,
    /// Does what the text says, where one may sleep.
    pub(crate) run: fn(&T, &str) -> Result,
}

/// Bytes of the longest command.
const LONGEST: usize = 64;

/// Makes the files that take commands for `shown`, for root alone.
///
/// # Safety
///
/// `dir` must be a directory in debugfs or an error, and `shown` must stay until it is removed.
pub(super) unsafe fn create<T: Send + Sync + 'static>(
    dir: *mut bindings::dentry,
    shown: &Arc<T>,
    commands: &'static [Command<T>],
) {
    for command in commands {
        // CAST: the operations give out shared references only.
        // SAFETY: The name is copied; by the requirement; the operations are those of files that
        // take commands for a `T`; the command is static.
        unsafe {
            bindings::debugfs_create_file_full(
                command.name.as_char_ptr(),
                0o200,
                dir,
                Arc::as_ptr(shown).cast_mut().cast(),
                core::ptr::from_ref(command).cast(),
                &Table::<T>::TABLE,
            )
        };
    }
}

/// The file operations of files that take commands for a `T`: the inode's private data is a `T`,
/// and what goes with it a `Command<T>`, of which there is one for ever.
struct Table<T>(PhantomData<T>);

impl<T: Send + Sync + 'static> Table<T> {
    const TABLE: bindings::file_operations = bindings::file_operations {
        owner: kernel::module::this_module::<crate::LocalModule>().as_ptr(),
        open: Some(bindings::simple_open),
        write: Some(Self::write),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by debugfs only, for a file of [`create`] that `simple_open` has opened; debugfs keeps
    /// it from being removed meanwhile.
    unsafe extern "C" fn write(
        file: *mut bindings::file,
        text: *const c_char,
        length: usize,
        _: *mut bindings::loff_t,
    ) -> isize {
        // SAFETY: By the requirement, this is what `simple_open` put in: a `T`, which is there until
        // the file is removed.
        let shown = unsafe { &*(*file).private_data.cast::<T>() };
        // SAFETY: By the requirement, `file` is an open file of debugfs.
        let command = unsafe { bindings::debugfs_get_aux(file) };
        // SAFETY: `create` put in a `Command<T>`, which is static.
        let command = unsafe { &*command.cast::<Command<T>>() };
        match Self::read(text, length).and_then(|bytes| {
            let text = core::str::from_utf8(&bytes).map_err(|_| EINVAL)?;
            (command.run)(shown, text)
        }) {
            // CAST: at most `LONGEST`.
            Ok(()) => length as isize,
            // CAST: an errno is small.
            Err(e) => e.to_errno() as isize,
        }
    }

    fn read(text: *const c_char, length: usize) -> Result<KVec<u8>> {
        if length > LONGEST {
            return Err(EINVAL);
        }
        let mut bytes = KVec::new();
        let text = UserPtr::from_addr(text.addr());
        UserSlice::new(text, length).read_all(&mut bytes, GFP_KERNEL)?;
        Ok(bytes)
    }
}
