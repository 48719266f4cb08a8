// SPDX-License-Identifier: GPL-2.0

//! Random operations, compared with a model of a context.

use super::*;

/// A context as the header describes it, implemented in the simplest way: lists that are searched.
#[derive(Default)]
struct Model {
    waiting: VecDeque<ModelRequest>,
    completed: VecDeque<(u64, u64, Result)>,
    /// Number of requests that have ended.
    ended: u64,
}

struct ModelRequest {
    cookie: u64,
    pieces: Vec<u64>,
    done: u64,
    linked: bool,
}

impl Model {
    /// Cancels requests with this cookie, and those linked to them.
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
        self.ended += cancelled as u64;
        (cancelled, begun)
    }

    /// The engine has done a piece of the first request.
    fn piece(&mut self) {
        let request = self.waiting.front_mut().unwrap();
        request.done += request.pieces.remove(0);
        if request.pieces.is_empty() {
            let request = self.waiting.pop_front().unwrap();
            self.completed.push_back((request.cookie, request.done, Ok(())));
            self.ended += 1;
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
        // The last one has a completion ring.
        let ring = ring::create(&mut queue, lanes[2]).unwrap();
        let mut models: Vec<Model> = (0..3).map(|_| Model::default()).collect();
        let mut running: Option<usize> = None;
        let mut cookie = 0;
        for turn in 0..400u64 {
            let ended = models.iter().map(|model| model.ended).sum();
            assert_eq!(queue.stats.counters.completed, ended, "seed {seed}, turn {turn}");
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
                    if outstanding > LANE_DEPTH {
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
                    let collected = if n == 2 { ring.collect(most) } else { collect(&mut queue, lanes[n], most) };
                    assert_eq!(collected, expected, "seed {seed}, turn {turn}");
                    assert_eq!(queue.state(lanes[n]).completed, models[n].completed.len());
                    assert_eq!(queue.state(lanes[n]).outstanding, models[n].waiting.len());
                }
                _ => {
                    if let Some(at) = running.take() {
                        finish(&mut queue);
                        assert_eq!(queue.start().unwrap().direction, Direction::FromDevice);
                        finish(&mut queue);
                        models[at].piece();
                    }
                    if random.below(4) == 0 {
                        queue.pause();
                        assert!(queue.start().is_none(), "seed {seed}, turn {turn}");
                        queue.unpause();
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
