//! Requests that are dropped: runs in the guest, with the driver loaded, one test after the other.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use rust_dma::{Buffer, Context, Request};

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

/// Those that have not started return their memory at once; the one that runs, with the next call after its end.
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
    drop(context.allocate(1).unwrap());
    assert_eq!(state("memory"), before);
}
