//! The command that is traced.

use std::{
    ffi::{OsStr, OsString},
    os::unix::process::ExitStatusExt,
    process::{self, Child, ExitStatus},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::{
    failure::Failure,
    interrupt::{self, Guard},
};

/// A command that runs. It gets the signal that ends this program, unless the terminal has sent it to both.
pub struct Traced {
    child: Child,
    #[expect(dead_code, reason = "for its Drop")]
    ended_by_signals: Guard,
}

impl Traced {
    /// Starts it.
    pub fn start(program: &OsStr, arguments: &[OsString]) -> Result<Self, Failure> {
        let make = || {
            let child = process::Command::new(program).args(arguments).spawn()?;
            // A descriptor, because its number may be that of another process when it has ended.
            let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
            let pass_on = move || {
                if let Some(signal) = interrupt::sent_to_this_process().and_then(Signal::from_named_raw) {
                    // It may have ended.
                    let _ = pidfd_send_signal(&process, signal);
                }
            };
            Ok((child, pass_on))
        };
        let command = || program.to_string_lossy().into_owned();
        let (child, ended_by_signals) =
            Guard::of(make).map_err(|source| Failure::Command { command: command(), source })?;
        Ok(Self { child, ended_by_signals })
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> Result<bool, Failure> {
        self.child.try_wait().map(|status| status.is_some()).map_err(Failure::system("the command"))
    }

    /// Waits for it; returns its exit code as in a shell.
    pub fn exit_code(&mut self) -> Result<u8, Failure> {
        self.child.wait().map(code).map_err(Failure::system("the command"))
    }
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
