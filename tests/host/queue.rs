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
    pub(crate) mod stats;
    pub(crate) mod transfer;
    pub(crate) mod kernel_ext {
        pub(crate) mod fifo;
    }
}
// Where the driver has them.
use src::{device_memory, kernel_ext, queue, request, slab, stats, transfer};

use device_memory::{Access, Contents, User};
use kernel::prelude::*;
use kernel_ext::fifo::{Entry, Fifo};
use queue::{Answer, Caller, GivenUp, Job, Lane, LaneId, Owner, Queue, Ticket, Types, Walk, DEPTH};
use request::{Backing, Operation, Request, Span};
use slab::{Room, Slab};
use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    rc::Rc,
};
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

    fn ended(&mut self) {}
}

struct Test;

impl Types for Test {
    type Request = Request<Memory>;
    type Owner = Waker;
    type Caller = Answered;
}

type TestQueue = Queue<Test>;
type TestJob = Job<Test>;

/// The owner of a lane: how often it was told of a completion, and of anything at all.
#[derive(Clone, Default)]
struct Waker(Rc<Cell<usize>>, Rc<Cell<usize>>);

impl Owner<Test> for Waker {
    fn completed(&self, _: &TestJob) {
        self.0.set(self.0.get() + 1);
        self.changed();
    }

    fn changed(&self) {
        self.1.set(self.1.get() + 1);
    }
}

/// Whoever waits for one request.
#[derive(Clone, Default)]
struct Answered(Rc<RefCell<Option<Answer<Test>>>>);

impl Caller<Test> for Answered {
    fn answer(self, answer: Answer<Test>) {
        assert!(self.0.borrow_mut().replace(answer).is_none(), "answered twice");
    }
}

/// A request that somebody waits for.
struct Call(Answered, Ticket);

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
    let lane = KBox::new(Lane::new(waker.clone()), GFP_KERNEL).unwrap();
    let id = queue.add_lane(lane).ok().unwrap();
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

fn submit(queue: &mut TestQueue, lane: LaneId, operation: Operation<Memory>) -> Call {
    submit_as(queue, lane, operation, 0)
}

fn submit_as(queue: &mut TestQueue, lane: LaneId, operation: Operation<Memory>, user: u32) -> Call {
    try_submit(queue, lane, operation, user).unwrap()
}

fn try_submit(
    queue: &mut TestQueue,
    lane: LaneId,
    operation: Operation<Memory>,
    user: u32,
) -> Result<Call> {
    let caller = Answered::default();
    let mut jobs = Fifo::new();
    jobs.push_back(Job::called(Request::new(operation, User(user)), caller.clone(), 0).unwrap());
    let ticket = queue.call(lane, &mut jobs)?;
    assert!(jobs.is_empty());
    Ok(Call(caller, ticket))
}

/// Closes the queue, and fails what waits.
fn close(queue: &mut TestQueue, error: Error) {
    queue.close(error);
    fail_waiting(queue);
}

fn fail_waiting(queue: &mut TestQueue) {
    let mut walk = Walk::default();
    while queue.fail_some(&mut walk) {}
}

/// Does all that is queued, and returns the transfers in their order.
fn drain(queue: &mut TestQueue) -> Vec<Transfer> {
    let mut transfers = Vec::new();
    while let Some(transfer) = queue.start() {
        assert!(queue.is_busy());
        assert!(queue.start().is_none(), "the engine does one transfer at a time");
        transfers.push(transfer);
        queue.finish(0);
    }
    transfers
}

fn addresses(transfers: &[Transfer]) -> Vec<u64> {
    transfers.iter().map(|transfer| transfer.address).collect()
}

fn done(call: &Call) -> Option<Result> {
    call.0 .0.borrow_mut().take().map(|answer| match answer {
        Answer::Ended(job) => job.outcome(),
        Answer::Failed(error) => Err(error),
    })
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
    assert!(done(&ticket).is_none());
    let transfer = queue.start().unwrap();
    assert_eq!((transfer.address, transfer.device.offset(), transfer.device.length()), (0x1000, 0, 16));
    assert_eq!(transfer.direction, Direction::ToDevice);
    assert!(done(&ticket).is_none());
    queue.finish(0);
    assert_eq!(waker.0.get(), 0, "there is nothing to collect");
    assert_eq!(done(&ticket), Some(Ok(())));
    assert!(!queue.is_busy());
}

#[test]
fn finish_without_a_transfer_is_nothing() {
    let mut queue = open();
    queue.finish(0);
    let (a, _) = lane(&mut queue);
    submit(&mut queue, a, to_device(0x1000, 16));
    // A late interrupt between queueing and starting.
    queue.finish(0);
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
    assert_eq!(done(&ticket), Some(Ok(())));
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
    queue.finish(0);
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
    queue.finish(0);
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
    assert!(matches!(queue.give_up(a, ticket.1), GivenUp::Begun));
    assert_eq!(memory.holders(), 2);
    assert!(!queue.has_orphans());
    queue.finish(0);
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
    assert!(matches!(queue.give_up(a, second.1), GivenUp::Waiting(_)));
    queue.finish(0);
    assert_eq!(addresses(&drain(&mut queue)), [3]);
}

#[test]
fn a_lane_that_has_given_all_up_has_no_turn() {
    let mut queue = open();
    let lanes: Vec<_> = (0..5).map(|_| lane(&mut queue).0).collect();
    let tickets: Vec<_> =
        lanes.iter().map(|&id| submit(&mut queue, id, to_device(7, 1))).collect();
    for n in [2, 0, 4] {
        assert!(matches!(queue.give_up(lanes[n], tickets[n].1), GivenUp::Waiting(_)));
    }
    assert_eq!(drain(&mut queue).len(), 2);
}

#[test]
fn giving_up_between_the_halves_stops_there() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    let ticket = submit(&mut queue, a, copy(0x1000, 0x2000, 4096));
    assert_eq!(queue.start().unwrap().address, 0x1000);
    assert!(matches!(queue.give_up(a, ticket.1), GivenUp::Begun));
    queue.finish(0);
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
    queue.finish(0);
    assert_eq!(addresses(&drain(&mut queue)), [0xb]);
    drop(queue.take_orphans());
    assert_eq!(memory.holders(), 1);
    // The number is used again, and has nothing of the one before.
    let (again, waker) = lane(&mut queue);
    assert_eq!(again, a);
    submit(&mut queue, again, to_device(0xc, 1));
    assert_eq!(addresses(&drain(&mut queue)), [0xc]);
    assert_eq!(waker.0.get(), 0);
}

#[test]
fn a_closed_queue_answers_everyone() {
    let mut queue = open();
    let (a, woken_a) = lane(&mut queue);
    let (b, woken_b) = lane(&mut queue);
    let running = submit(&mut queue, a, copy(0x1000, 0x2000, 4096));
    let waiting = submit(&mut queue, b, to_device(0xb, 1));
    queue.start().unwrap();
    close(&mut queue, ENODEV);
    assert!(woken_a.1.get() > 0 && woken_b.1.get() > 0);
    assert_eq!(done(&running), Some(Err(ENODEV)));
    assert_eq!(done(&waiting), Some(Err(ENODEV)));
    assert_eq!(try_submit(&mut queue, a, to_device(1, 1), 0).err(), Some(ENODEV));
    // The transfer that runs is still the engine's, and nothing follows it.
    assert!(queue.is_busy());
    queue.finish(0);
    assert!(queue.start().is_none());
    assert!(queue.has_orphans());
}

#[test]
fn closing_between_the_pieces_starts_no_other() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    let ticket = submit(&mut queue, a, copy(0x1000, 0x9000, 3 * 4096));
    queue.start().unwrap();
    queue.finish(0);
    queue.start().unwrap();
    close(&mut queue, ENODEV);
    queue.finish(0);
    assert!(queue.start().is_none());
    assert_eq!(done(&ticket), Some(Err(ENODEV)));
}

#[test]
fn a_new_queue_takes_nothing_until_it_is_opened() {
    let mut queue = TestQueue::new();
    let (a, _) = lane(&mut queue);
    assert_eq!(try_submit(&mut queue, a, to_device(1, 1), 0).err(), Some(ENODEV));
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
    assert!(queue.overdue(&mut None));
    assert!(!queue.overdue(&mut None), "said once");
    fail_waiting(&mut queue);
    assert_eq!(done(&stuck), Some(Err(ETIMEDOUT)));
    assert_eq!(done(&behind), Some(Err(EIO)));
    assert_eq!(memory.holders(), 2);
    assert!(queue.start().is_none());
    assert_eq!(try_submit(&mut queue, b, to_device(1, 1), 0).err(), Some(EIO));
    // It ends after all.
    queue.finish(0);
    drop(queue.take_orphans());
    assert_eq!(memory.holders(), 1);
    // What it did to the device memory is unknown: nobody may see that.
    let after = submit(&mut queue, b, from_device(3, 0, 1));
    assert_eq!(addresses(&drain(&mut queue)), [ZEROS, 3]);
    assert_eq!(done(&after), Some(Ok(())));
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
                queue.finish(0);
            }
        }
    }
}

/// Submits a batch: for each, its operation, its cookie, and whether it is linked to the one before.
fn batch(
    queue: &mut TestQueue,
    lane: LaneId,
    requests: impl IntoIterator<Item = (Operation<Memory>, u64, bool)>,
) -> Result {
    let mut jobs = Fifo::new();
    for (operation, cookie, linked) in requests {
        jobs.push_back(Job::submitted(Request::new(operation, User(0)), cookie, linked, 0).unwrap());
    }
    assert_eq!(queue.reserve(lane, jobs.len()), jobs.len());
    let count = jobs.len();
    queue.submit(lane, &mut jobs).inspect_err(|_| queue.release(lane, count))
}

/// Completions as (cookie, bytes, outcome).
fn collect(queue: &mut TestQueue, lane: LaneId, most: usize) -> Vec<(u64, u64, Result)> {
    let mut all = Vec::new();
    loop {
        let mut some = queue.collect(lane, most - all.len());
        if some.is_empty() {
            queue.release(lane, all.len());
            return all;
        }
        while let Some(job) = some.pop_front() {
            all.push((job.cookie(), job.bytes(), job.outcome()));
        }
        assert!(all.len() <= most);
    }
}

fn cancel(queue: &mut TestQueue, lane: LaneId, cookie: Option<u64>) -> (usize, bool) {
    let mut search = queue.search(lane, cookie).unwrap();
    while queue.search_some(lane, &mut search) {}
    (search.cancelled, search.begun)
}

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
fn while_paused_all_waits_and_nothing_starts() {
    let mut queue = open();
    let (a, waker) = lane(&mut queue);
    let (b, _) = lane(&mut queue);
    batch(&mut queue, a, (0..3).map(|n| (to_device(n, 1), n, false))).unwrap();
    assert_eq!(queue.start().unwrap().address, 0);
    queue.pause();
    // What the engine has ends, and is told.
    queue.finish(0);
    assert_eq!(collect(&mut queue, a, 9), [(0, 1, Ok(()))]);
    assert!(queue.start().is_none());
    assert!(!queue.is_busy());
    // What comes new is taken.
    let call = submit(&mut queue, b, to_device(9, 1));
    batch(&mut queue, a, [(to_device(3, 1), 3, false)]).unwrap();
    assert!(queue.start().is_none());
    assert_eq!((queue.load(a).waiting, queue.load(b).waiting), (3, 1));
    assert_eq!(queue.refuses(), None);
    assert_eq!(waker.0.get(), 1);
    // Cancelling works, and so does giving up.
    assert_eq!(cancel(&mut queue, a, Some(2)), (1, false));
    assert!(matches!(queue.give_up(b, call.1), GivenUp::Waiting(_)));
    queue.resume();
    assert_eq!(addresses(&drain(&mut queue)), [1, 3]);
    let cookies: Vec<_> = collect(&mut queue, a, 9).iter().map(|c| c.0).collect();
    assert_eq!(cookies, [2, 1, 3]);
}

#[test]
fn a_pause_between_the_halves_lets_nobody_between() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    let (b, _) = lane(&mut queue);
    let ticket = submit(&mut queue, a, copy(0x1000, 0x2000, 4096));
    submit(&mut queue, b, to_device(0xb, 1));
    assert_eq!(queue.start().unwrap().address, 0x1000);
    queue.pause();
    queue.finish(0);
    assert!(queue.start().is_none());
    assert!(done(&ticket).is_none());
    queue.resume();
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
    queue.finish(0);
    close(&mut queue, ENODEV);
    queue.resume();
    assert!(queue.start().is_none(), "not even the second half");
    let running = queue.take_running().unwrap();
    queue.abort(running, 0);
    let outcomes: Vec<_> = collect(&mut queue, a, 9).iter().map(|c| (c.0, c.2)).collect();
    assert_eq!(outcomes, [(2, Err(ENODEV)), (1, Err(ENODEV))]);
}

/// What was sent to the device memory before it was lost is not taken for granted.
#[test]
fn a_lost_device_memory_is_scrubbed_and_a_piece_is_done_anew() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    // A copy between its halves.
    submit(&mut queue, a, copy(0x1000, 0x2000, 4096));
    queue.start().unwrap();
    queue.pause();
    queue.finish(0);
    queue.forget();
    queue.resume();
    assert_eq!(addresses(&drain(&mut queue)), [0x1000, 0x2000]);
    // A read after its scrub.
    submit_as(&mut queue, a, from_device(3, 0, 8), 1001);
    assert_eq!(queue.start().unwrap().address, ZEROS);
    queue.pause();
    queue.finish(0);
    queue.forget();
    queue.resume();
    assert_eq!(addresses(&drain(&mut queue)), [ZEROS, 3]);
    // A reader's own bytes.
    submit_as(&mut queue, a, to_device(4, 4096), 1001);
    drain(&mut queue);
    queue.forget();
    submit_as(&mut queue, a, from_device(5, 0, 8), 1001);
    assert_eq!(addresses(&drain(&mut queue)), [ZEROS, 5]);
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

/// A context as the header describes it, in the simplest way: lists that are gone through.
#[derive(Default)]
struct Model {
    waiting: VecDeque<ModelRequest>,
    completed: VecDeque<(u64, u64, Result)>,
}

struct ModelRequest {
    cookie: u64,
    pieces: Vec<u64>,
    done: u64,
    linked: bool,
}

impl Model {
    /// Cancels what is called so, and what is linked to it.
    fn cancel(&mut self, cookie: Option<u64>, running: bool) -> (usize, bool) {
        let mut kept = VecDeque::new();
        let (mut cancelled, mut begun, mut broken) = (0, false, false);
        for (n, request) in self.waiting.drain(..).enumerate() {
            let wanted = cookie.is_none_or(|cookie| cookie == request.cookie);
            let has_begun = request.done > 0 || n == 0 && running;
            begun |= wanted && has_begun;
            broken = request.linked && broken || wanted && !has_begun;
            if broken {
                cancelled += 1;
                self.completed.push_back((request.cookie, 0, Err(ECANCELED)));
            } else {
                kept.push_back(request);
            }
        }
        self.waiting = kept;
        (cancelled, begun)
    }

    /// The engine has done a piece of the first request.
    fn piece(&mut self) {
        let request = self.waiting.front_mut().unwrap();
        request.done += request.pieces.remove(0);
        if request.pieces.is_empty() {
            let request = self.waiting.pop_front().unwrap();
            self.completed.push_back((request.cookie, request.done, Ok(())));
        }
    }
}

/// Random batches, links, cancellations, collections and pieces, against the model: the order of the
/// completions, cookies, bytes and outcomes.
#[test]
fn random_operations_do_as_the_model_does() {
    for seed in 1..=300 {
        let mut random = Random(seed * 0x9e37_79b9);
        let mut queue = open();
        let lanes: Vec<_> = (0..3).map(|_| lane(&mut queue).0).collect();
        let mut models: Vec<Model> = (0..3).map(|_| Model::default()).collect();
        let mut running: Option<usize> = None;
        let mut cookie = 0;
        for turn in 0..400u64 {
            let n = random.below(3) as usize;
            match random.below(10) {
                0..=2 => {
                    let mut linked = false;
                    let mut requests = Vec::new();
                    for _ in 0..1 + random.below(60) {
                        cookie += random.below(2);
                        let length = 1 + random.below(3 * 4096);
                        let pieces = (0..length.div_ceil(4096)).map(|at| (length - at * 4096).min(4096)).collect();
                        let address = (n as u64) << 40 | cookie << 20;
                        requests.push((copy(address, address, length), cookie, linked));
                        models[n].waiting.push_back(ModelRequest { cookie, pieces, done: 0, linked });
                        linked = random.below(3) == 0;
                    }
                    let outstanding = models[n].waiting.len() + models[n].completed.len();
                    if outstanding > DEPTH {
                        let waiting = &mut models[n].waiting;
                        waiting.truncate(waiting.len() - requests.len());
                    } else {
                        batch(&mut queue, lanes[n], requests).unwrap();
                    }
                }
                3 => {
                    let wanted = if random.below(4) == 0 { None } else { Some(cookie.saturating_sub(random.below(90))) };
                    let expected = models[n].cancel(wanted, running == Some(n));
                    assert_eq!(cancel(&mut queue, lanes[n], wanted), expected, "seed {seed}, turn {turn}");
                }
                4 => {
                    let most = random.below(80) as usize;
                    let count = most.min(models[n].completed.len());
                    let expected: Vec<_> = models[n].completed.drain(..count).collect();
                    assert_eq!(collect(&mut queue, lanes[n], most), expected, "seed {seed}, turn {turn}");
                }
                _ => {
                    if let Some(at) = running.take() {
                        queue.finish(0);
                        assert_eq!(queue.start().unwrap().direction, Direction::FromDevice);
                        queue.finish(0);
                        models[at].piece();
                    }
                    if random.below(4) == 0 {
                        queue.pause();
                        assert!(queue.start().is_none(), "seed {seed}, turn {turn}");
                        queue.resume();
                    }
                    let Some(transfer) = queue.start() else {
                        assert!(models.iter().all(|model| model.waiting.is_empty()));
                        continue;
                    };
                    let at = (transfer.address >> 40) as usize;
                    let first = models[at].waiting.front().unwrap();
                    assert_eq!(transfer.address, (at as u64) << 40 | (first.cookie << 20) + first.done);
                    assert_eq!(transfer.device.length(), first.pieces[0]);
                    running = Some(at);
                }
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
            let number = slab.insert(n).unwrap();
            assert!(number < slab.end());
            assert!(model.insert(number, n).is_none());
        } else {
            let number = random.below(100) as usize;
            assert_eq!(slab.remove(number), model.remove(&number));
        }
        let number = random.below(2000) as usize;
        assert_eq!(slab.get(number), model.get(&number));
    }
    assert_eq!(slab.len(), model.len());
}

#[test]
fn a_fifo_is_one() {
    let mut fifo = Fifo::new();
    let mut model = VecDeque::new();
    let mut random = Random(3);
    for n in 0..10_000 {
        match random.below(7) {
            5 => {
                let most = random.below(20) as usize;
                let mut taken = fifo.take_front(most);
                assert_eq!(taken.len(), most.min(model.len()));
                let taken_model = model.drain(..taken.len()).collect::<Vec<_>>();
                assert_eq!(taken.front_mut().copied(), taken_model.first().copied());
                if random.below(2) == 0 {
                    fifo.append(&mut taken);
                    model.extend(taken_model);
                } else {
                    taken.append(&mut fifo);
                    fifo = taken;
                    for n in taken_model.into_iter().rev() {
                        model.push_front(n);
                    }
                }
            }
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
        assert_eq!(fifo.len(), model.len());
        assert!(fifo.iter().eq(model.iter()));
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
