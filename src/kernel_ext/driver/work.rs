// SPDX-License-Identifier: GPL-2.0

//! A work item and a timer that are owned by the value that they work on.
//!
//! The crate's work items hold a reference to their value, and cannot be cancelled. Dropping a
//! [`WithWork`] cancels its work, and waits for it if it is running. Thus the work can use data
//! that exists only while the driver is bound.
//!
//! The timer is separate from the work, unlike in the kernel's `delayed_work`. If there is nothing
//! to do when it expires, no thread is woken.
//!
//! C headers: `include/linux/workqueue.h`, `include/linux/timer.h`

use core::{
    marker::PhantomPinned,
    ops::Deref, //
};
use kernel::{
    bindings,
    prelude::*,
    sync::LockClassKey,
    time::Jiffies,
    types::Opaque, //
};

extern "C" {
    /// Returns the time in jiffies.
    fn rdma_helper_jiffies() -> c_ulong;
}

/// A type with work.
pub(crate) trait Work: Sync + Sized {
    /// Executes the work, in a kernel thread. May queue it again.
    fn work(this: &WithWork<Self>);

    /// Called when the timer expires, in softirq context.
    fn expired(this: &WithWork<Self>) {
        this.queue_now();
    }
}

/// A value with a work item and a timer.
///
/// # Invariants
///
/// `work` is initialised, and its function calls [`Work::work`] with `self`; `timer` is
/// initialised, and its function calls [`Work::expired`] with `self`.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub(crate) struct WithWork<T: Work> {
    #[pin]
    work: Opaque<bindings::work_struct>,
    #[pin]
    timer: Opaque<bindings::timer_list>,
    value: T,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: Work items and timers may be queued and cancelled by any thread.
unsafe impl<T: Work + Send> Send for WithWork<T> {}
// SAFETY: As above; `T` is `Sync`.
unsafe impl<T: Work> Sync for WithWork<T> {}

impl<T: Work> WithWork<T> {
    /// Creates a value whose work is not queued. `work_key` and `timer_key` are for lockdep; they
    /// differ because the timer function is called in softirq context, and the work function is
    /// not.
    ///
    /// # Safety
    ///
    /// The result must be dropped, and not leaked, while everything that `value` borrows is valid.
    pub(in crate::kernel_ext) unsafe fn new(
        value: T,
        work_key: Pin<&'static LockClassKey>,
        timer_key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            // INVARIANT: `run` is the work function of a `WithWork<T>`.
            work <- Opaque::ffi_init(|slot: *mut bindings::work_struct| {
                // SAFETY: `slot` is valid for writing; the name and the key are static.
                unsafe {
                    bindings::init_work_with_key(
                        slot,
                        Some(Self::run),
                        false,
                        c"rdma::WithWork".as_char_ptr(),
                        work_key.as_ptr(),
                    )
                };
            }),
            // INVARIANT: `fire` is the timer function of a `WithWork<T>`.
            timer <- Opaque::ffi_init(|slot: *mut bindings::timer_list| {
                // SAFETY: As above.
                unsafe {
                    bindings::timer_init_key(
                        slot,
                        Some(Self::fire),
                        0,
                        c"rdma::WithWork".as_char_ptr(),
                        timer_key.as_ptr(),
                    )
                };
            }),
            value,
            _pin: PhantomPinned,
        })
    }

    /// Sets the timer to expire after `delay`, even if it is already armed. May be called in
    /// interrupt handlers.
    pub(crate) fn arm(&self, delay: Jiffies) {
        // SAFETY: The function has no arguments.
        let now = unsafe { rdma_helper_jiffies() };
        // SAFETY: By the type invariant, `timer` is initialised.
        unsafe { bindings::mod_timer(self.timer.get(), now.wrapping_add(delay)) };
    }

    /// Queues the work for immediate execution. May be called in interrupt handlers.
    pub(crate) fn queue_now(&self) {
        // SAFETY: By the type invariant, `work` is initialised; the system workqueue always exists.
        unsafe {
            bindings::queue_work_on(
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                bindings::system_dfl_wq,
                self.work.get(),
            )
        };
    }

    /// Waits until an execution of the work that was queued before this call has finished. Must not
    /// be called by the work.
    pub(crate) fn flush(&self) {
        // SAFETY: By the type invariant, `work` is initialised.
        unsafe { bindings::flush_work(self.work.get()) };
    }

    /// # Safety
    ///
    /// `work` must be the field of a `WithWork<T>`.
    unsafe extern "C" fn run(work: *mut bindings::work_struct) {
        // SAFETY: By the safety requirement, `work` is the first field of a `WithWork<T>`, which is
        // `repr(C)`; dropping it waits for this function.
        T::work(unsafe { &*work.cast::<Self>() });
    }

    /// # Safety
    ///
    /// `timer` must be the field of a `WithWork<T>`.
    unsafe extern "C" fn fire(timer: *mut bindings::timer_list) {
        // SAFETY: By the safety requirement, `timer` is a field of a `WithWork<T>`; `Opaque` is
        // transparent.
        let this = unsafe { kernel::container_of!(Opaque::cast_from(timer), Self, timer) };
        // SAFETY: `this` is a `WithWork<T>`, as above; dropping it waits for this function.
        T::expired(unsafe { &*this });
    }
}

impl<T: Work> Deref for WithWork<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

#[pinned_drop]
impl<T: Work> PinnedDrop for WithWork<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant, `timer` is initialised. After this call it does not expire
        // and cannot be armed again, not even by the work.
        unsafe { bindings::timer_shutdown_sync(self.timer.get()) };
        // SAFETY: By the type invariant, `work` is initialised. After this call it does not run and
        // cannot be queued again, not even by itself.
        unsafe { bindings::disable_work_sync(self.work.get()) };
    }
}

#[kunit_tests(rdma_work)]
mod tests {
    use super::*;
    use crate::kernel_ext::sync::clock;
    use kernel::{
        static_lock_class,
        sync::{
            atomic::{
                Atomic,
                Relaxed, //
            },
            Arc,
            Completion, //
        },
        time::{
            delay::fsleep,
            msecs_to_jiffies,
            Delta, //
        }, //
    };

    /// The numbers of started and finished executions. Outlives the `WithWork`.
    #[pin_data]
    struct Executions {
        started: Atomic<u32>,
        finished: Atomic<u32>,
        #[pin]
        running: Completion,
    }

    struct Slow {
        executions: Arc<Executions>,
        again: bool,
    }

    impl Work for Slow {
        fn work(this: &WithWork<Self>) {
            this.executions.started.add(1, Relaxed);
            this.executions.running.complete_all();
            fsleep(Delta::from_millis(20));
            if this.again {
                this.queue_now();
            }
            this.executions.finished.add(1, Relaxed);
        }
    }

    fn slow(again: bool) -> Result<(Arc<Executions>, Arc<WithWork<Slow>>)> {
        let executions = Arc::pin_init(
            pin_init!(Executions {
                started: Atomic::new(0),
                finished: Atomic::new(0),
                running <- Completion::new(),
            }),
            GFP_KERNEL,
        )?;
        let work = Slow {
            executions: executions.clone(),
            again,
        };
        let (work_key, timer_key) = (static_lock_class!(), static_lock_class!());
        // SAFETY: The value borrows nothing.
        let work = unsafe { WithWork::new(work, work_key, timer_key) };
        Ok((executions, Arc::pin_init(work, GFP_KERNEL)?))
    }

    #[test]
    fn dropped_before_the_timer_expires() -> Result {
        let (executions, work) = slow(false)?;
        work.arm(msecs_to_jiffies(30));
        drop(work);
        fsleep(Delta::from_millis(60));
        assert_eq!(executions.started.load(Relaxed), 0);
        Ok(())
    }

    #[test]
    fn drop_waits_for_running_work() -> Result {
        let (executions, work) = slow(false)?;
        work.queue_now();
        executions.running.wait_for_completion();
        drop(work);
        assert_eq!(executions.started.load(Relaxed), 1);
        assert_eq!(executions.finished.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn dropped_work_does_not_queue_itself() -> Result {
        let (executions, work) = slow(true)?;
        work.queue_now();
        executions.running.wait_for_completion();
        drop(work);
        let finished = executions.finished.load(Relaxed);
        fsleep(Delta::from_millis(60));
        assert_eq!(executions.started.load(Relaxed), finished);
        assert_eq!(executions.finished.load(Relaxed), finished);
        Ok(())
    }

    #[test]
    fn arm_replaces_the_expiry() -> Result {
        let (executions, work) = slow(false)?;
        let began = clock::now();
        work.arm(msecs_to_jiffies(60_000));
        work.arm(msecs_to_jiffies(10));
        executions.running.wait_for_completion();
        drop(work);
        assert!(clock::now() - began < 30_000 * clock::NSEC_PER_MSEC);
        assert_eq!(executions.finished.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn queue_now_does_not_wait_for_the_timer() -> Result {
        let (executions, work) = slow(false)?;
        let began = clock::now();
        work.arm(msecs_to_jiffies(60_000));
        work.queue_now();
        executions.running.wait_for_completion();
        drop(work);
        assert!(clock::now() - began < 30_000 * clock::NSEC_PER_MSEC);
        assert_eq!(executions.finished.load(Relaxed), 1);
        Ok(())
    }
}
