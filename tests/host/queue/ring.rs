// SPDX-License-Identifier: GPL-2.0

//! Lanes with a completion ring.

use super::*;
use schedule::{RingMemory, RING_START};

/// The memory of a ring, which the program maps.
#[derive(Clone)]
pub struct Memory(Rc<Contents>);

struct Contents {
    head: Cell<u32>,
    tail: Cell<u32>,
    entries: RefCell<Vec<(u64, u64, Result)>>,
}

impl RingMemory for Memory {
    fn head(&self) -> u32 {
        self.0.head.get()
    }

    fn write(&self, index: usize, cookie: u64, bytes: u64, outcome: Result) {
        self.0.entries.borrow_mut()[index] = (cookie, bytes, outcome);
    }

    fn publish(&self, tail: u32) {
        self.0.tail.set(tail);
    }
}

impl Memory {
    fn new() -> Self {
        Self(Rc::new(Contents {
            head: Cell::new(RING_START),
            tail: Cell::new(RING_START),
            entries: RefCell::new(vec![(0, 0, Err(EINVAL)); LANE_DEPTH]),
        }))
    }

    /// What a program does to collect up to `most` completions.
    pub fn collect(&self, most: usize) -> Vec<(u64, u64, Result)> {
        let mut collected = Vec::new();
        while self.0.head.get() != self.0.tail.get() && collected.len() < most {
            collected.push(self.0.entries.borrow()[self.0.head.get() as usize % LANE_DEPTH]);
            self.0.head.set(self.0.head.get().wrapping_add(1));
        }
        collected
    }
}

/// Creates the ring of a lane.
pub fn create(queue: &mut TestQueue, lane: LaneId) -> Result<Memory> {
    let memory = Memory::new();
    queue.set_ring(lane, memory.clone()).map_err(|(error, _)| error)?;
    Ok(memory)
}

/// Submits requests with these cookies, and executes them.
fn complete(queue: &mut TestQueue, lane: LaneId, cookies: std::ops::Range<u64>) {
    batch(queue, lane, cookies.map(|n| (to_device(n, 1 + n % 4096), n, false))).unwrap();
    drain(queue);
}

fn cookies(completions: &[(u64, u64, Result)]) -> Vec<u64> {
    completions.iter().map(|completion| completion.0).collect()
}

#[test]
fn an_idle_lane_gets_one_ring() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    batch(&mut queue, a, [(to_device(0, 1), 0, false)]).unwrap();
    assert_eq!(create(&mut queue, a).err(), Some(EBUSY), "a request waits");
    drain(&mut queue);
    assert_eq!(create(&mut queue, a).err(), Some(EBUSY), "a completion is not collected");
    collect(&mut queue, a, 1);
    assert!(create(&mut queue, a).is_ok());
    assert_eq!(create(&mut queue, a).err(), Some(EEXIST));
}

/// The completions of many requests, with 32-bit indices that wrap around.
#[test]
fn completions_are_written_in_their_order() {
    let mut queue = open();
    let (a, waker) = lane(&mut queue);
    let ring = create(&mut queue, a).unwrap();
    for turn in 0..12 {
        let first = turn * 900;
        complete(&mut queue, a, first..first + 900);
        assert_eq!(queue.state(a).completed, 900);
        let changes = waker.changes();
        assert_eq!(changes.last(), Some(&(Change::Completed, 900)));
        let expected: Vec<_> = (first..first + 900).map(|n| (n, 1 + n % 4096, Ok(()))).collect();
        assert_eq!(ring.collect(LANE_DEPTH), expected);
        assert_eq!(queue.state(a).completed, 0);
        assert_eq!(queue.state(a).room, LANE_DEPTH);
    }
    assert!(ring.head() < 12 * 900, "the indices have wrapped around");
    assert_eq!(queue.collectable(a), None);
    assert!(queue.collect(a, 10).is_empty());
}

#[test]
fn the_depth_bounds_the_ring() {
    let mut queue = open();
    let (a, waker) = lane(&mut queue);
    let ring = create(&mut queue, a).unwrap();
    complete(&mut queue, a, 0..LANE_DEPTH as u64);
    assert_eq!(queue.state(a).room, 0);
    assert!(queue.free_collected(a).is_none());
    assert_eq!(queue.reserve(a, 1), 0, "nothing is collected");
    assert_eq!(cookies(&ring.collect(3)), [0, 1, 2]);
    assert_eq!(queue.state(a).room, 3);
    waker.changes();
    deliver(queue.free_collected(a));
    assert_eq!(waker.changes(), [(Change::Room, LANE_DEPTH - 3)], "a full lane has room");
    complete(&mut queue, a, 5000..5003);
    assert_eq!(queue.reserve(a, 1), 0);
    let left = cookies(&ring.collect(LANE_DEPTH));
    assert_eq!(left[0], 3);
    assert_eq!(left[LANE_DEPTH - 3..], [5000, 5001, 5002]);
}

/// A head that is not between the last one and the tail frees no room.
#[test]
fn a_wrong_head_is_ignored() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    let ring = create(&mut queue, a).unwrap();
    complete(&mut queue, a, 0..100);
    ring.collect(40);
    deliver(queue.free_collected(a));
    let (head, tail) = (ring.head(), ring.0.tail.get());
    let wrong = [head.wrapping_sub(1), tail.wrapping_add(1), head.wrapping_sub(LANE_DEPTH as u32), tail ^ 1 << 31, 0, u32::MAX];
    for wrong in wrong {
        ring.0.head.set(wrong);
        ring.0.tail.set(!wrong);
        let state = queue.state(a);
        assert_eq!((state.completed, state.room), (60, LANE_DEPTH - 60), "{wrong:#x}");
        assert!(queue.free_collected(a).is_none());
        assert_eq!(queue.reserve(a, 2 * LANE_DEPTH), LANE_DEPTH - 60);
        free_reserved(&mut queue, a, LANE_DEPTH - 60);
    }
    ring.0.head.set(head);
    complete(&mut queue, a, 100..101);
    assert_eq!(ring.0.tail.get(), tail.wrapping_add(1), "the driver does not read the tail");
    assert_eq!(cookies(&ring.collect(LANE_DEPTH)), (40..101).collect::<Vec<_>>());
    assert_eq!(queue.reserve(a, 1), 1);
}

/// Requests that are cancelled, linked to a failed one, timed out or aborted.
#[test]
fn failures_are_written_too() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    let ring = create(&mut queue, a).unwrap();
    let requests = || (0..4).map(|n| (to_device(n, 1), n, n == 1));
    batch(&mut queue, a, requests()).unwrap();
    assert_eq!(cancel(&mut queue, a, Some(0)), (2, false));
    assert_eq!(ring.collect(9), [(0, 0, Err(ECANCELED)), (1, 0, Err(ECANCELED))]);
    queue.start().unwrap();
    let mut completion = TestJob::blank().ok();
    assert!(time_out(&mut queue, &mut completion));
    fail_waiting(&mut queue);
    assert_eq!(ring.collect(9), [(2, 0, Err(ETIMEDOUT)), (3, 0, Err(EIO))]);
    finish(&mut queue);
    batch(&mut queue, a, requests()).unwrap();
    queue.start().unwrap();
    close(&mut queue);
    abort(&mut queue);
    let mut left = ring.collect(9);
    left.sort_by_key(|completion| completion.0);
    assert_eq!(left, (0..4).map(|n| (n, 0, Err(ENODEV))).collect::<Vec<_>>());
    assert_eq!(queue.state(a).outstanding, 0);
}

/// Jobs whose completions are written are blank, and the memory of a removed lane is freed.
#[test]
fn jobs_are_reused() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    let ring = create(&mut queue, a).unwrap();
    complete(&mut queue, a, 0..50);
    let blank = queue.take_blank(a);
    assert_eq!(blank.len(), 50);
    assert!(blank.iter().all(|job| job.request().is_none()));
    assert!(queue.take_blank(a).is_empty());
    assert_eq!(Rc::strong_count(&ring.0), 2);
    drop(queue.remove_lane(a));
    assert_eq!(Rc::strong_count(&ring.0), 1);
}
