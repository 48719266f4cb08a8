// SPDX-License-Identifier: GPL-2.0

//! Files in debugfs, readable by root.
//!
//! The crate's files have no owner, so that a file which is open when the module is unloaded would
//! be closed by code that no longer exists. These files hold a reference to the module. The object
//! that they show lives until they have been removed, and they are not read after that.
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

/// A file that shows a part of a `T`.
pub(crate) struct Attribute<T> {
    /// The name of the file.
    pub(crate) name: &'static CStr,
    /// Prints the current state. May sleep. If the buffer of the file was too small, it is called
    /// again with a larger one.
    pub(crate) show: fn(&T, &SeqFile),
}

/// An object with files in debugfs.
pub(crate) trait DebugFiles: Send + Sync + Sized + 'static {
    /// The files that show the object.
    const ATTRIBUTES: &'static [Attribute<Self>];

    /// The files that accept commands for the object.
    #[cfg(CONFIG_FAULT_INJECTION)]
    const COMMANDS: &'static [command::FileCommand<Self>];
}

/// A directory. Dropping it removes it with its files, and waits for the threads that read them.
///
/// (Errors at the creation are ignored, as for all of debugfs.)
///
/// # Invariants
///
/// The pointer is the result of `debugfs_create_dir`, a directory or an error, and is removed only
/// by dropping this.
pub(in crate::kernel_ext) struct Dir(*mut bindings::dentry);

// SAFETY: A directory is not tied to a thread, and the debugfs functions lock its inode.
unsafe impl Send for Dir {}
// SAFETY: As above.
unsafe impl Sync for Dir {}

impl Dir {
    /// Creates a directory in the root of debugfs.
    pub(in crate::kernel_ext) fn new(name: &CStr) -> Self {
        // SAFETY: The name is copied. A null parent is the root of debugfs.
        let dir =
            unsafe { bindings::debugfs_create_dir(name.as_char_ptr(), core::ptr::null_mut()) };
        // INVARIANT: `dir` is the result of `debugfs_create_dir`.
        Self(dir)
    }

    fn below(&self, name: &CStr) -> Self {
        // SAFETY: The name is copied; by the type invariant, the parent is a directory or an error.
        let dir = unsafe { bindings::debugfs_create_dir(name.as_char_ptr(), self.0) };
        // INVARIANT: `dir` is the result of `debugfs_create_dir`.
        Self(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, the pointer is a directory, which is removed once, or an
        // error.
        unsafe { bindings::debugfs_remove(self.0) };
    }
}

/// The directory with the files of an object. Dropping it removes them.
pub(in crate::kernel_ext) struct AttributeDir<T: DebugFiles> {
    // Dropped before the object that the files show.
    _dir: Dir,
    _source: Arc<T>,
}

impl<T: DebugFiles> AttributeDir<T> {
    /// Creates the directory `name` below `parent`, with the files of `source`, for root only.
    pub(in crate::kernel_ext) fn new(parent: &Dir, name: &CStr, source: Arc<T>) -> Self {
        let dir = parent.below(name);
        for attribute in T::ATTRIBUTES {
            // CAST: The operations use shared references only.
            // SAFETY: The name is copied; `dir` is a directory or an error; the operations are
            // those of files that show a `T`, which lives until they have been removed; the
            // attribute is static.
            unsafe {
                bindings::debugfs_create_file_full(
                    attribute.name.as_char_ptr(),
                    0o400,
                    dir.0,
                    Arc::as_ptr(&source).cast_mut().cast(),
                    core::ptr::from_ref(attribute).cast(),
                    &AttributeOperations::<T>::TABLE,
                )
            };
        }
        // SAFETY: `dir` is a directory or an error; `source` lives until it has been removed.
        #[cfg(CONFIG_FAULT_INJECTION)]
        unsafe {
            command::create(dir.0, &source, T::COMMANDS)
        };
        Self {
            _dir: dir,
            _source: source,
        }
    }
}

/// The file operations of files that show a `T`. The private data of the inode is a `T`, and its
/// auxiliary data is a static `Attribute<T>`.
struct AttributeOperations<T>(PhantomData<T>);

impl<T: DebugFiles> AttributeOperations<T> {
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
    /// Must be called by debugfs only, with a `file` that is being opened, and its `inode`.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: By the safety requirement, `inode` is valid.
        let source = unsafe { (*inode).i_private };
        // SAFETY: By the safety requirement, `file` is being opened; `show` is called for this file
        // only.
        unsafe { bindings::single_open(file, Some(Self::show), source) }
    }

    /// # Safety
    ///
    /// Must be called by `seq_read` only, for a file that [`open`](Self::open) has opened, and that
    /// debugfs does not remove during the call.
    unsafe extern "C" fn show(seq: *mut bindings::seq_file, _: *mut c_void) -> c_int {
        // SAFETY: By the safety requirement, `open` has set the private data to a `T`, which lives
        // until the file has been removed.
        let source = unsafe { &*(*seq).private.cast::<T>() };
        // SAFETY: By the safety requirement, `seq` belongs to an open file of debugfs.
        let attribute = unsafe { bindings::debugfs_get_aux((*seq).file) };
        // SAFETY: `AttributeDir::new` has set the auxiliary data to a static `Attribute<T>`.
        let attribute = unsafe { &*attribute.cast::<Attribute<T>>() };
        // SAFETY: By the safety requirement, `seq` is valid and used by this call only.
        (attribute.show)(source, unsafe { SeqFile::from_raw(seq) });
        0
    }
}
