// SPDX-License-Identifier: GPL-2.0

//! Requests that were submitted: completions, links, cancelling.

use super::*;

#[test]
fn completions_wait_to_be_collected_in_their_order() {
    let mut queue = open();
    let (a, waker) = lane(&mut queue);
    batch(&mut queue, a, (0..100).map(|n| (to_device(n, 1 + n), n, false))).unwrap();
    assert_eq!(drain(&mut queue).len(), 100);
    assert_eq!(waker.0.get(), 100);
    assert_eq!(queue.load(a).completed, 100);
    let expected: Vec<_> = (0..100).map(|n| (n, n + 1, Ok(()))).collect();
    assert_eq!(collect(&mut queue, a, 70), expected[..70]);
    let mut kept = queue.collect(a, 10);
    assert_eq!(kept.len(), 10);
    drop(kept.take_front(3));
    queue.release(a, 3);
    queue.put_back(a, kept);
    assert_eq!(collect(&mut queue, a, 100), expected[73..]);
}

#[test]
fn what_is_not_collected_takes_room() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    let (b, _) = lane(&mut queue);
    assert_eq!(queue.reserve(a, DEPTH - 10), DEPTH - 10);
    queue.release(a, DEPTH - 10);
    batch(&mut queue, a, (0..DEPTH as u64).map(|n| (to_device(n, 1), n, false))).unwrap();
    assert_eq!(queue.reserve(a, 1), 0);
    assert_eq!(queue.reserve(b, 2 * DEPTH), DEPTH, "another lane has room of its own");
    drain(&mut queue);
    assert_eq!(queue.reserve(a, 1), 0, "completed is not collected");
    let mut some = queue.collect(a, 5);
    assert_eq!(queue.reserve(a, 1), 0, "taken is not delivered");
    drop(some.take_front(2));
    queue.release(a, 2);
    queue.put_back(a, some);
    assert_eq!(queue.reserve(a, 100), 2);
    queue.release(a, 2);
    assert_eq!(collect(&mut queue, a, 2 * DEPTH).len(), DEPTH - 2);
    assert_eq!(queue.reserve(a, 2 * DEPTH), DEPTH);
}

#[test]
fn what_is_linked_to_a_failure_does_not_start() {
    let mut queue = open();
    let (a, waker) = lane(&mut queue);
    let linked = [false, true, true, false, true, false];
    let requests = || linked.into_iter().enumerate();
    batch(&mut queue, a, requests().map(|(n, l)| (to_device(n as u64, 1), n as u64, l))).unwrap();
    // The first one never ends; those behind it fail, those linked to it too.
    queue.start().unwrap();
    assert!(!queue.overdue(&mut None), "there is nothing to tell it with");
    let mut stand_in = TestJob::stand_in().ok();
    assert!(queue.overdue(&mut stand_in));
    assert!(stand_in.is_none());
    fail_waiting(&mut queue);
    assert_eq!(waker.0.get(), 6);
    let outcomes = collect(&mut queue, a, 10);
    assert_eq!(outcomes[0], (0, 0, Err(ETIMEDOUT)));
    assert!(outcomes[1..].iter().all(|(_, bytes, outcome)| *bytes == 0 && outcome.is_err()));
    queue.finish(0);
    assert_eq!(queue.load(a).outstanding, 0);
    // Cancelling the middle of a chain takes its end along, and leaves its beginning.
    batch(&mut queue, a, requests().map(|(n, l)| (to_device(n as u64, 1), n as u64, l))).unwrap();
    assert_eq!(cancel(&mut queue, a, Some(1)), (2, false));
    // The failure has left the device memory unknown.
    assert_eq!(addresses(&drain(&mut queue)), [ZEROS, 0, 3, 4, 5]);
    let outcomes: Vec<_> = collect(&mut queue, a, 10).iter().map(|c| (c.0, c.2)).collect();
    let cancelled = Err(ECANCELED);
    assert_eq!(outcomes, [(1, cancelled), (2, cancelled), (0, Ok(())), (3, Ok(())), (4, Ok(())), (5, Ok(()))]);
}

#[test]
fn what_has_begun_is_not_cancelled() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    let (b, _) = lane(&mut queue);
    batch(&mut queue, a, [(copy(0x1000, 0x9000, 8192), 7, false), (to_device(1, 1), 8, true)]).unwrap();
    batch(&mut queue, b, [(to_device(2, 1), 7, false)]).unwrap();
    queue.start().unwrap();
    assert_eq!(cancel(&mut queue, a, Some(7)), (0, true));
    queue.finish(0);
    queue.start().unwrap();
    queue.finish(0);
    // Between its pieces, too.
    assert_eq!(cancel(&mut queue, a, Some(7)), (0, true));
    assert_eq!(cancel(&mut queue, a, Some(9)), (0, false));
    assert_eq!(cancel(&mut queue, a, None), (1, true));
    drain(&mut queue);
    assert_eq!(collect(&mut queue, a, 9), [(8, 0, Err(ECANCELED)), (7, 8192, Ok(()))]);
    assert_eq!(collect(&mut queue, b, 9), [(7, 1, Ok(()))]);
}

/// The engine may come between two steps of a search. What is being cancelled is not its business, and is counted.
#[test]
fn the_engine_does_not_get_what_is_being_cancelled() {
    let mut queue = open();
    let (a, waker) = lane(&mut queue);
    let (b, _) = lane(&mut queue);
    batch(&mut queue, a, (0..1000).map(|n| (to_device(n, 1), n, n > 0))).unwrap();
    batch(&mut queue, a, [(to_device(5000, 1), 5000, false)]).unwrap();
    let mut search = queue.search(a, Some(0)).unwrap();
    assert!(queue.search_some(a, &mut search));
    let told = waker.0.get();
    assert!(queue.start().is_none());
    batch(&mut queue, b, [(to_device(7, 1), 7, false)]).unwrap();
    assert_eq!(queue.start().unwrap().address, 7);
    queue.finish(0);
    assert!(queue.start().is_none());
    assert_eq!(waker.0.get(), told, "nothing was completed by the engine");
    while queue.search_some(a, &mut search) {}
    assert_eq!(search.cancelled, 1000);
    assert_eq!(addresses(&drain(&mut queue)), [5000]);
    assert_eq!(queue.load(a).completed, 1001);
}

/// A device that is gone has done nothing that can be relied on.
#[test]
fn what_a_lost_device_was_doing_has_not_succeeded() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    batch(&mut queue, a, [(to_device(1, 8), 7, false)]).unwrap();
    queue.start().unwrap();
    queue.close(ENODEV);
    let running = queue.take_running().unwrap();
    queue.abort(running, 0);
    assert_eq!(collect(&mut queue, a, 9), [(7, 0, Err(ENODEV))]);
}

#[test]
fn calls_are_neither_cancelled_nor_collected() {
    let mut queue = open();
    let (a, waker) = lane(&mut queue);
    let call = submit(&mut queue, a, to_device(1, 1));
    batch(&mut queue, a, [(to_device(2, 1), 0, false)]).unwrap();
    assert_eq!(cancel(&mut queue, a, None), (1, false));
    assert_eq!(addresses(&drain(&mut queue)), [1]);
    assert_eq!(done(&call), Some(Ok(())));
    assert_eq!(waker.0.get(), 1);
    assert_eq!(collect(&mut queue, a, 9), [(0, 0, Err(ECANCELED))]);
}

/// The request that runs is handed back when the device goes, and not before its lane is told.
#[test]
fn what_runs_when_the_queue_closes_is_completed_at_the_end() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    batch(&mut queue, a, (0..3).map(|n| (to_device(n, 1), n, false))).unwrap();
    queue.start().unwrap();
    close(&mut queue, ENODEV);
    assert_eq!(queue.load(a).outstanding, 1);
    assert_eq!(batch(&mut queue, a, [(to_device(9, 1), 9, false)]), Err(ENODEV));
    let running = queue.take_running().unwrap();
    queue.abort(running, 0);
    let outcomes: Vec<_> = collect(&mut queue, a, 9).iter().map(|c| (c.0, c.2)).collect();
    assert_eq!(outcomes, [(1, Err(ENODEV)), (2, Err(ENODEV)), (0, Err(ENODEV))]);
    assert_eq!(queue.load(a).outstanding, 0);
}
