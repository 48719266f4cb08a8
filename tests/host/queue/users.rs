// SPDX-License-Identifier: GPL-2.0

//! What each user can see of the device memory.

use super::*;

#[test]
fn another_user_sees_zeros() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    let (b, _) = lane(&mut queue);
    // New device memory contains zeros: nothing to scrub.
    submit_as(&mut queue, a, from_device(1, 0, 4096), 1000);
    submit_as(&mut queue, a, to_device(2, 8), 1000);
    submit_as(&mut queue, a, from_device(3, 0, 4096), 1000);
    assert_eq!(addresses(&drain(&mut queue)), [1, 2, 3]);
    // A read by another user, and then one by the first, which returns zeros, too: the data is gone.
    submit_as(&mut queue, b, from_device(4, 0, 8), 1001);
    assert_eq!(addresses(&drain(&mut queue)), [ZEROS, 4]);
    submit_as(&mut queue, a, from_device(5, 0, 8), 1000);
    assert_eq!(addresses(&drain(&mut queue)), [5]);
    // A partial write by another user must not show the rest to the writer.
    submit_as(&mut queue, a, to_device(6, 4096), 1000);
    submit_as(&mut queue, b, to_device(7, 4095), 1001);
    submit_as(&mut queue, b, from_device(8, 0, 4096), 1001);
    let order = drain(&mut queue);
    // Lanes take turns; a scrub must be between the first write and the second.
    assert_eq!(addresses(&order), [6, ZEROS, 7, 8]);
    assert_eq!((order[1].direction, order[1].device), (Direction::ToDevice, WHOLE));
    // A whole write needs no scrub.
    submit_as(&mut queue, a, to_device(9, 4096), 1000);
    assert_eq!(addresses(&drain(&mut queue)), [9]);
}

#[test]
fn no_user_reads_what_a_copy_has_left_of_two_users() {
    let (a, b, c) = (Uid(1), Uid(2), Uid(3));
    let read = Access::Transfer(Direction::FromDevice, DeviceRange::new(0, 1, SIZE).unwrap());
    let part = Access::PassThrough(DeviceRange::new(0, 100, SIZE).unwrap());
    let whole = Access::PassThrough(WHOLE);

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

/// No byte of a user ever reaches another user: a model of the device memory in
/// which each byte has an owner.
#[test]
fn random_users_never_see_each_others_bytes() {
    let mut random = Random(1);
    for _ in 0..200 {
        let mut queue = open();
        let lanes: Vec<_> = (0..3).map(|_| lane(&mut queue).0).collect();
        let mut memory = vec![None; SIZE as usize];
        for _ in 0..60 {
            // The address contains the user.
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
                finish(&mut queue);
            }
        }
    }
}

/// The same with several slots, and transfers that fail: what these have done is unknown.
#[test]
fn users_of_many_slots_never_see_each_others_bytes() {
    let mut random = Random(3);
    for _ in 0..200 {
        let depth = 1 + random.below(6) as usize;
        let mut queue = TestQueue::new();
        queue.open(EduPlan::new(ZEROS), Flight::new(depth, u64::MAX).unwrap());
        let lanes: Vec<_> = (0..3).map(|_| lane(&mut queue).0).collect();
        let mut memory = vec![None; SIZE as usize];
        let mut posted = VecDeque::new();
        for _ in 0..300 {
            let user = random.below(3);
            let address = (user + 1) << 32;
            let length = if random.below(3) == 0 { 4096 } else { 1 + random.below(4096) };
            match random.below(8) {
                0..=2 => {
                    let operation = match random.below(3) {
                        0 => to_device(address, length),
                        1 => from_device(address, random.below(4097 - length), length),
                        _ => copy(address, address, 1 + random.below(9000)),
                    };
                    submit_as(&mut queue, lanes[random.below(3) as usize], operation, user as u32);
                }
                3..=4 => {
                    while let Some(issue) = queue.issue() {
                        posted.push_back(device(issue.transfer));
                    }
                }
                _ => {
                    let Some(transfer) = posted.pop_front() else {
                        continue;
                    };
                    let failed = random.below(6) == 0;
                    let from = transfer.device.offset() as usize;
                    // One that fails may have done a part of it.
                    let length = transfer.device.length() as usize / if failed { 2 } else { 1 };
                    let bytes = &mut memory[from..from + length];
                    let user = Some(transfer.address >> 32);
                    match transfer.direction {
                        Direction::ToDevice if transfer.address == ZEROS => bytes.fill(None),
                        Direction::ToDevice => bytes.fill(user),
                        Direction::FromDevice => {
                            assert!(bytes.iter().all(|byte| byte.is_none() || *byte == user))
                        }
                    }
                    if failed {
                        posted.clear();
                    }
                    finish_with(&mut queue, if failed { Err(EIO) } else { Ok(()) });
                    complete_cancelled(&mut queue);
                }
            }
        }
    }
}
