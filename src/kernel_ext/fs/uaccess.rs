// SPDX-License-Identifier: GPL-2.0

//! Structures in userspace, which may be older or newer than the driver's.
//!
//! A structure grows at its end. What one side has and the other one lacks is 0.
//!
//! C header: `include/linux/uaccess.h`

use core::mem::MaybeUninit;
use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    uaccess::UserPtr, //
};

extern "C" {
    fn rdma_helper_copy_struct_from_user(
        to: *mut c_void,
        to_size: usize,
        from: *const c_void,
        from_size: usize,
    ) -> c_int;
    fn rdma_helper_copy_struct_to_user(
        to: *mut c_void,
        to_size: usize,
        from: *const c_void,
        from_size: usize,
    ) -> c_int;
}

/// Reads a structure, once, of which userspace has `size` bytes. What it lacks is 0.
///
/// # Errors
///
/// [`EFAULT`] if they cannot be read; [`E2BIG`] if bytes beyond the structure are not 0.
pub(crate) fn read<T: FromBytes + IntoBytes>(from: UserPtr, size: usize) -> Result<T> {
    let mut value = MaybeUninit::<T>::uninit();
    let to = value.as_mut_ptr().cast();
    if size == size_of::<T>() {
        // The size is known to the compiler here, which saves the checks of an unknown one.
        // SAFETY: `to` is valid for writing `size` bytes.
        let left = unsafe { bindings::_copy_from_user(to, from.as_const_ptr(), size) };
        if left != 0 {
            return Err(EFAULT);
        }
    } else {
        // SAFETY: `to` is valid for writing as many bytes as it is said to have.
        to_result(unsafe {
            rdma_helper_copy_struct_from_user(to, size_of::<T>(), from.as_const_ptr(), size)
        })?;
    }
    // SAFETY: All bytes have been written, and any bytes are a value of a type that is `FromBytes`.
    Ok(unsafe { value.assume_init() })
}

/// Writes a structure, of which userspace has room for `size` bytes: as much as there is room for,
/// and 0 beyond it.
///
/// # Errors
///
/// [`EFAULT`] if they cannot be written.
pub(crate) fn write<T: IntoBytes>(to: UserPtr, size: usize, value: &T) -> Result {
    let from = core::ptr::from_ref(value).cast();
    if size == size_of::<T>() {
        // As in `read`.
        // SAFETY: `from` is valid for reading `size` bytes, none of which is padding.
        let left = unsafe { bindings::_copy_to_user(to.as_mut_ptr(), from, size) };
        return if left == 0 { Ok(()) } else { Err(EFAULT) };
    }
    // SAFETY: `from` is valid for reading as many bytes as it is said to have; none is padding.
    to_result(unsafe {
        rdma_helper_copy_struct_to_user(to.as_mut_ptr(), size, from, size_of::<T>())
    })
}
