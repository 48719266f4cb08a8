// SPDX-License-Identifier: GPL-2.0

//! Work, and a timer for it, that belong to what is worked on.
//!
//! The crate's work items keep what they work on alive, and cannot be taken back. Here it is the
//! other way round: dropping a [`Delayed`] takes the work back, and waits for it if it runs, so
//! that it may use what exists only while the driver is bound.
//!
//! The timer is apart from the work, as that of the kernel's `delayed_work` is not: where there is
//! nothing to do when it expires, no thread is woken.
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
    /// The time in jiffies.
    fn rdma_helper_jiffies() -> c_ulong;
}

/// What can be worked on.
pub(crate) trait Work: Sync + Sized {
    /// Does the work, in a kernel thread. May queue it again.
    fn work(this: &Delayed<Self>);

    /// The time is over for which the timer was armed. Called in a soft interrupt.
    fn expired(this: &Delayed<Self>) {
        this.queue_now();
    }
}

/// A value, the work on it, and a timer for it.
///
/// # Invariants
///
/// `work` is initialised, and calls [`Work::work`] on the value around it; `timer` is initialised,
/// and calls [`Work::expired`] on the value around it.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub(crate) struct Delayed<T: Work> {
    #[pin]
    work: Opaque<bindings::work_struct>,
    #[pin]
    timer: Opaque<bindings::timer_list>,
    value: T,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: Work and timer may be queued and taken back from any thread.
unsafe impl<T: Work + Send> Send for Delayed<T> {}
// SAFETY: As above; `T` is `Sync`.
unsafe impl<T: Work> Sync for Delayed<T> {}

impl<T: Work> Delayed<T> {
    /// A value whose work is not queued. The keys are for lockdep: one for the work and one for its
    /// timer, which fires in interrupts, as the work does not run.
    ///
    /// # Safety
    ///
    /// It must be dropped, and not leaked, before what `value` borrows goes away.
    pub(in crate::kernel_ext) unsafe fn new(
        value: T,
        work_key: Pin<&'static LockClassKey>,
        timer_key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            // INVARIANT: `run` is what belongs to a `Delayed<T>`.
            work <- Opaque::ffi_init(|slot: *mut bindings::work_struct| {
                // SAFETY: `slot` is valid for writing; name and key are static.
                unsafe {
                    bindings::init_work_with_key(
                        slot,
                        Some(Self::run),
                        false,
                        c"rdma::Delayed".as_char_ptr(),
                        work_key.as_ptr(),
                    )
                };
            }),
            // INVARIANT: `fire` is what belongs to a `Delayed<T>`.
            timer <- Opaque::ffi_init(|slot: *mut bindings::timer_list| {
                // SAFETY: As above.
                unsafe {
                    bindings::timer_init_key(
                        slot,
                        Some(Self::fire),
                        0,
                        c"rdma::Delayed".as_char_ptr(),
                        timer_key.as_ptr(),
                    )
                };
            }),
            value,
            _pin: PhantomPinned,
        })
    }

    /// Has the timer expire after `delay`, also where it is armed for another time. Also in interrupt
    /// handlers.
    pub(crate) fn arm(&self, delay: Jiffies) {
        // SAFETY: Takes nothing.
        let now = unsafe { rdma_helper_jiffies() };
        // SAFETY: By the type invariant `timer` is initialised.
        unsafe { bindings::mod_timer(self.timer.get(), now.wrapping_add(delay)) };
    }

    /// Has the work done as soon as possible. Also in interrupt handlers.
    pub(crate) fn queue_now(&self) {
        // SAFETY: By the type invariant `work` is initialised, and the queue is always there.
        unsafe {
            bindings::queue_work_on(
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                bindings::system_dfl_wq,
                self.work.get(),
            )
        };
    }

    /// # Safety
    ///
    /// `work` must be that of a `Delayed<T>`.
    unsafe extern "C" fn run(work: *mut bindings::work_struct) {
        // SAFETY: By the requirement, and `work` is at the beginning of a `Delayed<T>`; dropping that
        // waits for this function.
        T::work(unsafe { &*work.cast::<Self>() });
    }

    /// # Safety
    ///
    /// `timer` must be that of a `Delayed<T>`.
    unsafe extern "C" fn fire(timer: *mut bindings::timer_list) {
        // SAFETY: By the requirement; `Opaque` is transparent.
        let this = unsafe { kernel::container_of!(Opaque::cast_from(timer), Self, timer) };
        // SAFETY: As above; dropping a `Delayed<T>` waits for this function.
        T::expired(unsafe { &*this });
    }
}

impl<T: Work> Deref for Delayed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

#[pinned_drop]
impl<T: Work> PinnedDrop for Delayed<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant `timer` is initialised. After this it neither fires nor can
        // be armed, not even by the work.
        unsafe { bindings::timer_shutdown_sync(self.timer.get()) };
        // SAFETY: By the type invariant `work` is initialised. After this it neither runs nor can
        // be queued, not even by itself.
        unsafe { bindings::disable_work_sync(self.work.get()) };
    }
}

#[kunit_tests(rdma_work)]
mod tests {
    use super::*;
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

    /// How often the work has begun and ended. Outlives what is worked on.
    #[pin_data]
    struct Seen {
        begun: Atomic<u32>,
        ended: Atomic<u32>,
        #[pin]
        at_work: Completion,
    }

    struct Slow {
        seen: Arc<Seen>,
        again: bool,
    }

    impl Work for Slow {
        fn work(this: &Delayed<Self>) {
            this.seen.begun.add(1, Relaxed);
            this.seen.at_work.complete_all();
            fsleep(Delta::from_millis(20));
            if this.again {
                this.queue_now();
            }
            this.seen.ended.add(1, Relaxed);
        }
    }

    fn slow(again: bool) -> Result<(Arc<Seen>, Arc<Delayed<Slow>>)> {
        let seen = Arc::pin_init(
            pin_init!(Seen {
                begun: Atomic::new(0),
                ended: Atomic::new(0),
                at_work <- Completion::new(),
            }),
            GFP_KERNEL,
        )?;
        let work = Slow {
            seen: seen.clone(),
            again,
        };
        let (work_key, timer_key) = (static_lock_class!(), static_lock_class!());
        // SAFETY: It borrows nothing.
        let work = unsafe { Delayed::new(work, work_key, timer_key) };
        Ok((seen, Arc::pin_init(work, GFP_KERNEL)?))
    }

    #[test]
    fn taken_back_before_it_begins() -> Result {
        let (seen, work) = slow(false)?;
        work.arm(msecs_to_jiffies(30));
        drop(work);
        fsleep(Delta::from_millis(60));
        assert_eq!(seen.begun.load(Relaxed), 0);
        Ok(())
    }

    #[test]
    fn waited_for_while_it_runs() -> Result {
        let (seen, work) = slow(false)?;
        work.queue_now();
        seen.at_work.wait_for_completion();
        drop(work);
        assert_eq!(seen.begun.load(Relaxed), 1);
        assert_eq!(seen.ended.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn does_not_queue_itself_once_it_is_dropped() -> Result {
        let (seen, work) = slow(true)?;
        work.queue_now();
        seen.at_work.wait_for_completion();
        drop(work);
        let ended = seen.ended.load(Relaxed);
        fsleep(Delta::from_millis(60));
        assert_eq!(seen.begun.load(Relaxed), ended);
        assert_eq!(seen.ended.load(Relaxed), ended);
        Ok(())
    }

    #[test]
    fn queued_by_the_timer_armed_last() -> Result {
        let (seen, work) = slow(false)?;
        work.arm(msecs_to_jiffies(60_000));
        work.arm(msecs_to_jiffies(10));
        seen.at_work.wait_for_completion();
        drop(work);
        assert_eq!(seen.ended.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn now_is_sooner_than_later() -> Result {
        let (seen, work) = slow(false)?;
        work.arm(msecs_to_jiffies(60_000));
        work.queue_now();
        seen.at_work.wait_for_completion();
        drop(work);
        assert_eq!(seen.ended.load(Relaxed), 1);
        Ok(())
    }
}
