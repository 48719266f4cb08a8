// SPDX-License-Identifier: GPL-2.0
//! A channel with errors, and with faults.

use super::*;

#[test]
fn errors_halt_and_tell_the_last_that_was_completed() {
    type Spoil = fn(&mut Bench);
    let cases: [(u32, Spoil); 7] = [
        (chanerr::READ, |bench| bench.memory.hole = SOURCE + 256..SOURCE + 512),
        (chanerr::WRITE, |bench| bench.memory.hole = DESTINATION + 510..DESTINATION + 512),
        (chanerr::NEXT_ADDRESS, |bench| bench.memory.hole = Bench::at(1)..Bench::at(2)),
        (chanerr::NEXT_ALIGNMENT, |bench| bench.put(0, &build::copy(256, SOURCE, DESTINATION, Bench::at(1) + 8))),
        (chanerr::LENGTH, |bench| bench.put(1, &build::copy(0, 0, 0, 0))),
        (chanerr::CONTROL, |bench| bench.put(1, &build::raw(1, 0x8700_0000, 0, 0, 0))),
        (chanerr::SOURCE_ADDRESS, |bench| bench.put(1, &build::copy(256, u64::MAX, 0, 0))),
    ];
    for (error, spoil) in cases {
        let mut bench = Bench::new();
        bench.ring(4);
        spoil(&mut bench);
        bench.channel.announce(3);
        bench.run();
        assert_eq!(bench.channel.errors, error);
        assert_eq!(bench.channel.status(), Bench::at(0) | State::Halted as u64);
        assert_eq!(bench.completion(), bench.channel.status());
        assert_eq!(bench.events.last(), Some(&Events { completed: false, interrupt: true, errors: error }));
        assert!(bench.copied(0) && !bench.copied(2));
    }
}

#[test]
fn what_errors_do_is_asked_for() {
    let mut bench = Bench::new();
    bench.channel.control = 0;
    bench.ring(4);
    bench.memory.hole = SOURCE..SOURCE + 2;
    bench.channel.announce(1);
    bench.run();
    assert_eq!((bench.state(), bench.completion()), (State::Halted, 0));
    assert_eq!(bench.events, [Events { completed: false, interrupt: false, errors: chanerr::READ }]);

    let mut bench = Bench::new();
    bench.channel.error_mask = chanerr::READ;
    bench.ring(4);
    bench.memory.hole = SOURCE..SOURCE + 2;
    bench.channel.announce(1);
    bench.run();
    assert_eq!(bench.events, [Events { completed: false, interrupt: false, errors: chanerr::READ }]);
}

#[test]
fn a_channel_with_errors_takes_no_chain() {
    let mut bench = Bench::new();
    bench.ring(4);
    bench.fault(Kind::Error, 2, chanerr::READ.into());
    bench.channel.announce(3);
    bench.run();
    // On, behind the descriptor that failed.
    bench.channel.set_chain(Bench::at(2));
    bench.channel.announce(1);
    bench.run();
    assert_eq!((bench.state(), bench.copied(2)), (State::Halted, false));
    bench.channel.errors = 0;
    bench.channel.set_chain(Bench::at(2));
    bench.channel.announce(1);
    bench.run();
    assert_eq!([0, 1, 2].map(|number| bench.copied(number)), [true, false, true]);
}

#[test]
fn errors_of_registers() {
    let mut bench = Bench::new();
    bench.ring(2);
    bench.command(chancmd::SUSPEND | chancmd::RESUME);
    assert_eq!((bench.state(), bench.channel.errors), (State::Halted, chanerr::COMMAND));

    let mut bench = Bench::new();
    bench.channel.set_chain(RING + 8);
    assert_eq!(bench.channel.announce(1).errors, chanerr::CHAIN_ADDRESS);

    let mut bench = Bench::new();
    bench.ring(2);
    bench.channel.announce(1);
    assert_eq!(bench.channel.set_chain(RING).errors, chanerr::CHAIN_ADDRESS);

    let mut bench = Bench::new();
    bench.ring(2);
    bench.channel.completion = 1 << 40;
    bench.channel.announce(1);
    bench.run();
    assert_eq!((bench.channel.errors, bench.copied(0)), (chanerr::COMPLETION_ADDRESS, true));
}

#[test]
fn a_descriptor_that_never_ends() {
    let mut bench = Bench::new();
    bench.fault(Kind::Hang, 2, 0);
    bench.ring(4);
    bench.channel.announce(3);
    bench.run();
    bench.now += Duration::from_secs(100);
    bench.command(chancmd::SUSPEND);
    bench.run();
    assert_eq!(bench.channel.status(), Bench::at(0) | State::Active as u64);
    bench.command(chancmd::RESET);
    bench.channel.completion = COMPLETION;
    bench.channel.set_chain(Bench::at(1));
    bench.channel.announce(2);
    bench.run();
    assert_eq!(bench.completion(), Bench::at(2) | State::Idle as u64);
}

#[test]
fn completions_that_are_wrong_or_lost() {
    let mut bench = Bench::new();
    bench.fault(Kind::WrongCompletion, 1, 0x140);
    bench.fault(Kind::LostCompletion, 2, 0);
    bench.ring(4);
    bench.channel.announce(1);
    bench.run();
    assert_eq!(bench.completion(), (Bench::at(0) | State::Idle as u64) ^ 0x140);
    assert_eq!(bench.channel.status(), Bench::at(0) | State::Idle as u64);
    bench.channel.announce(2);
    bench.run();
    assert_eq!(bench.completion(), (Bench::at(0) | State::Idle as u64) ^ 0x140);
    bench.channel.announce(3);
    bench.run();
    assert_eq!(bench.completion(), bench.channel.status());
}

#[test]
fn a_strict_reset_without_errors() {
    let mut bench = Bench::new();
    bench.channel.strict = true;
    bench.channel.errors = chanerr::READ;
    bench.channel.command(chancmd::RESET, &mut Faults::default());
    assert_eq!(bench.channel.pending_command(), chancmd::RESET);
    bench.channel.errors = 0;
    bench.channel.command(chancmd::RESET, &mut Faults::default());
    assert_eq!((bench.channel.pending_command(), bench.channel.strict), (0, true));
}

#[test]
fn a_strict_reset_keeps_what_was_completed_last() {
    for (strict, kept) in [(false, 0), (true, Bench::at(0))] {
        let mut bench = Bench::new();
        bench.channel.strict = strict;
        bench.ring(4);
        bench.channel.announce(1);
        bench.run();
        bench.command(chancmd::RESET);
        assert_eq!(bench.channel.status(), kept | State::Halted as u64);
        bench.channel.reset();
        assert_eq!(bench.channel.status(), State::Halted as u64);
    }
}

#[test]
fn a_reset_that_is_never_done() {
    let mut bench = Bench::new();
    bench.fault(Kind::StuckReset, 1, 0);
    bench.ring(4);
    bench.channel.announce(1);
    bench.command(chancmd::RESET);
    assert_eq!(bench.channel.pending_command(), chancmd::RESET);
    bench.run();
    assert!(bench.copied(0));
}
