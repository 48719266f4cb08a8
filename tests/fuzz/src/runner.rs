//! Runs a program: one thread for each of its threads, all of it limited in time, and without leftovers.

use crate::{
    caller::{self, Caller, Finding, Memory},
    edges::Edges,
    kcov::Kcov,
    memory,
    program::Program,
    shared, sys,
    world::{World, THREADS},
};
use std::{
    collections::BTreeSet,
    sync::{
        atomic::{AtomicU32, Ordering::Relaxed},
        Arc,
    },
    thread,
};

/// Interval of the watchdog, in milliseconds.
const STEP_MS: u64 = 10;
/// After this number of steps in one call, which is longer than any call can take, the call is considered hung.
const HANGING: u32 = 2000;

/// What one process needs to run programs.
pub struct Runner {
    world: Arc<World>,
    memories: [Memory; THREADS],
    kcov: Vec<Kcov>,
    /// The driver's edges.
    pub edges: Edges,
    /// Number of steps of the watchdog after which a waiting call is interrupted.
    patience: Arc<AtomicU32>,
}

/// The result of a run.
pub struct Outcome {
    /// The edges that were reached, if the kernel records them.
    pub edges: BTreeSet<u32>,
    /// A finding.
    pub finding: Option<Finding>,
}

impl Runner {
    /// Prepares a process for the device of this number. `module` is the file of the loaded driver.
    pub fn new(module: &str, device: usize) -> Result<Self, String> {
        let kcov: Vec<Kcov> = (0..THREADS).map_while(|_| Kcov::new()).collect();
        let edges = if kcov.is_empty() { Edges::default() } else { Edges::read(module)? };
        let world = Arc::new(World::new(device));
        let patience = Arc::new(AtomicU32::new(1));
        catch_signals();
        let (watched, patient) = (world.clone(), patience.clone());
        thread::spawn(move || watch(&watched, &patient));
        let memories = std::array::from_fn(|_| Memory::new());
        Ok(Self { world, memories, kcov, edges, patience })
    }

    /// Whether the kernel records edges.
    pub fn guided(&self) -> bool {
        !self.kcov.is_empty() && !self.edges.all.is_empty()
    }

    /// Runs a program on new files. Waiting calls are interrupted early, or, if `patient`, after the time of a few transfers.
    pub fn run(&mut self, program: &Program, patient: bool) -> Outcome {
        self.patience.store(if patient { 25 } else { 1 }, Relaxed);
        self.world.reset(program.threads.len() == 1);
        if program.threads.len() > 1 && program.has_commands() {
            if let Err(error) = self.world.open_rings() {
                return Outcome { edges: BTreeSet::new(), finding: Some(format!("io_uring_setup: {error}")) };
            }
        }
        let world = &*self.world;
        let kcov = &self.kcov;
        let run = |number: usize, memory: &mut Memory| {
            let process = sys::call(libc::SYS_gettid, []).expect("it never fails");
            world.threads[number].store(process as i32, Relaxed);
            let trace = kcov.get(number);
            trace.inspect(|kcov| kcov.enable());
            let mut caller = Caller::new(world, number, memory);
            let done = caller.run(&program.threads[number], &|| !shared::get().stop.load(Relaxed));
            trace.inspect(|kcov| kcov.disable());
            world.threads[number].store(0, Relaxed);
            shared::get().count(caller.calls, caller.accepted);
            done.err()
        };
        let (first, others) = self.memories.split_at_mut(1);
        let count = program.threads.len().min(THREADS);
        let mut finding = thread::scope(|scope| {
            let run = &run;
            let others: Vec<_> = others
                .iter_mut()
                .take(count - 1)
                .enumerate()
                .map(|(number, memory)| scope.spawn(move || run(number + 1, memory)))
                .collect();
            let found = run(0, &mut first[0]);
            others.into_iter().fold(found, |found, thread| found.or(thread.join().expect("no thread panics")))
        });
        let children = std::mem::take(&mut *world.children.lock().expect("no thread panics"));
        for child in children {
            finding = finding.or(caller::kill(child).err());
        }
        world.reset(true);
        memory::empty_places();
        shared::get().programs.fetch_add(1, Relaxed);
        let traces = self.kcov.iter().take(count).flat_map(Kcov::trace);
        Outcome { edges: traces.filter_map(|address| self.edges.at(address)).collect(), finding }
    }
}

/// Interrupts waiting calls, and reports a hung one.
fn watch(world: &World, patience: &AtomicU32) {
    let mut seen = [(0, 0); THREADS];
    loop {
        sys::sleep_ms(STEP_MS);
        for (number, thread) in world.threads.iter().enumerate() {
            let (thread, step) = (thread.load(Relaxed), world.steps[number].load(Relaxed));
            let (before, since) = &mut seen[number];
            *since = if thread == 0 || step != *before { 0 } else { *since + 1 };
            *before = step;
            if *since >= patience.load(Relaxed) {
                let process = std::process::id().into();
                let _ = sys::call(libc::SYS_tgkill, [process, thread as u64, libc::SIGUSR1 as u64]);
            }
            if *since == HANGING {
                shared::get().report("a call does not end, and signals do not end it");
            }
        }
    }
}

/// SIGUSR1 interrupts a call, and has no other effect.
fn catch_signals() {
    extern "C" fn nothing(_: i32) {}
    // SAFETY: The handler accesses nothing; all zeros is an action without flags.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut());
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
    }
}
