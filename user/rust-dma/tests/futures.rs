//! The library's futures with a device: runs in the guest, with the driver loaded, one test after the other.
#![cfg(feature = "tokio")]

use std::{
    fs,
    future::Future,
    pin::{Pin, pin},
    sync::{Arc, Mutex, mpsc},
    task::{Context as Task, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use rust_dma::{AsyncContext, Buffer, Context, Error, Pending, Request, devices};
use rustix::time::{ClockId, clock_gettime};
use tokio::{
    runtime::Runtime,
    task::JoinSet,
    time::{sleep, timeout},
};

fn open() -> AsyncContext {
    AsyncContext::new(Context::open("/dev/rdma0").unwrap()).unwrap()
}

#[tokio::test]
async fn there_and_back() {
    let context = open();
    let mut buffer = context.allocate(4096).unwrap();
    buffer.fill(42);
    let mut buffer = context.run(Request::to_device(buffer, .., 0)).await.unwrap();
    buffer.fill(0);
    let buffer = context.run(Request::from_device(buffer, .., 0)).await.unwrap();
    assert!(buffer.iter().all(|&byte| byte == 42));
}

#[tokio::test]
async fn two_readers_of_one_context() {
    let first = open();
    let second = AsyncContext::new(Context::clone(&first)).unwrap();
    drop(first);
    let buffer = second.allocate(4096).unwrap();
    second.run(Request::to_device(buffer, .., 0)).await.unwrap();
}

/// Many tasks on one context, some of which are dropped, and a thread that waits in the kernel: each gets its own completion.
async fn all_together() {
    let context = Arc::new(open());
    let blocking = Context::clone(&context);
    let thread = thread::spawn(move || {
        for _ in 0..5 {
            Request::to_device(blocking.allocate(64).unwrap(), ..64, 4032).run().unwrap();
        }
    });
    let mut tasks = JoinSet::new();
    for number in 0..20_u8 {
        let context = Arc::clone(&context);
        tasks.spawn(async move {
            let place = u64::from(number) * 64;
            for round in 0..3 {
                let mut buffer = context.allocate(64).unwrap();
                buffer.fill(number + round);
                let sent = context.run(Request::to_device(buffer, ..64, place)).await.unwrap();
                let request = Request::from_device(context.allocate(64).unwrap(), ..64, place);
                if number % 5 == 4 {
                    // Dropped: the request is cancelled or continues, and its completion is discarded.
                    assert!(timeout(Duration::from_millis(1), context.run(request)).await.is_err());
                    continue;
                }
                let back = context.run(request).await.unwrap();
                assert!(sent[..64] == back[..64]);
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    thread.join().unwrap();
}

#[tokio::test]
async fn on_one_thread() {
    all_together().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn on_several_threads() {
    all_together().await;
}

/// It has no reader: a thread collects.
#[tokio::test]
async fn of_another_context() {
    let other = Context::open("/dev/rdma0").unwrap();
    open().wait(submit(&other)).await.unwrap();
}

#[tokio::test]
async fn cancelled() {
    let context = open();
    let running = Request::to_device(context.allocate(4096).unwrap(), .., 0).submit().unwrap();
    let waiting = Request::to_device(context.allocate(4096).unwrap(), .., 0).submit().unwrap();
    assert!(waiting.cancel().unwrap());
    assert!(matches!(context.wait(waiting).await.unwrap_err().error, Error::Cancelled));
    context.wait(running).await.unwrap();
}

fn submit(context: &Context) -> Pending<Buffer> {
    Request::to_device(context.allocate(1).unwrap(), ..1, 0).submit().unwrap()
}

/// Wakes a thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The smallest runtime.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Task::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn in_any_runtime() {
    let context = Context::open("/dev/rdma0").unwrap();
    for _ in 0..3 {
        block_on(submit(&context)).unwrap();
    }
    // Several threads of tasks, and one that waits in the kernel.
    let pending: Vec<_> = (0..6).map(|_| submit(&context)).collect();
    thread::scope(|scope| {
        for (number, pending) in pending.into_iter().enumerate() {
            let wait = move || if number % 3 == 0 { pending.wait() } else { block_on(pending) };
            scope.spawn(move || wait().unwrap());
        }
    });
}

/// The buffer of a request that takes too long is not lost.
#[tokio::test]
async fn awaited_again() {
    for context in [Context::open("/dev/rdma0").unwrap(), Context::clone(&open())] {
        let mut pending = submit(&context);
        assert!(timeout(Duration::from_millis(1), &mut pending).await.is_err());
        assert!(!pending.is_done());
        pending.await.unwrap();
    }
}

#[tokio::test]
async fn the_one_that_is_done_first() {
    let context = open();
    let (mut first, mut second) = (submit(&context), submit(&context));
    tokio::select! {
        done = &mut first => drop(done.unwrap()),
        _ = &mut second => panic!("the second one"),
    }
    second.await.unwrap();
}

#[tokio::test]
async fn aborted_tasks_leave_the_queue() {
    let context = Arc::new(open());
    let mut tasks = JoinSet::new();
    for _ in 0..50 {
        let context = Arc::clone(&context);
        tasks.spawn(async move {
            let request = Request::to_device(context.allocate(1).unwrap(), ..1, 0);
            context.run(request).await.map(drop).unwrap();
        });
    }
    sleep(Duration::from_millis(20)).await;
    tasks.shutdown().await;
    let began = Instant::now();
    context.run(Request::to_device(context.allocate(1).unwrap(), ..1, 0)).await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(400), "{:?}", began.elapsed());
}

/// A waker that drops a request of the same context when it is woken or dropped.
struct Dropper(Mutex<Option<Pending<Buffer>>>);

impl Dropper {
    fn new(pending: Pending<Buffer>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some(pending))))
    }
}

impl Wake for Dropper {
    fn wake(self: Arc<Self>) {
        drop(self.0.lock().unwrap().take());
    }
}

fn poll_once<F: Future>(future: Pin<&mut F>, waker: Arc<Dropper>) {
    assert!(future.poll(&mut Task::from_waker(&Waker::from(waker))).is_pending());
}

#[test]
fn wakers_drop_requests_of_the_same_context() {
    let context = Context::open("/dev/rdma0").unwrap();
    let runtime = Runtime::new().unwrap();
    let entered = runtime.enter();
    let asynchronous = AsyncContext::new(context.clone()).unwrap();
    drop(entered);

    // When it is woken.
    let (first, victim, last) = (submit(&context), submit(&context), submit(&context));
    let waker = Dropper::new(victim);
    let mut future = pin!(asynchronous.wait(first));
    poll_once(future.as_mut(), Arc::clone(&waker));
    last.wait().unwrap();
    assert!(waker.0.lock().unwrap().is_none());
    block_on(future).unwrap();

    // When another one replaces it, and when its own request is dropped.
    let mut future = Box::pin(asynchronous.wait(submit(&context)));
    poll_once(future.as_mut(), Dropper::new(submit(&context)));
    poll_once(future.as_mut(), Dropper::new(submit(&context)));
    drop(future);
    submit(&context).wait().unwrap();
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("on purpose");
    }
}

/// The thread that collects ends when a waker panics. Another one takes over, and the other tasks of the same step are woken.
#[test]
fn a_waker_that_panics_stops_no_other() {
    let context = Context::open("/dev/rdma0").unwrap();
    let (first, second, third) = (submit(&context), submit(&context), submit(&context));
    let (mut first, mut second) = (pin!(first), pin!(second));
    assert!(first.as_mut().poll(&mut Task::from_waker(&Waker::from(Arc::new(Panics)))).is_pending());
    assert!(second.as_mut().poll(&mut Task::from_waker(Waker::noop())).is_pending());
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || done.send(third.wait().is_ok()));
    assert_eq!(is_done.recv_timeout(Duration::from_secs(10)), Ok(true));
    block_on(first).unwrap();
    block_on(second).unwrap();
}

/// CPU time of this process.
fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap()
}

#[test]
fn the_runtime_is_gone() {
    let runtime = Runtime::new().unwrap();
    let context = runtime.block_on(async { open() });
    let pending = submit(&context);
    drop(runtime);
    let before = cpu_time();
    block_on(context.wait(pending)).unwrap();
    Runtime::new().unwrap().block_on(context.wait(submit(&context))).unwrap();
    let spent = cpu_time() - before;
    assert!(spent < Duration::from_millis(50), "{spent:?} of CPU time in 200 ms");
}

/// The runtime goes while a task of another one waits.
#[test]
fn the_runtime_goes() {
    let runtime = Runtime::new().unwrap();
    let context = runtime.block_on(async { open() });
    let pending = submit(&context);
    thread::scope(|scope| {
        let waiting = scope.spawn(move || block_on(pending).map(drop));
        thread::sleep(Duration::from_millis(20));
        drop(runtime);
        waiting.join().unwrap().unwrap();
    });
}

/// The last test of this program by its name.
#[tokio::test]
async fn z_the_device_goes() {
    let device = devices().unwrap().pop().unwrap();
    let context = AsyncContext::new(device.open().unwrap()).unwrap();
    let pending: Vec<_> = (0..3).map(|_| submit(&context)).collect();
    sleep(Duration::from_millis(20)).await;
    fs::write("/sys/bus/pci/drivers/rdma/unbind", &device.pci_address).unwrap();
    for pending in pending.into_iter().skip(1) {
        assert!(matches!(pending.await.unwrap_err().error, Error::Gone));
    }
    let before = cpu_time();
    sleep(Duration::from_millis(200)).await;
    let spent = cpu_time() - before;
    assert!(spent < Duration::from_millis(50), "{spent:?} of CPU time in 200 ms");
    drop(context);
    fs::write("/sys/bus/pci/drivers/rdma/bind", &device.pci_address).unwrap();
}
