//! Processes: forked, killed, signalled.

use super::{Caller, Judged, Memory};
use crate::{ops, shared, sys};
use std::sync::atomic::Ordering::Relaxed;

impl Caller<'_> {
    pub(super) fn fork(&mut self, op: &ops::Fork) -> Judged {
        let mut children = self.world.children.lock().expect("no thread panics");
        if children.len() >= 3 {
            return Ok(());
        }
        self.world.exact.store(false, Relaxed);
        self.calls += 1;
        // SAFETY: The child uses only the C library's allocator, which allows this, and system calls.
        match unsafe { libc::fork() } {
            // The kernel copies huge pages that are pinned, into others of hugetlbfs, of which there are few.
            -1 if sys::errno() == libc::ENOMEM && self.world.huge.load(Relaxed) => Ok(()),
            -1 => Err(format!("fork: {}", sys::name(sys::errno()))),
            0 => {
                // This thread holds the lock, and is the only one in the child.
                drop(children);
                self.child(&op.calls)
            }
            child => {
                children.push(child);
                Ok(())
            }
        }
    }

    fn child(&mut self, calls: &[ops::Op]) -> ! {
        // SAFETY: No pointers are in these.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        }
        // Before this process opens descriptors of its own.
        self.world.forget_closed();
        let mut memory = Memory::new();
        let mut child = Caller::new(self.world, self.number, &mut memory);
        let done = child.run(calls, &|| true);
        shared::get().count(child.calls, child.accepted);
        if let Err(finding) = done {
            shared::get().report(&format!("{finding}\nin a child"));
        }
        loop {
            sys::sleep_ms(1000);
        }
    }

    pub(super) fn kill(&mut self, op: &ops::Kill) -> Judged {
        let child = self.world.children.lock().expect("no thread panics").pop();
        match child {
            Some(child) => {
                sys::sleep_ms(op.milliseconds.into());
                self.calls += 1;
                kill(child)
            }
            None => Ok(()),
        }
    }

    pub(super) fn signal(&mut self, op: &ops::Signal) -> Judged {
        for (number, thread) in self.world.threads.iter().enumerate() {
            let thread = thread.load(Relaxed);
            if thread != 0 && (number == self.number) == op.own {
                let process = std::process::id().into();
                let _ = sys::call(libc::SYS_tgkill, [process, thread as u64, libc::SIGUSR1 as u64]);
            }
        }
        Ok(())
    }
}

/// Kills a child; it must end within seconds, in any call.
pub fn kill(child: i32) -> Judged {
    let _ = sys::call(libc::SYS_kill, [child as u64, libc::SIGKILL as u64]);
    for _ in 0..5000 {
        let hang = libc::WNOHANG as u64;
        if sys::call(libc::SYS_wait4, [child as u64, 0, hang, 0]).is_ok_and(|gone| gone != 0) {
            return Ok(());
        }
        sys::sleep_ms(1);
    }
    Err("a child that was killed is still there after 5 s".into())
}
