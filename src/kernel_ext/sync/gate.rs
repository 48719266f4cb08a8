// SPDX-License-Identifier: GPL-2.0

//! A gate for data that is valid only while a driver is bound to its device.
//!
//! Open files outlive the device. Each system call enters the gate to access the device. Unbinding
//! closes the gate: it prevents further entries, and waits for the threads inside. Inside, do not
//! access user memory, and do not wait for what a program must do. A thread may wait for work of
//! the driver that keeps these rules, too, and that waits for a device for less than a second.
//! Freeing memory takes the lock of a folio, or of a reservation, which others hold for a short
//! time.
//!
//! The driver does not limit two waits. The memory controller delays the allocation of a block in a
//! cgroup above `memory.high`, by up to 2 s. And an exporter may wait for its device before it maps
//! a dma-buf, or allocate the memory only when the dma-buf is attached: `drm_gem_shmem` (ast,
//! mgag200, bochs) allocates all pages of the object inside `dma_buf_attach`, and the memory
//! controller delays each 128 pages by up to 2 s. 8 MiB can take 32 s, and 1 GiB more than an hour.
//! An unbind waits for this.
//!
//! Entering is an SRCU read-side critical section, which takes a few instructions on per-CPU data.
//! It can be nested: a page fault on a mapping of the driver enters the gate in the context of the
//! access.

use core::marker::PhantomData;
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Release, //
        },
        Arc,
        Srcu, //
    },
    types::ForLt, //
};

/// The part of a [`BindGate`] that does not depend on the type of the data.
///
/// # Invariants
///
/// `inside` is null, or is the pointer that was passed to [`BindGate::open`], which is valid until
/// a call of [`close`](Self::close) has returned.
#[pin_data]
pub(in crate::kernel_ext) struct Gate {
    #[pin]
    readers: Srcu,
    inside: Atomic<*mut c_void>,
}

impl Gate {
    /// Calls `f` with the data.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the gate is closed.
    fn with<R>(&self, f: impl FnOnce(*mut c_void) -> R) -> Result<R> {
        let _reader = self.readers.read_lock();
        let inside = self.inside.load(Acquire);
        if inside.is_null() {
            return Err(ENODEV);
        }
        Ok(f(inside))
    }

    /// Calls `f` inside the gate.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the gate is closed.
    pub(in crate::kernel_ext) fn enter<R>(&self, f: impl FnOnce() -> R) -> Result<R> {
        self.with(|_| f())
    }

    /// Returns whether the gate is closed. Threads may still be inside.
    pub(in crate::kernel_ext) fn is_closed(&self) -> bool {
        self.inside.load(Acquire).is_null()
    }

    /// Closes the gate, and waits until all threads have left it.
    pub(in crate::kernel_ext) fn close(&self) {
        self.inside.store(core::ptr::null_mut(), Release);
        self.readers.synchronize_expedited();
    }
}

/// A gate for an `F::Of<'bound>`, where `'bound` is the time for which the driver is bound. All
/// clones share one gate.
///
/// # Invariants
///
/// `gate.inside` is null or points to an `F::Of<'_>`.
pub(crate) struct BindGate<F: ForLt> {
    gate: Arc<Gate>,
    _data: PhantomData<fn() -> F>,
}

// SAFETY: The gate passes shared references to the data to any thread. `open`, which alone
// sets the data, requires `F::Of` to be `Sync`.
unsafe impl<F: ForLt> Send for BindGate<F> {}
// SAFETY: As above.
unsafe impl<F: ForLt> Sync for BindGate<F> {}

impl<F: ForLt> Clone for BindGate<F> {
    fn clone(&self) -> Self {
        // INVARIANT: The gate is that of `self`.
        Self {
            gate: self.gate.clone(),
            _data: PhantomData,
        }
    }
}

impl<F: ForLt> BindGate<F> {
    /// Creates a closed gate.
    pub(in crate::kernel_ext) fn new() -> Result<Self> {
        // INVARIANT: `inside` is null.
        let gate = try_pin_init!(Gate {
            readers <- kernel::new_srcu!("rdma::BindGate"),
            inside: Atomic::new(core::ptr::null_mut()),
        });
        // INVARIANT: `gate.inside` is null.
        Ok(Self {
            gate: Arc::pin_init(gate, GFP_KERNEL)?,
            _data: PhantomData,
        })
    }

    /// Returns the gate.
    pub(in crate::kernel_ext) fn untyped(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Calls `f` with the data.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the gate is closed.
    pub(crate) fn enter<R>(&self, f: impl for<'a> FnOnce(&'a F::Of<'a>) -> R) -> Result<R> {
        self.gate.with(|inside| {
            // SAFETY: By the type invariants, `inside` points to an `F::Of<'_>` that is valid until
            // `close` has returned, and `close` waits for this call. A lifetime does not change the
            // layout, and the higher-ranked closure can neither choose the lifetime nor return a
            // reference with it.
            f(unsafe { &*inside.cast::<F::Of<'_>>() })
        })
    }

    /// Opens the gate.
    ///
    /// # Safety
    ///
    /// `inside`, and everything that it borrows for `'bound`, must stay valid until [`Gate::close`]
    /// has returned.
    pub(in crate::kernel_ext) unsafe fn open<'bound>(&self, inside: &F::Of<'bound>)
    where
        F::Of<'bound>: Sync,
    {
        // INVARIANT: By the safety requirement, `inside` is valid until `close` has returned.
        self.gate
            .inside
            .store(core::ptr::from_ref(inside).cast_mut().cast(), Release);
    }
}

#[kunit_tests(rdma_gate)]
mod tests {
    use super::*;
    use kernel::{
        sync::{
            atomic::Relaxed,
            Completion, //
        },
        time::{
            delay::fsleep,
            Delta, //
        },
        workqueue, //
    };

    /// A gate, and the progress of a thread that enters it.
    #[pin_data]
    struct Scene {
        gate: BindGate<ForLt!(u32)>,
        #[pin]
        inside: Completion,
        has_left: Atomic<bool>,
    }

    static VALUE: u32 = 42;

    /// Creates a gate around `VALUE`, and opens it.
    fn open() -> Result<Arc<Scene>> {
        let scene = Arc::pin_init(
            try_pin_init!(Scene {
                gate: BindGate::new()?,
                inside <- Completion::new(),
                has_left: Atomic::new(false),
            }),
            GFP_KERNEL,
        )?;
        // SAFETY: `VALUE` is static.
        unsafe { scene.gate.open(&VALUE) };
        Ok(scene)
    }

    #[test]
    fn closed_at_first() -> Result {
        let gate = BindGate::<ForLt!(u32)>::new()?;
        assert!(gate.untyped().is_closed());
        assert_eq!(gate.enter(|value| *value), Err(ENODEV));
        Ok(())
    }

    #[test]
    fn open_until_it_is_closed() -> Result {
        let scene = open()?;
        assert!(!scene.gate.untyped().is_closed());
        assert_eq!(scene.gate.enter(|value| *value), Ok(VALUE));
        scene.gate.untyped().close();
        assert!(scene.gate.untyped().is_closed());
        assert_eq!(scene.gate.enter(|value| *value), Err(ENODEV));
        Ok(())
    }

    #[test]
    fn entered_from_within() -> Result {
        let scene = open()?;
        let gate = &scene.gate;
        let sum = gate.enter(|outer| gate.enter(|inner| outer + inner));
        assert_eq!(sum, Ok(Ok(2 * VALUE)));
        scene.gate.untyped().close();
        Ok(())
    }

    #[test]
    fn closing_waits_for_readers() -> Result {
        let scene = open()?;
        let other = scene.clone();
        workqueue::system_unbound().try_spawn(GFP_KERNEL, move || {
            let _ = other.gate.enter(|_| {
                other.inside.complete_all();
                fsleep(Delta::from_millis(50));
                other.has_left.store(true, Relaxed);
            });
        })?;
        scene.inside.wait_for_completion();
        assert!(!scene.has_left.load(Relaxed));
        scene.gate.untyped().close();
        assert!(scene.has_left.load(Relaxed));
        Ok(())
    }

    #[test]
    fn opened_again() -> Result {
        let scene = open()?;
        scene.gate.untyped().close();
        // SAFETY: `VALUE` is static.
        unsafe { scene.gate.open(&VALUE) };
        assert_eq!(scene.gate.enter(|value| *value), Ok(VALUE));
        scene.gate.untyped().close();
        Ok(())
    }
}
