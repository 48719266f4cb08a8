// SPDX-License-Identifier: GPL-2.0

//! The hardware-free files of the driver, unchanged, with a model of the engine.

// Not all of it is used by each test.
#![allow(dead_code)]

#[path = "../../src"]
mod src {
    #[allow(unused_imports)] // What the driver uses beside.
    pub(crate) mod schedule;
    pub(crate) mod engines {
        pub(crate) mod edu {
            pub(crate) mod device_memory;
            pub(crate) mod plan;
        }
        pub(crate) mod ioat {
            pub(crate) mod plan;
        }
        pub(crate) mod plan;
        pub(crate) mod request;
        pub(crate) mod transfer;
    }
    pub(crate) mod kernel_ext {
        pub(crate) mod collections;
        pub(crate) mod gfp {
            pub(crate) use kernel::prelude::GFP_ACCOUNT_MAYFAIL;
        }
    }
}
#[path = "queue/requests.rs"]
mod requests;
#[path = "queue/turns.rs"]
mod turns;
#[path = "queue/users.rs"]
mod users;
#[path = "queue/submitted.rs"]
mod submitted;
#[path = "queue/ring.rs"]
mod ring;
#[path = "queue/power.rs"]
mod power;
#[path = "queue/deep.rs"]
mod deep;
#[path = "queue/ioat.rs"]
mod ioat;
#[path = "queue/model.rs"]
mod model;
#[path = "queue/collections.rs"]
mod collections;

// At the path that the driver has.
use src::{engines, kernel_ext, schedule};

use engines::edu::{
    device_memory::{Access, Contents, SIZE, WHOLE},
    plan::EduPlan,
};
use kernel::prelude::*;
use kernel_ext::collections::fifo::{Entry, Fifo};
use schedule::{
    Answer, Cancellation, RequestWaiter, Change, Flight, AbandonedWait, Growth, Job, Lane, LaneCursor, LaneId, Notice, LaneOwner, Queue, QueueTypes, WaiterId, UserId,
    LANE_DEPTH,
};
use engines::request::{Backing, Operation, Request, Span, Uid};
use kernel_ext::collections::id_map::{IdMap, IdMapGrowth};
use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    rc::Rc,
};
use engines::transfer::{DeviceRange, DeviceTransfer, Direction, DirectTransfer, Transfer};

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

    type Deferred = Self;

    fn ended(&mut self) {}

    fn release(&mut self, deferred: &mut Fifo<Self>) {
        let released = std::mem::replace(self, Self::new(0, 0));
        if released.holders() == 1 {
            deferred.push_back(Entry::new(released).unwrap());
        }
    }
}

struct Test;

impl QueueTypes for Test {
    type Request = Request<Memory>;
    type Plan = EduPlan;
    type Owner = Waker;
    type Waiter = Answered;
    type Ring = ring::Memory;
}

type TestQueue = Queue<Test>;
type TestJob = Job<Test>;

/// The owner of a lane: how many completions it has seen, and the changes that it was notified of.
#[derive(Clone, Default)]
struct Waker {
    completed: Rc<Cell<usize>>,
    changes: Rc<RefCell<Vec<(Change, usize)>>>,
}

impl Waker {
    fn completed(&self) -> usize {
        self.completed.get()
    }

    /// The changes since the last call.
    fn changes(&self) -> Vec<(Change, usize)> {
        self.changes.take()
    }
}

impl LaneOwner<Test> for Waker {
    type Notice = (Self, Change, usize);

    fn completed(&self, _: &TestJob) {
        self.completed.set(self.completed.get() + 1);
    }

    fn notice(&self, change: Change, completed: usize) -> Self::Notice {
        (self.clone(), change, completed)
    }
}

/// A thread or a command that waits for one request.
#[derive(Clone, Default)]
struct Answered {
    answer: Rc<RefCell<Option<Answer<Test>>>>,
    woken: Rc<Cell<bool>>,
    is_command: bool,
}

impl RequestWaiter<Test> for Answered {
    fn is_thread(&self) -> bool {
        !self.is_command
    }

    fn answer(&self, answer: Answer<Test>) {
        assert!(self.answer.borrow_mut().replace(answer).is_none(), "answered twice");
    }
}

/// Does what the driver does after releasing the lock.
fn deliver(notice: Option<Notice<Test>>) {
    match notice {
        Some(Notice::Lane((waker, change, completed))) => waker.changes.borrow_mut().push((change, completed)),
        Some(Notice::Waiter(waiter)) => waiter.woken.set(true),
        None => {}
    }
}

/// What the driver of an engine of depth 1 does.
trait OneSlot {
    fn start(&mut self) -> Option<DeviceTransfer>;
}

impl OneSlot for TestQueue {
    fn start(&mut self) -> Option<DeviceTransfer> {
        let issue = self.issue()?;
        assert_eq!(issue.slot, 0);
        Some(device(issue.transfer))
    }
}

/// The transfer of an engine with device memory.
fn device(transfer: Transfer) -> DeviceTransfer {
    match transfer {
        Transfer::Device(transfer) => transfer,
        Transfer::Direct(_) => panic!("edu has no such transfers"),
    }
}

fn finish(queue: &mut TestQueue) {
    finish_with(queue, Ok(()));
    complete_cancelled(queue);
}

fn finish_with(queue: &mut TestQueue, transferred: Result) {
    let ended = queue.finish(transferred, 0);
    deliver(queue.notice_of(ended));
}

/// What a kernel thread does after a request with linked requests has failed.
fn complete_cancelled(queue: &mut TestQueue) {
    while queue.has_cancelled() {
        deliver(queue.complete_cancelled().notice);
    }
}

fn free_reserved(queue: &mut TestQueue, lane: LaneId, room: usize) {
    deliver(queue.free_reserved(lane, room));
}

fn free_room(queue: &mut TestQueue, lane: LaneId, room: usize) {
    deliver(queue.free_room(lane, room));
}

/// A request that a thread waits for.
struct Call(Answered, WaiterId);

fn open() -> TestQueue {
    let mut queue = TestQueue::new();
    queue.open(EduPlan::new(ZEROS), Flight::new(1, u64::MAX).unwrap());
    queue
}

/// Allocates room for one more user and one more lane.
fn grow(queue: &mut TestQueue) {
    if let Some(request) = queue.grow_request() {
        drop(queue.grow(Growth::new(request).unwrap()));
    }
}

fn user(queue: &mut TestQueue) -> UserId {
    grow(queue);
    queue.add_user().unwrap()
}

/// A lane of a new user.
fn lane(queue: &mut TestQueue) -> (LaneId, Waker) {
    let user = user(queue);
    lane_of(queue, user)
}

fn lane_of(queue: &mut TestQueue, user: UserId) -> (LaneId, Waker) {
    grow(queue);
    let waker = Waker::default();
    let lane = KBox::new(Lane::new(waker.clone()), GFP_KERNEL).unwrap();
    let id = queue.add_lane(user, lane).ok().unwrap();
    (id, waker)
}

fn to_device(address: u64, length: u64) -> Operation<Memory> {
    let span = Span::new(Memory::new(address, length), 0, length).unwrap();
    Operation::ToDevice(span, DeviceRange::new(0, length, SIZE).unwrap())
}

fn from_device(address: u64, offset: u64, length: u64) -> Operation<Memory> {
    let span = Span::new(Memory::new(address, length), 0, length).unwrap();
    Operation::FromDevice(DeviceRange::new(offset, length, SIZE).unwrap(), span)
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
    let waiter = Answered::default();
    let mut jobs = Fifo::new();
    let mut job = Job::blank().unwrap();
    job.fill_waited(Request::new(operation, Uid(user)), 0, waiter.clone(), 0);
    jobs.push_back(job);
    let id = queue.submit_waited(lane, &mut jobs)?;
    assert!(jobs.is_empty());
    Ok(Call(waiter, id))
}

/// Closes the queue, and fails what waits.
fn close(queue: &mut TestQueue) {
    queue.close();
    fail_waiting(queue);
}

fn fail_waiting(queue: &mut TestQueue) {
    let mut cursor = LaneCursor::default();
    loop {
        let step = queue.fail_batch(&mut cursor);
        deliver(step.notice);
        if !step.more {
            return;
        }
    }
}

/// Whether this call times out the running request.
fn time_out(queue: &mut TestQueue, completion: &mut Option<Entry<TestJob>>) -> bool {
    let step = queue.time_out(completion);
    deliver(step.notice);
    step.more
}

/// What the driver does with the running request when the device is removed.
fn abort(queue: &mut TestQueue) {
    let active = queue.take_active().unwrap();
    deliver(queue.fail_taken(active, 0));
}

/// Executes all queued requests, and returns the transfers in order.
fn drain(queue: &mut TestQueue) -> Vec<DeviceTransfer> {
    let mut transfers = Vec::new();
    while let Some(transfer) = queue.start() {
        assert!(queue.is_busy());
        assert!(queue.start().is_none(), "the engine does one transfer at a time");
        transfers.push(transfer);
        finish(queue);
    }
    transfers
}

fn addresses(transfers: &[DeviceTransfer]) -> Vec<u64> {
    transfers.iter().map(|transfer| transfer.address).collect()
}

fn done(call: &Call) -> Option<Result> {
    let answer = call.0.answer.take();
    assert_eq!(answer.is_some(), call.0.woken.get(), "woken with the answer, and not without");
    answer.map(|answer| match answer {
        Answer::Ended(job) => job.outcome(),
        Answer::Failed(error) => Err(error),
    })
}

/// Submits a batch: operation, cookie, and whether the request is linked to the previous one.
fn batch(
    queue: &mut TestQueue,
    lane: LaneId,
    requests: impl IntoIterator<Item = (Operation<Memory>, u64, bool)>,
) -> Result {
    let mut jobs = Fifo::new();
    for (operation, cookie, linked) in requests {
        let mut job = Job::blank().unwrap();
        job.fill(Request::new(operation, Uid(0)), cookie, linked, 0);
        jobs.push_back(job);
    }
    deliver(queue.free_collected(lane));
    while let Some(job) = queue.take_blank(lane).pop_front() {
        assert!(job.request().is_none());
    }
    assert_eq!(queue.reserve(lane, jobs.len()), jobs.len());
    let count = jobs.len();
    queue.submit(lane, &mut jobs).inspect_err(|_| free_reserved(queue, lane, count))
}

/// Completions as (cookie, bytes, outcome).
fn collect(queue: &mut TestQueue, lane: LaneId, most: usize) -> Vec<(u64, u64, Result)> {
    let mut all = Vec::new();
    loop {
        let mut some = queue.collect(lane, most - all.len());
        if some.is_empty() {
            free_room(queue, lane, all.len());
            return all;
        }
        while let Some(job) = some.pop_front() {
            all.push((job.cookie(), job.bytes(), job.outcome()));
        }
        assert!(all.len() <= most);
    }
}

fn cancel(queue: &mut TestQueue, lane: LaneId, cookie: Option<u64>) -> (usize, bool) {
    let mut scan = queue.begin_cancel(lane, cookie, false).unwrap();
    while cancel_step(queue, lane, &mut scan) {}
    complete_cancelled(queue);
    (scan.cancelled, scan.was_in_flight)
}

fn cancel_step(queue: &mut TestQueue, lane: LaneId, scan: &mut Cancellation) -> bool {
    let step = queue.cancel_step(lane, scan);
    deliver(step.notice);
    step.more
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
