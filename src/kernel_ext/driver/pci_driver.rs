// SPDX-License-Identifier: GPL-2.0

//! PCI drivers with callbacks for suspend, resume, reset and shutdown.
//!
//! The crate's `pci::Driver` has callbacks for probe and unbind only. This module sets the other
//! callbacks, and uses the crate's adapter for everything else.
//!
//! C headers: `include/linux/pci.h`, `include/linux/pm.h`

use kernel::{
    bindings,
    device::{
        CoreInternal,
        Device, //
    },
    driver::{
        DriverLayout,
        RegistrationOps, //
    },
    error::from_result,
    pci,
    prelude::*,
    types::Opaque, //
};

extern "C" {
    fn rdma_helper_wait_for_async_probes();
}

/// The callbacks that [`pci::Driver`] does not have. They are called for a bound device, with the
/// lock of the device held, so that it is not unbound during the call.
pub(in crate::kernel_ext) trait PowerCallbacks: pci::Driver {
    /// The system is being suspended, or a hibernation image is about to be created.
    fn suspend(data: Pin<&Self::Data<'_>>) -> Result;

    /// The system was resumed. If `memory_kept` is false, the device may have lost the contents of
    /// its memory.
    fn resume(data: Pin<&Self::Data<'_>>, memory_kept: bool) -> Result;

    /// The PCI core is about to reset the device, for example because a program has written to its
    /// file `reset` in sysfs.
    fn reset_prepare(data: Pin<&Self::Data<'_>>);

    /// The reset is over, or has failed. The configuration space was restored.
    fn reset_done(data: Pin<&Self::Data<'_>>);

    /// Shutdown or kexec. Programs may still run.
    fn shutdown(data: Pin<&Self::Data<'_>>);
}

/// Registers a driver that implements [`PowerCallbacks`].
pub(in crate::kernel_ext) struct PowerAdapter<T>(T);

// SAFETY: All items are those of the crate's adapter, which fulfils the requirements.
unsafe impl<T: PowerCallbacks> DriverLayout for PowerAdapter<T> {
    type DriverType = <pci::Adapter<T> as DriverLayout>::DriverType;
    type DriverData<'bound> = <pci::Adapter<T> as DriverLayout>::DriverData<'bound>;
    const DEVICE_DRIVER_OFFSET: usize = <pci::Adapter<T> as DriverLayout>::DEVICE_DRIVER_OFFSET;
}

// SAFETY: The crate's adapter does the registration, and fulfils the requirements.
unsafe impl<T: PowerCallbacks + 'static> RegistrationOps for PowerAdapter<T> {
    unsafe fn register(
        driver: &Opaque<bindings::pci_driver>,
        name: &'static CStr,
        module: &'static ThisModule,
    ) -> Result {
        // SAFETY: The driver is not registered yet, so it is not shared. The table is static.
        unsafe {
            (*driver.get()).driver.pm = &Self::PM_OPS;
            (*driver.get()).shutdown = Some(Self::shutdown);
            (*driver.get()).err_handler = &Self::RESET;
            (*driver.get()).driver.probe_type = bindings::probe_type_PROBE_PREFER_ASYNCHRONOUS;
        }
        // SAFETY: By the safety requirement, which is the same.
        let registered = unsafe { pci::Adapter::<T>::register(driver, name, module) };
        // Existing devices are probed in parallel. A device that is added later is probed
        // synchronously, so that its node exists when a rescan of the bus returns.
        // SAFETY: The driver core only reads this number, and both values are valid at any time.
        unsafe {
            core::ptr::write_volatile(
                &raw mut (*driver.get()).driver.probe_type,
                bindings::probe_type_PROBE_DEFAULT_STRATEGY,
            )
        };
        // SAFETY: The initialisation of a module may wait for asynchronous probes, as the kernel
        // does after it.
        unsafe { rdma_helper_wait_for_async_probes() };
        registered
    }

    unsafe fn unregister(driver: &Opaque<bindings::pci_driver>) {
        // SAFETY: By the safety requirement, which is the same.
        unsafe { pci::Adapter::<T>::unregister(driver) }
    }
}

impl<T: PowerCallbacks> PowerAdapter<T> {
    /// The callbacks for suspend and hibernation. The device is stopped in the same way for all of
    /// them. `thaw`, after the creation of an image, is a resume. At `restore`, after an image was
    /// loaded, the device is in the state in which another kernel has left it.
    const PM_OPS: bindings::dev_pm_ops = bindings::dev_pm_ops {
        suspend: Some(Self::suspend),
        freeze: Some(Self::suspend),
        poweroff: Some(Self::suspend),
        resume: Some(Self::resume),
        thaw: Some(Self::resume),
        restore: Some(Self::restore),
        ..pin_init::zeroed()
    };

    /// The callbacks for a reset by the PCI core. There are none for errors of the bus.
    const RESET: bindings::pci_error_handlers = bindings::pci_error_handlers {
        reset_prepare: Some(Self::reset_prepare),
        reset_done: Some(Self::reset_done),
        ..pin_init::zeroed()
    };

    /// Calls `f` with the driver data of a device, if the driver is bound to it.
    ///
    /// # Safety
    ///
    /// `device` must be that of a PCI device, whose lock is held, and no other driver may be bound
    /// to it.
    unsafe fn with<R>(
        device: *mut bindings::device,
        f: impl FnOnce(Pin<&T::Data<'_>>) -> R,
    ) -> Option<R> {
        // The lock prevents concurrent binding and unbinding, so this is the driver data that
        // `probe` has created, or null.
        // SAFETY: By the safety requirement, the device is valid.
        let data = unsafe { bindings::dev_get_drvdata(device) };
        // SAFETY: As above. `Device` is a transparent wrapper.
        let device = unsafe { &*device.cast::<Device<CoreInternal<'_>>>() };
        (!data.is_null()).then(|| {
            // SAFETY: The data is not null, so `probe` of this driver has set it, and it has this
            // type; by the safety requirement, the lock is held, so it is not freed during the
            // call.
            f(unsafe { device.drvdata_borrow::<T::Data<'_>>() })
        })
    }

    unsafe extern "C" fn suspend(device: *mut bindings::device) -> c_int {
        // SAFETY: The driver core calls this with the lock held, for a device of this driver.
        let done = unsafe { Self::with(device, T::suspend) };
        from_result(|| done.unwrap_or(Ok(())).map(|()| 0))
    }

    unsafe extern "C" fn resume(device: *mut bindings::device) -> c_int {
        // SAFETY: As in `suspend`.
        let done = unsafe { Self::with(device, |data| T::resume(data, true)) };
        from_result(|| done.unwrap_or(Ok(())).map(|()| 0))
    }

    unsafe extern "C" fn restore(device: *mut bindings::device) -> c_int {
        // SAFETY: As in `suspend`.
        let done = unsafe { Self::with(device, |data| T::resume(data, false)) };
        from_result(|| done.unwrap_or(Ok(())).map(|()| 0))
    }

    unsafe extern "C" fn reset_prepare(pdev: *mut bindings::pci_dev) {
        // SAFETY: As in `shutdown`.
        unsafe { Self::with(&raw mut (*pdev).dev, T::reset_prepare) };
    }

    unsafe extern "C" fn reset_done(pdev: *mut bindings::pci_dev) {
        // SAFETY: As in `shutdown`.
        unsafe { Self::with(&raw mut (*pdev).dev, T::reset_done) };
    }

    unsafe extern "C" fn shutdown(pdev: *mut bindings::pci_dev) {
        // SAFETY: The PCI core calls this with a valid device, whose lock it holds, as in
        // `suspend`.
        unsafe { Self::with(&raw mut (*pdev).dev, T::shutdown) };
    }
}
