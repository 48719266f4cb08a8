// SPDX-License-Identifier: GPL-2.0

//! Pausing, and lost contents of the device memory.

use super::*;

#[test]
fn while_paused_all_waits_and_nothing_starts() {
    let mut queue = open();
    let (a, waker) = lane(&mut queue);
    let (b, _) = lane(&mut queue);
    batch(&mut queue, a, (0..3).map(|n| (to_device(n, 1), n, false))).unwrap();
    assert_eq!(queue.start().unwrap().address, 0);
    queue.pause();
    // The running transfer ends, and its request completes.
    finish(&mut queue);
    assert_eq!(collect(&mut queue, a, 9), [(0, 1, Ok(()))]);
    assert!(queue.start().is_none());
    assert!(!queue.is_busy());
    // New requests are accepted.
    let call = submit(&mut queue, b, to_device(9, 1));
    batch(&mut queue, a, [(to_device(3, 1), 3, false)]).unwrap();
    assert!(queue.start().is_none());
    assert_eq!((queue.state(a).waiting, queue.state(b).waiting), (3, 1));
    assert_eq!(queue.refuses(), None);
    assert_eq!(waker.completed(), 1);
    // Cancelling works, and so does interrupting a blocking request.
    assert_eq!(cancel(&mut queue, a, Some(2)), (1, false));
    assert!(matches!(queue.abandon_wait(b, call.1), AbandonedWait::Waiting(_)));
    queue.unpause();
    assert_eq!(addresses(&drain(&mut queue)), [1, 3]);
    let cookies: Vec<_> = collect(&mut queue, a, 9).iter().map(|c| c.0).collect();
    assert_eq!(cookies, [2, 1, 3]);
}

#[test]
fn a_pause_between_the_halves_of_a_piece_lets_no_other_lane_in() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    let (b, _) = lane(&mut queue);
    let ticket = submit(&mut queue, a, copy(0x1000, 0x2000, 4096));
    submit(&mut queue, b, to_device(0xb, 1));
    assert_eq!(queue.start().unwrap().address, 0x1000);
    queue.pause();
    finish(&mut queue);
    assert!(queue.start().is_none());
    assert!(done(&ticket).is_none());
    queue.unpause();
    assert_eq!(addresses(&drain(&mut queue)), [0x2000, 0xb]);
    assert_eq!(done(&ticket), Some(Ok(())));
}

#[test]
fn a_queue_that_closes_while_paused_starts_nothing_any_more() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    batch(&mut queue, a, [(copy(0x1000, 0x2000, 4096), 1, false), (to_device(2, 1), 2, false)]).unwrap();
    queue.start().unwrap();
    queue.pause();
    finish(&mut queue);
    close(&mut queue);
    queue.unpause();
    assert!(queue.start().is_none(), "not even the second half");
    assert!(queue.take_active().is_none(), "the engine has no transfer of it");
    let outcomes: Vec<_> = collect(&mut queue, a, 9).iter().map(|c| (c.0, c.2)).collect();
    assert_eq!(outcomes, [(1, Err(ENODEV)), (2, Err(ENODEV))]);
}

/// Data that was sent to the device memory before it was lost is not relied on.
#[test]
fn a_lost_device_memory_is_scrubbed_and_a_piece_is_done_anew() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    // A copy between its halves.
    submit(&mut queue, a, copy(0x1000, 0x2000, 4096));
    queue.start().unwrap();
    queue.pause();
    finish(&mut queue);
    queue.invalidate();
    queue.unpause();
    assert_eq!(addresses(&drain(&mut queue)), [0x1000, 0x2000]);
    // A read after its scrub.
    submit_as(&mut queue, a, from_device(3, 0, 8), 1001);
    assert_eq!(queue.start().unwrap().address, ZEROS);
    queue.pause();
    finish(&mut queue);
    queue.invalidate();
    queue.unpause();
    assert_eq!(addresses(&drain(&mut queue)), [ZEROS, 3]);
    // A reader's own bytes.
    submit_as(&mut queue, a, to_device(4, 4096), 1001);
    drain(&mut queue);
    queue.invalidate();
    submit_as(&mut queue, a, from_device(5, 0, 8), 1001);
    assert_eq!(addresses(&drain(&mut queue)), [ZEROS, 5]);
}
