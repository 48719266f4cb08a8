//! The library with a device: runs in the guest, with the driver loaded, one test after the other, because they use its memory.

use std::{
    collections::HashSet,
    fs, io,
    os::fd::AsFd,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use proptest::{prelude::*, test_runner::Config};
use rust_dma::{Buffer, Context, DEVICE_MEMORY_SIZE, Error, Failed, Interrupt, QUEUE_DEPTH, Request, devices};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

fn open() -> Context {
    Context::open("/dev/rdma0").unwrap()
}

/// A buffer whose bytes depend on their positions.
fn pattern(context: &Context, size: usize, salt: u8) -> Buffer {
    let mut buffer = context.allocate(size).unwrap();
    for (place, byte) in buffer.iter_mut().enumerate() {
        *byte = u8::try_from(place % 251).unwrap() ^ salt;
    }
    buffer
}

/// Without printing thousands of numbers on failure.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one == other
}

#[test]
fn there_and_back() {
    let context = open();
    let sent = pattern(&context, 4096, 1);
    let sent = Request::to_device(sent, .., 0).run().unwrap();
    let received = Request::from_device(context.allocate(4096).unwrap(), .., 0).run().unwrap();
    assert!(is_same(&sent, &received));
}

#[test]
fn devices_are_listed() {
    let devices = devices().unwrap();
    assert_eq!(devices[0].name, "rdma0");
    assert_eq!(devices[0].node.to_str(), Some("/dev/rdma0"));
    let there = fs::canonicalize("/sys/class/rust_dma/rdma0/device").unwrap();
    assert!(there.ends_with(&devices[0].pci_address), "{devices:?}");
    for device in devices {
        assert_eq!(device.open().unwrap().info().unwrap().abi_version, 1);
    }
}

#[test]
fn info_is_that_of_the_device() {
    let info = open().info().unwrap();
    assert_eq!(info.device_memory_size, DEVICE_MEMORY_SIZE);
    assert_eq!(info.max_transfer_size, 4096);
    assert_eq!((info.dma_bits, info.interrupt, info.hardware_version), (28, Interrupt::Msi, (1, 0)));
    assert_eq!(info.queue_depth as usize, QUEUE_DEPTH);
    assert_eq!((info.engine_depth, info.address_alignment, info.length_alignment, info.capabilities), (1, 1, 1, 0));
}

#[test]
fn what_cannot_be_opened_says_why() {
    assert!(matches!(Context::open("/dev/rdma99"), Err(Error::NoDevice { .. })));
    assert!(matches!(Context::open("/dev/null"), Err(Error::OtherDriver { .. })));
    assert!(matches!(Context::open("/"), Err(Error::System { .. })));
    assert_eq!(io::Error::from(Context::open("/dev/rdma99").unwrap_err()).kind(), io::ErrorKind::NotFound);
}

#[test]
fn sizes_of_buffers() {
    let context = open();
    assert_eq!(context.allocate(1).unwrap().len(), 4096);
    assert_eq!(context.allocate(4097).unwrap().len(), 8192);
    assert!(matches!(context.allocate(0), Err(Error::Size { size: 0 })));
    assert!(matches!(context.allocate(rust_dma::MAX_BUFFER_SIZE + 1), Err(Error::Size { .. })));
    assert!(matches!(context.allocate(rust_dma::MAX_BUFFER_SIZE), Err(Error::NoMemory { .. })));
}

/// A handle is freed with the last piece, and not before.
#[test]
fn a_buffer_is_freed_with_its_last_piece() {
    let context = open();
    let memory = || fs::read_to_string("/sys/kernel/debug/rust_dma/rdma0/state").unwrap();
    let used = |state: String| state.lines().find_map(|line| line.strip_prefix("memory ").map(str::to_owned)).unwrap();
    let (first, second) = context.allocate(1 << 20).unwrap().split_at(5000);
    assert_eq!(first.info().unwrap(), second.info().unwrap());
    assert_eq!(first.info().unwrap().mappings, 1);
    let before: u64 = used(memory()).parse().unwrap();
    drop(first);
    assert_eq!(used(memory()).parse::<u64>().unwrap(), before);
    drop(second);
    assert_eq!(used(memory()).parse::<u64>().unwrap(), before - (1 << 20));
}

#[test]
fn ranges_are_those_of_the_piece() {
    let context = open();
    let (first, second) = context.allocate(8192).unwrap().split_at(4096);
    let Failed { error, buffers, bytes } = Request::to_device(first, ..4097, 0).submit().unwrap_err();
    assert!(matches!(error, Error::Range { start: 0, end: 4097, length: 4096 }), "{error}");
    assert_eq!(bytes, 0);
    let first = buffers.unwrap();
    let failed = Request::to_device(second, 100..100, 0).submit().unwrap_err();
    assert!(matches!(failed.error, Error::Range { .. }));
    let failed = Request::from_device(first, .., 1).submit().unwrap_err();
    assert!(matches!(failed.error, Error::DeviceRange { at: 1, length: 4096 }));
    let failed = Request::copy(failed.buffers.unwrap(), .., context.allocate(4096).unwrap(), 1).submit().unwrap_err();
    assert!(matches!(failed.error, Error::Range { start: 1, end: 4097, length: 4096 }));
}

#[test]
fn two_contexts_do_not_mix() {
    let (here, there) = (open(), open());
    let failed = Request::copy(here.allocate(1).unwrap(), .., there.allocate(1).unwrap(), 0).run().unwrap_err();
    assert!(matches!(failed.error, Error::OtherContext));
    let submitted = here.submit_all(vec![Request::to_device(there.allocate(1).unwrap(), .., 0)]);
    assert!(matches!(submitted.error, Some(Error::OtherContext)));
    assert_eq!((submitted.pending.len(), submitted.refused.len()), (0, 1));
}

#[test]
fn one_part_is_at_work_while_the_other_one_is_ours() {
    let context = open();
    let (ours, theirs) = pattern(&context, 8192, 2).split_at(4096);
    let mut ours = ours;
    let pending = Request::to_device(theirs, .., 0).submit().unwrap();
    ours.fill(7);
    let theirs = pending.wait().unwrap();
    let whole = ours.join(theirs).unwrap();
    assert!(whole[..4096].iter().all(|&byte| byte == 7));
    let back = Request::from_device(context.allocate(4096).unwrap(), .., 0).run().unwrap();
    assert!(is_same(&whole[4096..], &back));
}

#[test]
fn polling_waiting_and_a_time_limit() {
    let context = open();
    let pending = Request::to_device(context.allocate(4096).unwrap(), .., 0).submit().unwrap();
    assert!(!pending.is_done());
    assert!(!pending.wait_for(Duration::from_millis(1)));
    assert!(pending.wait_for(Duration::from_secs(20)));
    assert!(pending.is_done());
    pending.wait().unwrap();
}

#[test]
fn the_file_is_readable_when_something_is_done() {
    let context = open();
    let pending = Request::to_device(context.allocate(4096).unwrap(), .., 0).submit().unwrap();
    let mut files = [PollFd::from_borrowed_fd(context.as_fd(), PollFlags::IN)];
    let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
    assert_eq!(poll(&mut files, Some(&limit)), Ok(1));
    assert!(pending.is_done());
}

#[test]
fn cancelled_requests_bring_their_buffers_back() {
    let context = open();
    let running = Request::to_device(context.allocate(4096).unwrap(), .., 0).submit().unwrap();
    let waiting = Request::from_device(pattern(&context, 4096, 3), .., 0).submit().unwrap();
    assert!(waiting.cancel().unwrap());
    let failed = waiting.wait().unwrap_err();
    assert!(matches!(failed.error, Error::Cancelled));
    assert!(is_same(&failed.buffers.unwrap(), &pattern(&context, 4096, 3)));
    running.wait().unwrap();
}

#[test]
fn what_is_done_cannot_be_cancelled() {
    let context = open();
    let pending = Request::to_device(context.allocate(1).unwrap(), ..1, 0).submit().unwrap();
    assert!(pending.wait_for(Duration::from_secs(20)));
    assert!(!pending.cancel().unwrap());
    pending.wait().unwrap();
}

/// Dropped and forgotten requests do not use up anything permanently.
#[test]
fn dropped_requests_make_room_again() {
    let context = open();
    for _ in 0..3 {
        let requests = (0..QUEUE_DEPTH).map(|_| Request::to_device(context.allocate(1).unwrap(), ..1, 0)).collect();
        let submitted = context.submit_all(requests);
        assert!(submitted.error.is_none(), "{:?}", submitted.error);
        let refused = Request::to_device(context.allocate(1).unwrap(), ..1, 0).submit().unwrap_err();
        assert!(matches!(refused.error, Error::QueueFull));
        for pending in submitted.pending {
            pending.cancel().unwrap();
        }
        // The one that was running.
        thread::sleep(Duration::from_secs(1));
    }
    Request::to_device(context.allocate(1).unwrap(), ..1, 0).run().unwrap();
}

#[test]
fn an_array_that_is_longer_than_the_queue() {
    let context = open();
    let request = || Request::to_device(context.allocate(1).unwrap(), ..1, 0);
    let submitted = context.submit_all((0..QUEUE_DEPTH + 10).map(|_| request()).collect());
    assert_eq!((submitted.pending.len(), submitted.refused.len()), (QUEUE_DEPTH, 10));
    assert!(matches!(submitted.error, Some(Error::QueueFull)));
    for pending in &submitted.pending {
        pending.cancel().unwrap();
    }
}

#[test]
fn links() {
    let context = open();
    let request = || Request::to_device(context.allocate(1).unwrap(), ..1, 0);
    let failed = request().linked().submit().unwrap_err();
    assert!(matches!(failed.error, Error::DanglingLink));
    let submitted = context.submit_all(vec![request(), request().linked()]);
    assert!(matches!(submitted.error, Some(Error::DanglingLink)));
    assert_eq!((submitted.pending.len(), submitted.refused.len()), (1, 1));
    drop(submitted);

    // Cancelling the first request of a chain cancels the others.
    let first = request().submit().unwrap();
    let chain = context.submit_all(vec![request().linked(), request().linked(), request()]).pending;
    assert!(chain[0].cancel().unwrap());
    for pending in chain {
        assert!(matches!(pending.wait().unwrap_err().error, Error::Cancelled));
    }
    first.wait().unwrap();
}

/// An invalid request in an array does not affect those before it, except for those linked to it.
#[test]
fn a_wrong_one_in_an_array() {
    let context = open();
    let request = |at| Request::to_device(context.allocate(1).unwrap(), ..1, at);
    let submitted = context.submit_all(vec![request(0), request(1).linked(), request(4096), request(2)]);
    assert!(matches!(submitted.error, Some(Error::DeviceRange { at: 4096, length: 1 })), "{:?}", submitted.error);
    assert_eq!((submitted.pending.len(), submitted.refused.len()), (1, 3));
    for pending in submitted.pending {
        pending.wait().unwrap();
    }
}

/// Threads that wait for each other's completions, in all ways: each gets its own.
#[test]
fn each_thread_gets_its_own() {
    let context = open();
    thread::scope(|scope| {
        for number in 0..8_u8 {
            let context = context.clone();
            scope.spawn(move || {
                for round in 0..10_u8 {
                    let place = u64::from(number) * 512;
                    let sent = pattern(&context, 512, number * 10 + round);
                    let sent = finish(Request::to_device(sent, ..512, place), number);
                    let back = finish(Request::from_device(context.allocate(512).unwrap(), ..512, place), number);
                    assert!(is_same(&sent[..512], &back[..512]));
                }
            });
        }
    });
}

fn finish(request: Request<Buffer>, how: u8) -> Buffer {
    let pending = request.submit().unwrap();
    match how % 4 {
        0 => {}
        1 => while !pending.wait_for(Duration::from_millis(7)) {},
        2 => {
            while !pending.is_done() {
                thread::sleep(Duration::from_millis(3));
            }
        }
        // Collected by another thread.
        _ => thread::sleep(Duration::from_millis(150)),
    }
    pending.wait().unwrap()
}

#[test]
fn device_memory_is_read_and_written() {
    let context = open();
    assert_eq!(context.write_device(4000, &[5; 200]).unwrap(), 96);
    let mut bytes = [0; 200];
    assert_eq!(context.read_device(4090, &mut bytes).unwrap(), 6);
    assert_eq!(bytes[..7], [5, 5, 5, 5, 5, 5, 0]);
    assert_eq!(context.read_device(4096, &mut bytes).unwrap(), 0);
    assert!(matches!(context.write_device(4096, &bytes), Err(Error::DeviceRange { .. })));
}

/// read(2) and write(2) work on a buffer as on any memory.
#[test]
fn files_are_read_into_buffers() {
    let context = open();
    let mut buffer = context.allocate(4096).unwrap();
    let expected = fs::read("/proc/version").unwrap();
    let count = io::Read::read(&mut fs::File::open("/proc/version").unwrap(), &mut buffer).unwrap();
    assert!(is_same(&buffer[..count], &expected));
}

/// If a transfer does not end, its buffer is not returned, because the device uses it; all others are. src/engines/edu/inject.rs.
#[test]
#[ignore = "wants fault injection: make test-debug"]
fn a_transfer_that_does_not_end() {
    let inject = |command| fs::write("/sys/kernel/debug/rust_dma/rdma0/inject", command).unwrap();
    let context = open();
    inject("hang");
    let (kept, other) = context.allocate(8192).unwrap().split_at(4096);
    let (stuck, waiting) = (Request::from_device(kept, .., 0), Request::from_device(other, .., 0));
    let (stuck, waiting) = (stuck.submit().unwrap(), waiting.submit().unwrap());
    let failed = stuck.wait().unwrap_err();
    assert!(matches!(failed.error, Error::TimedOut), "{failed}");
    assert!(failed.buffers.is_none());
    let failed = waiting.wait().unwrap_err();
    assert!(matches!(failed.error, Error::Stuck), "{failed}");
    failed.buffers.unwrap().fill(1);
    inject("clear");
    Request::to_device(context.allocate(1).unwrap(), ..1, 0).run().unwrap();
}

/// The device is removed while everything runs: all calls fail, and none hangs. The last test of this program by its name, because the device
/// is not added again.
#[test]
fn z_the_device_goes() {
    let device = devices().unwrap().pop().unwrap();
    let context = device.open().unwrap();
    let mut pending: Vec<_> =
        (0..20).map(|_| Request::to_device(context.allocate(4096).unwrap(), .., 0).submit().unwrap()).collect();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let waiting: Vec<_> = pending.drain(..10).map(|pending| scope.spawn(move || pending.wait())).collect();
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = context.info();
            }
        });
        thread::sleep(Duration::from_millis(250));
        fs::write("/sys/bus/pci/drivers/rdma/unbind", &device.pci_address).unwrap();
        let ends: Vec<_> = waiting.into_iter().map(|thread| thread.join().unwrap()).collect();
        let done = ends.iter().filter(|end| end.is_ok()).count();
        assert!((1..9).contains(&done), "{done} were done in 250 ms");
        for end in ends.into_iter().filter_map(Result::err) {
            assert!(matches!(end.error, Error::Gone), "{end}");
        }
        stop.store(true, Ordering::Relaxed);
    });
    for pending in pending {
        assert!(matches!(pending.wait().unwrap_err().error, Error::Gone));
    }
    assert!(matches!(context.info(), Err(Error::Gone)));
    assert!(matches!(context.allocate(1), Err(Error::Gone)));
    assert!(matches!(context.read_device(0, &mut [0]), Err(Error::Gone)));
    drop(context);
    fs::write("/sys/bus/pci/drivers/rdma/bind", &device.pci_address).unwrap();
    let names: HashSet<_> = devices().unwrap().into_iter().map(|device| device.pci_address).collect();
    assert!(names.contains(&device.pci_address));
}

proptest! {
    #![proptest_config(Config { cases: 40, failure_persistence: None, ..Config::default() })]

    /// Copies of any length, between any positions, change only their destination.
    #[test]
    fn copies(length in 1_usize..20_000, from in 0_usize..5000, to in 0_usize..5000, cut in 0_usize..5000) {
        let context = open();
        let (_, source) = pattern(&context, from + length + cut + 1, 9).split_at(cut);
        let (_, destination) = pattern(&context, to + length + cut + 1, 77).split_at(cut);
        let before = destination.to_vec();
        let (source, destination) =
            Request::copy(source, from..from + length, destination, to).run().map_err(|failed| failed.error).unwrap();
        prop_assert!(is_same(&destination[to..to + length], &source[from..from + length]));
        prop_assert!(is_same(&destination[..to], &before[..to]));
        prop_assert!(is_same(&destination[to + length..], &before[to + length..]));
    }
}
