//! The library in a program with an `io_uring` of its own, which awaits requests next to a socket and a timer: runs in the guest, with
//! the driver loaded, one test after the other.
#![allow(unsafe_code)]

use std::{
    collections::BTreeMap,
    io::Write,
    os::{fd::AsRawFd, unix::net::UnixStream},
};

use io_uring::{
    IoUring, opcode,
    types::{Fd, Timespec},
};
use rust_dma::{Context, Request};

const DEVICE: u64 = 1;
const SOCKET: u64 = 2;
const TIMER: u64 = 3;

/// The context is one more file to poll. When it is readable, the request's result is collected without waiting.
#[test]
fn one_ring_for_all() {
    let context = Context::open("/dev/rdma0").unwrap();
    let (mut near, far) = UnixStream::pair().unwrap();
    let mut source = context.allocate(4096).unwrap();
    source.fill(42);
    let mut received = [0; 5];
    let time = Timespec::new().nsec(20_000_000);
    let mut ring = IoUring::new(4).unwrap();
    let entries = [
        opcode::PollAdd::new(Fd(context.as_raw_fd()), libc::POLLIN as u32).build().user_data(DEVICE),
        opcode::Recv::new(Fd(far.as_raw_fd()), received.as_mut_ptr(), 5).build().user_data(SOCKET),
        opcode::Timeout::new(&raw const time).build().user_data(TIMER),
    ];
    // SAFETY: The files, the bytes to receive and the time stay until all three entries have ended, below.
    unsafe { ring.submission().push_multiple(&entries) }.unwrap();
    assert_eq!(ring.submit().unwrap(), 3);
    // Nothing is submitted or sent: only the timer has ended.
    ring.submit_and_wait(1).unwrap();
    let first: Vec<(u64, i32)> = ring.completion().map(|entry| (entry.user_data(), entry.result())).collect();
    assert_eq!(first, [(TIMER, -libc::ETIME)]);

    let destination = context.allocate(4096).unwrap();
    let pending = Request::copy(source, .., destination, 0).submit().unwrap();
    near.write_all(b"bytes").unwrap();
    let mut ended = BTreeMap::new();
    while ended.len() < 2 {
        ring.submit_and_wait(1).unwrap();
        ended.extend(ring.completion().map(|entry| (entry.user_data(), entry.result())));
    }
    assert_eq!(ended[&SOCKET], 5);
    assert_eq!(&received, b"bytes");
    assert_ne!(ended[&DEVICE] & i32::from(libc::POLLIN), 0);
    assert!(pending.is_done());
    let (_, destination) = pending.wait().unwrap();
    assert!(destination.iter().all(|&byte| byte == 42));
}
