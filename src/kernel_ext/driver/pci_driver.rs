// SPDX-License-Identifier: GPL-2.0

//! A PCI driver that is told when the machine goes to sleep, wakes up, or leaves this kernel.
//!
//! The crate's `pci::Driver` knows of probe and unbind only. This adds the other callbacks to what
//! the crate's adapter registers, and leaves the rest to that.
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
    fn rdma_helper_finish_probes();
}

/// What is asked of a driver besides what [`pci::Driver`] has. Called for a device that is bound,
/// while it is neither bound nor unbound.
pub(in crate::kernel_ext) trait Driver: pci::Driver {
    /// The machine goes to sleep, or an image of its memory is made.
    fn suspend(data: Pin<&Self::Data<'_>>) -> Result;

    /// The machine is awake again; the device has `kept` its own memory, or may have lost it.
    fn resume(data: Pin<&Self::Data<'_>>, kept: bool) -> Result;

    /// This kernel goes: the machine is switched off, or another kernel is started. Programs may
    /// still run.
    fn shutdown(data: Pin<&Self::Data<'_>>);
}

/// An adapter for the registration of a [`Driver`].
pub(in crate::kernel_ext) struct Adapter<T>(T);

// SAFETY: All of it is that of the crate's adapter, which keeps these promises.
unsafe impl<T: Driver> DriverLayout for Adapter<T> {
    type DriverType = <pci::Adapter<T> as DriverLayout>::DriverType;
    type DriverData<'bound> = <pci::Adapter<T> as DriverLayout>::DriverData<'bound>;
    const DEVICE_DRIVER_OFFSET: usize = <pci::Adapter<T> as DriverLayout>::DEVICE_DRIVER_OFFSET;
}

// SAFETY: As for the crate's adapter, which does it.
unsafe impl<T: Driver + 'static> RegistrationOps for Adapter<T> {
    unsafe fn register(
        driver: &Opaque<bindings::pci_driver>,
        name: &'static CStr,
        module: &'static ThisModule,
    ) -> Result {
        // SAFETY: The driver is not registered yet: nobody else has it. The table is static.
        unsafe {
            (*driver.get()).driver.pm = &Self::SLEEP;
            (*driver.get()).shutdown = Some(Self::shutdown);
            (*driver.get()).driver.probe_type = bindings::probe_type_PROBE_PREFER_ASYNCHRONOUS;
        }
        // SAFETY: By the requirement, which is the same.
        let registered = unsafe { pci::Adapter::<T>::register(driver, name, module) };
        // The devices that are there are probed side by side; one that comes later, when it comes,
        // so that its node is there when a rescan of the bus returns.
        // SAFETY: The driver core only reads this, a number, to choose between two right ways.
        unsafe {
            core::ptr::write_volatile(
                &raw mut (*driver.get()).driver.probe_type,
                bindings::probe_type_PROBE_DEFAULT_STRATEGY,
            )
        };
        // SAFETY: Loading a module may wait for what is done asynchronously, and does so itself
        // before it returns.
        unsafe { rdma_helper_finish_probes() };
        registered
    }

    unsafe fn unregister(driver: &Opaque<bindings::pci_driver>) {
        // SAFETY: By the requirement, which is the same.
        unsafe { pci::Adapter::<T>::unregister(driver) }
    }
}

impl<T: Driver> Adapter<T> {
    /// Sleeping is the same for all that it may be good for. What comes after an image was made
    /// (`thaw`) is a resume; what comes after the image was loaded (`restore`) has the device as
    /// another kernel has left it.
    const SLEEP: bindings::dev_pm_ops = bindings::dev_pm_ops {
        suspend: Some(Self::suspend),
        freeze: Some(Self::suspend),
        poweroff: Some(Self::suspend),
        resume: Some(Self::resume),
        thaw: Some(Self::resume),
        restore: Some(Self::restore),
        // SAFETY: All the others are pointers to functions, which may be null.
        ..unsafe { core::mem::zeroed() }
    };

    /// Calls `f` with what the driver has of a device, if it is bound to it.
    ///
    /// # Safety
    ///
    /// `device` must be that of a PCI device, with its lock held, and no driver but this one bound
    /// to it.
    unsafe fn with<R>(
        device: *mut bindings::device,
        f: impl FnOnce(Pin<&T::Data<'_>>) -> R,
    ) -> Option<R> {
        // The lock keeps the driver from being bound and unbound meanwhile, so this is what
        // `probe` has made, or null.
        // SAFETY: By the requirement the device is valid.
        let data = unsafe { bindings::dev_get_drvdata(device) };
        // SAFETY: As above. `Device` is a transparent wrapper.
        let device = unsafe { &*device.cast::<Device<CoreInternal<'_>>>() };
        (!data.is_null()).then(|| {
            // SAFETY: It is there, so that `probe` has set it, and it has the type that this
            // driver sets; by the requirement it is not taken away before the lock is released.
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

    unsafe extern "C" fn shutdown(pdev: *mut bindings::pci_dev) {
        // SAFETY: The PCI bus calls this with a valid device. As in `suspend`.
        unsafe { Self::with(&raw mut (*pdev).dev, T::shutdown) };
    }
}
