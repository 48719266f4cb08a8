//! `doctor`: why it does not work here, and what to do.
//!
//! From the outside in: the kernel, the module, the device, its driver, the node, who may use it; then memory, and a transfer for real.

mod checks;

use std::process::ExitCode;

use serde::Serialize;

use self::checks::Finding;
use crate::{cli::One, failure::Failure, output::Output};

/// What was found.
#[derive(Serialize)]
struct Report {
    works: bool,
    checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Serialize)]
struct Check {
    what: &'static str,
    #[serde(flatten)]
    finding: Finding,
}

/// Looks, and tells.
pub fn run(arguments: &One, output: &Output) -> Result<ExitCode, Failure> {
    let checks: Vec<_> =
        checks::all(arguments.device.as_deref()).into_iter().map(|(what, finding)| Check { what, finding }).collect();
    let works = !checks.iter().any(|check| matches!(check.finding, Finding::Wrong { .. }));
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
