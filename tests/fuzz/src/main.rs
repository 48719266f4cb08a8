//! The fuzzer of the driver's system calls, in the guest. tests/fuzz/run boots a guest with it.
//!
//!     fuzz run --seed N --calls N [--seconds N] [--workers N] [--new DIRECTORY] --module FILE CORPUS
//!     fuzz play [--times N] --module FILE PROGRAMS         runs them, one after the other
//!     fuzz shrink --module FILE PROGRAMS                   runs each alone, and simpler ones: the host sees which one crashes the guest
//!     fuzz show --seed N --worker N --from N CORPUS        prints what a worker was running; needs no driver
//!     fuzz minimise --new DIRECTORY --module FILE CORPUS   selects the fewest programs that reach as much
//!     fuzz edges --module FILE                             prints the number of edges of each function, and whether a call can reach it
//!
//! One process per worker, so that one crash or hang leaves the others running. All that a worker runs follows from the seed, its
//! number and the corpus; the scheduling of threads does not.

mod announce;
mod caller;
mod corpus;
mod edges;
mod kcov;
mod memory;
mod ops;
mod program;
mod random;
mod report;
mod runner;
mod shared;
mod shrink;
mod sys;
/// The interface, as the library has it: `src/uapi/generate` writes it from the header.
#[allow(missing_docs, dead_code, non_camel_case_types)]
#[path = "../../../user/rust-dma/src/abi.rs"]
mod uapi;
mod uring;
mod values;
mod worker;
mod world;

use announce::Log;
use lexopt::prelude::*;
use program::Program;
use runner::Runner;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::Ordering::Relaxed,
    time::Instant,
};
use worker::Plan;

struct Arguments {
    command: String,
    plan: Plan,
    worker: usize,
    from: u64,
    times: u32,
}

fn arguments() -> Result<Arguments, lexopt::Error> {
    let mut parser = lexopt::Parser::from_env();
    let plan = Plan {
        seed: 1,
        calls: 0,
        seconds: u64::MAX,
        workers: 8,
        corpus: Vec::new(),
        module: String::new(),
        new: "/tmp/new".into(),
    };
    let mut arguments = Arguments { command: String::new(), plan, worker: 0, from: 0, times: 1 };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("seed") => arguments.plan.seed = parser.value()?.parse()?,
            Long("calls") => arguments.plan.calls = parser.value()?.parse()?,
            Long("seconds") => arguments.plan.seconds = parser.value()?.parse()?,
            Long("workers") => arguments.plan.workers = parser.value()?.parse()?,
            Long("worker") => arguments.worker = parser.value()?.parse()?,
            Long("from") => arguments.from = parser.value()?.parse()?,
            Long("times") => arguments.times = parser.value()?.parse()?,
            Long("module") => arguments.plan.module = parser.value()?.string()?,
            Long("new") => arguments.plan.new = parser.value()?.into(),
            Value(command) if arguments.command.is_empty() => arguments.command = command.string()?,
            Value(path) => {
                let programs = corpus::load(Path::new(&path))?;
                arguments.plan.corpus.extend(programs);
            }
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(arguments)
}

fn main() -> ExitCode {
    let done = arguments().map_err(|error| error.to_string()).and_then(|arguments| match arguments.command.as_str() {
        "run" => run(&arguments.plan),
        "play" => play(&arguments),
        "shrink" => shrink_here(&arguments.plan),
        "show" => show(&arguments),
        "minimise" => minimise(&arguments.plan),
        "edges" => report::edges(&arguments.plan.module),
        other => Err(format!("there is no command {other:?}")),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the workers, and prints the result.
fn run(plan: &Plan) -> Result<(), String> {
    let shared = shared::get();
    let began = Instant::now();
    let mut workers = BTreeSet::new();
    for worker in 0..plan.workers {
        // SAFETY: There is only one thread yet.
        match unsafe { libc::fork() } {
            -1 => return Err("fork failed".into()),
            0 => {
                // SAFETY: No pointers are in these.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                if let Err(error) = worker::work(plan, worker) {
                    shared.report(&error);
                }
                std::process::exit(0)
            }
            process => workers.insert(process),
        };
    }
    let mut told = Instant::now();
    while !workers.is_empty() {
        let mut status = 0;
        // SAFETY: There is room for the status.
        let gone = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
        if gone > 0 && workers.remove(&gone) && status != 0 {
            shared.report(&format!("a worker ended with status {status:#x}"));
        }
        if began.elapsed().as_secs() >= plan.seconds || shared.calls.load(Relaxed) >= plan.calls {
            shared.stop.store(true, Relaxed);
        }
        if told.elapsed().as_secs() >= 15 {
            told = Instant::now();
            let (calls, programs) = (shared.calls.load(Relaxed), shared.programs.load(Relaxed));
            println!("# {:3} s: {calls} calls in {programs} programs", began.elapsed().as_secs());
        }
        if gone <= 0 {
            sys::sleep_ms(50);
        }
    }
    if let Some(finding) = shared.finding() {
        println!("FOUND: {finding}");
        println!("make fuzz SEED={} plays it again.", plan.seed);
    }
    report::figures(plan, began.elapsed())?;
    if shared.finding().is_some() {
        return Err("an answer is not as src/uapi/rdma.h says".into());
    }
    Ok(())
}

/// Runs programs, one after the other.
fn play(arguments: &Arguments) -> Result<(), String> {
    let mut runner = Runner::new(&arguments.plan.module, 0)?;
    let mut log = Log::new();
    for program in &arguments.plan.corpus {
        log.program(0, program);
        for time in 0..arguments.times {
            if let Some(finding) = runner.run(program, time % 2 == 1).finding {
                return Err(format!("{finding}\n{program}"));
            }
        }
    }
    println!("{} programs, {} times each: nothing found", arguments.plan.corpus.len(), arguments.times);
    Ok(())
}

/// Runs each program alone, and if there is only one, all simpler ones; the guest dies of one of them, or does not.
fn shrink_here(plan: &Plan) -> Result<(), String> {
    let mut runner = Runner::new(&plan.module, 0)?;
    let mut log = Log::new();
    let candidates = match plan.corpus.as_slice() {
        [one] => shrink::simpler(one),
        all => all.to_vec(),
    };
    for candidate in &candidates {
        log.program(0, candidate);
        for time in 0..10 {
            runner.run(candidate, time % 4 == 3);
        }
    }
    // Time for messages of the kernel to be printed.
    sys::sleep_ms(500);
    println!("{} programs: the guest is alive", candidates.len());
    Ok(())
}

/// Prints what a worker was running from there on.
fn show(arguments: &Arguments) -> Result<(), String> {
    for index in arguments.from..arguments.from + worker::BATCH {
        print!("{}", arguments.plan.program(arguments.worker, index, &arguments.plan.corpus));
    }
    Ok(())
}

/// Selects as few of the programs as possible that reach what all of them reach.
fn minimise(plan: &Plan) -> Result<(), String> {
    let mut runner = Runner::new(&plan.module, 0)?;
    if !runner.guided() {
        return Err("this kernel does not tell what is reached".into());
    }
    let mut reach = |program: &Program| (0..3).flat_map(|time| runner.run(program, time == 2).edges).collect();
    let mut programs: Vec<(BTreeSet<u32>, &Program)> = plan.corpus.iter().map(|program| (reach(program), program)).collect();
    let mut reached = BTreeSet::new();
    let directory: &PathBuf = &plan.new;
    while let Some(best) = (0..programs.len()).max_by_key(|at| {
        let (edges, program) = &programs[*at];
        (edges.difference(&reached).count(), std::cmp::Reverse(program.len()))
    }) {
        let (edges, program) = programs.swap_remove(best);
        let new: BTreeSet<u32> = edges.difference(&reached).copied().collect();
        if new.is_empty() {
            break;
        }
        let remark = report::remark(&runner.edges, &new);
        corpus::save(directory, program, &remark).map_err(|error| format!("{}: {error}", directory.display()))?;
        reached.extend(new);
    }
    println!("{} edges, {} programs left over", reached.len(), programs.len());
    Ok(())
}
