//! The library after fork(2): runs in the guest, with the driver loaded, one test after the other.
#![allow(unsafe_code)]

use std::{mem::ManuallyDrop, panic, time::Duration};

use rust_dma::{Buffer, Context, Error, Pending, Request};

fn open() -> Context {
    Context::open("/dev/rdma0").unwrap()
}

fn write(context: &Context) -> Pending<Buffer> {
    Request::to_device(context.allocate(4096).unwrap(), .., 0).submit().unwrap()
}

/// Runs it in a child; fails if it panics or does not end within ten seconds.
fn in_child(act: impl FnOnce()) {
    // SAFETY: The tests run one after the other, and no other thread of this process holds a lock that the child needs: it allocates
    // memory, which glibc allows after fork, and accesses files.
    match unsafe { libc::fork() } {
        -1 => panic!("fork"),
        0 => {
            // SAFETY: It only sets a timer, whose signal ends the child.
            unsafe { libc::alarm(10) };
            let ended = panic::catch_unwind(panic::AssertUnwindSafe(act));
            // SAFETY: It ends the child without running what the test program has registered for its own end.
            unsafe { libc::_exit(i32::from(ended.is_err())) }
        }
        child => {
            let mut status = 0;
            // SAFETY: The status is a variable of the type that the call writes.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0, "the child failed");
        }
    }
}

/// The children of this process then are in another PID namespace; returns whether it succeeded.
fn unshare() -> bool {
    // SAFETY: It changes no memory.
    unsafe { libc::unshare(libc::CLONE_NEWPID) == 0 }
}

/// Whether the driver still knows its handle.
fn is_known(buffer: &Buffer) -> bool {
    buffer.info().is_ok()
}

#[test]
fn a_child_drops_its_copies_only() {
    let context = open();
    let mut parents = context.allocate(4096).unwrap();
    let (running, waiting) = (write(&context), write(&context));
    let mut objects = Some((context.clone(), context.allocate(4096).unwrap()));
    let kept = objects.as_ref().unwrap().1.info().unwrap().handle;
    parents[0] = 1;
    let both = ManuallyDrop::new([running, waiting]);
    in_child(|| {
        drop(objects.take());
        // SAFETY: The child's copies, which only the child drops.
        drop(unsafe { std::ptr::read(&raw const *both) });
    });
    let objects = objects.unwrap();
    assert_eq!(objects.1.info().unwrap().handle, kept);
    assert!(is_known(&parents));
    for pending in ManuallyDrop::into_inner(both) {
        pending.wait().unwrap();
    }
}

#[test]
fn a_child_cannot_use_the_parents_requests() {
    let context = open();
    let (running, waiting) = (write(&context), write(&context));
    let buffer = context.allocate(4096).unwrap();
    in_child(|| {
        assert!(matches!(context.allocate(1), Err(Error::Inherited)));
        assert!(matches!(waiting.cancel(), Err(Error::Inherited)));
        assert!(matches!(context.cancel_all(), Err(Error::Inherited)));
        assert!(matches!(context.set_eventfd(None), Err(Error::Inherited)));
        assert!(running.wait_for(Duration::from_millis(1)) && waiting.is_done());
        assert!(matches!(buffer.info(), Err(Error::Inherited)));
        // The bytes are shared, the device can be read, and a context of its own works.
        assert_eq!(buffer[0], 0);
        context.read_device(0, &mut [0]).unwrap();
        let own = Context::open("/dev/rdma0").unwrap();
        write(&own).wait().unwrap();
    });
    running.wait().unwrap();
    waiting.wait().unwrap();
    assert!(is_known(&buffer));
}

/// Both are the first process of a PID namespace.
#[test]
fn a_child_with_the_number_of_its_parent() {
    in_child(|| {
        assert!(unshare());
        in_child(|| {
            let context = open();
            let mut dropped = Some(context.allocate(4096).unwrap());
            let running = write(&context);
            assert!(std::process::id() == 1 && unshare());
            in_child(|| {
                assert_eq!(std::process::id(), 1);
                assert!(matches!(context.allocate(1), Err(Error::Inherited)));
                assert!(matches!(running.cancel(), Err(Error::Inherited)));
                drop(dropped.take());
            });
            assert!(is_known(dropped.as_ref().unwrap()));
            running.wait().unwrap();
        });
    });
}

#[test]
fn a_child_cannot_submit_or_wait() {
    let context = open();
    let mut request = Some(Request::to_device(context.allocate(4096).unwrap(), .., 0));
    let mut pending = Some(write(&context));
    in_child(|| {
        let failed = request.take().unwrap().submit().unwrap_err();
        assert!(matches!(failed.error, Error::Inherited));
        let failed = pending.take().unwrap().wait().unwrap_err();
        assert!(matches!(failed.error, Error::Inherited) && failed.buffers.is_none());
    });
    request.unwrap().run().unwrap();
    pending.unwrap().wait().unwrap();
}

/// A thread of the parent collects while it forks: the child has neither the thread nor the lock.
#[test]
fn a_thread_collects_during_fork() {
    let context = open();
    let mut pending: Option<Vec<_>> = Some((0..4).map(|_| write(&context)).collect());
    let last = write(&context);
    let waiting = std::thread::spawn(move || last.wait().map(drop));
    in_child(|| drop(pending.take()));
    for pending in pending.unwrap() {
        assert!(is_known(&pending.wait().unwrap()));
    }
    waiting.join().unwrap().unwrap();
}

/// A child that runs the runtime of its parent does not collect the parent's completions.
#[cfg(feature = "tokio")]
#[test]
fn a_child_runs_the_runtime() {
    let runtime = runtime();
    let context = runtime.block_on(async { rust_dma::AsyncContext::new(open()).unwrap() });
    let pending = write(&context);
    in_child(|| {
        let began = std::time::Instant::now();
        runtime.block_on(async {
            while began.elapsed() < Duration::from_millis(500) {
                tokio::task::yield_now().await;
            }
        });
    });
    assert!(pending.wait_for(Duration::from_secs(2)), "the child has collected it");
    pending.wait().unwrap();
}

#[cfg(feature = "tokio")]
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The two processes share the epoll instance of the runtime: the parent is still woken for its completions.
#[cfg(feature = "tokio")]
#[test]
fn a_child_drops_its_copies_of_a_runtime_only() {
    let runtime = runtime();
    let context = runtime.block_on(async { rust_dma::AsyncContext::new(open()).unwrap() });
    let both = ManuallyDrop::new((context, runtime));
    in_child(|| {
        // SAFETY: The child's copies, which only the child drops.
        drop(unsafe { std::ptr::read(&raw const *both) });
    });
    let (context, runtime) = ManuallyDrop::into_inner(both);
    let pending = write(&context);
    let done = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), pending).await });
    done.expect("the parent is not woken").unwrap();
}

#[cfg(feature = "tokio")]
#[test]
fn a_child_has_no_reader_of_the_parents_context() {
    let context = open();
    in_child(|| {
        let refused = runtime().block_on(async { rust_dma::AsyncContext::new(context.clone()).unwrap_err() });
        assert!(matches!(refused.get_ref().unwrap().downcast_ref::<Error>(), Some(Error::Inherited)));
    });
}
