//! Writes files to storage (fsync) before the program reports success.

use std::{fs::File, io};

use rustix::io::Errno;

/// Stores what was written to a file. An error of the storage may appear only then.
pub fn store(file: &File) -> io::Result<()> {
    match file.sync_all() {
        // It is not a file that is stored.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => Ok(()),
        done => done,
    }
}
