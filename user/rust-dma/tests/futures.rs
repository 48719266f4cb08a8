//! The library's futures with a device: runs in the guest, with the driver loaded, one test after the other.
#![cfg(feature = "tokio")]

use std::{sync::Arc, thread, time::Duration};

use rust_dma::{AsyncContext, Context, Error, Request};
use tokio::{task::JoinSet, time::timeout};

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
                    // Dropped: the request continues, and its completion is discarded.
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

/// No other event would wake this task.
#[tokio::test]
async fn of_another_context() {
    let other = Context::open("/dev/rdma0").unwrap();
    let pending = Request::to_device(other.allocate(1).unwrap(), ..1, 0).submit().unwrap();
    assert!(matches!(open().wait(pending).await.unwrap_err().error, Error::OtherContext));
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
