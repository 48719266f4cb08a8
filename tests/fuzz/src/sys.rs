//! System calls: each in one line, its result is a number or an error.

use std::io;

/// The result of a call.
pub type Answer = Result<u64, i32>;

/// The current errno.
pub fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Makes a system call by its number.
pub fn call<const N: usize>(number: libc::c_long, arguments: [u64; N]) -> Answer {
    let mut all = [0u64; 6];
    all[..N].copy_from_slice(&arguments);
    // SAFETY: The callers ensure that no memory is written but that of `memory::Area`, and nothing is unmapped but the places.
    let answer = unsafe { libc::syscall(number, all[0], all[1], all[2], all[3], all[4], all[5]) };
    if answer == -1 {
        Err(errno())
    } else {
        Ok(answer as u64)
    }
}

/// ioctl(2)
pub fn ioctl(fd: i32, number: u32, argument: u64) -> Answer {
    call(libc::SYS_ioctl, [fd as u64, number.into(), argument])
}

/// close(2)
pub fn close(fd: i32) -> Answer {
    call(libc::SYS_close, [fd as u64])
}

/// mmap(2)
pub fn mmap(address: u64, length: u64, protection: i32, flags: i32, fd: i32, offset: u64) -> Answer {
    call(libc::SYS_mmap, [address, length, protection as u64, flags as u64, fd as u64, offset])
}

/// munmap(2)
pub fn munmap(address: u64, length: u64) -> Answer {
    call(libc::SYS_munmap, [address, length])
}

/// Moves a descriptor: numbers below 200 are for the node's files, so that a descriptor which another thread
/// closes becomes at worst another file of the node.
pub fn high(fd: i32) -> i32 {
    let moved = call(libc::SYS_fcntl, [fd as u64, libc::F_DUPFD_CLOEXEC as u64, 200]).expect("a descriptor is free");
    let _ = close(fd);
    moved as i32
}

/// Sleeps.
pub fn sleep_ms(milliseconds: u64) {
    std::thread::sleep(std::time::Duration::from_millis(milliseconds));
}

/// The name of an errno.
pub fn name(errno: i32) -> String {
    const NAMES: [(i32, &str); 22] = [
        (libc::EPERM, "EPERM"),
        (libc::ENOENT, "ENOENT"),
        (libc::EINTR, "EINTR"),
        (libc::EIO, "EIO"),
        (libc::EBADF, "EBADF"),
        (libc::EAGAIN, "EAGAIN"),
        (libc::ENOMEM, "ENOMEM"),
        (libc::EACCES, "EACCES"),
        (libc::EFAULT, "EFAULT"),
        (libc::EBUSY, "EBUSY"),
        (libc::EEXIST, "EEXIST"),
        (libc::ENODEV, "ENODEV"),
        (libc::EINVAL, "EINVAL"),
        (libc::ENOTTY, "ENOTTY"),
        (libc::ENOSPC, "ENOSPC"),
        (libc::ESPIPE, "ESPIPE"),
        (libc::EOVERFLOW, "EOVERFLOW"),
        (libc::EALREADY, "EALREADY"),
        (libc::EDQUOT, "EDQUOT"),
        (libc::ETIMEDOUT, "ETIMEDOUT"),
        (libc::ECANCELED, "ECANCELED"),
        (libc::EOPNOTSUPP, "EOPNOTSUPP"),
    ];
    let name = NAMES.iter().find(|(number, _)| *number == errno);
    name.map_or_else(|| format!("errno {errno}"), |(_, name)| (*name).into())
}
