// SPDX-License-Identifier: GPL-2.0

//! Arguments of ioctl(2): structures of `uapi/rdma.h` in user memory, and the checks that all calls
//! have in common.
//!
//! The structure of a program that was built with an older or a newer header may be smaller or
//! larger than the driver's; see [`uaccess`].

use crate::{
    kernel_ext::fs::uaccess,
    uapi, //
};
use core::marker::PhantomData;
use kernel::{
    prelude::*,
    uaccess::UserPtr, //
};

/// A structure that programs and the driver pass.
pub(super) trait UserStruct: FromBytes + IntoBytes {
    /// The size in bytes in the first version of the interface. A program cannot have a smaller
    /// one.
    const SIZE_VER0: usize;
}

/// A structure that the driver reads. It has flags and reserved fields.
pub(super) trait Input: UserStruct {
    /// Returns the flags.
    fn flags(&self) -> u32;

    /// Returns whether all reserved fields are 0.
    fn is_reserved_zero(&self) -> bool;
}

/// Declares that a structure of `uapi` is an [`Input`], or an output that the driver only writes.
/// The number is its size in bytes in the first version of the interface.
macro_rules! user_struct {
    (input $name:ident: $first_size:literal) => {
        $crate::file::ioctl::argument::user_struct!(output $name: $first_size);

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

        impl $crate::file::ioctl::argument::UserStruct for $crate::uapi::$name {
            const SIZE_VER0: usize = $first_size;
        }
    };
}
pub(super) use user_struct;

/// The address of a structure in user memory: the argument of a call, or an element of an array.
///
/// # Invariants
///
/// `size` is the size of the program's structure in bytes. It is at least `T::SIZE_VER0`.
pub(super) struct Argument<T> {
    at: UserPtr,
    size: usize,
    _structure: PhantomData<T>,
}

impl<T: UserStruct> Argument<T> {
    /// Creates the argument of a call, whose structure has `size` bytes in the program.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if it is smaller than in the first version of the interface.
    pub(super) fn new(address: usize, size: usize) -> Result<Self> {
        if size < T::SIZE_VER0 {
            return Err(EINVAL);
        }
        // INVARIANT: just checked.
        Ok(Self {
            at: UserPtr::from_addr(address),
            size,
            _structure: PhantomData,
        })
    }

    /// Creates the first element of an array whose elements have `size` bytes.
    ///
    /// # Errors
    ///
    /// [`E2BIG`] if `size` is too large, [`EINVAL`] if it is too small; [`EFAULT`] if `array` is
    /// not an address.
    pub(super) fn first_of(array: u64, size: u32) -> Result<Self> {
        if size > uapi::RDMA_MAX_ELEMENT_SIZE {
            return Err(E2BIG);
        }
        // CAST: `u32` fits into `usize`.
        Self::new(usize::try_from(array).map_err(|_| EFAULT)?, size as usize)
    }

    /// Returns the next element of the array. It may be beyond the end.
    pub(super) fn next(&self) -> Self {
        // INVARIANT: All elements have the same size.
        Self {
            at: self.at.wrapping_byte_add(self.size),
            size: self.size,
            _structure: PhantomData,
        }
    }

    /// Writes the part of `value` that fits into the program's structure.
    ///
    /// # Errors
    ///
    /// [`EFAULT`] if the program's structure cannot be written.
    pub(super) fn write(&self, value: &T) -> Result {
        uaccess::write(self.at, self.size, value)
    }
}

/// Returns `value` if the flags and the reserved fields are valid. `known` are the valid flags of
/// the call.
///
/// # Errors
///
/// [`EINVAL`] if another flag is set, or a reserved field is not 0.
fn check<T: Input>(value: T, known: u32) -> Result<T> {
    if value.flags() & !known != 0 || !value.is_reserved_zero() {
        return Err(EINVAL);
    }
    Ok(value)
}

/// Decodes a structure of a program from its bytes, like [`Argument::read`].
///
/// # Errors
///
/// [`EINVAL`] if it is smaller than in the first version of the interface; those of
/// [`Argument::read`].
pub(super) fn from_bytes<T: Input>(bytes: &[u8], known: u32) -> Result<T> {
    if bytes.len() < T::SIZE_VER0 {
        return Err(EINVAL);
    }
    let shared = bytes.len().min(size_of::<T>());
    let (fields, excess) = bytes.split_at(shared);
    if excess.iter().any(|byte| *byte != 0) {
        return Err(E2BIG);
    }
    let mut value = T::new_zeroed();
    value.as_mut_bytes()[..shared].copy_from_slice(fields);
    check(value, known)
}

impl<T: Input> Argument<T> {
    /// Reads the structure once. `known` are the valid flags of the call.
    ///
    /// # Errors
    ///
    /// [`EFAULT`] if the structure cannot be read; [`E2BIG`] if it is larger than the driver's, and
    /// the additional bytes are not 0; [`EINVAL`] if another flag is set, or a reserved field is
    /// not 0.
    pub(super) fn read(&self, known: u32) -> Result<T> {
        check(uaccess::read(self.at, self.size)?, known)
    }
}
