// SPDX-License-Identifier: GPL-2.0

//! The hardware-free files of the driver, as they are, against a model of the engine.

// Not all of it is used by each test.
#![allow(dead_code)]

#[path = "../../src"]
mod src {
    pub(crate) mod device_memory;
    pub(crate) mod queue;
    pub(crate) mod request;
    pub(crate) mod slab;
    pub(crate) mod transfer;
    pub(crate) mod kernel_ext {
        pub(crate) mod fifo;
    }
}
// Where the driver has them.
use src::{device_memory, kernel_ext, queue, request, slab, transfer};

use device_memory::{Access, Contents, User};
use kernel::prelude::*;
use kernel_ext::fifo::{Entry, Fifo};
use queue::{GivenUp, Job, LaneId, Queue, Status, Ticket, Wake};
use request::{Backing, Operation, Request, Span};
use slab::{Room, Slab};
use std::{cell::Cell, collections::HashMap, rc::Rc};
use transfer::{DeviceRange, Direction, Transfer, DEVICE_MEMORY_SIZE};

const ZEROS: u64 = 0xdead_0000;

/// Memory at some bus address, in runs of a given length that are not next to each other.
#[derive(Clone)]
struct Memory(Rc<(u64, u64, u64)>);

impl Memory {
    fn new(address: u64, size: u64) -> Self {
        Self(Rc::new((address, size, size)))
    }

    fn in_runs(address: u64, size: u64, run: u64) -> Self {
        Self(Rc::new((address, size, run)))
    }

    fn holders(&self) -> usize {
        Rc::strong_count(&self.0)
    }
}

impl Backing for Memory {
    fn size(&self) -> u64 {
        self.0 .1
    }

    fn bus(&self, offset: u64) -> (u64, u64) {
        let (address, size, run) = *self.0;
        let number = offset / run;
        let within = offset % run;
        // The runs are twice their length apart.
        (address + number * 2 * run + within, (run - within).min(size - offset))
    }
}

#[derive(Clone, Default)]
struct Waker(Rc<Cell<usize>>);

impl Wake for Waker {
    fn wake(&self) {
        self.0.set(self.0.get() + 1);
    }
}

type TestQueue = Queue<Request<Memory>, Waker>;

fn open() -> TestQueue {
    let mut queue = TestQueue::new();
    queue.open(ZEROS);
    queue
}

fn lane(queue: &mut TestQueue) -> (LaneId, Waker) {
    if let Some(capacity) = queue.wants() {
        drop(queue.grow(Room::new(capacity).unwrap()));
    }
    let waker = Waker::default();
    let id = queue.add_lane(waker.clone()).ok().unwrap();
    (id, waker)
}

fn to_device(address: u64, length: u64) -> Operation<Memory> {
    let span = Span::new(Memory::new(address, length), 0, length).unwrap();
    Operation::ToDevice(span, DeviceRange::new(0, length).unwrap())
}

fn from_device(address: u64, offset: u64, length: u64) -> Operation<Memory> {
    let span = Span::new(Memory::new(address, length), 0, length).unwrap();
    Operation::FromDevice(DeviceRange::new(offset, length).unwrap(), span)
}

fn copy(from: u64, to: u64, length: u64) -> Operation<Memory> {
    let source = Span::new(Memory::new(from, length), 0, length).unwrap();
    let destination = Span::new(Memory::new(to, length), 0, length).unwrap();
    Operation::Copy(source, destination)
}

fn submit(queue: &mut TestQueue, lane: LaneId, operation: Operation<Memory>) -> Ticket {
    submit_as(queue, lane, operation, 0)
}

fn submit_as(queue: &mut TestQueue, lane: LaneId, operation: Operation<Memory>, user: u32) -> Ticket {
    let job = Job::new(Request::new(operation, User(user))).unwrap();
    queue.submit(lane, job).map_err(|(error, _)| error).unwrap()
}

/// Does all that is queued, and returns the transfers in their order.
fn drain(queue: &mut TestQueue) -> Vec<Transfer> {
    let mut transfers = Vec::new();
    while let Some(transfer) = queue.start() {
        assert!(queue.is_busy());
        assert!(queue.start().is_none(), "the engine does one transfer at a time");
        transfers.push(transfer);
        queue.finish();
    }
    transfers
}

fn addresses(transfers: &[Transfer]) -> Vec<u64> {
    transfers.iter().map(|transfer| transfer.address).collect()
}

fn done(queue: &mut TestQueue, lane: LaneId, ticket: Ticket) -> Option<Result> {
    match queue.status(lane, ticket) {
        Status::Done(job) => Some(job.outcome()),
        Status::Failed(error) => Some(Err(error)),
        Status::Pending => None,
    }
}

#[test]
fn device_ranges_stay_inside() {
    let edges = [0, 1, 4094, 4095, 4096, 4097, u64::from(u32::MAX), 1 << 63, u64::MAX];
    for offset in edges {
        for length in edges {
            let fits = length > 0 && u128::from(offset) + u128::from(length) <= 4096;
            assert_eq!(DeviceRange::new(offset, length).is_ok(), fits, "{offset} {length}");
            let span = Span::new(Memory::new(0, 4096), offset, length);
            assert_eq!(span.is_ok(), fits, "{offset} {length}");
        }
    }
}

#[test]
fn a_request_waits_runs_and_is_done() {
    let mut queue = open();
    let (a, waker) = lane(&mut queue);
    let ticket = submit(&mut queue, a, to_device(0x1000, 16));
    assert!(done(&mut queue, a, ticket).is_none());
    let transfer = queue.start().unwrap();
    assert_eq!((transfer.address, transfer.device.offset(), transfer.device.length()), (0x1000, 0, 16));
    assert_eq!(transfer.direction, Direction::ToDevice);
    assert!(done(&mut queue, a, ticket).is_none());
    assert_eq!(waker.0.get(), 0);
    queue.finish();
    assert_eq!(waker.0.get(), 1);
    assert_eq!(done(&mut queue, a, ticket), Some(Ok(())));
    assert!(!queue.is_busy());
}

#[test]
fn finish_without_a_transfer_is_nothing() {
    let mut queue = open();
    queue.finish();
    let (a, _) = lane(&mut queue);
    submit(&mut queue, a, to_device(0x1000, 16));
    // A late interrupt between queueing and starting.
    queue.finish();
    assert_eq!(addresses(&drain(&mut queue)), [0x1000]);
}

#[test]
fn a_copy_is_cut_into_pieces_of_two_transfers() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    let ticket = submit(&mut queue, a, copy(0x10_0000, 0x20_0000, 10_000));
    let transfers = drain(&mut queue);
    let expected = [(0, 4096), (4096, 4096), (8192, 1808)];
    assert_eq!(transfers.len(), 2 * expected.len());
    for (pair, (offset, length)) in transfers.chunks(2).zip(expected) {
        assert_eq!((pair[0].direction, pair[0].address), (Direction::ToDevice, 0x10_0000 + offset));
        assert_eq!((pair[1].direction, pair[1].address), (Direction::FromDevice, 0x20_0000 + offset));
        assert!(pair.iter().all(|transfer| transfer.device.length() == length));
    }
    assert_eq!(done(&mut queue, a, ticket), Some(Ok(())));
}

#[test]
fn pieces_end_where_memory_is_not_contiguous() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    let source = Span::new(Memory::in_runs(0, 9000, 3000), 100, 8000).unwrap();
    let destination = Span::new(Memory::in_runs(1 << 32, 9000, 4500), 0, 8000).unwrap();
    submit(&mut queue, a, Operation::Copy(source, destination));
    let lengths: Vec<_> = drain(&mut queue).iter().step_by(2).map(|t| t.device.length()).collect();
    assert_eq!(lengths, [2900, 1600, 1400, 2100]);
    assert_eq!(lengths.iter().sum::<u64>(), 8000);

    let destination = Span::new(Memory::in_runs(0, 4096, 1024), 512, 2048).unwrap();
    let range = DeviceRange::new(1000, 2048).unwrap();
    submit(&mut queue, a, Operation::FromDevice(range, destination));
    let parts: Vec<_> =
        drain(&mut queue).iter().map(|t| (t.address, t.device.offset(), t.device.length())).collect();
    assert_eq!(parts, [(512, 1000, 512), (2048, 1512, 1024), (4096, 2536, 512)]);
}

#[test]
fn no_other_lane_comes_between_the_halves_of_a_piece() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    let (b, _) = lane(&mut queue);
    submit(&mut queue, a, copy(0x1_0000, 0x2_0000, 8192));
    submit(&mut queue, b, copy(0x3_0000, 0x4_0000, 8192));
    let order = addresses(&drain(&mut queue));
    assert_eq!(
        order,
        [0x1_0000, 0x2_0000, 0x3_0000, 0x4_0000, 0x1_1000, 0x2_1000, 0x3_1000, 0x4_1000]
    );
}

#[test]
fn turns_go_round_the_lanes() {
    let mut queue = open();
    let hog = lane(&mut queue).0;
    for n in 0..1024 {
        submit(&mut queue, hog, to_device(n, 1));
    }
    assert_eq!(queue.start().unwrap().address, 0);
    let late = lane(&mut queue).0;
    submit(&mut queue, late, to_device(0xffff, 1));
    queue.finish();
    // The hog has just had its turn.
    let order = addresses(&drain(&mut queue));
    assert_eq!(order[..3], [0xffff, 1, 2]);
    assert_eq!(order.len(), 1024);
}

#[test]
fn lanes_that_come_later_are_served_in_their_order() {
    let mut queue = open();
    let lanes: Vec<_> = (0..4).map(|_| lane(&mut queue).0).collect();
    for _ in 0..3 {
        submit(&mut queue, lanes[0], to_device(0, 1));
        submit(&mut queue, lanes[1], to_device(1, 1));
    }
    queue.start().unwrap();
    for n in [2, 3] {
        submit(&mut queue, lanes[n], to_device(n as u64, 1));
        submit(&mut queue, lanes[n], to_device(n as u64, 1));
    }
    queue.finish();
    assert_eq!(addresses(&drain(&mut queue)), [1, 2, 3, 0, 1, 2, 3, 0, 1]);
}

#[test]
fn shares_of_many_lanes_are_equal() {
    let mut queue = open();
    let lanes: Vec<_> = (0..37).map(|_| lane(&mut queue).0).collect();
    for (n, &id) in lanes.iter().enumerate() {
        for _ in 0..10 + n {
            submit(&mut queue, id, to_device(n as u64, 1));
        }
    }
    let mut shares: HashMap<u64, u64> = HashMap::new();
    for transfer in &drain(&mut queue)[..37 * 10] {
        *shares.entry(transfer.address).or_default() += 1;
    }
    assert!(shares.values().all(|&share| share == 10), "{shares:?}");
}

#[test]
fn whoever_gives_up_leaves_the_memory_with_the_engine() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    let memory = Memory::new(0x1000, 16);
    let span = Span::new(memory.clone(), 0, 16).unwrap();
    let operation = Operation::FromDevice(DeviceRange::new(0, 16).unwrap(), span);
    let ticket = submit(&mut queue, a, operation);
    queue.start().unwrap();
    assert!(matches!(queue.give_up(a, ticket), GivenUp::Begun));
    assert_eq!(memory.holders(), 2);
    assert!(!queue.has_orphans());
    queue.finish();
    assert!(queue.has_orphans());
    assert_eq!(memory.holders(), 2);
    drop(queue.take_orphans());
    assert_eq!(memory.holders(), 1);
}

#[test]
fn what_has_not_begun_comes_back_at_once() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    submit(&mut queue, a, to_device(1, 1));
    let second = submit(&mut queue, a, to_device(2, 1));
    submit(&mut queue, a, to_device(3, 1));
    queue.start().unwrap();
    assert!(matches!(queue.give_up(a, second), GivenUp::Waiting(_)));
    queue.finish();
    assert_eq!(addresses(&drain(&mut queue)), [3]);
}

#[test]
fn a_lane_that_has_given_all_up_has_no_turn() {
    let mut queue = open();
    let lanes: Vec<_> = (0..5).map(|_| lane(&mut queue).0).collect();
    let tickets: Vec<_> =
        lanes.iter().map(|&id| submit(&mut queue, id, to_device(7, 1))).collect();
    for n in [2, 0, 4] {
        assert!(matches!(queue.give_up(lanes[n], tickets[n]), GivenUp::Waiting(_)));
    }
    assert_eq!(drain(&mut queue).len(), 2);
}

#[test]
fn giving_up_between_the_halves_stops_there() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    let ticket = submit(&mut queue, a, copy(0x1000, 0x2000, 4096));
    assert_eq!(queue.start().unwrap().address, 0x1000);
    assert!(matches!(queue.give_up(a, ticket), GivenUp::Begun));
    queue.finish();
    assert!(queue.start().is_none(), "nobody wants the second half");
    assert!(queue.has_orphans());
}

#[test]
fn a_removed_lane_takes_its_requests_along() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    let (b, _) = lane(&mut queue);
    let memory = Memory::new(0x1000, 4096);
    for _ in 0..3 {
        let span = Span::new(memory.clone(), 0, 4096).unwrap();
        submit(&mut queue, a, Operation::ToDevice(span, DeviceRange::WHOLE));
    }
    submit(&mut queue, b, to_device(0xb, 1));
    queue.start().unwrap();
    drop(queue.remove_lane(a));
    // The one that runs is with the engine.
    assert_eq!(memory.holders(), 2);
    queue.finish();
    assert_eq!(addresses(&drain(&mut queue)), [0xb]);
    drop(queue.take_orphans());
    assert_eq!(memory.holders(), 1);
    // The number is used again, and has nothing of the one before.
    let (again, waker) = lane(&mut queue);
    assert_eq!(again, a);
    submit(&mut queue, again, to_device(0xc, 1));
    assert_eq!(addresses(&drain(&mut queue)), [0xc]);
    assert_eq!(waker.0.get(), 1);
}

#[test]
fn a_closed_queue_answers_everyone() {
    let mut queue = open();
    let (a, woken_a) = lane(&mut queue);
    let (b, woken_b) = lane(&mut queue);
    let running = submit(&mut queue, a, copy(0x1000, 0x2000, 4096));
    let waiting = submit(&mut queue, b, to_device(0xb, 1));
    queue.start().unwrap();
    queue.close(ENODEV);
    assert!(woken_a.0.get() > 0 && woken_b.0.get() > 0);
    assert_eq!(done(&mut queue, a, running), Some(Err(ENODEV)));
    assert_eq!(done(&mut queue, b, waiting), Some(Err(ENODEV)));
    let job = Job::new(Request::new(to_device(1, 1), User(0))).unwrap();
    assert!(matches!(queue.submit(a, job), Err((error, _)) if error == ENODEV));
    // The transfer that runs is still the engine's, and nothing follows it.
    assert!(queue.is_busy());
    queue.finish();
    assert!(queue.start().is_none());
    assert!(queue.has_orphans());
}

#[test]
fn closing_between_the_pieces_starts_no_other() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    let ticket = submit(&mut queue, a, copy(0x1000, 0x9000, 3 * 4096));
    queue.start().unwrap();
    queue.finish();
    queue.start().unwrap();
    queue.close(ENODEV);
    queue.finish();
    assert!(queue.start().is_none());
    assert_eq!(done(&mut queue, a, ticket), Some(Err(ENODEV)));
}

#[test]
fn a_new_queue_takes_nothing_until_it_is_opened() {
    let mut queue = TestQueue::new();
    let (a, _) = lane(&mut queue);
    let job = Job::new(Request::new(to_device(1, 1), User(0))).unwrap();
    assert!(matches!(queue.submit(a, job), Err((error, _)) if error == ENODEV));
}

#[test]
fn a_transfer_that_does_not_end_fails_but_stays_with_the_engine() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    let (b, _) = lane(&mut queue);
    let memory = Memory::new(0x1000, 16);
    let span = Span::new(memory.clone(), 0, 16).unwrap();
    let range = DeviceRange::new(0, 16).unwrap();
    let stuck = submit(&mut queue, a, Operation::FromDevice(range, span));
    let behind = submit(&mut queue, b, to_device(2, 1));
    queue.start().unwrap();
    assert!(queue.overdue());
    assert!(!queue.overdue(), "said once");
    assert_eq!(done(&mut queue, a, stuck), Some(Err(ETIMEDOUT)));
    assert_eq!(done(&mut queue, b, behind), Some(Err(EIO)));
    assert_eq!(memory.holders(), 2);
    assert!(queue.start().is_none());
    let job = Job::new(Request::new(to_device(1, 1), User(0))).unwrap();
    assert!(matches!(queue.submit(b, job), Err((error, _)) if error == EIO));
    // It ends after all.
    queue.finish();
    drop(queue.take_orphans());
    assert_eq!(memory.holders(), 1);
    // What it did to the device memory is unknown: nobody may see that.
    let after = submit(&mut queue, b, from_device(3, 0, 1));
    assert_eq!(addresses(&drain(&mut queue)), [ZEROS, 3]);
    assert_eq!(done(&mut queue, b, after), Some(Ok(())));
}

#[test]
fn another_user_sees_zeros() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    let (b, _) = lane(&mut queue);
    // Fresh device memory is zeros: nothing to scrub.
    submit_as(&mut queue, a, from_device(1, 0, 4096), 1000);
    submit_as(&mut queue, a, to_device(2, 8), 1000);
    submit_as(&mut queue, a, from_device(3, 0, 4096), 1000);
    assert_eq!(addresses(&drain(&mut queue)), [1, 2, 3]);
    // A read by another one, and then one by the first, who finds zeros too: all is gone.
    submit_as(&mut queue, b, from_device(4, 0, 8), 1001);
    assert_eq!(addresses(&drain(&mut queue)), [ZEROS, 4]);
    submit_as(&mut queue, a, from_device(5, 0, 8), 1000);
    assert_eq!(addresses(&drain(&mut queue)), [5]);
    // A partial write by another one must not show the rest to the writer.
    submit_as(&mut queue, a, to_device(6, 4096), 1000);
    submit_as(&mut queue, b, to_device(7, 4095), 1001);
    submit_as(&mut queue, b, from_device(8, 0, 4096), 1001);
    let order = drain(&mut queue);
    // Lanes take turns; what matters is that a scrub is between the first write and the second.
    assert_eq!(addresses(&order), [6, ZEROS, 7, 8]);
    assert_eq!((order[1].direction, order[1].device), (Direction::ToDevice, DeviceRange::WHOLE));
    // A whole write needs no scrub.
    submit_as(&mut queue, a, to_device(9, 4096), 1000);
    assert_eq!(addresses(&drain(&mut queue)), [9]);
}

#[test]
fn nobody_sees_what_a_copy_has_left_of_two_users() {
    let (a, b, c) = (User(1), User(2), User(3));
    let read = Access::Transfer(Direction::FromDevice, DeviceRange::new(0, 1).unwrap());
    let part = Access::PassThrough(DeviceRange::new(0, 100).unwrap());
    let whole = Access::PassThrough(DeviceRange::WHOLE);

    let mixed = Contents::Of(a).after(b, part);
    for user in [a, b, c] {
        assert!(mixed.needs_scrub(user, read));
    }
    assert_eq!(Contents::Of(a).after(b, whole), Contents::Of(b));
    assert_eq!(Contents::Of(a).after(a, part), Contents::Of(a));
    assert_eq!(Contents::Zeros.after(b, part), Contents::Of(b));
    assert!(Contents::Zeros.after(b, part).needs_scrub(a, read));
    assert_eq!(mixed.after(c, read), Contents::Zeros);
}

/// Whatever the queue does, no byte of one user ever comes to another: a model of the device memory in
/// which each byte knows whose it is.
#[test]
fn random_users_never_see_each_others_bytes() {
    let mut random = Random(1);
    for _ in 0..200 {
        let mut queue = open();
        let lanes: Vec<_> = (0..3).map(|_| lane(&mut queue).0).collect();
        let mut memory = vec![None; DEVICE_MEMORY_SIZE as usize];
        for _ in 0..60 {
            // The user stands in the address.
            let user = random.below(3);
            let address = (user + 1) << 32;
            let length = if random.below(3) == 0 { 4096 } else { 1 + random.below(4096) };
            let operation = match random.below(3) {
                0 => to_device(address, length),
                1 => from_device(address, random.below(4097 - length), length),
                _ => copy(address, address, 1 + random.below(9000)),
            };
            submit_as(&mut queue, lanes[random.below(3) as usize], operation, user as u32);
            if random.below(2) == 0 {
                continue;
            }
            while let Some(transfer) = queue.start() {
                let from = transfer.device.offset() as usize;
                let bytes = &mut memory[from..from + transfer.device.length() as usize];
                let user = Some(transfer.address >> 32);
                match transfer.direction {
                    Direction::ToDevice if transfer.address == ZEROS => bytes.fill(None),
                    Direction::ToDevice => bytes.fill(user),
                    Direction::FromDevice => {
                        assert!(bytes.iter().all(|byte| byte.is_none() || *byte == user))
                    }
                }
                queue.finish();
            }
        }
    }
}

#[test]
fn a_slab_uses_numbers_again_and_grows_apart() {
    let mut slab = Slab::new();
    assert!(slab.insert(0).is_err(), "no room was made");
    let mut model = HashMap::new();
    let mut random = Random(2);
    for n in 0..5000 {
        if let Some(capacity) = slab.wants() {
            drop(slab.grow(Room::new(capacity).unwrap()));
        }
        if random.below(3) > 0 {
            let next = slab.next();
            let number = slab.insert(n).unwrap();
            assert_eq!(number, next);
            assert!(model.insert(number, n).is_none());
        } else {
            let number = random.below(100) as usize;
            assert_eq!(slab.remove(number), model.remove(&number));
        }
        let number = random.below(2000) as usize;
        assert_eq!(slab.get(number), model.get(&number));
    }
    assert_eq!(slab.values_mut().count(), model.len());
}

#[test]
fn a_fifo_is_one() {
    let mut fifo = Fifo::new();
    let mut model = std::collections::VecDeque::new();
    let mut random = Random(3);
    for n in 0..10_000 {
        match random.below(5) {
            0 | 1 => {
                fifo.push_back(Entry::new(n).unwrap());
                model.push_back(n);
            }
            2 => {
                fifo.push_front(Entry::new(n).unwrap());
                model.push_front(n);
            }
            3 => assert_eq!(fifo.pop_front().map(|entry| *entry), model.pop_front()),
            _ => {
                let wanted = |value: &u64| value % 7 == random.0 % 7;
                let at = model.iter().position(wanted);
                let taken = fifo.take(wanted).map(|entry| *entry);
                assert_eq!(taken, at.and_then(|at| model.remove(at)));
            }
        }
        assert_eq!(fifo.is_empty(), model.is_empty());
    }
}

/// A xorshift generator: the same numbers each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}
