//! `doctor`: diagnoses problems, and prints what to do.
//!
//! The order is: kernel, device, module, driver, node, permissions; then memory, and a real transfer. The first thing that is missing is
//! reported, and not what follows from it.

mod checks;

use std::process::ExitCode;

use serde::Serialize;

use self::checks::Finding;
use crate::{cli::One, failure::Failure, output::Output};

/// The results.
#[derive(Serialize)]
struct Report {
    works: bool,
    checks: Vec<Check>,
}

/// One check.
#[derive(Serialize)]
struct Check {
    what: &'static str,
    #[serde(flatten)]
    finding: Finding,
}

/// Runs the checks, and prints the results.
pub fn run(arguments: &One, output: &Output) -> Result<ExitCode, Failure> {
    let checks: Vec<_> =
        checks::all(arguments.name()).into_iter().map(|(what, finding)| Check { what, finding }).collect();
    let works = !checks.iter().any(|check| check.finding.is_wrong());
    let report = Report { works, checks };
    output.result(&report, || text(&report))?;
    Ok(ExitCode::from(if works { 0 } else { 3 }))
}

fn text(report: &Report) -> String {
    let mut lines = Vec::new();
    for Check { what, finding } in &report.checks {
        let (mark, found, advice) = match finding {
            Finding::Good { found } => ("ok", found, None),
            Finding::Note { found, advice } => ("note", found, Some(advice)),
            Finding::Wrong { found, advice } => ("WRONG", found, Some(advice)),
            Finding::Unknown { found } => ("-", found, None),
        };
        lines.push(format!("{mark:<7}{what:<12}{found}"));
        lines.extend(advice.map(|advice| format!("{:19}→ {advice}", "")));
    }
    lines.push(if report.works { "It works here." } else { "It does not work here." }.into());
    lines.join("\n")
}
