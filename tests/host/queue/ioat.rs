// SPDX-License-Identifier: GPL-2.0

//! How copies are divided for an I/OAT device, and how many of its transfers are in the slots at a time.

use super::*;
use engines::{ioat::plan::IoatPlan, plan::Plan as _};

const LARGEST: u64 = 1 << 20;
const QUANTUM: u64 = 256 << 10;
const WINDOW: u64 = 2 << 20;
const SLOTS: usize = 128;

/// All transfers of a copy, with their costs, if a turn is over after each.
fn cut(operation: Operation<Memory>) -> Vec<(DirectTransfer, u64)> {
    let mut plan = IoatPlan::new(LARGEST);
    let quantum = engines::plan::Plan::<Request<Memory>>::quantum(&plan);
    let request = Request::new(operation, Uid(0));
    let (mut cuts, mut issued) = (Vec::new(), 0);
    while let Some(cut) = plan.cut(&request, issued, &mut (), quantum) {
        let Transfer::Direct(transfer) = cut.transfer else { panic!("I/OAT has no device memory") };
        assert!(cut.ends_piece && cut.moves == transfer.length && cut.completes == transfer.length);
        issued += cut.completes;
        cuts.push((transfer, cut.cost));
    }
    cuts
}

fn runs(address: u64, size: u64, run: u64) -> Span<Memory> {
    Span::new(Memory::in_runs(address, size, run), 0, size).unwrap()
}

#[test]
fn one_transfer_where_both_ends_are_contiguous() {
    let cuts = cut(copy(0x1000, 0x80_0000, 5000));
    assert_eq!(cuts, [(DirectTransfer { from: 0x1000, to: 0x80_0000, length: 5000 }, 5000)]);
}

/// A descriptor costs at least as much as a page: short requests cannot fill a turn with any number of them.
#[test]
fn short_transfers_cost_a_page() {
    assert_eq!(cut(copy(0, 0x1000, 1))[0].1, 4096);
}

/// What a request of an odd length leaves of a turn does not divide the next request at odd addresses.
#[test]
fn the_rest_of_a_turn_is_at_least_a_page() {
    let mut plan = IoatPlan::new(LARGEST);
    let request = Request::new(copy(0, 0x1000_0000, QUANTUM), Uid(0));
    let cut = plan.cut(&request, 0, &mut (), 1).unwrap();
    assert_eq!((cut.moves, cut.cost), (4096, 4096));
}

#[test]
fn no_transfer_is_longer_than_a_turn() {
    let cuts = cut(copy(0, 0x1000_0000, 3 * QUANTUM + 1));
    let lengths: Vec<_> = cuts.iter().map(|(transfer, _)| transfer.length).collect();
    assert_eq!(lengths, [QUANTUM, QUANTUM, QUANTUM, 1]);
}

/// Both ends in runs of different lengths: each boundary ends a transfer, and each byte is copied to its place.
#[test]
fn scattered() {
    let (size, from_run, to_run) = (100_000, 4096, 3000);
    let cuts = cut(Operation::Copy(runs(0, size, from_run), runs(1 << 32, size, to_run)));
    let mut done = 0;
    for (transfer, _) in cuts {
        assert_eq!(transfer.from, done / from_run * 2 * from_run + done % from_run);
        assert_eq!(transfer.to, (1 << 32) + done / to_run * 2 * to_run + done % to_run);
        assert!(transfer.length <= from_run - done % from_run && transfer.length <= to_run - done % to_run);
        done += transfer.length;
    }
    assert_eq!(done, size);
}

struct Ioat;

impl QueueTypes for Ioat {
    type Request = Request<Memory>;
    type Plan = IoatPlan;
    type Owner = Nothing;
    type Waiter = Nothing;
    type Ring = ring::Memory;
}

/// An owner or a thread that is not looked at.
#[derive(Clone)]
struct Nothing;

impl LaneOwner<Ioat> for Nothing {
    type Notice = ();
    fn completed(&self, _: &Job<Ioat>) {}
    fn notice(&self, _: Change, _: usize) {}
}

impl RequestWaiter<Ioat> for Nothing {
    fn is_thread(&self) -> bool {
        true
    }

    fn answer(&self, _: Answer<Ioat>) {}
}

/// A queue with `count` copies of `length` bytes in one lane, whose cookies are their numbers.
fn filled(count: usize, length: u64) -> Queue<Ioat> {
    filled_lane(count, length).0
}

fn filled_lane(count: usize, length: u64) -> (Queue<Ioat>, LaneId) {
    let mut queue = Queue::new();
    queue.open(IoatPlan::new(LARGEST), Flight::new(SLOTS, WINDOW).unwrap());
    while let Some(request) = queue.grow_request() {
        drop(queue.grow(Growth::new(request).unwrap()));
    }
    let user = queue.add_user().unwrap();
    let lane = queue.add_lane(user, KBox::new(Lane::new(Nothing), GFP_KERNEL).unwrap()).ok().unwrap();
    let mut jobs = Fifo::new();
    for number in 0..count {
        let mut job = Job::blank().unwrap();
        job.fill(Request::new(copy(0, 1 << 32, length), Uid(0)), number as u64, false, 0);
        jobs.push_back(job);
    }
    assert_eq!(queue.reserve(lane, count), count);
    queue.submit(lane, &mut jobs).unwrap();
    (queue, lane)
}

fn post(queue: &mut Queue<Ioat>) -> usize {
    std::iter::from_fn(|| queue.issue()).count()
}

/// The completions of a lane: cookie, bytes, outcome.
fn completed(queue: &mut Queue<Ioat>, lane: LaneId) -> Vec<(u64, u64, Result)> {
    while queue.has_cancelled() {
        drop(queue.complete_cancelled().notice);
    }
    let mut jobs = queue.collect(lane, LANE_DEPTH);
    drop(queue.free_room(lane, jobs.len()));
    std::iter::from_fn(|| jobs.pop_front()).map(|job| (job.cookie(), job.bytes(), job.outcome())).collect()
}

fn cancel_all(queue: &mut Queue<Ioat>, lane: LaneId, cookie: u64) -> (usize, bool) {
    let mut scan = queue.begin_cancel(lane, Some(cookie), true).unwrap();
    while queue.cancel_step(lane, &mut scan).more {}
    (scan.cancelled, scan.was_in_flight)
}

/// What another user waits for is bounded: by the slots, and by the bytes.
#[test]
fn what_is_in_the_slots_is_bounded() {
    for (count, length, posted) in [(1000, 1, SLOTS), (1000, 4096, SLOTS), (1000, 65_536, 32), (4, 1 << 30, 8)] {
        let mut queue = filled(count, length);
        assert_eq!(post(&mut queue), posted, "{count} copies of {length} bytes");
        // The end of one makes room for one.
        let _ = queue.finish(Ok(()), 0);
        assert!(queue.issue().is_some());
        assert!(queue.issue().is_none());
    }
}

/// A batch that fits into a turn raises one interrupt, with its last transfer.
#[test]
fn one_interrupt_a_turn() {
    let mut queue = filled(64, 4096);
    let interrupts: Vec<_> = std::iter::from_fn(|| queue.issue()).map(|issue| issue.interrupt).collect();
    assert_eq!(interrupts.len(), 64);
    assert!(interrupts[..63].iter().all(|interrupt| !interrupt) && interrupts[63]);
}

/// A request that has begun is cancelled: no more of its transfers are issued, and it is completed when those that were have ended.
#[test]
fn a_long_copy_is_cancelled_while_it_runs() {
    let (mut queue, lane) = filled_lane(2, 1 << 30);
    assert_eq!(post(&mut queue), 8);
    assert_eq!(cancel_all(&mut queue, lane, 0), (1, false));
    assert_eq!(cancel_all(&mut queue, lane, 0), (0, true), "it is not cancelled twice");
    assert_eq!(post(&mut queue), 0, "the slots are full");
    for _ in 0..8 {
        assert!(completed(&mut queue, lane).is_empty());
        let _ = queue.finish(Ok(()), 0);
    }
    assert_eq!(completed(&mut queue, lane), [(0, WINDOW, Err(ECANCELED))]);
    assert_eq!(post(&mut queue), 8, "the other one continues");
}

/// One whose transfers have all been issued is not: it ends as if it had not been cancelled.
#[test]
fn a_short_copy_is_not_cancelled_while_it_runs() {
    let (mut queue, lane) = filled_lane(1, 4096);
    assert_eq!(post(&mut queue), 1);
    assert_eq!(cancel_all(&mut queue, lane, 0), (0, true));
    let _ = queue.finish(Ok(()), 0);
    assert_eq!(completed(&mut queue, lane), [(0, 4096, Ok(()))]);
}

/// One that was cancelled is not issued again after a failure of another.
#[test]
fn a_cancelled_copy_is_not_restarted() {
    let (mut queue, lane) = filled_lane(2, 1 << 20);
    assert_eq!(post(&mut queue), 8);
    assert_eq!(cancel_all(&mut queue, lane, 1), (0, true), "all of it was issued");
    let (mut queue, lane) = filled_lane(3, 3 << 19);
    assert_eq!(post(&mut queue), 8);
    assert_eq!(cancel_all(&mut queue, lane, 1), (1, false));
    let _ = queue.finish(Err(EREMOTEIO), 0);
    assert_eq!(completed(&mut queue, lane), [(0, 0, Err(EREMOTEIO)), (1, 0, Err(ECANCELED))]);
    assert_eq!(post(&mut queue), 6, "only the third one");
}
