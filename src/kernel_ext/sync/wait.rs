// SPDX-License-Identifier: GPL-2.0

//! Sleeping until something changes, the time is over, or a signal or other work for the thread is
//! pending.
//!
//! The crate's `CondVar` counts in jiffies, of several milliseconds, and wakes all threads or one of
//! them. This one counts in nanoseconds, and wakes as many as find what they wait for.
//!
//! A thread that sleeps when the machine goes to sleep is frozen where it is, and sleeps on afterwards.
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
    /// Whether there is an entry in the queue, after a full memory barrier.
    fn rdma_helper_has_sleeper(head: *mut bindings::wait_queue_head) -> bool;
}

/// Why a thread that slept is awake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// Something may have changed.
    Changed,
    /// The time is over.
    TimedOut,
    /// A signal is pending, or something else that the thread does on its way to userspace; see
    /// [`signal`](super::signal).
    Interrupted,
}

/// Sleeps until a wakeup or a signal, and can be frozen meanwhile.
const SLEEPS: c_int = TASK_INTERRUPTIBLE | TASK_FREEZABLE;

/// Threads that wait for something.
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

/// A thread in a wait queue.
#[repr(C)]
struct Entry {
    entry: bindings::wait_queue_entry,
    /// How many it waits for.
    min: usize,
}

impl WaitQueue {
    /// A queue without threads.
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

    /// Wakes all threads. Also in interrupt handlers.
    pub(crate) fn wake_all(&self) {
        self.wake(core::ptr::null_mut());
    }

    /// Wakes threads among which so many can be divided: each gets as many as it waits for. One that
    /// is woken so, and does not take them all, is to call this again with what is left. Also in
    /// interrupt handlers.
    pub(crate) fn wake_satisfied(&self, mut count: usize) {
        self.wake((&raw mut count).cast());
    }

    /// Whether something waits for what the caller has changed before. Costs a tenth of a wake-up.
    pub(in crate::kernel_ext) fn has_sleeper(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { rdma_helper_has_sleeper(self.head.get()) }
    }

    fn wake(&self, key: *mut c_void) {
        if !self.has_sleeper() {
            return;
        }
        // SAFETY: By the type invariant; `key` is null or that of a number, as `wake_if_satisfied`
        // expects.
        unsafe { bindings::__wake_up(self.head.get(), TASK_NORMAL, 0, key) };
    }

    /// Sleeps as [`sleep_for`](Self::sleep_for) does, for one and without a time limit.
    pub(crate) fn sleep<G>(&self, held: G) -> Woken {
        self.sleep_for(held, 1, None)
    }

    /// Drops `held`, a lock without which nothing changes, and sleeps until all threads are woken or
    /// those that wait for `min`, the time is `until` ([`now`](crate::kernel_ext::sync::clock::now); [`None`]: never),
    /// or a signal comes.
    pub(crate) fn sleep_for<G>(&self, held: G, min: usize, until: Option<u64>) -> Woken {
        let waits = Opaque::<Entry>::uninit();
        // SAFETY: `waits` is valid for writing.
        let entry = unsafe { &raw mut (*waits.get()).entry };
        // SAFETY: As above.
        unsafe { (*waits.get()).min = min };
        // SAFETY: As above.
        unsafe { bindings::init_wait(entry) };
        // SAFETY: As above; no queue has it yet. It is in an `Entry`, as the function expects.
        unsafe { (*entry).func = Some(Self::wake_if_satisfied) };
        // SAFETY: By the type invariant; `entry` is initialised, and stays until `finish_wait`.
        unsafe { bindings::prepare_to_wait(self.head.get(), entry, SLEEPS) };
        // From here on, no wake-up is missed.
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
        unsafe { bindings::finish_wait(self.head.get(), entry) };
        if kernel::current!().signal_pending() {
            Woken::Interrupted
        } else if time_is_over {
            Woken::TimedOut
        } else {
            Woken::Changed
        }
    }

    /// Wakes a thread, if `key` is null or points to at least as many as the thread waits for, which
    /// are then taken from it.
    ///
    /// # Safety
    ///
    /// `entry` must be that of an [`Entry`] in a queue that is locked, and `key` null or a number that
    /// can be written.
    unsafe extern "C" fn wake_if_satisfied(
        entry: *mut bindings::wait_queue_entry,
        mode: c_uint,
        flags: c_int,
        key: *mut c_void,
    ) -> c_int {
        // SAFETY: By the requirement; `entry` is the first field.
        let min = unsafe { (*entry.cast::<Entry>()).min };
        // SAFETY: By the requirement.
        if let Some(count) = unsafe { key.cast::<usize>().as_mut() } {
            if *count == 0 {
                return Self::NO_OTHER;
            }
            if *count < min {
                return 0;
            }
            *count -= min.max(1);
        }
        // SAFETY: By the requirement, and as the kernel calls it.
        unsafe { bindings::autoremove_wake_function(entry, mode, flags, core::ptr::null_mut()) }
    }

    /// What has `__wake_up` look at no other entry. Source: `kernel/sched/wait.c`.
    const NO_OTHER: c_int = -1;

    /// Sleeps until a time, and returns whether it has come.
    fn schedule(until: &mut i64) -> bool {
        let absolute = bindings::hrtimer_mode_HRTIMER_MODE_ABS;
        // SAFETY: `until` can be read, and nothing is held that forbids sleeping.
        unsafe { bindings::schedule_hrtimeout(until, absolute) == 0 }
    }

    /// The queue, for what the kernel does with one.
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
            let woken = scene.waiters.sleep_for((), 1, Some(began + ms * MS));
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
            assert_eq!(scene.waiters.sleep_for((), 1, Some(until)), Woken::TimedOut);
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

    /// The change may come between looking and falling asleep.
    #[test]
    fn no_change_is_missed() -> Result {
        for _ in 0..100 {
            assert!(is_woken(Some(clock::now() + 60_000 * MS), 0)?);
        }
        Ok(())
    }
}
