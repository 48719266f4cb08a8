//! The node's ioctl(2) calls, with structures of the interface as arguments.

use std::{
    ffi::c_void,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr::{self, NonNull},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io,
    ioctl::{self, Ioctl, IoctlOutput, Opcode},
    time::{self, ClockId},
};

use crate::abi;

/// One call with a structure of type `T`, which the driver reads, writes, or both.
///
/// # Invariants
///
/// The number contains the size of its structure, which is the size of `T`.
struct Call<'a, T> {
    number: Opcode,
    argument: &'a mut T,
}

impl<'a, T> Call<'a, T> {
    fn new(number: u32, argument: &'a mut T) -> Self {
        // ioctl.h: bits 16 to 29 are the size.
        assert_eq!(((number >> 16) & 0x3fff) as usize, size_of::<T>());
        // INVARIANT: checked above.
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
        u32::try_from(output).map_err(|_| io::Errno::INVAL) // the kernel detects invalid numbers itself
    }
}

/// Makes a call; returns its result, which is a number where documented and 0 otherwise.
fn call<T>(fd: BorrowedFd<'_>, number: u32, argument: &mut T) -> io::Result<u32> {
    let call = Call::new(number, argument);
    // SAFETY: A number of the interface, with the structure that belongs to it, by the invariant of `Call`. A file that is
    // not a node of this driver returns an error, since no other driver has these numbers (ioctl-number.rst). Arrays that a
    // structure points to are borrowed by the callers below.
    unsafe { ioctl::ioctl(fd, call) }
}

/// Size of an element of an array.
fn size<T>() -> u32 {
    u32::try_from(size_of::<T>()).expect("the interface's structures are small")
}

/// The properties of the device and its driver.
pub(crate) fn device_info(fd: BorrowedFd<'_>) -> io::Result<abi::rdma_device_info> {
    let mut info = abi::rdma_device_info::default();
    call(fd, abi::RDMA_IOC_DEVICE_INFO, &mut info)?;
    Ok(info)
}

/// A buffer that was just allocated.
///
/// # Invariants
///
/// It is a buffer of the file `fd`, and nothing maps it.
pub(crate) struct Allocated<'a> {
    fd: BorrowedFd<'a>,
    alloc: abi::rdma_alloc,
}

impl<'a> Allocated<'a> {
    pub(crate) fn handle(&self) -> u32 {
        self.alloc.handle
    }

    /// The size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.alloc.size
    }

    /// Its file, and its offset there: for one mapping.
    pub(super) fn into_place(self) -> (BorrowedFd<'a>, u64) {
        (self.fd, self.alloc.mmap_offset)
    }
}

/// Allocates a buffer of at least `size` bytes.
pub(crate) fn alloc(fd: BorrowedFd<'_>, size: u64) -> io::Result<Allocated<'_>> {
    let mut alloc = abi::rdma_alloc { size, ..Default::default() };
    call(fd, abi::RDMA_IOC_ALLOC, &mut alloc)?;
    // INVARIANT: the driver has allocated it for this call.
    Ok(Allocated { fd, alloc })
}

/// Makes a buffer of `size` bytes of this program's memory; returns its handle. Requests may write to the memory even after the handle is
/// freed: the caller must own the memory, and unmap it before it frees the handle.
pub(super) fn register(fd: BorrowedFd<'_>, address: NonNull<u8>, size: usize) -> io::Result<u32> {
    let address = address.as_ptr().expose_provenance() as u64;
    let mut register = abi::rdma_register { address, size: size as u64, ..Default::default() };
    call(fd, abi::RDMA_IOC_REGISTER, &mut register)?;
    Ok(register.handle)
}

/// A descriptor of a buffer as a dma-buf.
pub(crate) fn export(fd: BorrowedFd<'_>, handle: u32) -> io::Result<OwnedFd> {
    let mut export = abi::rdma_export { handle, fd: -1, ..Default::default() };
    call(fd, abi::RDMA_IOC_EXPORT, &mut export)?;
    // SAFETY: The driver has opened the descriptor for this call.
    Ok(unsafe { OwnedFd::from_raw_fd(export.fd) })
}

/// Makes a buffer of a dma-buf.
pub(crate) fn import(fd: BorrowedFd<'_>, dma_buf: BorrowedFd<'_>) -> io::Result<abi::rdma_import> {
    let mut import = abi::rdma_import { fd: dma_buf.as_raw_fd(), ..Default::default() };
    call(fd, abi::RDMA_IOC_IMPORT, &mut import)?;
    Ok(import)
}

/// Releases a handle.
pub(crate) fn free(fd: BorrowedFd<'_>, handle: u32) -> io::Result<()> {
    let mut free = abi::rdma_free { handle, ..Default::default() };
    call(fd, abi::RDMA_IOC_FREE, &mut free)?;
    Ok(())
}

/// The properties of a buffer.
pub(crate) fn buffer_info(fd: BorrowedFd<'_>, handle: u32) -> io::Result<abi::rdma_buffer_info> {
    let mut info = abi::rdma_buffer_info { handle, ..Default::default() };
    call(fd, abi::RDMA_IOC_BUFFER_INFO, &mut info)?;
    Ok(info)
}

/// Queues requests; returns how many were accepted, from the first one on.
pub(crate) fn submit(fd: BorrowedFd<'_>, requests: &[abi::rdma_request]) -> io::Result<usize> {
    let mut submit = abi::rdma_submit {
        requests: requests.as_ptr().expose_provenance() as u64,
        count: u32::try_from(requests.len()).map_err(|_| io::Errno::INVAL)?,
        request_size: size::<abi::rdma_request>(),
        ..Default::default()
    };
    call(fd, abi::RDMA_IOC_SUBMIT, &mut submit).map(|count| count as usize)
}

/// Collects completions into the beginning of `completions`; waits for the first one for this time, without a limit if there is
/// no timeout.
pub(crate) fn wait(
    fd: BorrowedFd<'_>,
    completions: &mut [abi::rdma_completion],
    timeout: Option<Duration>,
) -> io::Result<usize> {
    let wait = abi::rdma_wait {
        completions: completions.as_mut_ptr().expose_provenance() as u64,
        max: u32::try_from(completions.len()).map_err(|_| io::Errno::INVAL)?,
        completion_size: size::<abi::rdma_completion>(),
        ..Default::default()
    };
    wait_as(fd, wait, timeout)
}

/// Waits for this time until a completion is in the ring of the context, without a limit if there is no timeout; returns how many
/// there are.
pub(crate) fn wait_for_ring(fd: BorrowedFd<'_>, timeout: Option<Duration>) -> io::Result<usize> {
    wait_as(fd, abi::rdma_wait::default(), timeout)
}

/// Waits for the first completion for this time.
fn wait_as(fd: BorrowedFd<'_>, mut wait: abi::rdma_wait, timeout: Option<Duration>) -> io::Result<usize> {
    wait.min = u32::from(timeout != Some(Duration::ZERO));
    wait.deadline_ns = deadline_ns(timeout);
    match call(fd, abi::RDMA_IOC_WAIT, &mut wait) {
        // With O_NONBLOCK, which a file that another program has opened can have, WAIT does not wait.
        Err(io::Errno::AGAIN) if timeout != Some(Duration::ZERO) => {
            let timeout = timeout.and_then(|timeout| timeout.try_into().ok());
            poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], timeout.as_ref())?;
            call(fd, abi::RDMA_IOC_WAIT, &mut wait)
        }
        collected => collected,
    }
    .map(|count| count as usize)
}

/// The time of the kernel's clock at which a timeout that begins now expires; the maximum without one, or if the clock does not
/// reach that far.
fn deadline_ns(timeout: Option<Duration>) -> i64 {
    let forever = Duration::from_nanos(abi::RDMA_WAIT_FOREVER);
    let deadline = timeout.map_or(forever, |timeout| {
        let now = Duration::try_from(time::clock_gettime(ClockId::Monotonic)).unwrap_or_default();
        now.saturating_add(timeout).min(forever)
    });
    i64::try_from(deadline.as_nanos()).expect("at most i64::MAX")
}

/// Creates the completion ring of a context; writes its properties, also if there is one already (`EEXIST`).
pub(crate) fn completion_ring(fd: BorrowedFd<'_>, ring: &mut abi::rdma_completion_ring) -> io::Result<()> {
    call(fd, abi::RDMA_IOC_COMPLETION_RING, ring)?;
    Ok(())
}

/// Sets the context's eventfd, or none.
pub(crate) fn set_eventfd(fd: BorrowedFd<'_>, eventfd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut set = abi::rdma_eventfd { fd: eventfd.map_or(-1, |eventfd| eventfd.as_raw_fd()), ..Default::default() };
    call(fd, abi::RDMA_IOC_EVENTFD, &mut set)?;
    Ok(())
}

/// Cancels all requests that have not started; returns their number.
pub(crate) fn cancel_all(fd: BorrowedFd<'_>) -> io::Result<usize> {
    let mut cancel = abi::rdma_cancel { flags: abi::RDMA_CANCEL_ALL, ..Default::default() };
    call(fd, abi::RDMA_IOC_CANCEL, &mut cancel).map(|count| count as usize)
}

/// Cancels requests with this cookie that have not started; returns their number.
pub(crate) fn cancel(fd: BorrowedFd<'_>, cookie: u64) -> io::Result<usize> {
    let mut cancel = abi::rdma_cancel { cookie, ..Default::default() };
    call(fd, abi::RDMA_IOC_CANCEL, &mut cancel).map(|count| count as usize)
}
