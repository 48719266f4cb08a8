//! The checks, in the order in which things are needed.

mod device;
mod handover;
mod system;

use rust_dma::Context;
use serde::Serialize;

use crate::{
    device::{Device, one},
    failure::with_reason,
};

/// The result of a check.
#[derive(Serialize)]
#[serde(tag = "finding", rename_all = "lowercase")]
pub enum Finding {
    /// As it should be.
    Good { found: String },
    /// It works, but not always, or not for all users.
    Note { found: String, advice: String },
    /// It cannot work.
    Wrong { found: String, advice: String },
    /// Not checked, because something above is missing.
    Unknown { found: String },
}

type Checks = Vec<(&'static str, Finding)>;

/// All checks. If a device can be opened, the checks of what that needs succeed. Otherwise, checks that depend on a failed one are left out.
pub fn all(wanted: Option<&str>) -> Checks {
    let opened = one(wanted).and_then(|device| device.open().map(|context| (device, context)));
    let mut checks = vec![("kernel", system::kernel())];
    checks.extend(system::lockdown().map(|finding| ("lockdown", finding)));
    match opened {
        Ok((device, context)) => {
            checks.extend(system::all());
            for (_, finding) in &mut checks {
                finding.is_refuted();
            }
            checks.extend(of_device(&device, &context));
        }
        Err(failure) => {
            for (what, finding) in system::all() {
                let stops = what != "device" && finding.is_wrong();
                checks.push((what, finding));
                if stops {
                    return checks;
                }
            }
            if !checks.iter().any(|(_, finding)| finding.is_wrong()) {
                checks.push(("node", device::unopened(&failure)));
            }
        }
    }
    checks
}

fn of_device(device: &Device, context: &Context) -> Checks {
    let mut checks = vec![("node", good(format!("{} opens", device.node.display()))), ("name", device::name(device))];
    match context.info() {
        Err(error) => checks.push(("device", wrong(with_reason(&error), "`dmesg` has more"))),
        Ok(info) => {
            checks.push(("reach", device::reach(device, &info)));
            let memory = device::memory(context);
            let has_memory = !memory.is_wrong();
            checks.push(("memory", memory));
            if has_memory {
                checks.push(("transfer", device::transfer(context, &info)));
            }
        }
    }
    checks
}

impl Finding {
    /// Whether it cannot work.
    pub fn is_wrong(&self) -> bool {
        matches!(self, Self::Wrong { .. })
    }

    /// A device is open: what seems to be missing is only hidden, as sysfs is in a container.
    fn is_refuted(&mut self) {
        if let Self::Wrong { found, .. } = self {
            *self = Self::Unknown { found: format!("{}, as far as can be seen here", std::mem::take(found)) };
        }
    }
}

fn good(found: impl Into<String>) -> Finding {
    Finding::Good { found: found.into() }
}

fn wrong(found: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding::Wrong { found: found.into(), advice: advice.into() }
}

fn note(found: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding::Note { found: found.into(), advice: advice.into() }
}
