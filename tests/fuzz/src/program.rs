//! Programs: the calls of a few threads on the same files. Generated, varied, printed and parsed.

use crate::{
    ops::{Alloc, Map, Op, Open, Vary},
    random::Random,
    values::{Which, PAGE},
};
use arbitrary::{Result, Unstructured};
use std::fmt;

/// Maximum number of calls of a thread.
const MOST: usize = 24;

/// The calls of each thread.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// At least one.
    pub threads: Vec<Vec<Op>>,
}

impl Program {
    /// A new program, or a combination of others.
    pub fn make(random: &mut Random, others: &[Program]) -> Self {
        let new = others.is_empty() || random.below(4) == 0;
        let mut program = if new { Self::default() } else { others[random.below(others.len())].clone() };
        let bytes = random.bytes::<2048>();
        // If there are not enough bytes, it ends early.
        let mut u = Unstructured::new(&bytes);
        let _ = if new { program.generate(&mut u) } else { program.mutate(&mut u, random, others) };
        if program.threads.is_empty() {
            program.threads.push(Vec::new());
        }
        for thread in &mut program.threads {
            thread.truncate(MOST);
        }
        program
    }

    fn generate(&mut self, u: &mut Unstructured) -> Result<()> {
        let mut first = vec![Op::Open(Open { access: 2, nonblock: u.ratio(1, 3)?, ..Default::default() })];
        for _ in 0..u.int_in_range(0..=3)? {
            first.push(Op::Alloc(Alloc { size: u.int_in_range(1..=3)? * PAGE, ..Default::default() }));
        }
        if u.arbitrary()? {
            let buffer = if u.arbitrary()? { Which::First } else { Which::Nth(0) };
            first.push(Op::Map(Map { buffer, length: PAGE, protection: 3, flags: 1, ..Default::default() }));
        }
        self.threads.push(first);
        let threads = [1, 1, 1, 2, 2, 3];
        self.threads.resize(*u.choose(&threads)?, Vec::new());
        for thread in &mut self.threads {
            for _ in 0..u.int_in_range(2..=10)? {
                thread.push(Op::any(u)?);
            }
        }
        Ok(())
    }

    fn mutate(&mut self, u: &mut Unstructured, random: &mut Random, others: &[Program]) -> Result<()> {
        for _ in 0..u.int_in_range(1..=4)? {
            let thread = u.choose_index(self.threads.len())?;
            let calls = &mut self.threads[thread];
            let place = if calls.is_empty() { 0 } else { u.choose_index(calls.len())? };
            match u.int_in_range(0..=9)? {
                0..=3 if !calls.is_empty() => calls[place].vary(u)?,
                4 if !calls.is_empty() => drop(calls.remove(place)),
                5 if !calls.is_empty() => calls.insert(place, calls[place].clone()),
                6 => {
                    let other = &others[random.below(others.len())].threads;
                    let tail = &other[random.below(other.len())];
                    calls.extend_from_slice(&tail[random.below(tail.len())..]);
                }
                7 if self.threads.len() < 3 => {
                    let other = &others[random.below(others.len())].threads;
                    let copy = other[random.below(other.len())].clone();
                    self.threads.push(copy);
                }
                _ => {
                    let op = Op::any(u)?;
                    self.threads[thread].insert(place, op);
                }
            }
        }
        Ok(())
    }

    /// Number of calls in it.
    pub fn len(&self) -> usize {
        self.threads.iter().map(Vec::len).sum()
    }

    /// Returns whether a thread submits commands of io_uring.
    pub fn has_commands(&self) -> bool {
        let is_command = |op: &Op| match op {
            Op::Storm(storm) => matches!(*storm.call, Op::Command(_)),
            op => matches!(op, Op::Command(_)),
        };
        self.threads.iter().flatten().any(is_command)
    }

    /// Without the first calls, counted over all threads.
    pub fn without(&self, from: usize, count: usize) -> Self {
        let mut number = 0;
        let mut keep = |_: &Op| {
            number += 1;
            number <= from || number > from + count
        };
        let threads: Vec<Vec<Op>> =
            self.threads.iter().map(|calls| calls.iter().filter(|op| keep(op)).cloned().collect()).collect();
        Self { threads: threads.into_iter().enumerate().filter(|(i, t)| *i == 0 || !t.is_empty()).map(|(_, t)| t).collect() }
    }

    /// Parses programs: each begins with a line `program`, further threads with a line `thread`.
    pub fn read(text: &str) -> std::result::Result<Vec<Self>, String> {
        let mut programs: Vec<Self> = Vec::new();
        for (number, line) in text.lines().enumerate().map(|(number, line)| (number + 1, line.trim())) {
            match line {
                "" => {}
                _ if line.starts_with("//") => {}
                "program" => programs.push(Self { threads: vec![Vec::new()] }),
                _ => {
                    let program = programs.last_mut().ok_or("the first line is not \"program\"")?;
                    if line == "thread" {
                        program.threads.push(Vec::new());
                    } else {
                        let op = options().from_str(line).map_err(|error| format!("line {number}: {error}"))?;
                        program.threads.last_mut().expect("there is a first").push(op);
                    }
                }
            }
        }
        Ok(programs)
    }
}

/// The format of a call: Rusty Object Notation, compact.
fn options() -> ron::Options {
    use ron::extensions::Extensions;
    ron::Options::default()
        .with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES)
        .with_default_extension(Extensions::IMPLICIT_SOME)
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, thread) in self.threads.iter().enumerate() {
            writeln!(f, "{}", if number == 0 { "program" } else { "thread" })?;
            for op in thread {
                writeln!(f, "  {}", options().to_string(op).map_err(|_| fmt::Error)?)?;
            }
        }
        Ok(())
    }
}
