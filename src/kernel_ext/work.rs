// SPDX-License-Identifier: GPL-2.0

//! Delayed work that belongs to what it works on.
//!
//! The crate's work items keep what they work on alive, and cannot be taken back. Here it is the
//! other way round: dropping a [`Delayed`] takes the work back, and waits for it if it runs, so
//! that it may use what exists only while the driver is bound.
//!
//! C header: `include/linux/workqueue.h`

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

/// What can be worked on.
pub(crate) trait Work: Sync + Sized {
    /// Does the work, in a kernel thread. May queue it again.
    fn work(this: &Delayed<Self>);
}

/// A value, and the work on it.
///
/// # Invariants
///
/// `work` is initialised, and calls [`Work::work`] on the value around it.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub(crate) struct Delayed<T: Work> {
    #[pin]
    work: Opaque<bindings::delayed_work>,
    value: T,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: `delayed_work` may be queued and taken back from any thread.
unsafe impl<T: Work + Send> Send for Delayed<T> {}
// SAFETY: As above; `T` is `Sync`.
unsafe impl<T: Work> Sync for Delayed<T> {}

impl<T: Work> Delayed<T> {
    /// A value whose work is not queued. The keys are for lockdep: one for the work and one for its
    /// timer, which fires in interrupts, as the work does not run.
    pub(crate) fn new(
        value: T,
        work_key: Pin<&'static LockClassKey>,
        timer_key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            // INVARIANT: `run` is what belongs to a `Delayed<T>`.
            work <- Opaque::ffi_init(|slot: *mut bindings::delayed_work| {
                // SAFETY: `slot` is valid for writing; name and key are static.
                unsafe {
                    bindings::init_work_with_key(
                        &raw mut (*slot).work,
                        Some(Self::run),
                        false,
                        c"rdma::Delayed".as_char_ptr(),
                        work_key.as_ptr(),
                    )
                };
                // SAFETY: As above. The function and the flag are those of any `delayed_work`.
                unsafe {
                    bindings::timer_init_key(
                        &raw mut (*slot).timer,
                        Some(bindings::delayed_work_timer_fn),
                        bindings::TIMER_IRQSAFE,
                        c"rdma::Delayed".as_char_ptr(),
                        timer_key.as_ptr(),
                    )
                };
            }),
            value,
            _pin: PhantomPinned,
        })
    }

    /// Has the work done after `delay`, unless that is already arranged. Also in interrupt
    /// handlers.
    pub(crate) fn queue(&self, delay: Jiffies) {
        // SAFETY: By the type invariant `work` is initialised, and the queue is always there.
        unsafe {
            bindings::queue_delayed_work_on(
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                bindings::system_dfl_wq,
                self.work.get(),
                delay,
            )
        };
    }

    /// Has the work done as soon as possible, also where it is arranged for later. Also in
    /// interrupt handlers.
    pub(crate) fn queue_now(&self) {
        // SAFETY: As in `queue`.
        unsafe {
            bindings::mod_delayed_work_on(
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                bindings::system_dfl_wq,
                self.work.get(),
                0,
            )
        };
    }

    /// # Safety
    ///
    /// `work` must be that of a `delayed_work` in a `Delayed<T>`.
    unsafe extern "C" fn run(work: *mut bindings::work_struct) {
        // SAFETY: By the requirement it is embedded in a `delayed_work`, which is at the beginning
        // of a `Delayed<T>`; dropping that waits for this function.
        let this = unsafe {
            &*kernel::container_of!(work, bindings::delayed_work, work).cast::<Delayed<T>>()
        };
        T::work(this);
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
        // SAFETY: By the type invariant `work` is initialised. After this it neither runs nor can
        // be queued, not even by itself.
        unsafe { bindings::disable_delayed_work_sync(self.work.get()) };
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
        let work = Arc::pin_init(
            Delayed::new(work, static_lock_class!(), static_lock_class!()),
            GFP_KERNEL,
        )?;
        Ok((seen, work))
    }

    #[test]
    fn taken_back_before_it_begins() -> Result {
        let (seen, work) = slow(false)?;
        work.queue(msecs_to_jiffies(30));
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
    fn now_is_sooner_than_later() -> Result {
        let (seen, work) = slow(false)?;
        work.queue(msecs_to_jiffies(60_000));
        work.queue_now();
        seen.at_work.wait_for_completion();
        drop(work);
        assert_eq!(seen.ended.load(Relaxed), 1);
        Ok(())
    }
}
