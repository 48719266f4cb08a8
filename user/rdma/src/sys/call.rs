//! The node's ioctl(2) calls, with structures of the interface in and out.

use std::{ffi::c_void, os::fd::BorrowedFd, ptr};

use rustix::{
    io,
    ioctl::{self, Ioctl, IoctlOutput, Opcode},
};

use crate::abi;

/// One call with a structure of type `T`, which the driver reads, writes, or both.
///
/// # Invariants
///
/// The number says how large a structure it is that it takes, and `T` is as large.
struct Call<'a, T> {
    number: Opcode,
    argument: &'a mut T,
}

impl<'a, T> Call<'a, T> {
    fn new(number: u32, argument: &'a mut T) -> Self {
        // ioctl.h: bits 16 to 29 are the size.
        assert_eq!(((number >> 16) & 0x3fff) as usize, size_of::<T>());
        // INVARIANT: checked right above.
        Self { number: Opcode::from(number), argument }
    }
}

// SAFETY: The argument is exclusively borrowed, and by the type's invariant as large as what the driver reads and
// writes through the pointer; all of the interface's structures are plain numbers, of which any value is valid.
unsafe impl<T> Ioctl for Call<'_, T> {
    type Output = u32;

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.number
    }

    fn as_ptr(&mut self) -> *mut c_void {
        ptr::from_mut(self.argument).cast()
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> io::Result<u32> {
        u32::try_from(output).map_err(|_| io::Errno::INVAL) // the kernel answers errors by themselves
    }
}

/// Makes a call; answers what it does, a number where that is said and 0 otherwise.
fn call<T>(fd: BorrowedFd<'_>, number: abi::request_numbers, argument: &mut T) -> io::Result<u32> {
    let call = Call::new(number, argument);
    // SAFETY: A number of the interface, with the structure that belongs to it, by the invariant of `Call`. A file that is
    // no node of this driver answers ENOTTY, since nobody else has these numbers (ioctl-number.rst). Arrays that a
    // structure points to are borrowed by the callers below.
    unsafe { ioctl::ioctl(fd, call) }
}

/// What the device and its driver can do.
pub(crate) fn info(fd: BorrowedFd<'_>) -> io::Result<abi::rdma_info> {
    let mut info = abi::rdma_info::default();
    call(fd, abi::HEADER_IOC_INFO, &mut info)?;
    Ok(info)
}

/// A new buffer of at least `size` bytes.
pub(crate) fn alloc(fd: BorrowedFd<'_>, size: u64) -> io::Result<abi::rdma_alloc> {
    let mut alloc = abi::rdma_alloc { size, ..Default::default() };
    call(fd, abi::HEADER_IOC_ALLOC, &mut alloc)?;
    Ok(alloc)
}

/// Gives a handle back.
pub(crate) fn free(fd: BorrowedFd<'_>, handle: u32) -> io::Result<()> {
    let mut free = abi::rdma_free { handle, ..Default::default() };
    call(fd, abi::HEADER_IOC_FREE, &mut free)?;
    Ok(())
}

/// What there is to know of a buffer.
pub(crate) fn buffer(fd: BorrowedFd<'_>, handle: u32) -> io::Result<abi::rdma_buffer> {
    let mut buffer = abi::rdma_buffer { handle, ..Default::default() };
    call(fd, abi::HEADER_IOC_BUFFER, &mut buffer)?;
    Ok(buffer)
}

/// Queues requests; answers how many were accepted, from the first one on.
pub(crate) fn submit(fd: BorrowedFd<'_>, requests: &[abi::rdma_request]) -> io::Result<usize> {
    let mut submit = abi::rdma_submit {
        requests: requests.as_ptr().addr() as u64,
        count: u32::try_from(requests.len()).map_err(|_| io::Errno::INVAL)?,
        ..Default::default()
    };
    call(fd, abi::HEADER_IOC_SUBMIT, &mut submit).map(|count| count as usize)
}

/// Collects completions into the beginning of `completions`; waits for the first one for so many nanoseconds, for ever if
/// that is less than 0.
pub(crate) fn wait(fd: BorrowedFd<'_>, completions: &mut [abi::rdma_completion], timeout_ns: i64) -> io::Result<usize> {
    let mut wait = abi::rdma_wait {
        completions: completions.as_mut_ptr().expose_provenance() as u64,
        min: u32::from(timeout_ns != 0),
        max: u32::try_from(completions.len()).map_err(|_| io::Errno::INVAL)?,
        timeout_ns,
        ..Default::default()
    };
    call(fd, abi::HEADER_IOC_WAIT, &mut wait).map(|count| count as usize)
}

/// Takes back what has this cookie and has not been begun with; answers how many requests.
pub(crate) fn cancel(fd: BorrowedFd<'_>, cookie: u64) -> io::Result<usize> {
    let mut cancel = abi::rdma_cancel { cookie, ..Default::default() };
    call(fd, abi::HEADER_IOC_CANCEL, &mut cancel).map(|count| count as usize)
}
