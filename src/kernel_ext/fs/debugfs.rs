// SPDX-License-Identifier: GPL-2.0

//! Files in debugfs that show something to root.
//!
//! The crate's files have no owner: one that is held open when the module goes is closed by code
//! that is no more. These keep the module; what they show they keep until they are removed, and
//! nobody reads them after that.
//!
//! C header: `include/linux/debugfs.h`

#[cfg(CONFIG_FAULT_INJECTION)]
pub(crate) mod command;

use core::marker::PhantomData;
use kernel::{
    bindings,
    prelude::*,
    seq_file::SeqFile,
    sync::Arc, //
};

/// A file that shows something of a `T`.
pub(crate) struct Entry<T> {
    /// Its name.
    pub(crate) name: &'static CStr,
    /// Writes what is so now, where one may sleep. Called again from the beginning if there was not
    /// enough room.
    pub(crate) show: fn(&T, &SeqFile),
}

/// Something that is shown in files.
pub(crate) trait Shown: Send + Sync + Sized + 'static {
    /// The files.
    const ENTRIES: &'static [Entry<Self>];

    /// Files that take commands.
    #[cfg(CONFIG_FAULT_INJECTION)]
    const COMMANDS: &'static [command::Command<Self>];
}

/// A directory; dropping it removes it, with all that is in it, and waits for those who read there.
///
/// (What cannot be made is not there; debugfs is nothing that anyone may depend on.)
///
/// # Invariants
///
/// The pointer is what `debugfs_create_dir` returned, a directory or an error, and nobody else
/// removes it.
pub(in crate::kernel_ext) struct Dir(*mut bindings::dentry);

// SAFETY: All functions that are called for a directory may be called from any thread.
unsafe impl Send for Dir {}
// SAFETY: As above.
unsafe impl Sync for Dir {}

impl Dir {
    /// A directory in debugfs itself.
    pub(in crate::kernel_ext) fn new(name: &CStr) -> Self {
        // SAFETY: The name is copied. No parent is debugfs itself.
        let dir =
            unsafe { bindings::debugfs_create_dir(name.as_char_ptr(), core::ptr::null_mut()) };
        // INVARIANT: just returned.
        Self(dir)
    }

    fn below(&self, name: &CStr) -> Self {
        // SAFETY: The name is copied; by the type invariant the parent is a directory or an error.
        let dir = unsafe { bindings::debugfs_create_dir(name.as_char_ptr(), self.0) };
        // INVARIANT: just returned.
        Self(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, a directory that is removed once, or an error.
        unsafe { bindings::debugfs_remove(self.0) };
    }
}

/// The files of something, in a directory of their own; dropping it removes them.
pub(in crate::kernel_ext) struct Files<T: Shown> {
    // Gone before what its files show.
    _dir: Dir,
    _shown: Arc<T>,
}

impl<T: Shown> Files<T> {
    /// Shows `shown` in the directory `name` below `parent`, to root alone.
    pub(in crate::kernel_ext) fn new(parent: &Dir, name: &CStr, shown: Arc<T>) -> Self {
        let dir = parent.below(name);
        for entry in T::ENTRIES {
            // CAST: the operations give out shared references only.
            // SAFETY: The name is copied; `dir` is a directory or an error; the operations are
            // those of files that show a `T`, which stays until they are removed; the entry is
            // static.
            unsafe {
                bindings::debugfs_create_file_full(
                    entry.name.as_char_ptr(),
                    0o400,
                    dir.0,
                    Arc::as_ptr(&shown).cast_mut().cast(),
                    core::ptr::from_ref(entry).cast(),
                    &Table::<T>::TABLE,
                )
            };
        }
        // SAFETY: `dir` is a directory or an error; `shown` stays until it is removed.
        #[cfg(CONFIG_FAULT_INJECTION)]
        unsafe {
            command::create(dir.0, &shown, T::COMMANDS)
        };
        Self {
            _dir: dir,
            _shown: shown,
        }
    }
}

/// The file operations of files that show a `T`: the inode's private data is a `T`, and what goes
/// with it an `Entry<T>`, of which there is one for ever.
struct Table<T>(PhantomData<T>);

impl<T: Shown> Table<T> {
    const TABLE: bindings::file_operations = bindings::file_operations {
        owner: kernel::module::this_module::<crate::LocalModule>().as_ptr(),
        open: Some(Self::open),
        read: Some(bindings::seq_read),
        llseek: Some(bindings::seq_lseek),
        release: Some(bindings::single_release),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by debugfs only: `file` is being opened, and `inode` is its inode.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: By the requirement.
        let shown = unsafe { (*inode).i_private };
        // SAFETY: `file` is being opened; what `show` wants of the file is so.
        unsafe { bindings::single_open(file, Some(Self::show), shown) }
    }

    /// # Safety
    ///
    /// Called by `seq_read` only, for a file that [`open`](Self::open) has opened; debugfs keeps it
    /// from being removed meanwhile.
    unsafe extern "C" fn show(seq: *mut bindings::seq_file, _: *mut c_void) -> c_int {
        // SAFETY: By the requirement, this is what `open` put in: a `T`, which is there until the
        // file is removed.
        let shown = unsafe { &*(*seq).private.cast::<T>() };
        // SAFETY: By the requirement, `seq` is that of an open file of debugfs.
        let entry = unsafe { bindings::debugfs_get_aux((*seq).file) };
        // SAFETY: `Files::new` put in an `Entry<T>`, which is static.
        let entry = unsafe { &*entry.cast::<Entry<T>>() };
        // SAFETY: By the requirement; nobody else has it.
        (entry.show)(shown, unsafe { SeqFile::from_raw(seq) });
        0
    }
}
