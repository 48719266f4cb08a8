// SPDX-License-Identifier: GPL-2.0

//! The part of the `kernel` crate that the hardware-free files of the driver use, implemented with `std`, so
//! that they are compiled and tested on the host.

pub mod error {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Error(pub i32);

    impl From<std::collections::TryReserveError> for Error {
        fn from(_: std::collections::TryReserveError) -> Self {
            prelude_code::ENOMEM
        }
    }

    pub mod prelude_code {
        use super::Error;
        pub const EIO: Error = Error(5);
        pub const ENOMEM: Error = Error(12);
        pub const EBUSY: Error = Error(16);
        pub const EEXIST: Error = Error(17);
        pub const ENODEV: Error = Error(19);
        pub const EINVAL: Error = Error(22);
        pub const ETIMEDOUT: Error = Error(110);
        pub const EDQUOT: Error = Error(122);
        pub const ECANCELED: Error = Error(125);
        pub const EREMOTEIO: Error = Error(121);
    }
}

pub mod prelude {
    pub use super::error::{prelude_code::*, Error};
    pub use crate::static_assert;

    pub type Result<T = (), E = Error> = core::result::Result<T, E>;

    #[derive(Clone, Copy)]
    pub struct Flags;
    pub const GFP_KERNEL: Flags = Flags;
    pub const GFP_ACCOUNT_MAYFAIL: Flags = Flags;

    /// `KBox`, with the functions that the driver uses.
    pub struct KBox<T>(Box<T>);

    impl<T> KBox<T> {
        pub fn new(value: T, _: Flags) -> Result<Self> {
            Ok(Self(Box::new(value)))
        }

        pub fn into_raw(this: Self) -> *mut T {
            Box::into_raw(this.0)
        }

        /// # Safety
        ///
        /// As `Box::from_raw`.
        pub unsafe fn from_raw(raw: *mut T) -> Self {
            Self(unsafe { Box::from_raw(raw) })
        }
    }

    impl<T> core::ops::Deref for KBox<T> {
        type Target = T;
        fn deref(&self) -> &T {
            &self.0
        }
    }

    impl<T> core::ops::DerefMut for KBox<T> {
        fn deref_mut(&mut self) -> &mut T {
            &mut self.0
        }
    }

    /// `KVec`, with the functions that the driver uses.
    pub struct KVec<T>(Vec<T>);

    impl<T> KVec<T> {
        pub const fn new() -> Self {
            Self(Vec::new())
        }

        pub fn push(&mut self, value: T, _: Flags) -> Result {
            self.0.push(value);
            Ok(())
        }
    }

    impl<T> core::ops::Deref for KVec<T> {
        type Target = [T];
        fn deref(&self) -> &[T] {
            &self.0
        }
    }

    impl<T> core::ops::DerefMut for KVec<T> {
        fn deref_mut(&mut self) -> &mut [T] {
            &mut self.0
        }
    }

    /// `KVVec`, which never grows on its own.
    pub struct KVVec<T>(Vec<T>);

    pub struct PushError<T>(pub T);

    impl<T> KVVec<T> {
        pub const fn new() -> Self {
            Self(Vec::new())
        }

        pub fn with_capacity(capacity: usize, _: Flags) -> Result<Self> {
            Ok(Self(Vec::with_capacity(capacity)))
        }

        pub fn capacity(&self) -> usize {
            self.0.capacity()
        }

        pub fn push_within_capacity(&mut self, value: T) -> Result<(), PushError<T>> {
            if self.0.len() < self.0.capacity() {
                self.0.push(value);
                Ok(())
            } else {
                Err(PushError(value))
            }
        }

        pub fn drain_all(&mut self) -> impl Iterator<Item = T> + '_ {
            self.0.drain(..)
        }
    }

    impl<T> core::ops::Deref for KVVec<T> {
        type Target = [T];
        fn deref(&self) -> &[T] {
            &self.0
        }
    }

    impl<T> core::ops::DerefMut for KVVec<T> {
        fn deref_mut(&mut self) -> &mut [T] {
            &mut self.0
        }
    }
}

#[macro_export]
macro_rules! static_assert {
    ($condition:expr) => {
        const _: () = assert!($condition);
    };
}

/// `kernel::ioctl`, from `include/uapi/asm-generic/ioctl.h`.
#[allow(non_snake_case)]
pub mod ioctl {
    const fn _IOC(direction: u32, magic: u32, number: u32, size: usize) -> u32 {
        direction << 30 | (size as u32) << 16 | magic << 8 | number
    }

    pub const fn _IOW<T>(magic: u32, number: u32) -> u32 {
        _IOC(1, magic, number, size_of::<T>())
    }

    pub const fn _IOR<T>(magic: u32, number: u32) -> u32 {
        _IOC(2, magic, number, size_of::<T>())
    }

    pub const fn _IOWR<T>(magic: u32, number: u32) -> u32 {
        _IOC(3, magic, number, size_of::<T>())
    }
}

pub mod sync {
    use crate::prelude::{Flags, Result};

    /// `Arc`, whose allocation can fail.
    pub struct Arc<T>(std::sync::Arc<T>);

    impl<T> Arc<T> {
        pub fn new(value: T, _: Flags) -> Result<Self> {
            Ok(Self(std::sync::Arc::new(value)))
        }
    }

    impl<T> Clone for Arc<T> {
        fn clone(&self) -> Self {
            Self(self.0.clone())
        }
    }

    impl<T> core::ops::Deref for Arc<T> {
        type Target = T;
        fn deref(&self) -> &T {
            &self.0
        }
    }

    /// `Atomic`, implemented by a lock.
    pub mod atomic {
        use core::ops::{Add, Sub};
        use std::sync::{Mutex, MutexGuard};

        pub struct Relaxed;

        pub struct Atomic<T>(Mutex<T>);

        impl<T: Copy + PartialEq> Atomic<T> {
            pub const fn new(value: T) -> Self {
                Self(Mutex::new(value))
            }

            fn lock(&self) -> MutexGuard<'_, T> {
                self.0.lock().unwrap()
            }

            pub fn load(&self, _: Relaxed) -> T {
                *self.lock()
            }

            pub fn cmpxchg(&self, old: T, new: T, _: Relaxed) -> Result<T, T> {
                let mut value = self.lock();
                if *value != old {
                    return Err(*value);
                }
                *value = new;
                Ok(old)
            }

            pub fn add(&self, other: T, _: Relaxed)
            where
                T: Add<Output = T>,
            {
                let mut value = self.lock();
                *value = *value + other;
            }

            pub fn fetch_sub(&self, other: T, _: Relaxed) -> T
            where
                T: Sub<Output = T>,
            {
                let mut value = self.lock();
                let old = *value;
                *value = old - other;
                old
            }
        }
    }
}

pub mod transmute {
    /// # Safety
    ///
    /// As in the kernel.
    pub unsafe trait FromBytes {}
    /// # Safety
    ///
    /// As in the kernel.
    pub unsafe trait AsBytes {}
}
