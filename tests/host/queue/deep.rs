// SPDX-License-Identifier: GPL-2.0

//! Engines with several slots, copies without a device memory, several segments a transfer, and transfers that fail or are aborted.

use super::*;
use engines::plan::{self, Cut, SchedulableRequest};
use schedule::Step;

/// A run of bytes that one transfer copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    from: u64,
    to: u64,
    length: u64,
}

/// Divides copies for an engine that does them directly, in up to `segments` runs per transfer.
struct Direct {
    quantum: u64,
    largest: u64,
    segments: usize,
    /// The cost of a transfer in addition to its bytes.
    overhead: u64,
}

impl plan::Plan<Request<Memory>> for Direct {
    type Transfer = Vec<Segment>;
    type Stage = ();

    fn quantum(&self) -> u64 {
        self.quantum
    }

    fn cut(&mut self, request: &Request<Memory>, issued: u64, _: &mut (), most: u64) -> Option<Cut<Vec<Segment>>> {
        let Operation::Copy(source, destination) = request.operation() else {
            panic!("an engine without memory");
        };
        let most = most.saturating_sub(self.overhead).clamp(1, self.largest);
        let (mut segments, mut moves) = (Vec::new(), 0);
        while segments.len() < self.segments && issued + moves < request.length() && moves < most {
            let (from, readable) = source.bus(issued + moves);
            let (to, writable) = destination.bus(issued + moves);
            let length = readable.min(writable).min(most - moves);
            segments.push(Segment { from, to, length });
            moves += length;
        }
        (moves > 0).then_some(Cut {
            transfer: segments,
            moves,
            completes: moves,
            cost: moves + self.overhead,
            ends_piece: true,
        })
    }

    fn invalidate(&mut self) {}
}

struct Deep;

impl QueueTypes for Deep {
    type Request = Request<Memory>;
    type Plan = Direct;
    type Owner = Noticed;
    type Waiter = Waits;
    type Ring = ring::Memory;
}

/// The owner of a lane: the number of completions in the last notice that was delivered.
#[derive(Clone, Default)]
struct Noticed(Rc<Cell<usize>>);

impl LaneOwner<Deep> for Noticed {
    type Notice = (Self, usize);
    fn completed(&self, _: &Job<Deep>) {}
    fn notice(&self, _: Change, completed: usize) -> Self::Notice {
        (self.clone(), completed)
    }
}

/// A thread or a command that waits for one request.
#[derive(Clone, Default)]
struct Waits {
    outcome: Rc<RefCell<Option<Result>>>,
    woken: Rc<Cell<bool>>,
    is_command: bool,
}

impl RequestWaiter<Deep> for Waits {
    fn is_thread(&self) -> bool {
        !self.is_command
    }

    fn answer(&self, answer: Answer<Deep>) {
        let outcome = match answer {
            Answer::Ended(job) => job.outcome(),
            Answer::Failed(error) => Err(error),
        };
        assert!(self.outcome.borrow_mut().replace(outcome).is_none(), "answered twice");
    }
}

/// Wakes the waiter of a notice, or records that of a lane.
fn deliver(notice: Option<Notice<Deep>>) {
    match notice {
        Some(Notice::Waiter(waiter)) => assert!(!waiter.woken.replace(true), "woken twice"),
        Some(Notice::Lane((noticed, completed))) => noticed.0.set(completed),
        None => {}
    }
}

/// Whether this call times out a request.
fn time_out(queue: &mut Queue<Deep>) -> bool {
    let step = queue.time_out(&mut Some(Job::blank().unwrap()));
    deliver(step.notice);
    step.more
}

/// A request, as the test records it.
struct Asked {
    lane: usize,
    length: u64,
    linked: bool,
    moved: u64,
    /// The previous one in its lane.
    before: Option<usize>,
    outcome: Option<Result>,
    /// The thread or command that waits for it, and its id.
    call: Option<(Waits, WaiterId)>,
    abandoned: bool,
    /// It was cancelled when the engine had begun it.
    cancelled: bool,
    /// It was among those to be cancelled.
    to_cancel: bool,
}

/// A queue, its engine, and the recorded requests. The addresses of a request contain its number.
struct Machine {
    queue: Queue<Deep>,
    depth: usize,
    /// Requests that have begun can be cancelled.
    cancels_in_flight: bool,
    lanes: Vec<LaneId>,
    noticed: Vec<Noticed>,
    /// The transfers of the engine, in order: slot, transfer.
    posted: VecDeque<(usize, Vec<Segment>)>,
    next_slot: Option<usize>,
    asked: Vec<Asked>,
    last: Vec<Option<usize>>,
    /// Bytes that the engine has moved for each lane.
    served: Vec<u64>,
}

impl Machine {
    fn new(depth: usize, plan: Direct, lanes: usize) -> Self {
        let mut queue = Queue::<Deep>::new();
        queue.open(plan, Flight::new(depth, u64::MAX).unwrap());
        let noticed: Vec<_> = (0..lanes).map(|_| Noticed::default()).collect();
        let lanes: Vec<_> = noticed
            .iter()
            .map(|noticed| {
                for _ in 0..2 {
                    if let Some(request) = queue.grow_request() {
                        drop(queue.grow(Growth::new(request).unwrap()));
                    }
                }
                let user = queue.add_user().unwrap();
                queue.add_lane(user, KBox::new(Lane::new(noticed.clone()), GFP_KERNEL).unwrap()).ok().unwrap()
            })
            .collect();
        Self {
            queue,
            depth,
            cancels_in_flight: false,
            posted: VecDeque::new(),
            next_slot: None,
            asked: Vec::new(),
            last: vec![None; lanes.len()],
            served: vec![0; lanes.len()],
            lanes,
            noticed,
        }
    }

    /// A copy of this many bytes, in runs; its addresses contain its number.
    fn job(&mut self, lane: usize, length: u64, run: u64, linked: bool, call: Option<Waits>) -> Entry<Job<Deep>> {
        let number = self.asked.len();
        let base = (number as u64 + 1) << 32;
        let memory = |at| Span::new(Memory::in_runs(base | at, length, run), 0, length).unwrap();
        let request = Request::new(Operation::Copy(memory(0), memory(1 << 31)), Uid(0));
        let mut job = Job::blank().unwrap();
        match &call {
            Some(call) => job.fill_waited(request, number as u64, call.clone(), 0),
            None => job.fill(request, number as u64, linked, 0),
        }
        self.asked.push(Asked {
            lane,
            length,
            linked,
            moved: 0,
            before: self.last[lane].replace(number),
            outcome: None,
            call: None,
            abandoned: false,
            cancelled: false,
            to_cancel: false,
        });
        job
    }

    fn batch(&mut self, lane: usize, lengths: &[(u64, u64, bool)]) {
        let mut jobs = Fifo::new();
        for &(length, run, linked) in lengths {
            let job = self.job(lane, length, run, linked, None);
            jobs.push_back(job);
        }
        let count = jobs.len();
        assert_eq!(self.queue.reserve(self.lanes[lane], count), count);
        self.queue.submit(self.lanes[lane], &mut jobs).unwrap();
    }

    fn call(&mut self, lane: usize, length: u64, is_command: bool) {
        let waits = Waits {
            is_command,
            ..Default::default()
        };
        let mut jobs = Fifo::new();
        let number = self.asked.len();
        let job = self.job(lane, length, length, false, Some(waits.clone()));
        jobs.push_back(job);
        let id = self.queue.submit_waited(self.lanes[lane], &mut jobs).unwrap();
        self.asked[number].call = Some((waits, id));
    }

    fn number_of(transfer: &[Segment]) -> usize {
        (transfer[0].from >> 32) as usize - 1
    }

    /// Repeats a step of the queue until nothing is left to do.
    fn in_steps(&mut self, mut step: impl FnMut(&mut Queue<Deep>, &[LaneId]) -> Step<Deep>) {
        loop {
            let done = step(&mut self.queue, &self.lanes);
            deliver(done.notice);
            if !done.more {
                return;
            }
        }
    }

    /// Gives the engine as many transfers as possible.
    fn post(&mut self) {
        while let Some(issue) = self.queue.issue() {
            assert!(self.posted.len() < self.depth);
            if let Some(slot) = self.next_slot {
                assert_eq!(issue.slot, slot, "one after the other");
            }
            self.next_slot = Some((issue.slot + 1) % self.depth);
            let number = Self::number_of(&issue.transfer);
            let asked = &self.asked[number];
            assert!(asked.outcome.is_none() && !asked.abandoned && !asked.cancelled);
            if asked.linked && asked.moved == 0 {
                let before = asked.before.unwrap();
                assert_eq!(self.asked[before].outcome, Some(Ok(())), "linked to one that has not succeeded");
            }
            self.posted.push_back((issue.slot, issue.transfer));
        }
    }

    /// Executes a turn, whose transfers end one after the other.
    fn one_turn(&mut self) {
        for _ in 0..4 {
            self.post();
            self.end(Ok(()));
        }
    }

    /// The oldest transfer ends.
    fn end(&mut self, outcome: Result) {
        let Some((slot, transfer)) = self.posted.pop_front() else {
            assert!(!self.queue.is_busy());
            return;
        };
        assert_eq!(self.queue.oldest_slot(), Some(slot));
        let number = Self::number_of(&transfer);
        if outcome.is_ok() {
            for segment in &transfer {
                let asked = &mut self.asked[number];
                // Each byte once, and in order: its position determines its value. (Runs are twice their length apart.)
                assert_eq!(segment.to, segment.from | 1 << 31);
                asked.moved += segment.length;
                assert!(asked.moved <= asked.length);
                self.served[asked.lane] += segment.length;
            }
        } else {
            // The engine does not execute those behind it.
            self.posted.clear();
            self.next_slot = None;
        }
        let ended = self.queue.finish(outcome, 0);
        deliver(self.queue.notice_of(ended));
        while self.queue.has_cancelled() {
            deliver(self.queue.complete_cancelled().notice);
        }
        self.look();
    }

    /// The device is reset: the engine executes none of its transfers.
    fn reset(&mut self) {
        self.posted.clear();
        self.next_slot = None;
        self.queue.issue_again();
        assert!(!self.queue.is_busy() && !self.queue.is_stuck());
        while self.queue.has_cancelled() {
            deliver(self.queue.complete_cancelled().notice);
        }
        self.look();
    }

    /// Checks which requests have ended.
    fn look(&mut self) {
        for lane in 0..self.lanes.len() {
            let mut completed = self.queue.collect(self.lanes[lane], LANE_DEPTH);
            assert_eq!(self.noticed[lane].0.take(), completed.len(), "completions of lane {lane} without a notice");
            drop(self.queue.free_room(self.lanes[lane], completed.len()));
            while let Some(job) = completed.pop_front() {
                let number = job.cookie() as usize;
                let before = self.asked[number].before.and_then(|before| self.asked[before].outcome);
                let asked = &mut self.asked[number];
                if job.outcome() == Err(ECANCELED) && !asked.to_cancel {
                    assert!(asked.linked, "cancelled by nothing");
                    assert!(matches!(before, Some(Err(_))), "{number} fails, and is linked to one that has not failed");
                }
                assert!(asked.outcome.replace(job.outcome()).is_none(), "completed twice");
                assert!(!asked.cancelled || job.outcome().is_err(), "cancelled, and completed with success");
                if job.outcome().is_ok() {
                    assert_eq!((asked.moved, job.bytes()), (asked.length, asked.length));
                } else {
                    assert_eq!(asked.moved, job.bytes());
                }
            }
        }
        for asked in &mut self.asked {
            let answered = asked.call.as_ref().and_then(|(waits, _)| *waits.outcome.borrow());
            let woken = asked.call.as_ref().is_some_and(|(waits, _)| waits.woken.get());
            assert_eq!(answered.is_some(), woken, "answered, or woken, but not both");
            if asked.outcome.is_none() && answered.is_some() {
                asked.outcome = answered;
                assert!(answered != Some(Ok(())) || asked.moved == asked.length);
            }
        }
        drop(self.queue.take_deferred());
    }

    fn cancel(&mut self, lane: usize, cookie: Option<u64>) {
        for (number, asked) in self.asked.iter_mut().enumerate() {
            asked.to_cancel |= asked.lane == lane && cookie.is_none_or(|cookie| cookie == number as u64);
        }
        let live = |asked: &Asked| asked.lane == lane && asked.outcome.is_none();
        let before = self.asked.iter().filter(|asked| live(asked)).count();
        let counted = self.queue.stats.counters.cancelled;
        let mut scan = self.queue.begin_cancel(self.lanes[lane], cookie, self.cancels_in_flight).unwrap();
        self.in_steps(|queue, lanes| queue.cancel_step(lanes[lane], &mut scan));
        while self.queue.has_cancelled() {
            deliver(self.queue.complete_cancelled().notice);
        }
        self.look();
        assert_eq!(scan.cancelled as u64, self.queue.stats.counters.cancelled - counted);
        // One that the engine has is completed later.
        let later = self.posted.iter().any(|(_, transfer)| {
            let asked = &self.asked[Self::number_of(transfer)];
            live(asked) && asked.to_cancel
        });
        let ended = before - self.asked.iter().filter(|asked| live(asked)).count();
        assert!(scan.cancelled <= ended + usize::from(later), "{} cancelled, {ended} ended", scan.cancelled);
        let cookie = cookie.filter(|_| scan.cancelled > 0);
        let cancelled = cookie.and_then(|cookie| self.asked.get_mut(cookie as usize));
        if let Some(asked) = cancelled.filter(|asked| asked.outcome.is_none()) {
            asked.cancelled = true;
        }
    }

    /// The thread of a call stops waiting.
    fn abandon_wait(&mut self, number: usize) {
        let asked = &self.asked[number];
        let Some((_, id)) = asked.call.as_ref().filter(|_| asked.outcome.is_none() && !asked.abandoned) else {
            return;
        };
        let (lane, id) = (self.lanes[asked.lane], *id);
        let has_slot = self.posted.iter().any(|(_, transfer)| Self::number_of(transfer) == number);
        match self.queue.abandon_wait(lane, id) {
            AbandonedWait::InFlight => assert!(has_slot),
            AbandonedWait::Waiting(_) => assert!(!has_slot),
            AbandonedWait::Ended => panic!("it has no answer"),
        }
        self.asked[number].abandoned = true;
    }
}

fn direct(segments: usize, overhead: u64) -> Direct {
    Direct { quantum: 64 << 10, largest: 16 << 10, segments, overhead }
}

/// A request that is to be issued next, but has no slot yet, is cancelled once.
#[test]
fn a_request_without_a_slot_is_cancelled_once() {
    let mut machine = Machine::new(2, direct(1, 0), 1);
    machine.cancels_in_flight = true;
    machine.batch(0, &[(100, 100, false); 4]);
    machine.post();
    assert!(machine.queue.issue().is_none());
    let mut scan = machine.queue.begin_cancel(machine.lanes[0], Some(2), true).unwrap();
    while machine.queue.cancel_step(machine.lanes[0], &mut scan).more {}
    assert_eq!((scan.cancelled, scan.was_in_flight), (1, false));
    assert_eq!(machine.queue.stats.counters.cancelled, 1);
    assert_eq!(machine.queue.stats.counters.completed, 1);
}

/// Random batches, links, calls, cancellations, failures and aborts: each request is executed once, in order, or not at all, and
/// ends once.
#[test]
fn random_operations_on_engines_of_many_slots() {
    for seed in 1..=150 {
        let mut random = Random(seed * 0x9e37_79b9);
        let depth = [1, 2, 3, 8, 64][random.below(5) as usize];
        let plan = direct(1 + random.below(4) as usize, random.below(2) * 512);
        let mut machine = Machine::new(depth, plan, 4);
        machine.cancels_in_flight = seed % 2 == 0;
        for _ in 0..300 {
            let lane = random.below(4) as usize;
            match random.below(16) {
                0..=2 => {
                    let mut linked = false;
                    let lengths: Vec<_> = (0..1 + random.below(8))
                        .map(|_| {
                            let most = [100, 5_000, 200_000][random.below(3) as usize];
                            let length = 1 + random.below(most);
                            let run = [length, 4096, 1000][random.below(3) as usize];
                            let request = (length, run, linked);
                            linked = random.below(3) == 0;
                            request
                        })
                        .collect();
                    machine.batch(lane, &lengths);
                }
                3 => machine.call(lane, 1 + random.below(100_000), random.below(2) == 0),
                4 => {
                    // Often one of the last requests, which the engine is likely to have.
                    let asked = machine.asked.len() as u64;
                    let recent = asked.min([8, asked][random.below(2) as usize]);
                    let cookie = asked - random.below(recent + 1);
                    machine.cancel(lane, (random.below(8) > 0).then_some(cookie));
                }
                5 if !machine.asked.is_empty() => {
                    let number = random.below(machine.asked.len() as u64) as usize;
                    machine.abandon_wait(number);
                }
                6 if random.below(4) == 0 => machine.end(Err(EIO)),
                7 if random.below(4) == 0 => machine.end(Err(ETIMEDOUT)),
                8 => {
                    machine.queue.pause();
                    assert!(machine.queue.issue().is_none());
                    machine.queue.unpause();
                }
                9..=12 => machine.end(Ok(())),
                13 if random.below(8) == 0 => machine.reset(),
                _ => machine.post(),
            }
        }
        if seed % 3 == 0 {
            // A shutdown: the transfers of the engine end.
            machine.queue.close();
            let mut cursor = LaneCursor::default();
            machine.in_steps(|queue, _| queue.fail_batch(&mut cursor));
            machine.look();
        }
        loop {
            machine.post();
            if machine.posted.is_empty() {
                break;
            }
            machine.end(Ok(()));
        }
        machine.look();
        for (number, asked) in machine.asked.iter().enumerate() {
            assert!(asked.outcome.is_some() || asked.abandoned, "seed {seed}: {number} has not ended");
        }
    }
}

/// All requests of a lane are cancelled while the engine takes, ends and returns some of them: none is executed or counted twice, and none
/// of which transfers are left to issue is missed.
#[test]
fn random_operations_during_a_scan() {
    for seed in 1..=400 {
        let mut random = Random(seed * 0x9e37_79b9);
        let depth = [1, 2, 3, 8, 64][random.below(5) as usize];
        let mut machine = Machine::new(depth, direct(1 + random.below(4) as usize, 0), 1);
        let links = seed % 2 == 0;
        let mut linked = false;
        let requests: Vec<_> = (0..1 + random.below(200))
            .map(|_| {
                let most = [100, 5_000, 200_000][random.below(3) as usize];
                let length = 1 + random.below(most);
                let request = (length, length, linked);
                linked = links && random.below(3) == 0;
                request
            })
            .collect();
        machine.batch(0, &requests);
        let failures = seed % 4 < 2;
        let mut act = |machine: &mut Machine| match random.below(16) {
            0 if failures => machine.end(Err(EIO)),
            1 => machine.reset(),
            2..=8 => machine.end(Ok(())),
            _ => machine.post(),
        };
        for _ in 0..8 {
            act(&mut machine);
        }
        for asked in &mut machine.asked {
            asked.to_cancel = true;
        }
        let lane = machine.lanes[0];
        let mut scan = machine.queue.begin_cancel(lane, None, true).unwrap();
        loop {
            let step = machine.queue.cancel_step(lane, &mut scan);
            deliver(step.notice);
            if !step.more {
                break;
            }
            for _ in 0..4 {
                act(&mut machine);
            }
        }
        machine.in_steps(|queue, _| queue.complete_cancelled());
        assert!(machine.queue.issue().is_none(), "seed {seed}: one is left");
        while !machine.posted.is_empty() {
            machine.end(Ok(()));
        }
        machine.look();
        let cancelled = machine.asked.iter().filter(|asked| asked.outcome == Some(Err(ECANCELED)));
        let (linked, others): (Vec<_>, Vec<_>) = cancelled.partition(|asked| asked.linked);
        assert!(machine.asked.iter().all(|asked| asked.outcome.is_some()), "seed {seed}");
        // One that was cancelled while the engine had it can still fail.
        let failed = machine.asked.iter().filter(|asked| asked.outcome == Some(Err(EIO))).count();
        let counts = others.len()..=others.len() + linked.len() + failed;
        assert!(counts.contains(&scan.cancelled), "seed {seed}: {} cancelled, {counts:?}", scan.cancelled);
        assert_eq!(machine.queue.stats.counters.cancelled, scan.cancelled as u64);
        assert_eq!(machine.queue.stats.counters.completed, machine.asked.len() as u64);
    }
}

/// The share of a lane is counted in bytes: one with large requests gets no more than one with small ones.
#[test]
fn turns_are_of_bytes_and_not_of_requests() {
    for overhead in [0, 512] {
        let mut machine = Machine::new(8, direct(1, overhead), 3);
        let mut cost = [0u64; 3];
        for _ in 0..4000 {
            // All three always have requests.
            for (lane, length) in [(0, 100), (1, 5_000), (2, 1 << 20)] {
                while machine.queue.state(machine.lanes[lane]).waiting < 200.min((4 << 20) / length as usize) {
                    machine.batch(lane, &[(length, length, false)]);
                }
            }
            machine.post();
            let lane = machine.asked[Machine::number_of(&machine.posted[0].1)].lane;
            cost[lane] += machine.posted[0].1.iter().map(|segment| segment.length).sum::<u64>() + overhead;
            machine.end(Ok(()));
        }
        let (least, most) = (cost.iter().min().unwrap(), cost.iter().max().unwrap());
        assert!(*least > 200_000 && most - least <= 2 * (64 << 10), "{cost:?}");
    }
}

/// A new lane waits for the running transfers and for one turn of each other lane, however much these have requested.
#[test]
fn a_newcomer_waits_for_what_is_in_flight_and_a_turn_of_each() {
    for depth in [1, 4, 32] {
        let mut machine = Machine::new(depth, direct(1, 0), 3);
        for _ in 0..10 {
            machine.batch(0, &[(1 << 20, 1 << 20, false)]);
            machine.batch(1, &[(1 << 20, 1 << 20, false)]);
        }
        for _ in 0..100 {
            machine.post();
            machine.end(Ok(()));
        }
        machine.post();
        let before: u64 = machine.served.iter().sum();
        machine.batch(2, &[(1, 1, false)]);
        while machine.served[2] == 0 {
            machine.post();
            machine.end(Ok(()));
        }
        let waited = machine.served.iter().sum::<u64>() - before;
        assert!(waited <= depth as u64 * (16 << 10) + 2 * (64 << 10), "depth {depth}: {waited} bytes");
    }
}

/// A request delays those that are linked to it, wherever the slots are; others continue.
#[test]
fn links_hold_over_slots() {
    let mut machine = Machine::new(8, direct(1, 0), 2);
    machine.batch(0, &[(20_000, 20_000, false), (100, 100, true), (100, 100, false)]);
    machine.batch(1, &[(100, 100, false)]);
    machine.post();
    let numbers: Vec<_> = machine.posted.iter().map(|(_, transfer)| Machine::number_of(transfer)).collect();
    assert_eq!(numbers, [0, 0, 3]);
    machine.end(Ok(()));
    machine.post();
    assert_eq!(machine.posted.len(), 2, "half of it is no success");
    machine.end(Ok(()));
    machine.post();
    let numbers: Vec<_> = machine.posted.iter().map(|(_, transfer)| Machine::number_of(transfer)).collect();
    assert_eq!(numbers, [3, 1, 2]);
}

/// The transfer that fails ends its request; those behind it are divided into transfers again, in order.
#[test]
fn a_failure_has_the_others_issued_anew() {
    let mut machine = Machine::new(8, direct(1, 0), 2);
    machine.batch(0, &[(40_000, 40_000, false), (100, 100, false)]);
    machine.batch(1, &[(30_000, 30_000, false)]);
    machine.post();
    assert_eq!(machine.posted.len(), 6);
    machine.end(Ok(()));
    machine.end(Err(EIO));
    assert_eq!(machine.asked[0].outcome, Some(Err(EIO)));
    assert_eq!(machine.asked[0].moved, 16 << 10);
    machine.post();
    let mut numbers: Vec<_> = machine.posted.iter().map(|(_, transfer)| Machine::number_of(transfer)).collect();
    numbers.sort();
    assert_eq!(numbers, [1, 2, 2]);
    while !machine.posted.is_empty() {
        machine.end(Ok(()));
    }
    assert_eq!((machine.asked[1].outcome, machine.asked[2].outcome), (Some(Ok(())), Some(Ok(()))));
}

/// A request fails between two of its turns. The next one gets its number, and only turns of its own.
#[test]
fn a_failure_leaves_no_turn_to_the_next_request() {
    let mut machine = Machine::new(4, direct(1, 0), 2);
    machine.cancels_in_flight = true;
    machine.batch(0, &[(200_000, 200_000, false), (100, 100, false)]);
    machine.batch(1, &[(1 << 20, 1 << 20, false)]);
    machine.post();
    // All of the first turn was issued: the next one is that of the other lane.
    machine.end(Err(EIO));
    assert_eq!(machine.asked[0].outcome, Some(Err(EIO)));
    machine.post();
    let others: u64 = machine.served[1];
    while machine.asked[1].outcome.is_none() {
        assert!(machine.served[1] - others <= 64 << 10, "in turns of lane 0");
        machine.end(Ok(()));
        machine.post();
    }
    machine.cancel(1, Some(2));
    while machine.queue.is_busy() {
        machine.end(Ok(()));
        machine.post();
    }
    assert_eq!(machine.asked[2].outcome, Some(Err(ECANCELED)));
}

/// A request that has begun is cancelled, and another one of its lane begins before its transfers have ended. What is linked to that one
/// is executed.
#[test]
fn a_cancelled_request_fails_no_link_of_another() {
    let mut machine = Machine::new(8, direct(1, 0), 1);
    machine.cancels_in_flight = true;
    machine.batch(0, &[(1 << 20, 1 << 20, false)]);
    machine.batch(0, &[(100, 100, false), (100, 100, true), (100, 100, true)]);
    machine.post();
    machine.cancel(0, Some(0));
    machine.end(Ok(()));
    machine.post();
    assert!(machine.posted.iter().any(|(_, transfer)| Machine::number_of(transfer) == 1));
    while machine.asked[0].outcome.is_none() {
        machine.end(Ok(()));
    }
    assert_eq!(machine.asked[0].outcome, Some(Err(ECANCELED)));
    while !machine.posted.is_empty() {
        machine.end(Ok(()));
        machine.post();
    }
    for number in 1..4 {
        assert_eq!(machine.asked[number].outcome, Some(Ok(())), "{number}");
    }
}

/// A command is cancelled while it waits. Between two transfers of its request, it is not: it is answered once, and woken.
#[test]
fn a_command_that_has_begun_is_not_cancelled() {
    let mut machine = Machine::new(1, direct(1, 0), 2);
    machine.cancels_in_flight = true;
    machine.call(0, 50_000, true);
    machine.call(0, 100, true);
    machine.call(0, 100, false);
    machine.post();
    machine.end(Ok(()));
    machine.cancel(0, None);
    let outcomes: Vec<_> = machine.asked.iter().map(|asked| asked.outcome).collect();
    assert_eq!(outcomes, [None, Some(Err(ECANCELED)), None]);
    while machine.queue.is_busy() || machine.asked[2].outcome.is_none() {
        machine.post();
        machine.end(Ok(()));
    }
    assert_eq!(machine.asked[0].outcome, Some(Ok(())));
    assert_eq!(machine.asked[2].outcome, Some(Ok(())));
}

/// Nor is it between two of its turns, when the engine has no transfer of it, and it is in its lane.
#[test]
fn a_command_between_two_turns_is_not_cancelled() {
    let mut machine = Machine::new(1, direct(1, 0), 2);
    machine.cancels_in_flight = true;
    machine.call(0, 200_000, true);
    machine.batch(1, &[(1 << 20, 1 << 20, false)]);
    machine.one_turn();
    assert_eq!(machine.queue.state(machine.lanes[0]).waiting, 1);
    machine.cancel(0, None);
    assert_eq!(machine.asked[0].outcome, None);
    while machine.queue.is_busy() || machine.asked[0].outcome.is_none() {
        machine.post();
        machine.end(Ok(()));
    }
    assert_eq!(machine.asked[0].outcome, Some(Ok(())));
}

/// A request that the engine takes and returns between two steps of a scan is cancelled by its end.
#[test]
fn a_request_that_has_a_turn_during_a_scan_is_cancelled() {
    for linked in [false, true] {
        let mut machine = Machine::new(1, direct(1, 0), 2);
        machine.cancels_in_flight = true;
        machine.batch(0, &[(200_000, 200_000, false), (100, 100, linked), (100, 100, false)]);
        machine.batch(1, &[(1 << 20, 1 << 20, false)]);
        machine.asked[0].to_cancel = true;
        let mut scan = machine.queue.begin_cancel(machine.lanes[0], Some(0), true).unwrap();
        machine.one_turn();
        machine.in_steps(|queue, lanes| queue.cancel_step(lanes[0], &mut scan));
        assert_eq!(scan.cancelled, 1);
        machine.in_steps(|queue, _| queue.complete_cancelled());
        machine.look();
        assert_eq!((machine.asked[0].outcome, machine.asked[0].moved), (Some(Err(ECANCELED)), 64 << 10));
        assert_eq!(machine.asked[1].outcome, linked.then_some(Err(ECANCELED)));
        while machine.queue.is_busy() || machine.asked[2].outcome.is_none() {
            machine.post();
            machine.end(Ok(()));
        }
        assert_eq!(machine.asked[2].outcome, Some(Ok(())));
        assert_eq!(machine.queue.stats.counters.cancelled, 1);
        assert_eq!(machine.queue.stats.counters.completed, 3);
    }
}

/// The same for several, which a reset of the device returns, and for one that was counted before.
#[test]
fn what_a_reset_returns_during_a_scan_is_cancelled_once() {
    let mut machine = Machine::new(4, direct(1, 0), 1);
    machine.batch(0, &[(200_000, 200_000, false)]);
    machine.batch(0, &[(100, 100, false); 40]);
    machine.post();
    for asked in &mut machine.asked {
        asked.to_cancel = true;
    }
    let lane = machine.lanes[0];
    let mut scan = machine.queue.begin_cancel(lane, None, true).unwrap();
    assert_eq!(scan.cancelled, 1);
    machine.asked[0].cancelled = true;
    let step = machine.queue.cancel_step(lane, &mut scan);
    deliver(step.notice);
    assert!(step.more);
    machine.end(Ok(()));
    machine.end(Ok(()));
    machine.post();
    assert_eq!(machine.queue.state(lane).in_flight, 4, "the long one, two others, and the next one");
    machine.reset();
    machine.in_steps(|queue, lanes| queue.cancel_step(lanes[0], &mut scan));
    machine.in_steps(|queue, _| queue.complete_cancelled());
    machine.look();
    assert_eq!((scan.cancelled, machine.queue.stats.counters.cancelled), (41, 41));
    assert!(machine.asked.iter().all(|asked| asked.outcome == Some(Err(ECANCELED))));
}

/// A request that was cancelled when the engine had begun it is not cancelled again when it is returned.
#[test]
fn what_was_cancelled_is_not_counted_again() {
    let mut machine = Machine::new(4, direct(1, 0), 1);
    machine.batch(0, &[(200_000, 200_000, false), (100, 100, false)]);
    machine.post();
    machine.asked[0].to_cancel = true;
    let lane = machine.lanes[0];
    let mut scan = machine.queue.begin_cancel(lane, Some(0), true).unwrap();
    machine.in_steps(|queue, lanes| queue.cancel_step(lanes[0], &mut scan));
    assert_eq!((scan.cancelled, scan.was_in_flight), (1, false));
    machine.posted.clear();
    machine.queue.issue_again();
    let mut scan = machine.queue.begin_cancel(lane, Some(0), true).unwrap();
    machine.in_steps(|queue, lanes| queue.cancel_step(lanes[0], &mut scan));
    assert_eq!(scan.cancelled, 0);
    machine.look();
    assert_eq!(machine.asked[0].outcome, Some(Err(ECANCELED)));
    assert_eq!(machine.asked[1].outcome, None);
}

/// A request that was cancelled while it ran is returned when a call of its lane fails. It is not completed with the call, whose notice is for one
/// waiter.
#[test]
fn a_call_that_fails_does_not_hide_a_cancelled_request() {
    let mut machine = Machine::new(4, direct(1, 0), 1);
    machine.cancels_in_flight = true;
    machine.call(0, 100, false);
    machine.batch(0, &[(200_000, 200_000, false)]);
    machine.post();
    machine.cancel(0, Some(1));
    assert_eq!(machine.asked[1].outcome, None);
    machine.posted.clear();
    let ended = machine.queue.finish(Err(EIO), 0);
    assert!(matches!(ended, schedule::Recipient::Waiter(_)));
    deliver(machine.queue.notice_of(ended));
    assert_eq!(machine.queue.state(machine.lanes[0]).completed, 0);
    assert!(machine.queue.has_cancelled());
    machine.in_steps(|queue, _| queue.complete_cancelled());
    machine.look();
    assert_eq!(machine.asked[1].outcome, Some(Err(ECANCELED)));
}

/// A command that is to be issued next, but has no slot yet, is cancelled.
#[test]
fn a_command_without_a_slot_is_cancelled() {
    let mut machine = Machine::new(2, direct(1, 0), 1);
    machine.cancels_in_flight = true;
    machine.batch(0, &[(100, 100, false); 2]);
    machine.call(0, 100, true);
    machine.post();
    assert_eq!(machine.queue.state(machine.lanes[0]).in_flight, 3);
    machine.cancel(0, Some(2));
    assert_eq!(machine.asked[2].outcome, Some(Err(ECANCELED)));
    machine.end(Ok(()));
    machine.end(Ok(()));
    assert_eq!(machine.asked[1].outcome, Some(Ok(())));
}

/// A call that is returned during a scan, and abandoned, leaves no request to be scanned again that was submitted later.
#[test]
fn an_abandoned_call_ends_a_scan() {
    let mut machine = Machine::new(1, direct(1, 0), 2);
    machine.call(0, 200_000, false);
    machine.batch(0, &[(100, 100, false); 40]);
    machine.batch(1, &[(1 << 20, 1 << 20, false)]);
    for asked in &mut machine.asked[1..=40] {
        asked.to_cancel = true;
    }
    let lane = machine.lanes[0];
    let mut scan = machine.queue.begin_cancel(lane, None, true).unwrap();
    machine.one_turn();
    let step = machine.queue.cancel_step(lane, &mut scan);
    deliver(step.notice);
    assert!(step.more);
    machine.abandon_wait(0);
    machine.batch(0, &[(100, 100, false)]);
    machine.in_steps(|queue, lanes| queue.cancel_step(lanes[0], &mut scan));
    machine.look();
    assert_eq!(scan.cancelled, 40);
    assert_eq!(machine.asked.last().unwrap().outcome, None);
}

/// A closed queue with many transfers, the requests of which have or have no waiters.
fn closed_with_many_in_flight() -> Machine {
    let mut machine = Machine::new(8, direct(1, 0), 3);
    machine.batch(0, &[(100_000, 100_000, false), (100, 100, true)]);
    machine.call(1, 50_000, false);
    machine.call(2, 50_000, true);
    machine.post();
    assert_eq!(machine.posted.len(), 8);
    machine.queue.close();
    let mut cursor = LaneCursor::default();
    machine.in_steps(|queue, _| queue.fail_batch(&mut cursor));
    machine.look();
    // The engine may still access the memory of the others.
    let outcomes: Vec<_> = machine.asked.iter().map(|asked| asked.outcome).collect();
    assert_eq!(outcomes, [None, Some(Err(ENODEV)), None, Some(Err(ENODEV))]);
    machine
}

/// The requests of an engine that was stopped are aborted, and all callers are answered.
#[test]
fn a_queue_that_closes_with_many_in_flight_answers_all() {
    let mut machine = closed_with_many_in_flight();
    machine.in_steps(|queue, _| queue.fail_one_active(0));
    machine.look();
    assert!(machine.asked.iter().all(|asked| asked.outcome == Some(Err(ENODEV))));
    assert!(!machine.queue.is_busy() && machine.queue.issue().is_none());
}

/// If the engine does not stop, only those that wait are answered.
#[test]
fn waiters_of_a_queue_that_closes_are_answered_without_the_end() {
    let mut machine = closed_with_many_in_flight();
    machine.in_steps(|queue, _| queue.fail_waiter_in_flight());
    machine.look();
    assert_eq!(machine.asked[0].outcome, None);
    assert_eq!(machine.asked[2].outcome, Some(Err(ENODEV)));
    assert!(machine.queue.is_busy());
}

/// The watchdog finds that the engine does not stop while the device is unbound: waiters get the same error as those whose requests wait.
#[test]
fn waiters_of_a_closed_queue_are_timed_out_with_its_error() {
    let mut machine = closed_with_many_in_flight();
    while time_out(&mut machine.queue) {}
    machine.look();
    let outcomes: Vec<_> = machine.asked.iter().map(|asked| asked.outcome).collect();
    assert_eq!(outcomes, [Some(Err(ETIMEDOUT)), Some(Err(ENODEV)), Some(Err(ENODEV)), Some(Err(ENODEV))]);
}

/// A request whose turn had begun when the slots were full fails when the queue closes: the engine has no transfer of it that could end.
#[test]
fn what_is_to_be_issued_next_fails_when_the_queue_closes() {
    let mut machine = Machine::new(2, direct(1, 0), 1);
    machine.batch(0, &[(100, 100, false); 4]);
    machine.post();
    assert!(machine.queue.issue().is_none());
    machine.queue.close();
    let mut cursor = LaneCursor::default();
    machine.in_steps(|queue, _| queue.fail_batch(&mut cursor));
    while !machine.posted.is_empty() {
        machine.end(Ok(()));
    }
    let outcomes: Vec<_> = machine.asked.iter().map(|asked| asked.outcome).collect();
    assert_eq!(outcomes, [Some(Ok(())), Some(Ok(())), Some(Err(ENODEV)), Some(Err(ENODEV))]);
    assert_eq!(machine.queue.state(machine.lanes[0]).outstanding, 0);
}

/// An engine that cannot be aborted keeps all of its transfers; each request fails once.
#[test]
fn all_that_a_stuck_engine_has_is_timed_out() {
    let mut machine = Machine::new(4, direct(1, 0), 2);
    machine.batch(0, &[(100, 100, false), (100, 100, false)]);
    machine.call(1, 100, false);
    machine.post();
    let mut timed_out = 0;
    while time_out(&mut machine.queue) {
        timed_out += 1;
    }
    assert_eq!(timed_out, 3);
    machine.look();
    assert!(machine.asked.iter().all(|asked| asked.outcome == Some(Err(ETIMEDOUT))));
    assert_eq!(machine.queue.refuses(), Some(EIO));
    // They end later, one after the other. Until then the engine has them.
    for _ in 0..3 {
        assert_eq!(machine.queue.refuses(), Some(EIO));
        assert!(!machine.queue.has_deferred());
        let (slot, _) = machine.posted.pop_front().unwrap();
        assert_eq!(machine.queue.oldest_slot(), Some(slot));
        let ended = machine.queue.finish(Ok(()), 0);
        deliver(machine.queue.notice_of(ended));
        assert!(machine.queue.has_deferred());
        drop(machine.queue.take_deferred());
    }
    assert!(!machine.queue.is_busy());
    assert_eq!(machine.queue.refuses(), None);
}

/// A request whose turn had begun when the slots were full fails with those that wait.
#[test]
fn what_a_stuck_engine_was_to_get_next_fails() {
    let mut machine = Machine::new(2, direct(1000, 0), 1);
    machine.batch(0, &[(100, 100, false); 4]);
    machine.post();
    assert_eq!(machine.posted.len(), 2);
    while time_out(&mut machine.queue) {}
    let mut cursor = LaneCursor::default();
    machine.in_steps(|queue, _| queue.fail_batch(&mut cursor));
    machine.look();
    let outcomes: Vec<_> = machine.asked.iter().map(|asked| asked.outcome).collect();
    assert_eq!(outcomes, [Some(Err(ETIMEDOUT)), Some(Err(ETIMEDOUT)), Some(Err(EIO)), Some(Err(EIO))]);
}
