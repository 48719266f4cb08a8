//! Shorter programs with the same finding.

use crate::{ops::Op, program::Program};

/// All programs that are simpler by one step, the shortest first.
pub fn simpler(program: &Program) -> Vec<Program> {
    let length = program.len();
    let mut found = Vec::new();
    if program.threads.len() > 1 {
        found.extend(program.threads.iter().map(|thread| Program { threads: vec![thread.clone()] }));
        found.push(Program { threads: vec![program.threads.concat()] });
    }
    if program.threads.len() == 1 && length > 5 {
        let makes = |op: &&Op| matches!(op, Op::Open(_) | Op::Alloc(_) | Op::Map(_));
        let alone = |place: usize| {
            let calls = &program.threads[0];
            let before = calls[..place].iter().filter(makes);
            Program { threads: vec![before.chain([&calls[place]]).cloned().collect()] }
        };
        found.extend((0..length).map(alone));
    }
    let mut count = length / 2;
    while count > 0 {
        found.extend((0..length).step_by(count).map(|from| program.without(from, count)));
        count /= 2;
    }
    for (number, thread) in program.threads.iter().enumerate() {
        for (place, op) in thread.iter().enumerate() {
            for simple in simpler_calls(op) {
                let mut other = program.clone();
                other.threads[number][place] = simple;
                found.push(other);
            }
        }
    }
    found.retain(|other| other.len() <= length && other != program);
    found
}

/// A storm's last call, and shorter storms; a child with fewer calls; fewer requests.
fn simpler_calls(op: &Op) -> Vec<Op> {
    match op {
        Op::Storm(storm) => {
            let mut found = vec![(*storm.call).clone(), storm.nth(storm.times.saturating_sub(1))];
            // By bisection, to the program in which the last call causes it.
            for part in 1..12 {
                let mut shorter = storm.clone();
                shorter.times = storm.times - (storm.times >> part).max(1).min(storm.times);
                found.push(Op::Storm(shorter));
            }
            found
        }
        Op::Fork(fork) => (0..fork.calls.len())
            .map(|call| {
                let mut shorter = fork.clone();
                shorter.calls.remove(call);
                Op::Fork(shorter)
            })
            .collect(),
        Op::Submit(submit) if submit.requests.len() > 1 => (0..submit.requests.len())
            .map(|request| {
                let mut shorter = submit.clone();
                shorter.requests.remove(request);
                Op::Submit(shorter)
            })
            .collect(),
        Op::Command(command) if command.requests.len() > 1 => (0..command.requests.len())
            .map(|request| {
                let mut shorter = command.clone();
                shorter.requests.remove(request);
                Op::Command(shorter)
            })
            .collect(),
        Op::Command(command) if command.copies > 1 => {
            let mut shorter = command.clone();
            shorter.copies /= 2;
            vec![Op::Command(shorter)]
        }
        Op::Submit(submit) if submit.copies > 1 => {
            let mut shorter = submit.clone();
            shorter.copies = 1;
            vec![Op::Submit(shorter)]
        }
        _ => Vec::new(),
    }
}

/// The shortest program for which `shows` is true, after a limited number of tries.
pub fn shortest(program: &Program, mut tries: u32, mut shows: impl FnMut(&Program) -> bool) -> Program {
    let mut shortest = program.clone();
    loop {
        let mut candidates = simpler(&shortest).into_iter();
        let better = candidates.find(|candidate| {
            tries = tries.saturating_sub(1);
            tries > 0 && shows(candidate)
        });
        match better {
            Some(better) => shortest = better,
            None => return shortest,
        }
    }
}
