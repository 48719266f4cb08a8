// SPDX-License-Identifier: GPL-2.0

//! Submitted requests: completions, links, cancelling.

use super::*;

#[test]
fn completions_wait_to_be_collected_in_their_order() {
    let mut queue = open();
    let (a, waker) = lane(&mut queue);
    batch(&mut queue, a, (0..100).map(|n| (to_device(n, 1 + n), n, false))).unwrap();
    assert_eq!(drain(&mut queue).len(), 100);
    assert_eq!(waker.completed(), 100);
    assert_eq!(queue.state(a).completed, 100);
    let expected: Vec<_> = (0..100).map(|n| (n, n + 1, Ok(()))).collect();
    assert_eq!(collect(&mut queue, a, 70), expected[..70]);
    let mut kept = queue.collect(a, 10);
    assert_eq!(kept.len(), 10);
    drop(kept.take_front(3));
    free_room(&mut queue, a, 3);
    deliver(queue.put_back(a, kept));
    assert_eq!(collect(&mut queue, a, 100), expected[73..]);
}

#[test]
fn what_is_not_collected_takes_room() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    let (b, _) = lane(&mut queue);
    assert_eq!(queue.reserve(a, LANE_DEPTH - 10), LANE_DEPTH - 10);
    free_reserved(&mut queue, a, LANE_DEPTH - 10);
    batch(&mut queue, a, (0..LANE_DEPTH as u64).map(|n| (to_device(n, 1), n, false))).unwrap();
    assert_eq!(queue.reserve(a, 1), 0);
    assert_eq!(queue.reserve(b, 2 * LANE_DEPTH), LANE_DEPTH, "another lane has room of its own");
    drain(&mut queue);
    assert_eq!(queue.reserve(a, 1), 0, "completed is not collected");
    let mut some = queue.collect(a, 5);
    assert_eq!(queue.reserve(a, 1), 0, "taken is not delivered");
    drop(some.take_front(2));
    free_room(&mut queue, a, 2);
    deliver(queue.put_back(a, some));
    assert_eq!(queue.reserve(a, 100), 2);
    assert_eq!(queue.state(a).outstanding, 0, "no completion comes of what is reserved");
    free_reserved(&mut queue, a, 2);
    assert_eq!(collect(&mut queue, a, 2 * LANE_DEPTH).len(), LANE_DEPTH - 2);
    assert_eq!(queue.reserve(a, 2 * LANE_DEPTH), LANE_DEPTH);
}

#[test]
fn what_is_linked_to_a_failure_does_not_start() {
    let mut queue = open();
    let (a, waker) = lane(&mut queue);
    let linked = [false, true, true, false, true, false];
    let requests = || linked.into_iter().enumerate();
    batch(&mut queue, a, requests().map(|(n, l)| (to_device(n as u64, 1), n as u64, l))).unwrap();
    // The first one never ends; those behind it and those linked to it fail.
    queue.start().unwrap();
    assert!(!time_out(&mut queue, &mut None), "there is nothing to complete it by");
    let mut completion = TestJob::blank().ok();
    assert!(time_out(&mut queue, &mut completion));
    assert!(completion.is_none());
    fail_waiting(&mut queue);
    assert_eq!(waker.completed(), 6);
    let outcomes = collect(&mut queue, a, 10);
    assert_eq!(outcomes[0], (0, 0, Err(ETIMEDOUT)));
    assert!(outcomes[1..].iter().all(|(_, bytes, outcome)| *bytes == 0 && outcome.is_err()));
    finish(&mut queue);
    assert_eq!(queue.state(a).outstanding, 0);
    assert_eq!(queue.stats.counters.completed, 6);
    // Cancelling the middle of a chain cancels its end, but not its beginning.
    batch(&mut queue, a, requests().map(|(n, l)| (to_device(n as u64, 1), n as u64, l))).unwrap();
    assert_eq!(cancel(&mut queue, a, Some(1)), (2, false));
    // The contents of the device memory are unknown after the failure.
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
    finish(&mut queue);
    queue.start().unwrap();
    finish(&mut queue);
    // Also between its pieces.
    assert_eq!(cancel(&mut queue, a, Some(7)), (0, true));
    assert_eq!(cancel(&mut queue, a, Some(9)), (0, false));
    assert_eq!(cancel(&mut queue, a, None), (1, true));
    drain(&mut queue);
    assert_eq!(collect(&mut queue, a, 9), [(8, 0, Err(ECANCELED)), (7, 8192, Ok(()))]);
    assert_eq!(collect(&mut queue, b, 9), [(7, 1, Ok(()))]);
}

/// The engine may run between two steps of a scan. It ignores requests that are being cancelled, and these are counted.
#[test]
fn the_engine_does_not_get_what_is_being_cancelled() {
    let mut queue = open();
    let (a, waker) = lane(&mut queue);
    let (b, _) = lane(&mut queue);
    batch(&mut queue, a, (0..1000).map(|n| (to_device(n, 1), n, n > 0))).unwrap();
    batch(&mut queue, a, [(to_device(5000, 1), 5000, false)]).unwrap();
    let mut scan = queue.begin_cancel(a, Some(0), false).unwrap();
    assert!(cancel_step(&mut queue, a, &mut scan));
    let told = waker.completed();
    assert!(queue.start().is_none());
    batch(&mut queue, b, [(to_device(7, 1), 7, false)]).unwrap();
    assert_eq!(queue.start().unwrap().address, 7);
    finish(&mut queue);
    assert!(queue.start().is_none());
    assert_eq!(waker.completed(), told, "nothing was completed by the engine");
    while cancel_step(&mut queue, a, &mut scan) {}
    assert_eq!(scan.cancelled, 1000);
    assert_eq!(addresses(&drain(&mut queue)), [5000]);
    assert_eq!(queue.state(a).completed, 1001);
}

/// The result of a request on a removed device is not relied on.
#[test]
fn what_a_lost_device_was_doing_has_not_succeeded() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    batch(&mut queue, a, [(to_device(1, 8), 7, false)]).unwrap();
    queue.start().unwrap();
    queue.close();
    abort(&mut queue);
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
    assert_eq!(waker.completed(), 1);
    assert_eq!(collect(&mut queue, a, 9), [(0, 0, Err(ECANCELED))]);
}

/// The running request completes when the device goes, after its lane is notified of the closed queue.
#[test]
fn what_runs_when_the_queue_closes_is_completed_at_the_end() {
    let mut queue = open();
    let (a, waker) = lane(&mut queue);
    batch(&mut queue, a, (0..3).map(|n| (to_device(n, 1), n, false))).unwrap();
    queue.start().unwrap();
    close(&mut queue);
    assert_eq!(queue.state(a).outstanding, 1);
    assert_eq!(batch(&mut queue, a, [(to_device(9, 1), 9, false)]), Err(ENODEV));
    waker.changes();
    abort(&mut queue);
    // Also those that wait for three, since no more will complete.
    assert_eq!(waker.changes(), [(Change::Closed, 3)]);
    let outcomes: Vec<_> = collect(&mut queue, a, 9).iter().map(|c| (c.0, c.2)).collect();
    assert_eq!(outcomes, [(1, Err(ENODEV)), (2, Err(ENODEV)), (0, Err(ENODEV))]);
    assert_eq!(queue.state(a).outstanding, 0);
    assert_eq!(queue.stats.counters.completed, 3);
}

/// A copy finishes or starts a piece between the beginning of a scan and its first step: the engine has started it, so that
/// the scan must not report it as unknown.
#[test]
fn what_begins_or_goes_on_during_a_scan_has_begun() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    batch(&mut queue, a, [(copy(0x1_0000, 0x2_0000, 8192), 7, false)]).unwrap();
    for _ in 0..2 {
        let mut scan = queue.begin_cancel(a, Some(7), false).unwrap();
        for _ in 0..2 {
            queue.start().unwrap();
            finish(&mut queue);
        }
        while cancel_step(&mut queue, a, &mut scan) {}
        assert_eq!((scan.cancelled, scan.was_in_flight), (0, true));
        assert_eq!(cancel(&mut queue, a, Some(7)), (0, queue.state(a).completed == 0));
    }
    assert_eq!(collect(&mut queue, a, 9), [(7, 8192, Ok(()))]);
}

/// A step processes a bounded number of requests, and returns one notice.
#[test]
fn a_step_is_bounded_and_notifies_once() {
    let mut queue = open();
    let (a, waker) = lane(&mut queue);
    let (b, _) = lane(&mut queue);
    batch(&mut queue, a, (0..1000).map(|n| (to_device(n, 1), n, n > 0))).unwrap();
    batch(&mut queue, b, [(to_device(0xb, 1), 0, false)]).unwrap();
    queue.start().unwrap();
    // What an interrupt handler does.
    finish_with(&mut queue, Err(EIO));
    assert_eq!(waker.completed(), 33);
    assert_eq!(waker.changes(), [(Change::Completed, 33)]);
    // Other requests continue, after a scrub: the effect of the failed transfer is unknown.
    for address in [ZEROS, 0xb] {
        assert_eq!(queue.start().unwrap().address, address);
        finish_with(&mut queue, Ok(()));
    }
    assert!(queue.start().is_none());
    // What a kernel thread does.
    let mut completed = 33;
    while queue.has_cancelled() {
        deliver(queue.complete_cancelled().notice);
        assert!(waker.completed() <= completed + 32);
        completed = waker.completed();
        assert_eq!(waker.changes(), [(Change::Completed, completed)]);
    }
    assert_eq!(completed, 1000);
    let outcomes = collect(&mut queue, a, 1000);
    assert_eq!(outcomes[0].2, Err(EIO));
    assert!(outcomes[1..].iter().all(|(_, bytes, outcome)| *bytes == 0 && *outcome == Err(ECANCELED)));

    waker.changes();
    batch(&mut queue, a, (0..1000).map(|n| (to_device(n, 1), n, false))).unwrap();
    let mut scan = queue.begin_cancel(a, None, false).unwrap();
    let mut more = true;
    while more {
        let before = waker.completed();
        more = cancel_step(&mut queue, a, &mut scan);
        assert!(waker.completed() <= before + 32);
        assert_eq!(waker.changes().len(), usize::from(waker.completed() > before));
    }
    assert_eq!(scan.cancelled, 1000);
}

/// A transfer that has moved nothing fails its request alone, and the device memory is scrubbed before it is read.
#[test]
fn a_transfer_that_has_moved_nothing_fails_its_request() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    batch(&mut queue, a, [(copy(0x1000, 0x9000, 8192), 1, false), (from_device(3, 0, 1), 2, false)]).unwrap();
    queue.start().unwrap();
    finish_with(&mut queue, Err(EIO));
    assert_eq!(addresses(&drain(&mut queue)), [ZEROS, 3]);
    assert_eq!(collect(&mut queue, a, 9), [(1, 0, Err(EIO)), (2, 1, Ok(()))]);
    assert_eq!(queue.stats.counters.transfers, 2);
}

/// The last reference to memory is dropped in process context, all others at the end of the request.
#[test]
fn a_completion_holds_no_memory() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    let memory = Memory::new(0x1000, 16);
    let span = |memory: &Memory| Span::new(memory.clone(), 0, 16).unwrap();
    batch(&mut queue, a, [(Operation::Copy(span(&memory), span(&memory)), 7, false)]).unwrap();
    drain(&mut queue);
    assert_eq!(memory.holders(), 1);
    assert!(!queue.has_deferred());
    let range = DeviceRange::new(0, 16, SIZE).unwrap();
    let weak = Rc::downgrade(&memory.0);
    let requests = || (0..3).map(|n| (Operation::ToDevice(span(&memory), range), n, n > 0));
    // Requests that end, that fail with the one they are linked to, and that are cancelled.
    batch(&mut queue, a, requests()).unwrap();
    queue.start().unwrap();
    finish_with(&mut queue, Err(EIO));
    batch(&mut queue, a, requests()).unwrap();
    assert_eq!(cancel(&mut queue, a, None), (3, false));
    assert_eq!(memory.holders(), 1);
    batch(&mut queue, a, requests()).unwrap();
    drop(memory);
    drain(&mut queue);
    assert!(queue.has_deferred());
    assert_eq!(weak.strong_count(), 1);
    drop(queue.take_deferred());
    assert_eq!(weak.strong_count(), 0);
    assert_eq!(collect(&mut queue, a, 10).len(), 10);
}

/// Requests that are linked to a failed one are cancelled by a scan that has begun before they are failed: the step that
/// fails links waits for the scan, and makes no notice.
#[test]
fn a_scan_of_failing_links_stops_the_steps() {
    let mut queue = open();
    let (a, waker) = lane(&mut queue);
    batch(&mut queue, a, (0..100).map(|n| (to_device(n, 1), n, n > 0))).unwrap();
    queue.start().unwrap();
    finish_with(&mut queue, Err(EIO));
    assert!(queue.has_cancelled());
    let mut scan = queue.begin_cancel(a, None, false).unwrap();
    waker.changes();
    let step = queue.complete_cancelled();
    assert!(!step.more);
    deliver(step.notice);
    assert_eq!(waker.changes(), []);
    loop {
        let step = queue.cancel_step(a, &mut scan);
        deliver(step.notice);
        if !step.more {
            break;
        }
    }
    while queue.has_cancelled() {
        deliver(queue.complete_cancelled().notice);
    }
    assert_eq!(queue.state(a).completed, 100);
}

/// The slot of a lane can be reused, and nothing of the previous lane is left.
#[test]
fn a_job_that_is_cleared_is_blank() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    let memory = Memory::new(0x1000, 16);
    let span = Span::new(memory.clone(), 0, 16).unwrap();
    let operation = Operation::ToDevice(span, DeviceRange::new(0, 16, SIZE).unwrap());
    batch(&mut queue, a, [(operation, 7, false)]).unwrap();
    drain(&mut queue);
    let mut job = queue.collect(a, 1).pop_front().unwrap();
    job.clear();
    assert_eq!((job.cookie(), job.bytes(), job.outcome()), (0, 0, Err(ECANCELED)));
    job.fill(Request::new(to_device(2, 1), Uid(0)), 8, false, 0);
    let mut jobs = Fifo::new();
    jobs.push_back(job);
    assert_eq!(queue.reserve(a, 1), 1);
    queue.submit(a, &mut jobs).unwrap();
    assert_eq!(addresses(&drain(&mut queue)), [2]);
    assert_eq!(collect(&mut queue, a, 9), [(8, 1, Ok(()))]);
}

/// A lane keeps its turn while its requests are cancelled, also if a step ends before one that is linked to a cancelled one.
#[test]
fn a_lane_keeps_its_turn_during_a_scan() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    let (b, _) = lane(&mut queue);
    submit(&mut queue, b, copy(0x10_0000, 0x20_0000, 2 * SIZE));
    assert_eq!(queue.start().unwrap().direction, Direction::ToDevice);
    let chain = (0..40).map(|number| (to_device(0x30_0000, SIZE), 7, number > 0));
    batch(&mut queue, a, chain).unwrap();
    let call = submit(&mut queue, a, to_device(0x40_0000, SIZE));
    finish(&mut queue);
    assert_eq!(queue.start().unwrap().direction, Direction::FromDevice);

    assert_eq!(cancel(&mut queue, a, Some(7)), (40, false));
    finish(&mut queue);
    assert_eq!(queue.start().unwrap().address, 0x40_0000);
    finish(&mut queue);
    assert_eq!(done(&call), Some(Ok(())));
}

/// The lane is notified of the completions that a step has made before it found a waiter.
#[test]
fn a_call_that_fails_does_not_hide_completions() {
    for recovers in [false, true] {
        let mut queue = open();
        let (a, waker) = lane(&mut queue);
        let (b, _) = lane(&mut queue);
        let _hangs = submit(&mut queue, b, to_device(0, 1));
        queue.start().unwrap();
        batch(&mut queue, a, [(to_device(1, 1), 1, false)]).unwrap();
        let call = submit(&mut queue, a, to_device(2, 1));
        assert!(time_out(&mut queue, &mut None));
        waker.changes();
        let mut cursor = LaneCursor::default();
        while done(&call).is_none() {
            assert!(queue.state(a).completed == 0, "the call is answered in the same step");
            let step = queue.fail_batch(&mut cursor);
            deliver(step.notice);
            assert!(step.more);
        }
        if recovers {
            // The engine ends the transfer between two steps.
            finish(&mut queue);
        }
        loop {
            let step = queue.fail_batch(&mut cursor);
            deliver(step.notice);
            if !step.more {
                break;
            }
        }
        assert_eq!(waker.changes(), [(Change::Completed, 1)]);
    }
}

/// Requests that are linked to a failed one are not counted as cancelled.
#[test]
fn a_scan_does_not_count_links_that_have_failed() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    batch(&mut queue, a, (0..40).map(|number| (to_device(number, 1), number, number > 0))).unwrap();
    queue.start().unwrap();
    finish_with(&mut queue, Err(EIO));
    assert!(queue.has_cancelled());
    assert_eq!(cancel(&mut queue, a, Some(100)), (0, false));
    assert_eq!(queue.stats.counters.cancelled, 0);
    assert_eq!(queue.stats.counters.completed, 40);
    assert_eq!(collect(&mut queue, a, 64).len(), 40);
    // Of a request that was to be cancelled, its links are counted.
    batch(&mut queue, a, (0..5).map(|number| (to_device(number, 1), number, number > 1))).unwrap();
    assert_eq!(cancel(&mut queue, a, Some(3)), (2, false));
    assert_eq!(queue.stats.counters.cancelled, 2);
}

/// The links of a request that the engine takes between two steps of a scan, and that fails, are not counted.
#[test]
fn a_scan_does_not_count_links_of_what_begins_meanwhile() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    let cookies = (0..34).map(|number| (to_device(number, 1), if number < 32 { 1 } else { 2 }, number == 33));
    batch(&mut queue, a, cookies).unwrap();
    let mut scan = queue.begin_cancel(a, Some(1), false).unwrap();
    assert!(cancel_step(&mut queue, a, &mut scan));
    assert_eq!(scan.cancelled, 32);
    queue.start().unwrap();
    finish_with(&mut queue, Err(EIO));
    while cancel_step(&mut queue, a, &mut scan) {}
    complete_cancelled(&mut queue);
    assert_eq!(scan.cancelled, 32);
    assert_eq!(collect(&mut queue, a, 64).len(), 34);
}
