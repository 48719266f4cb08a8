//! Standard streams that were closed when the program was started.
//!
//! Before main, the standard library opens /dev/null in their place, so that what is written to them is lost and no call fails.
//! `look` runs before that.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::{io::fcntl_getfd, stdio};

use crate::failure::Failure;

static STDIN_CLOSED: AtomicBool = AtomicBool::new(false);
static STDOUT_CLOSED: AtomicBool = AtomicBool::new(false);

/// The C library calls the functions of this section before main.
#[used]
#[expect(
    unsafe_code,
    reason = "SAFETY: the section holds pointers to functions; this one needs nothing that main sets up"
)]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    STDIN_CLOSED.store(fcntl_getfd(stdio::stdin()).is_err(), Ordering::Relaxed);
    STDOUT_CLOSED.store(fcntl_getfd(stdio::stdout()).is_err(), Ordering::Relaxed);
}

/// Fails if standard input was closed.
pub fn needs_stdin() -> Result<(), Failure> {
    open(&STDIN_CLOSED, "standard input")
}

/// Fails if standard output was closed.
pub fn needs_stdout() -> Result<(), Failure> {
    open(&STDOUT_CLOSED, "standard output")
}

fn open(closed: &AtomicBool, name: &str) -> Result<(), Failure> {
    match closed.load(Ordering::Relaxed) {
        true => Err(Failure::system(name)(io::Error::other("it is closed"))),
        false => Ok(()),
    }
}
