// SPDX-License-Identifier: GPL-2.0

//! Waiting until something changes, the time is over, or a signal comes.
//!
//! The crate's `CondVar` counts in jiffies, of several milliseconds, and its `PollCondVar` waits
//! for a grace period when it is dropped. This one counts in nanoseconds, and what polls a file
//! keeps the file, and so the queue, alive: [`chrdev::File::wait_queue`](super::chrdev::File).
//!
//! Whoever waits when the machine goes to sleep is frozen where it is, and waits on afterwards: it
//! is not told of a signal that there is none of.
//!
//! C header: `include/linux/wait.h`

use core::marker::PhantomPinned;
use kernel::{
    bindings,
    prelude::*,
    sync::LockClassKey,
    task::{
        TASK_FREEZABLE,
        TASK_INTERRUPTIBLE,
        TASK_NORMAL, //
    },
    types::Opaque, //
};

/// Why somebody who slept is awake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// Something may have changed.
    Changed,
    /// The time is over.
    TimedOut,
    /// A signal is waiting to be handled.
    Signal,
}

/// Sleeps until a wakeup or a signal, and can be frozen meanwhile.
const SLEEPS: c_int = TASK_INTERRUPTIBLE | TASK_FREEZABLE;

extern "C" {
    fn rdma_helper_freeze();
}

/// Those who wait for something.
///
/// # Invariants
///
/// `head` is initialised, and does not move.
#[pin_data]
pub(crate) struct WaitQueue {
    #[pin]
    head: Opaque<bindings::wait_queue_head>,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: A wait queue may be used by any thread.
unsafe impl Send for WaitQueue {}
// SAFETY: As above; it has a lock of its own.
unsafe impl Sync for WaitQueue {}

impl WaitQueue {
    /// A queue in which nobody waits.
    pub(crate) fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            // INVARIANT: initialised here.
            // SAFETY: `slot` is valid for writing; name and key are static.
            head <- Opaque::ffi_init(|slot| unsafe {
                bindings::__init_waitqueue_head(slot, name.as_char_ptr(), key.as_ptr())
            }),
            _pin: PhantomPinned,
        })
    }

    /// Wakes all who wait. Also in interrupt handlers.
    pub(crate) fn wake_all(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::__wake_up(self.head.get(), TASK_NORMAL, 0, core::ptr::null_mut()) };
    }

    /// Gives up `held`, a lock without which nothing changes, and sleeps until somebody wakes all,
    /// the time is `until` ([`now`](super::clock::now); [`None`]: never), or a signal comes.
    pub(crate) fn sleep<G>(&self, held: G, until: Option<u64>) -> Woken {
        let entry = Opaque::<bindings::wait_queue_entry>::uninit();
        // SAFETY: `entry` is valid for writing.
        unsafe { bindings::init_wait(entry.get()) };
        // SAFETY: By the type invariant; `entry` is initialised, and stays until `finish_wait`.
        unsafe { bindings::prepare_to_wait(self.head.get(), entry.get(), SLEEPS) };
        // From here on, nobody is missed.
        drop(held);
        let time_is_over = match until {
            // CAST: as far away as the clock reaches.
            Some(until) => Self::schedule(&mut i64::try_from(until).unwrap_or(i64::MAX)),
            None => {
                // SAFETY: Nothing is held that forbids sleeping.
                unsafe { bindings::schedule() };
                false
            }
        };
        // SAFETY: By the type invariant; `entry` was given to `prepare_to_wait`.
        unsafe { bindings::finish_wait(self.head.get(), entry.get()) };
        if kernel::current!().signal_pending() {
            // Perhaps no signal: who is to freeze and does not sleep yet is told in the same way.
            // SAFETY: Nothing is held that forbids sleeping.
            unsafe { rdma_helper_freeze() };
        }
        if kernel::current!().signal_pending() {
            Woken::Signal
        } else if time_is_over {
            Woken::TimedOut
        } else {
            Woken::Changed
        }
    }

    /// Sleeps until a time, and returns whether it has come.
    fn schedule(until: &mut i64) -> bool {
        let absolute = bindings::hrtimer_mode_HRTIMER_MODE_ABS;
        // SAFETY: `until` can be read, and nothing is held that forbids sleeping.
        unsafe { bindings::schedule_hrtimeout(until, absolute) == 0 }
    }

    /// The queue, for `poll_wait`.
    pub(super) fn as_ptr(&self) -> *mut bindings::wait_queue_head {
        self.head.get()
    }
}

#[kunit_tests(rdma_wait)]
mod tests {
    use super::{
        super::clock,
        *, //
    };
    use kernel::{
        static_lock_class,
        sync::{
            new_mutex,
            Arc,
            Mutex, //
        },
        time::{
            delay::fsleep,
            Delta, //
        },
        workqueue, //
    };

    const MS: u64 = 1_000_000;

    /// Something that changes, and those who wait for it.
    #[pin_data]
    struct Scene {
        #[pin]
        changed: Mutex<bool>,
        #[pin]
        waiters: WaitQueue,
    }

    fn scene() -> Result<Arc<Scene>> {
        Arc::pin_init(
            pin_init!(Scene {
                changed <- new_mutex!(false, "rdma_wait::changed"),
                waiters <- WaitQueue::new(c"rdma_wait", static_lock_class!()),
            }),
            GFP_KERNEL,
        )
    }

    #[test]
    fn time_is_over() -> Result {
        let scene = scene()?;
        for ms in [1, 5, 30] {
            let began = clock::now();
            let woken = scene.waiters.sleep((), Some(began + ms * MS));
            let slept = clock::now() - began;
            assert_eq!(woken, Woken::TimedOut);
            assert!(slept >= ms * MS);
            // Not a whole number of jiffies. (A busy host may add to it.)
            assert!(slept < (ms + 1000) * MS);
        }
        Ok(())
    }

    #[test]
    fn time_was_over_before() -> Result {
        let scene = scene()?;
        let began = clock::now();
        for until in [0, 1, began - 1] {
            assert_eq!(scene.waiters.sleep((), Some(until)), Woken::TimedOut);
        }
        assert!(clock::now() - began < 1000 * MS);
        Ok(())
    }

    /// Whether whoever waits with this time limit is woken by a change that comes after some
    /// milliseconds.
    fn is_woken(until: Option<u64>, after_ms: i64) -> Result<bool> {
        let scene = scene()?;
        let other = scene.clone();
        workqueue::system_unbound().try_spawn(GFP_KERNEL, move || {
            fsleep(Delta::from_millis(after_ms));
            *other.changed.lock() = true;
            other.waiters.wake_all();
        })?;
        loop {
            let changed = scene.changed.lock();
            if *changed {
                return Ok(true);
            }
            if scene.waiters.sleep(changed, until) != Woken::Changed {
                return Ok(false);
            }
        }
    }

    #[test]
    fn woken_by_a_change() -> Result {
        assert!(is_woken(None, 20)?);
        assert!(is_woken(Some(clock::now() + 60_000 * MS), 20)?);
        assert!(is_woken(Some(u64::MAX), 20)?);
        Ok(())
    }

    /// The change may come between looking and falling asleep.
    #[test]
    fn no_change_is_missed() -> Result {
        for _ in 0..100 {
            assert!(is_woken(Some(clock::now() + 60_000 * MS), 0)?);
        }
        Ok(())
    }
}
