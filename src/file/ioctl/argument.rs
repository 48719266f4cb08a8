// SPDX-License-Identifier: GPL-2.0

//! Structures of `uapi/rdma.h` that programs pass: what every call asks of them.
//!
//! A program may have been built with an older or a newer header, and so have a smaller or a larger
//! structure than the driver; see [`uaccess`].

use crate::{
    kernel_ext::fs::uaccess,
    uapi, //
};
use core::marker::PhantomData;
use kernel::{
    prelude::*,
    uaccess::UserPtr, //
};

/// A structure that is passed.
pub(super) trait Passed: FromBytes + IntoBytes {
    /// Bytes that it had in the first version of the interface: no program has less.
    const FIRST_SIZE: usize;
}

/// A structure that the driver reads. It has flags, and fields for what may come.
pub(super) trait Input: Passed {
    /// Its flags.
    fn flags(&self) -> u32;

    /// Whether all of its reserved fields are 0.
    fn is_reserved_zero(&self) -> bool;
}

/// Declares a structure of `uapi` as an [`Input`], or as one that is only written, with the bytes that
/// it had in the first version of the interface.
macro_rules! passed {
    (input $name:ident: $first_size:literal) => {
        $crate::file::ioctl::argument::passed!(output $name: $first_size);

        impl $crate::file::ioctl::argument::Input for $crate::uapi::$name {
            fn flags(&self) -> u32 {
                self.flags
            }

            fn is_reserved_zero(&self) -> bool {
                self.reserved == Self::default().reserved
            }
        }
    };
    (output $name:ident: $first_size:literal) => {
        ::kernel::prelude::static_assert!(size_of::<$crate::uapi::$name>() >= $first_size);

        impl $crate::file::ioctl::argument::Passed for $crate::uapi::$name {
            const FIRST_SIZE: usize = $first_size;
        }
    };
}
pub(super) use passed;

/// A place in userspace where a structure is, or is to be: the argument of a call, or an element of an
/// array.
///
/// # Invariants
///
/// The program's structure has `size` bytes, at least those of the first version.
pub(super) struct Argument<T> {
    at: UserPtr,
    size: usize,
    _structure: PhantomData<T>,
}

impl<T: Passed> Argument<T> {
    /// The argument of a call, of which the program has `size` bytes.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if it is smaller than it ever was.
    pub(super) fn new(address: usize, size: usize) -> Result<Self> {
        if size < T::FIRST_SIZE {
            return Err(EINVAL);
        }
        // INVARIANT: just checked.
        Ok(Self {
            at: UserPtr::from_addr(address),
            size,
            _structure: PhantomData,
        })
    }

    /// The first element of an array whose elements have `size` bytes.
    ///
    /// # Errors
    ///
    /// [`E2BIG`] and [`EINVAL`] if that is too much or too little; [`EFAULT`] if there is no such
    /// address.
    pub(super) fn first_of(array: u64, size: u32) -> Result<Self> {
        if size > uapi::RDMA_MAX_ELEMENT_SIZE {
            return Err(E2BIG);
        }
        // CAST: `u32` fits into `usize`.
        Self::new(usize::try_from(array).map_err(|_| EFAULT)?, size as usize)
    }

    /// The next element of the array. It need not be there.
    pub(super) fn next(&self) -> Self {
        // INVARIANT: All elements have the same size.
        Self {
            at: self.at.wrapping_byte_add(self.size),
            size: self.size,
            _structure: PhantomData,
        }
    }

    /// Writes what the program has room for.
    ///
    /// # Errors
    ///
    /// [`EFAULT`] if the program's structure cannot be written.
    pub(super) fn write(&self, value: &T) -> Result {
        uaccess::write(self.at, self.size, value)
    }
}

impl<T: Input> Argument<T> {
    /// Reads it, once. `known` are the flags that the call knows.
    ///
    /// # Errors
    ///
    /// [`EFAULT`] if it cannot be read; [`E2BIG`] if the program's structure is larger, and what is
    /// unknown to the driver is not 0; [`EINVAL`] if there is another flag, or a reserved field is not 0.
    pub(super) fn read(&self, known: u32) -> Result<T> {
        let value: T = uaccess::read(self.at, self.size)?;
        if value.flags() & !known != 0 || !value.is_reserved_zero() {
            return Err(EINVAL);
        }
        Ok(value)
    }
}
