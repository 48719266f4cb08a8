// SPDX-License-Identifier: GPL-2.0

//! Extensible structures in userspace, which may be of an older or newer version than those of the
//! driver.
//!
//! New fields are added at the end of a structure. A field that one side does not have is 0.
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

/// Copies a structure from userspace, where it has `size` bytes. Each byte is read once. The fields
/// that userspace does not have are 0.
///
/// # Errors
///
/// [`EFAULT`] if the bytes cannot be read; [`E2BIG`] if a byte beyond the driver's structure is not
/// 0.
pub(crate) fn read<T: FromBytes + IntoBytes>(from: UserPtr, size: usize) -> Result<T> {
    let mut value = MaybeUninit::<T>::uninit();
    let to = value.as_mut_ptr().cast();
    if size == size_of::<T>() {
        // The compiler knows the size here, which avoids the checks for a variable size.
        // SAFETY: `to` is valid for writing `size` bytes.
        let left = unsafe { bindings::_copy_from_user(to, from.as_const_ptr(), size) };
        if left != 0 {
            return Err(EFAULT);
        }
    } else {
        // SAFETY: `to` is valid for writing `size_of::<T>()` bytes.
        to_result(unsafe {
            rdma_helper_copy_struct_from_user(to, size_of::<T>(), from.as_const_ptr(), size)
        })?;
    }
    // SAFETY: All bytes have been written, and any bytes are a valid value of a type that is
    // `FromBytes`.
    Ok(unsafe { value.assume_init() })
}

/// Copies a structure to userspace, where it has `size` bytes. Excess fields are not copied; excess
/// bytes of userspace are set to 0.
///
/// # Errors
///
/// [`EFAULT`] if the bytes cannot be written.
pub(crate) fn write<T: IntoBytes>(to: UserPtr, size: usize, value: &T) -> Result {
    let from = core::ptr::from_ref(value).cast();
    if size == size_of::<T>() {
        // As in `read`.
        // SAFETY: `from` is valid for reading `size` bytes, none of which is padding.
        let left = unsafe { bindings::_copy_to_user(to.as_mut_ptr(), from, size) };
        return if left == 0 { Ok(()) } else { Err(EFAULT) };
    }
    // SAFETY: `from` is valid for reading `size_of::<T>()` bytes, none of which is padding.
    to_result(unsafe {
        rdma_helper_copy_struct_to_user(to.as_mut_ptr(), size, from, size_of::<T>())
    })
}
