//! Two functions of glibc 2.39, so that the tool also starts with the C library of Debian 12.
//!
//! Rust's standard library uses them if they exist, by weak references, for which the linker lets the program require that version of the
//! C library. It finds these instead, which fail, and then creates processes by fork(2) and exec(3). (It only uses them for the descriptor
//! of a process, which the tool does not ask for.)

#![expect(unsafe_code, reason = "the names are those of the C library")]

use std::ffi::{c_int, c_void};

use rustix::io::Errno;

// SAFETY: As the C library's function where the kernel does not support it.
#[unsafe(no_mangle)]
extern "C" fn pidfd_getpid(_pidfd: c_int) -> c_int {
    -1
}

// SAFETY: As above. It accesses nothing.
#[unsafe(no_mangle)]
extern "C" fn pidfd_spawnp(
    _pidfd: *mut c_int,
    _file: *const c_void,
    _actions: *const c_void,
    _attributes: *const c_void,
    _arguments: *const c_void,
    _environment: *const c_void,
) -> c_int {
    Errno::NOSYS.raw_os_error()
}
