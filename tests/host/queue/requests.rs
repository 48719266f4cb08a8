// SPDX-License-Identifier: GPL-2.0

//! One request: its ranges, its pieces, its end.

use super::*;

#[test]
fn device_ranges_stay_inside() {
    let edges = [0, 1, 4094, 4095, 4096, 4097, u64::from(u32::MAX), 1 << 63, u64::MAX];
    for offset in edges {
        for length in edges {
            let fits = length > 0 && u128::from(offset) + u128::from(length) <= 4096;
            assert_eq!(DeviceRange::new(offset, length, SIZE).is_ok(), fits, "{offset} {length}");
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
    finish(&mut queue);
    assert_eq!(waker.completed(), 0, "there is nothing to collect");
    assert_eq!(done(&ticket), Some(Ok(())));
    assert!(!queue.is_busy());
}

#[test]
fn so_many_wait_and_no_more() {
    let mut queue = open();
    let (a, _) = lane(&mut queue);
    let (b, _) = lane(&mut queue);
    let calls: Vec<_> = (0..2048).map(|_| submit(&mut queue, a, to_device(0x1000, 16))).collect();
    let refused = try_submit(&mut queue, a, to_device(0x1000, 16), 0);
    assert!(matches!(refused, Err(ENOMEM)));
    submit(&mut queue, b, to_device(0x1000, 16));
    queue.start().unwrap();
    submit(&mut queue, a, to_device(0x1000, 16));
    assert!(calls.iter().all(|call| done(call).is_none()));
}

#[test]
fn finish_without_a_transfer_is_nothing() {
    let mut queue = open();
    finish(&mut queue);
    let (a, _) = lane(&mut queue);
    submit(&mut queue, a, to_device(0x1000, 16));
    // A late interrupt between queueing and starting.
    finish(&mut queue);
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
    let range = DeviceRange::new(1000, 2048, SIZE).unwrap();
    submit(&mut queue, a, Operation::FromDevice(range, destination));
    let parts: Vec<_> =
        drain(&mut queue).iter().map(|t| (t.address, t.device.offset(), t.device.length())).collect();
    assert_eq!(parts, [(512, 1000, 512), (2048, 1512, 1024), (4096, 2536, 512)]);
}
