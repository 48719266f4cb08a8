// SPDX-License-Identifier: GPL-2.0

//! Flags of allocations.
//!
//! C header: `include/linux/gfp_types.h`

use kernel::{
    alloc::Flags,
    bindings, //
};

/// The flags for memory that a program causes the driver to allocate, as a number.
pub(in crate::kernel_ext) const RAW_GFP_ACCOUNT_MAYFAIL: bindings::gfp_t =
    bindings::GFP_KERNEL_ACCOUNT | 1 << bindings::___GFP_RETRY_MAYFAIL_BIT;

/// The flags for memory that a program causes the driver to allocate: `GFP_KERNEL_ACCOUNT |
/// __GFP_RETRY_MAYFAIL`. It is charged to the memory cgroup of the caller. If there is no memory,
/// or the cgroup has reached its limit, the allocation fails. Without `__GFP_RETRY_MAYFAIL`, which
/// the crate does not have, the OOM killer would kill a process.
pub(crate) const GFP_ACCOUNT_MAYFAIL: Flags = {
    // SAFETY: `Flags` is a structure whose only field is a `u32`, of which all values are valid.
    // The compiler checks that they have the same size.
    unsafe { core::mem::transmute::<u32, Flags>(RAW_GFP_ACCOUNT_MAYFAIL) }
};
