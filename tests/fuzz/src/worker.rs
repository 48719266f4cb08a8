//! One of the processes that run programs, until enough calls are made or something is found.

use crate::{
    announce::Log,
    corpus,
    program::Program,
    random::Random,
    report,
    runner::{Outcome, Runner},
    shared, shrink,
};
use std::{collections::BTreeSet, path::PathBuf, sync::atomic::Ordering::Relaxed};

/// Number of programs between two lines in the log.
pub const BATCH: u64 = 16;

/// What to run.
pub struct Plan {
    /// The seed of all random numbers.
    pub seed: u64,
    /// Number of system calls.
    pub calls: u64,
    /// Maximum time in seconds.
    pub seconds: u64,
    /// Number of processes.
    pub workers: usize,
    /// The corpus.
    pub corpus: Vec<Program>,
    /// The file of the loaded driver.
    pub module: String,
    /// Directory for programs that have reached something new.
    pub new: PathBuf,
}

impl Plan {
    /// A worker's program of this number, derived from these. Those of the corpus come first.
    pub fn program(&self, worker: usize, index: u64, corpus: &[Program]) -> Program {
        let place = index as usize * self.workers + worker;
        match self.corpus.get(place) {
            Some(program) => program.clone(),
            None => Program::make(&mut Random::new(self.seed, ((worker as u64) << 40) | index), corpus),
        }
    }
}

/// Whether a program may have calls that wait for transfers: only a few may, because these take time.
pub fn patient(index: u64) -> bool {
    index % 16 == 15
}

/// Runs programs.
pub fn work(plan: &Plan, worker: usize) -> Result<(), String> {
    let shared = shared::get();
    let mut runner = Runner::new(&plan.module, worker % 4)?;
    let mut log = Log::new();
    let mut corpus = plan.corpus.clone();
    for index in 0.. {
        if shared.stop.load(Relaxed) || shared.calls.load(Relaxed) >= plan.calls {
            break;
        }
        if runner.guided() && index % 32 == 0 {
            corpus = plan.corpus.iter().cloned().chain(corpus::load(&plan.new).unwrap_or_default()).collect();
        }
        let program = plan.program(worker, index, &corpus);
        if runner.guided() {
            log.program(worker, &program);
        } else if index % BATCH == 0 {
            log.position(worker, index);
        }
        let outcome = runner.run(&program, patient(index));
        if let Some(finding) = outcome.finding {
            let shortest = shrink::shortest(&program, 400, |shorter| finds(&mut runner, shorter));
            shared.report(&format!(
                "{finding}\n\nProgram {index} of worker {worker}, seed {}. The shortest found:\n{shortest}",
                plan.seed
            ));
        } else {
            keep(plan, &mut runner, &program, &outcome, index);
        }
    }
    Ok(())
}

/// Whether a program has a finding in one of a few runs.
fn finds(runner: &mut Runner, program: &Program) -> bool {
    (0..3).any(|time| runner.run(program, time == 2).finding.is_some())
}

/// Saves a program that has reached something new, without the calls that are not needed for that.
fn keep(plan: &Plan, runner: &mut Runner, program: &Program, outcome: &Outcome, index: u64) {
    let is_new = |edge: &u32| shared::get().reached[*edge as usize].swap(1, Relaxed) == 0;
    let new: BTreeSet<u32> = outcome.edges.iter().copied().filter(is_new).collect();
    if new.is_empty() || plan.corpus.contains(program) {
        return;
    }
    let shortest = shrink::shortest(program, 60, |shorter| new.is_subset(&runner.run(shorter, patient(index)).edges));
    let remark = report::remark(&runner.edges, &new);
    if let Err(error) = corpus::save(&plan.new, &shortest, &remark) {
        shared::get().report(&format!("{}: {error}", plan.new.display()));
    }
}
