//! The results of a run, in figures.

use crate::{
    edges::{Edge, Edges},
    kcov::Kcov,
    shared,
    worker::Plan,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

/// Prints how much was executed and reached.
pub fn figures(plan: &Plan, took: Duration) -> Result<(), String> {
    let shared = shared::get();
    let (calls, accepted) = (shared.calls.load(Relaxed), shared.accepted.load(Relaxed));
    let programs = shared.programs.load(Relaxed);
    println!(
        "# seed {}: {calls} calls in {programs} programs in {} s, {}% of them accepted",
        plan.seed,
        took.as_secs(),
        accepted * 100 / calls.max(1)
    );
    let mut reached = String::new();
    if Kcov::new().is_some() {
        let edges = Edges::read(&plan.module)?;
        reached = format!(", {}", coverage(&edges));
    }
    let found = u32::from(shared.finding().is_some());
    println!("# figure: {} M calls, seed {} | {found} answers that are not documented{reached}", calls / 1_000_000, plan.seed);
    Ok(())
}

/// How much of the driver was reached, and a list of what was not.
fn coverage(edges: &Edges) -> String {
    if edges.all.is_empty() {
        return "the driver is built without coverage".into();
    }
    let mut missed: BTreeMap<String, usize> = BTreeMap::new();
    let (mut all, mut callable, mut callable_reached) = (0, 0, 0);
    for (number, edge) in edges.all.iter().enumerate() {
        let reached = shared::get().reached[number].load(Relaxed) != 0;
        all += usize::from(reached);
        callable += usize::from(edge.callable || reached);
        callable_reached += usize::from(reached);
        if !reached && edge.callable {
            *missed.entry(short(edge)).or_default() += 1;
        }
    }
    let mut missed: Vec<(usize, String)> = missed.into_iter().map(|(function, count)| (count, function)).collect();
    missed.sort_unstable_by(|one, other| other.cmp(one));
    println!("# not reached, edges by function of those that system calls can come to:");
    for (count, function) in missed.iter().take(20) {
        println!("#   {count:3} {function}");
    }
    let percent = |part: usize, whole: usize| part * 100 / whole.max(1);
    format!(
        "{}% of the {callable} edges that system calls can come to, {}% of all {} (and {} that only a fault of the driver leads to)",
        percent(callable_reached, callable),
        percent(all, edges.all.len()),
        edges.all.len(),
        edges.reports
    )
}

/// Prints the number of edges of each function, except for those that lead to reports of faults.
pub fn edges(module: &str) -> Result<(), String> {
    let edges = Edges::read(module)?;
    let mut functions: BTreeMap<(&str, bool), usize> = BTreeMap::new();
    for edge in &edges.all {
        *functions.entry((&edge.function, edge.callable)).or_default() += 1;
    }
    for ((function, callable), count) in functions {
        println!("{count:4} {} {:#}", if callable { "call" } else { "    " }, rustc_demangle::demangle(function));
    }
    Ok(())
}

/// The reason for keeping a program.
pub fn remark(edges: &Edges, new: &BTreeSet<u32>) -> String {
    let name = |edge: &u32| short(&edges.all[*edge as usize]);
    let functions: BTreeSet<String> = new.iter().map(name).collect();
    let names: Vec<String> = functions.into_iter().take(4).collect();
    format!("{} edges that no other has: {}", new.len(), names.join(", "))
}

/// The last two words of a function's name.
fn short(edge: &Edge) -> String {
    let name = format!("{:#}", rustc_demangle::demangle(&edge.function));
    // Without generic arguments, which make names long.
    let mut depth = 0;
    let plain: String = name
        .chars()
        .filter(|c| {
            depth += i32::from(*c == '<');
            let keep = depth == 0;
            depth -= i32::from(*c == '>');
            keep
        })
        .collect();
    let words: Vec<&str> = plain.split("::").filter(|word| !word.is_empty() && !word.starts_with('{')).collect();
    words[words.len().saturating_sub(2)..].join("::")
}
