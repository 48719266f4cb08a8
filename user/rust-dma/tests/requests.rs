//! Requests that are dropped, cancelled, mixed and waited for together: runs in the guest, with the driver loaded, one test after the other.
#![allow(unsafe_code)]

use std::{
    fs,
    os::fd::{AsFd, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use rust_dma::{Advice, Buffer, Buffers, Context, Error, QUEUE_DEPTH, Request};
use rustix::{
    event::{EventfdFlags, eventfd},
    fs::{Mode, OFlags},
    io::Errno,
};

/// A transfer takes 100 ms.
const TRANSFER: Duration = Duration::from_millis(100);
const MIB: u64 = 1 << 20;

fn open() -> Context {
    Context::open("/dev/rdma0").unwrap()
}

fn write(context: &Context) -> Request<Buffer> {
    Request::to_device(context.allocate(1).unwrap(), ..1, 0)
}

/// A number in the state of the device.
fn state(name: &str) -> u64 {
    let state = fs::read_to_string("/sys/kernel/debug/rust_dma/rdma0/state").unwrap();
    let value = state.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap().parse().unwrap()
}

#[test]
fn a_dropped_request_is_cancelled() {
    let context = open();
    let running = write(&context).submit().unwrap();
    let waiting = context.submit_all((0..20).map(|_| write(&context)).collect());
    assert_eq!(state("queued"), 20);
    drop(waiting);
    assert_eq!(state("queued"), 0);
    running.wait().unwrap();
    let began = Instant::now();
    write(&context).run().unwrap();
    assert!(began.elapsed() < 2 * TRANSFER, "{:?}", began.elapsed());
}

#[test]
fn a_detached_request_continues() {
    let context = open();
    context.write_device(0, &[0; 2]).unwrap();
    for at in [0, 1] {
        let mut buffer = context.allocate(1).unwrap();
        buffer[0] = 7;
        Request::to_device(buffer, ..1, at).submit().unwrap().detach();
    }
    let back = Request::from_device(context.allocate(1).unwrap(), ..2, 0).run().unwrap();
    assert_eq!(back[..2], [7, 7]);
}

/// Those that have not started return their memory at once; the one that runs, at its end, without a call that collects its completion.
#[test]
fn dropped_requests_keep_no_memory() {
    let context = open();
    let before = state("memory");
    let large = || Request::to_device(context.allocate(1 << 20).unwrap(), ..1, 0);
    let submitted = context.submit_all((0..4).map(|_| large()).collect());
    assert!(submitted.error.is_none(), "{:?}", submitted.error);
    assert_eq!(state("memory"), before + 4 * MIB);
    drop(submitted);
    assert_eq!(state("memory"), before + MIB);
    thread::sleep(2 * TRANSFER);
    assert_eq!(state("memory"), before);
}

#[test]
fn the_one_that_is_done_first() {
    let context = open();
    let mut pending = context.submit_all((0..3).map(|_| write(&context)).collect()).pending;
    assert_eq!(context.wait_any(&pending, Some(Duration::from_millis(1))).unwrap(), None);
    assert!(pending[2].cancel().unwrap());
    let first = context.wait_any(&pending, None).unwrap().unwrap();
    assert_eq!(first, 2);
    assert!(matches!(pending.swap_remove(first).wait().unwrap_err().error, Error::Cancelled));
    while let Some(first) = context.wait_any(&pending, None).unwrap() {
        assert_eq!(first, 0);
        pending.remove(first).wait().unwrap();
    }
    let other = open();
    let there = [write(&other).submit().unwrap()];
    assert!(matches!(context.wait_any(&there, None), Err(Error::OtherContext)));
}

#[test]
fn all_are_cancelled() {
    let context = open();
    let pending = context.submit_all((0..10).map(|_| write(&context)).collect()).pending;
    assert_eq!(context.cancel_all().unwrap(), 9);
    let cancelled = pending
        .into_iter()
        .map(|pending| matches!(pending.wait(), Err(failed) if matches!(failed.error, Error::Cancelled)));
    assert_eq!(cancelled.collect::<Vec<_>>(), [[false].as_slice(), &[true; 9]].concat());
}

#[test]
fn different_kinds_are_one_chain() {
    let context = open();
    let buffer = || context.allocate(4096).unwrap();
    let mut sent = buffer();
    sent.fill(9);
    let submitted = context.submit_all::<Buffers>(vec![
        Request::copy(sent, .., buffer(), 0).linked().into(),
        Request::from_device(buffer(), .., 0).linked().into(),
        Request::to_device(buffer(), ..1, 0).into(),
    ]);
    assert!(submitted.error.is_none(), "{:?}", submitted.error);
    let done: Vec<_> = submitted.pending.into_iter().map(|pending| pending.wait().unwrap()).collect();
    assert!(matches!(&done[0], Buffers::Two(_, copied) if copied.iter().all(|&byte| byte == 9)));
    // The copy goes through the device memory.
    assert!(matches!(&done[1], Buffers::One(read) if read.iter().all(|&byte| byte == 9)));
    assert!(matches!(&done[2], Buffers::One(_)));
}

#[test]
fn a_chain_that_is_too_long_says_so() {
    let context = open();
    let mut buffer = context.allocate((QUEUE_DEPTH + 1) * 4096).unwrap();
    let mut requests = Vec::new();
    while !buffer.is_empty() {
        let (piece, rest) = buffer.split_at(4096);
        requests.push(Request::to_device(piece, ..1, 0).linked());
        buffer = rest;
    }
    requests.push(write(&context));
    let submitted = context.submit_all(requests);
    assert!(matches!(submitted.error, Some(Error::ChainTooLong { length: 1026 })), "{:?}", submitted.error);
    assert_eq!((submitted.pending.len(), submitted.refused.len()), (0, QUEUE_DEPTH + 2));
}

#[test]
fn an_eventfd_counts() {
    let context = open();
    let counter = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
    let mut count = [0; 8];
    context.set_eventfd(Some(counter.as_fd())).unwrap();
    write(&context).run().unwrap();
    assert_eq!(rustix::io::read(&counter, &mut count), Ok(8));
    assert_eq!(u64::from_ne_bytes(count), 1);
    context.set_eventfd(None).unwrap();
    write(&context).run().unwrap();
    assert_eq!(rustix::io::read(&counter, &mut count), Err(Errno::AGAIN));
    let wrong = fs::File::open("/dev/null").unwrap();
    let error = context.set_eventfd(Some(wrong.as_fd())).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::INVAL.raw_os_error()));
}

/// Page faults of this process so far.
fn faults() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    stat.rsplit(')').next().unwrap().split_whitespace().nth(7).unwrap().parse().unwrap()
}

#[test]
fn advised_and_populated() {
    const PAGES: u64 = 256;
    let buffer = open().allocate(1 << 20).unwrap();
    // It ends in the last page, at a place before that at which it begins in the first one.
    let (_, buffer) = buffer.split_at(100);
    let (mut buffer, _) = buffer.split_at((1 << 20) - 4096);
    buffer.advise(Advice::Random).unwrap();
    let before = faults();
    buffer.populate();
    let populated = faults();
    assert!(populated - before >= PAGES, "{} faults", populated - before);
    buffer.fill(1);
    let accessed = faults();
    assert!(accessed - populated < PAGES / 4, "{} faults", accessed - populated);
    for advice in [Advice::Normal, Advice::NoHugePages, Advice::HugePages] {
        let advised = buffer.advise(advice);
        assert!(advised.is_ok(), "{advice:?}: {advised:?}");
    }
}

/// With `O_NONBLOCK`, on which the driver's calls do not wait.
#[test]
fn a_file_of_another_program() {
    let fd = rustix::fs::open("/dev/rdma0", OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).unwrap();
    // SAFETY: nothing else uses the open file.
    let context = unsafe { Context::from_fd(fd) }.unwrap();
    write(&context).run().unwrap();
    let pending = write(&context).submit().unwrap();
    assert!(!pending.wait_for(Duration::from_millis(1)));
    assert!(pending.wait_for(20 * TRANSFER));
    let null = OwnedFd::from(fs::File::open("/dev/null").unwrap());
    // SAFETY: as above.
    let other = unsafe { Context::from_fd(null) };
    assert!(matches!(other, Err(Error::OtherDriver { path }) if path.to_str() == Some("/dev/null")));
}

/// A second context of the same open file breaks the contract of `from_fd`. Within a process, it still does not take the completions of
/// the first one for its own.
#[test]
fn a_duplicate_is_not_confused() {
    let context = open();
    let duplicate = context.as_fd().try_clone_to_owned().unwrap();
    // SAFETY: no buffers are accessed here.
    let duplicate = unsafe { Context::from_fd(duplicate) }.unwrap();
    let theirs = write(&duplicate).submit().unwrap();
    let ours = context.submit_all((0..3).map(|_| write(&context)).collect()).pending;
    thread::sleep(TRANSFER + TRANSFER / 2);
    assert!(!ours[0].is_done());
    for pending in ours {
        pending.wait().unwrap();
    }
    theirs.detach();
}

#[test]
fn for_reading_only() {
    open().write_device(0, b"text").unwrap();
    let context = Context::open_read_only("/dev/rdma0").unwrap();
    assert_eq!(context.info().unwrap(), open().info().unwrap());
    let mut bytes = [0; 4];
    assert_eq!(context.read_device(0, &mut bytes).unwrap(), 4);
    assert_eq!(&bytes, b"text");
    assert!(matches!(context.write_device(0, &bytes), Err(Error::Access)));
    let before = state("memory");
    assert!(matches!(context.allocate(1), Err(Error::Access)));
    assert_eq!(state("memory"), before);
}

#[test]
fn errors_have_the_drivers_errno() {
    let errno = |error: Error| error.raw_os_error().map(Errno::from_raw_os_error);
    assert_eq!(errno(Context::open("/dev/rdma99").unwrap_err()), Some(Errno::NOENT));
    assert_eq!(errno(Context::open("/dev/null").unwrap_err()), Some(Errno::NOTTY));
    assert_eq!(errno(open().allocate(0).unwrap_err()), Some(Errno::INVAL));
}

/// Two contexts have the same bytes by a dma-buf, and the handles of both can be freed in any order.
#[test]
fn shared_with_another_context() {
    let (first, second) = (open(), open());
    let shared = first.allocate_shared(100).unwrap();
    assert_eq!(shared.len(), 4096);
    let imported = second.import(shared.try_clone_fd().unwrap()).unwrap();
    assert_eq!(imported.len(), 4096);

    let mut message = first.allocate(4096).unwrap();
    message[..5].copy_from_slice(b"hello");
    let (_, shared) = Request::copy(message, ..5, shared, 70).run().unwrap();
    drop(shared);
    drop(first);
    let (imported, received) = Request::copy(imported, 70..75, second.allocate(4096).unwrap(), 0).run().unwrap();
    assert_eq!(&received[..5], b"hello");
    let failed = Request::copy(imported, 4000..4097, received, 0).run().unwrap_err();
    assert!(matches!(failed.error, Error::Range { start: 4000, end: 4097, length: 4096 }));
}

#[test]
fn imports_no_other_files() {
    let null = fs::File::open("/dev/null").unwrap();
    assert!(matches!(open().import(null.into()), Err(Error::System { .. })));
}
