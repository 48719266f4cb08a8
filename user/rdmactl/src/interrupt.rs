//! Signals that end programs.
//!
//! A thread waits for them, and ends the program, whichever system call its other threads are in: one that opens, reads or writes a
//! pipe may block forever. Before that, it removes what must not be left behind.

use std::{
    collections::BTreeMap,
    io, process,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXCPU, SIGXFSZ},
    flag,
    iterator::{SignalsInfo, exfiltrator::WithRawSiginfo},
    low_level::{emulate_default_handler, exit},
};

use crate::{failure::Failure, sysfs};

/// For a command that ends by itself after a signal, see [`ends_itself`].
const GRACE: Duration = Duration::from_millis(40);

/// For removing what must not be left behind.
const UNDOING: Duration = Duration::from_millis(40);

/// Of a signal whose origin is the kernel. Source: the kernel's include/uapi/asm-generic/siginfo.h.
const SI_KERNEL: i32 = 0x80;

type Undo = Box<dyn FnOnce() + Send>;

/// What is still to be undone, in the order of its creation.
static UNDO: Mutex<BTreeMap<u64, Undo>> = Mutex::new(BTreeMap::new());

/// The signal that was received.
static RECEIVED: Mutex<Option<Received>> = Mutex::new(None);
static ARRIVED: Condvar = Condvar::new();

static ENDS_ITSELF: AtomicBool = AtomicBool::new(false);

#[derive(Clone, Copy)]
struct Received {
    signal: i32,
    /// Its origin is the kernel.
    by_kernel: bool,
}

/// From now on, these signals end the program within 100 ms. Those that are ignored from the start (nohup) stay ignored.
pub fn install() -> Result<(), Failure> {
    let ignored = ignored();
    let is_expected = |signal: &i32| (ignored >> (signal - 1)) & 1 == 0;
    // A file that would become too large (RLIMIT_FSIZE) is an error of write(2). This handler does nothing else. If the signal were ignored
    // instead, it would also be in a traced command.
    if is_expected(&SIGXFSZ) {
        flag::register(SIGXFSZ, Arc::default()).map_err(Failure::system("signals"))?;
    }
    let signals = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGXCPU].into_iter().filter(is_expected);
    let mut signals = SignalsInfo::<WithRawSiginfo>::new(signals).map_err(Failure::system("signals"))?;
    let waits = move || {
        if let Some(info) = signals.forever().next() {
            end(Received { signal: info.si_signo, by_kernel: info.si_code == SI_KERNEL });
        }
    };
    thread::Builder::new().name("signals".into()).spawn(waits).map(drop).map_err(Failure::system("a thread"))
}

/// The current command ends by itself within 40 ms after a signal, if no system call blocks it.
pub fn ends_itself() {
    ENDS_ITSELF.store(true, Ordering::Relaxed);
}

/// The signal that was received, if any.
pub fn received() -> Option<i32> {
    lock(&RECEIVED).map(|received| received.signal)
}

/// The signal that was received, if another process has sent it to this one. After Ctrl-C, the kernel sends it to the terminal's whole foreground
/// process group.
pub fn sent_to_this_process() -> Option<i32> {
    lock(&RECEIVED).filter(|received| !received.by_kernel).map(|received| received.signal)
}

/// Sleeps for this time, or until a signal; returns the signal.
pub fn sleep(time: Duration) -> Option<i32> {
    let waited = ARRIVED.wait_timeout_while(lock(&RECEIVED), time, |received| received.is_none());
    waited.unwrap_or_else(PoisonError::into_inner).0.map(|received| received.signal)
}

/// Something that is undone when it is dropped, or when a signal ends the program.
pub struct Guard {
    number: u64,
}

impl Guard {
    /// Makes it; the second result undoes it. No signal ends the program in between.
    pub fn of<T, U: FnOnce() + Send + 'static, E>(make: impl FnOnce() -> Result<(T, U), E>) -> Result<(T, Self), E> {
        let mut all = lock(&UNDO);
        let (made, undo) = make()?;
        let number = all.last_key_value().map_or(0, |(number, _)| number + 1);
        all.insert(number, Box::new(undo));
        Ok((made, Self { number }))
    }

    /// Makes it permanent. No signal ends the program meanwhile.
    pub fn keep<T>(self, make_permanent: impl FnOnce() -> T) -> T {
        let mut all = lock(&UNDO);
        all.remove(&self.number);
        let made = make_permanent();
        drop(all);
        made
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut all = lock(&UNDO);
        if let Some(undo) = all.remove(&self.number) {
            undo();
        }
    }
}

fn end(received: Received) {
    *lock(&RECEIVED) = Some(received);
    ARRIVED.notify_all();
    if ENDS_ITSELF.load(Ordering::Relaxed) {
        thread::sleep(GRACE);
    }
    let (done, finished) = mpsc::channel();
    let undo_all = move || {
        let mut all = lock(&UNDO);
        while let Some((_, undo)) = all.pop_last() {
            undo();
        }
        // Never unlocked: from now on, nothing is made and nothing becomes permanent.
        std::mem::forget(all);
        let _ = done.send(());
    };
    // In a thread, because this may block as well: on a terminal whose output is stopped. If there are too many threads, the program still
    // ends, and leaves what should be undone.
    if thread::Builder::new().name("undo".into()).spawn(undo_all).is_ok() {
        let _ = finished.recv_timeout(UNDOING);
    }
    die(received.signal);
}

/// Ends the program by a signal, as if nothing had handled it.
pub fn die(signal: i32) {
    // The kernel does not end the first process of a container by a signal that it sends to itself. Shells take this for the same.
    if process::id() == 1 {
        exit(128 + signal);
    }
    // It returns only for signals that do not end programs, which these do.
    let _: io::Result<()> = emulate_default_handler(signal);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The signals that are ignored, one bit each. Source: `proc_pid_status`(5).
fn ignored() -> u64 {
    let status = sysfs::text("/proc/self/status").as_deref().map(sysfs::named).unwrap_or_default();
    status.get("SigIgn").and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or(0)
}
