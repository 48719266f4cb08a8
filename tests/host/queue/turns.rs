// SPDX-License-Identifier: GPL-2.0

//! Several lanes: turns, interrupted requests, closing.

use super::*;

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
    finish(&mut queue);
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
    finish(&mut queue);
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
fn an_abandoned_request_keeps_its_memory_with_the_engine() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    let memory = Memory::new(0x1000, 16);
    let span = Span::new(memory.clone(), 0, 16).unwrap();
    let operation = Operation::FromDevice(DeviceRange::new(0, 16, SIZE).unwrap(), span);
    let ticket = submit(&mut queue, a, operation);
    queue.start().unwrap();
    assert!(matches!(queue.abandon_wait(a, ticket.1), AbandonedWait::InFlight));
    assert_eq!(memory.holders(), 2);
    assert!(!queue.has_deferred());
    finish(&mut queue);
    assert!(queue.has_deferred());
    assert_eq!(memory.holders(), 2);
    drop(queue.take_deferred());
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
    assert!(matches!(queue.abandon_wait(a, second.1), AbandonedWait::Waiting(_)));
    finish(&mut queue);
    assert_eq!(addresses(&drain(&mut queue)), [3]);
}

#[test]
fn a_lane_that_has_given_all_up_has_no_turn() {
    let mut queue = open();
    let lanes: Vec<_> = (0..5).map(|_| lane(&mut queue).0).collect();
    let tickets: Vec<_> =
        lanes.iter().map(|&id| submit(&mut queue, id, to_device(7, 1))).collect();
    for n in [2, 0, 4] {
        assert!(matches!(queue.abandon_wait(lanes[n], tickets[n].1), AbandonedWait::Waiting(_)));
    }
    assert_eq!(drain(&mut queue).len(), 2);
}

#[test]
fn giving_up_between_the_halves_stops_there() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    let ticket = submit(&mut queue, a, copy(0x1000, 0x2000, 4096));
    assert_eq!(queue.start().unwrap().address, 0x1000);
    assert!(matches!(queue.abandon_wait(a, ticket.1), AbandonedWait::InFlight));
    finish(&mut queue);
    assert!(queue.start().is_none(), "the second half has no owner");
    assert!(queue.has_deferred());
}

#[test]
fn a_removed_lane_takes_its_requests_along() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    let (b, _) = lane(&mut queue);
    let memory = Memory::new(0x1000, 4096);
    for _ in 0..3 {
        let span = Span::new(memory.clone(), 0, 4096).unwrap();
        submit(&mut queue, a, Operation::ToDevice(span, WHOLE));
    }
    submit(&mut queue, b, to_device(0xb, 1));
    queue.start().unwrap();
    drop(queue.remove_lane(a));
    // The engine has the running request.
    assert_eq!(memory.holders(), 2);
    finish(&mut queue);
    assert_eq!(addresses(&drain(&mut queue)), [0xb]);
    drop(queue.take_deferred());
    assert_eq!(memory.holders(), 1);
    // The number is reused, and has nothing of the previous lane.
    let (again, waker) = lane(&mut queue);
    assert_eq!(again, a);
    submit(&mut queue, again, to_device(0xc, 1));
    assert_eq!(addresses(&drain(&mut queue)), [0xc]);
    assert_eq!(waker.completed(), 0);
}

#[test]
fn a_closed_queue_answers_everyone() {
    let mut queue = open();
    let (a, woken_a) = lane(&mut queue);
    let (b, woken_b) = lane(&mut queue);
    let running = submit(&mut queue, a, copy(0x1000, 0x2000, 4096));
    let waiting = submit(&mut queue, b, to_device(0xb, 1));
    queue.start().unwrap();
    close(&mut queue);
    for woken in [woken_a, woken_b] {
        assert!(woken.changes().iter().any(|(change, _)| *change == Change::Closed));
    }
    assert_eq!(done(&waiting), Some(Err(ENODEV)));
    assert_eq!(try_submit(&mut queue, a, to_device(1, 1), 0).err(), Some(ENODEV));
    // The engine still has a transfer of the other one. It is answered when this has ended, and nothing follows it.
    assert!(queue.is_busy());
    assert_eq!(done(&running), None);
    finish(&mut queue);
    assert_eq!(done(&running), Some(Err(ENODEV)));
    assert!(queue.start().is_none());
}

#[test]
fn closing_between_the_pieces_starts_no_other() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    let ticket = submit(&mut queue, a, copy(0x1000, 0x9000, 3 * 4096));
    queue.start().unwrap();
    finish(&mut queue);
    queue.start().unwrap();
    close(&mut queue);
    finish(&mut queue);
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
    let range = DeviceRange::new(0, 16, SIZE).unwrap();
    let stuck = submit(&mut queue, a, Operation::FromDevice(range, span));
    let behind = submit(&mut queue, b, to_device(2, 1));
    queue.start().unwrap();
    assert!(time_out(&mut queue, &mut None));
    assert!(!time_out(&mut queue, &mut None), "once");
    fail_waiting(&mut queue);
    assert!(matches!(queue.abandon_wait(a, stuck.1), AbandonedWait::Ended), "the answer is there");
    assert_eq!(done(&stuck), Some(Err(ETIMEDOUT)));
    assert_eq!(done(&behind), Some(Err(EIO)));
    assert_eq!(memory.holders(), 2);
    assert!(queue.start().is_none());
    assert_eq!(try_submit(&mut queue, b, to_device(1, 1), 0).err(), Some(EIO));
    // It ends after all.
    finish(&mut queue);
    drop(queue.take_deferred());
    assert_eq!(memory.holders(), 1);
    // Its effect on the device memory is unknown, so that no user may read that.
    let after = submit(&mut queue, b, from_device(3, 0, 1));
    assert_eq!(addresses(&drain(&mut queue)), [ZEROS, 3]);
    assert_eq!(done(&after), Some(Ok(())));
}

#[test]
fn a_file_that_is_opened_takes_nothing_from_another_user() {
    for files in [1, 1000] {
        let mut queue = open();
        let hog = user(&mut queue);
        for n in 0..files {
            let (id, _) = lane_of(&mut queue, hog);
            for _ in 0..8 {
                submit(&mut queue, id, copy(n << 32, n << 32 | 1 << 31, 4096));
            }
        }
        queue.start().unwrap();
        let neighbour = lane(&mut queue).0;
        for _ in 0..3 {
            submit(&mut queue, neighbour, to_device(7, 1));
        }
        finish(&mut queue);
        let order = addresses(&drain(&mut queue));
        // The other half of the running copy, then a turn each.
        let turns: Vec<_> = (0..order.len()).filter(|n| order[*n] == 7).collect();
        assert_eq!(turns, [1, 4, 7], "{files} files");
    }
}

/// While a user waits, each other user gets at most one turn between two of the first one's; and so do the
/// lanes of a user.
#[test]
fn turns_go_round_users_and_round_their_lanes() {
    let mut random = Random(5);
    for _ in 0..100 {
        let mut queue = open();
        let users: Vec<_> = (0..1 + random.below(5)).map(|_| user(&mut queue)).collect();
        let lanes: Vec<_> = (0..20)
            .map(|_| {
                let of = random.below(users.len() as u64) as usize;
                (lane_of(&mut queue, users[of]).0, of)
            })
            .collect();
        let mut waiting = vec![0u64; lanes.len()];
        // Number of turns of each since the other one's last turn, while that one was waiting.
        let mut turns_of_users = vec![vec![0; users.len()]; users.len()];
        let mut turns_of_lanes = vec![vec![0; lanes.len()]; lanes.len()];
        for _ in 0..400 {
            if random.below(2) == 0 {
                let n = random.below(lanes.len() as u64) as usize;
                let idle = waiting[n] == 0;
                let of = lanes[n].1;
                if idle {
                    turns_of_lanes[n].fill(0);
                }
                if (0..lanes.len()).all(|m| lanes[m].1 != of || waiting[m] == 0) {
                    turns_of_users[of].fill(0);
                }
                waiting[n] += 1;
                submit(&mut queue, lanes[n].0, to_device(n as u64, 1));
            } else if let Some(transfer) = queue.start() {
                let n = transfer.address as usize;
                let of = lanes[n].1;
                waiting[n] -= 1;
                turns_of_lanes[n].fill(0);
                turns_of_users[of].fill(0);
                for m in 0..lanes.len() {
                    if m != n && lanes[m].1 == of && waiting[m] > 0 {
                        turns_of_lanes[m][n] += 1;
                        assert!(turns_of_lanes[m][n] <= 1);
                    }
                }
                for user in 0..users.len() {
                    if user != of && (0..lanes.len()).any(|m| lanes[m].1 == user && waiting[m] > 0) {
                        turns_of_users[user][of] += 1;
                        assert!(turns_of_users[user][of] <= 1);
                    }
                }
                finish(&mut queue);
            }
        }
        let left = drain(&mut queue).len() as u64;
        assert_eq!(left, waiting.iter().sum::<u64>());
    }
}

#[test]
fn a_user_who_has_left_is_forgotten() {
    let mut queue = open();
    let first = user(&mut queue);
    let (a, _) = lane_of(&mut queue, first);
    submit(&mut queue, a, to_device(1, 1));
    drop(queue.remove_lane(a));
    queue.remove_user(first);
    let second = user(&mut queue);
    assert_eq!(first, second, "the number is used again");
    let (b, _) = lane_of(&mut queue, second);
    submit(&mut queue, b, to_device(2, 1));
    assert_eq!(addresses(&drain(&mut queue)), [2]);
}
