// SPDX-License-Identifier: GPL-2.0

//! Wait queues with a deadline and a count.
//!
//! The crate's `CondVar` has timeouts in jiffies, which are several milliseconds long, and wakes
//! either one thread or all threads. A [`WaitQueue`] has deadlines in nanoseconds, and can wake
//! only the threads whose count is reached.
//!
//! A thread that sleeps here during a system suspend is frozen, and continues to sleep after the
//! resume.
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

extern "C" {
    /// Executes a full memory barrier, then returns whether the queue has an entry.
    fn rdma_helper_has_sleeper(head: *mut bindings::wait_queue_head) -> bool;
}

/// The reason for a wake-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// Another thread, or an interrupt handler, has woken the thread.
    Changed,
    /// The deadline has passed.
    TimedOut,
    /// A signal or a notification is pending; see [`signal`](super::signal).
    Interrupted,
}

/// The task state of a thread that sleeps here: interruptible, and freezable.
const SLEEP_STATE: c_int = TASK_INTERRUPTIBLE | TASK_FREEZABLE;

/// A queue of threads that wait for a condition.
///
/// # Invariants
///
/// `head` is initialised and pinned.
#[pin_data]
pub(crate) struct WaitQueue {
    #[pin]
    head: Opaque<bindings::wait_queue_head>,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: A wait queue is not tied to a thread.
unsafe impl Send for WaitQueue {}
// SAFETY: The kernel's functions for a wait queue take its lock.
unsafe impl Sync for WaitQueue {}

/// A thread in a wait queue.
#[repr(C)]
struct WaitEntry {
    entry: bindings::wait_queue_entry,
    /// The smallest count that wakes the thread.
    min: usize,
}

impl WaitQueue {
    /// Creates an empty queue.
    pub(crate) fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            // INVARIANT: `head` is initialised here.
            // SAFETY: `slot` is valid for writing; name and key are static.
            head <- Opaque::ffi_init(|slot| unsafe {
                bindings::__init_waitqueue_head(slot, name.as_char_ptr(), key.as_ptr())
            }),
            _pin: PhantomPinned,
        })
    }

    /// Wakes all threads. May be called in interrupt handlers.
    pub(crate) fn wake_all(&self) {
        self.wake(core::ptr::null_mut());
    }

    /// Wakes threads in the order of the queue, and subtracts from `count` what each of them waits
    /// for. A thread that waits for more than the remaining count is not woken. A woken thread that
    /// consumes less than its share must call this again with the rest. May be called in interrupt
    /// handlers.
    pub(crate) fn wake_satisfied(&self, mut count: usize) {
        self.wake((&raw mut count).cast());
    }

    /// Returns whether the queue is not empty; a thread that is not in the queue yet sees what the
    /// caller has written before. This takes a tenth of the time of a wake-up.
    pub(in crate::kernel_ext) fn has_sleeper(&self) -> bool {
        // SAFETY: By the type invariant, `head` is initialised.
        unsafe { rdma_helper_has_sleeper(self.head.get()) }
    }

    fn wake(&self, key: *mut c_void) {
        if !self.has_sleeper() {
            return;
        }
        // SAFETY: By the type invariant, `head` is initialised; `key` is null or points to a
        // `usize`, as `wake_if_satisfied` requires.
        unsafe { bindings::__wake_up(self.head.get(), TASK_NORMAL, 0, key) };
    }

    /// Does [`sleep_for`](Self::sleep_for) with a count of 1 and without a deadline.
    pub(crate) fn sleep<G>(&self, held: G) -> Woken {
        self.sleep_for(held, 1, None)
    }

    /// Drops `held`, the guard of the lock that protects the condition, and sleeps until the thread
    /// is woken with a count of at least `min` (by [`wake_all`](Self::wake_all), with any count),
    /// until the deadline `until` ([`now`](crate::kernel_ext::sync::clock::now); [`None`] for no
    /// deadline), or until a signal or notification is pending.
    pub(crate) fn sleep_for<G>(&self, held: G, min: usize, until: Option<u64>) -> Woken {
        let waits = Opaque::<WaitEntry>::uninit();
        // SAFETY: `waits` is valid for writing.
        let entry = unsafe { &raw mut (*waits.get()).entry };
        // SAFETY: As above.
        unsafe { (*waits.get()).min = min };
        // SAFETY: As above.
        unsafe { bindings::init_wait(entry) };
        // SAFETY: As above; `entry` is not in a queue yet, and is part of a `WaitEntry`, as the
        // function requires.
        unsafe { (*entry).func = Some(Self::wake_if_satisfied) };
        // SAFETY: By the type invariant, `head` is initialised; `entry` is initialised and lives
        // until `finish_wait`.
        unsafe { bindings::prepare_to_wait(self.head.get(), entry, SLEEP_STATE) };
        // The entry is in the queue, so that no wake-up is missed after the unlock.
        drop(held);
        let has_timed_out = match until {
            // CAST: A later deadline becomes the latest one of the clock.
            Some(until) => Self::schedule(&mut i64::try_from(until).unwrap_or(i64::MAX)),
            None => {
                // SAFETY: The only lock of this call has been released, so sleeping is allowed.
                unsafe { bindings::schedule() };
                false
            }
        };
        // SAFETY: By the type invariant, `head` is initialised; `entry` was passed to
        // `prepare_to_wait`.
        unsafe { bindings::finish_wait(self.head.get(), entry) };
        if kernel::current!().signal_pending() {
            Woken::Interrupted
        } else if has_timed_out {
            Woken::TimedOut
        } else {
            Woken::Changed
        }
    }

    /// The wake function of a [`WaitEntry`]. Wakes the thread if `key` is null, or if it points to
    /// a count of at least `min`, from which `min` is then subtracted.
    ///
    /// # Safety
    ///
    /// `entry` must be the first field of a [`WaitEntry`] in a locked queue, and `key` must be null
    /// or valid for reading and writing a `usize`.
    unsafe extern "C" fn wake_if_satisfied(
        entry: *mut bindings::wait_queue_entry,
        mode: c_uint,
        flags: c_int,
        key: *mut c_void,
    ) -> c_int {
        // SAFETY: By the safety requirements, `entry` is the first field of a `WaitEntry`.
        let min = unsafe { (*entry.cast::<WaitEntry>()).min };
        // SAFETY: By the safety requirements, `key` is null or valid for reading and writing.
        if let Some(count) = unsafe { key.cast::<usize>().as_mut() } {
            if *count == 0 {
                return Self::STOP_WAKING;
            }
            if *count < min {
                return 0;
            }
            *count -= min.max(1);
        }
        // SAFETY: By the safety requirements, `entry` is in a locked queue; `mode` and `flags` are
        // those of the caller.
        unsafe { bindings::autoremove_wake_function(entry, mode, flags, core::ptr::null_mut()) }
    }

    /// Makes `__wake_up` skip the remaining entries. Source: `__wake_up_common` in
    /// `kernel/sched/wait.c`.
    const STOP_WAKING: c_int = -1;

    /// Sleeps until the time `until`, and returns whether it has passed.
    fn schedule(until: &mut i64) -> bool {
        let absolute = bindings::hrtimer_mode_HRTIMER_MODE_ABS;
        // SAFETY: `until` is valid for reading; `sleep_for` has released its lock, so sleeping is
        // allowed.
        unsafe { bindings::schedule_hrtimeout(until, absolute) == 0 }
    }

    /// Returns the C wait queue.
    pub(in crate::kernel_ext) fn as_ptr(&self) -> *mut bindings::wait_queue_head {
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

    /// A condition, and the queue of the threads that wait for it.
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
    fn sleeps_until_the_deadline() -> Result {
        let scene = scene()?;
        for ms in [1, 5, 30] {
            let began = clock::now();
            let woken = scene.waiters.sleep_for((), 1, Some(began + ms * MS));
            let slept = clock::now() - began;
            assert_eq!(woken, Woken::TimedOut);
            assert!(slept >= ms * MS);
            // A busy host may delay the wake-up.
            assert!(slept < (ms + 1000) * MS);
        }
        Ok(())
    }

    #[test]
    fn deadline_in_the_past() -> Result {
        let scene = scene()?;
        let began = clock::now();
        for until in [0, 1, began - 1] {
            assert_eq!(scene.waiters.sleep_for((), 1, Some(until)), Woken::TimedOut);
        }
        assert!(clock::now() - began < 1000 * MS);
        Ok(())
    }

    /// Returns whether a thread that waits with this deadline is woken by a change after `after_ms`
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
            if scene.waiters.sleep_for(changed, 1, until) != Woken::Changed {
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

    /// The condition may change between the check and the sleep.
    #[test]
    fn no_change_is_missed() -> Result {
        for _ in 0..100 {
            assert!(is_woken(Some(clock::now() + 60_000 * MS), 0)?);
        }
        Ok(())
    }
}
