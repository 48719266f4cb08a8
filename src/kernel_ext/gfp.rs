// SPDX-License-Identifier: GPL-2.0

//! Flags of allocations.
//!
//! C header: `include/linux/gfp_types.h`

use kernel::{
    alloc::Flags,
    bindings, //
};

/// Allocation fails rather than that the OOM killer kills a process, and without a message: a
/// program whose memory cgroup has reached its limit could fill the log. The crate does not have
/// these flags.
const RAW_MAYFAIL: bindings::gfp_t =
    1 << bindings::___GFP_RETRY_MAYFAIL_BIT | 1 << bindings::___GFP_NOWARN_BIT;

/// The value of [`GFP_ACCOUNT_MAYFAIL`].
pub(in crate::kernel_ext) const RAW_GFP_ACCOUNT_MAYFAIL: bindings::gfp_t =
    bindings::GFP_KERNEL_ACCOUNT | RAW_MAYFAIL;

/// The value of [`GFP_MAYFAIL`].
#[cfg(CONFIG_DMA_SHARED_BUFFER)]
pub(in crate::kernel_ext) const RAW_GFP_MAYFAIL: bindings::gfp_t =
    bindings::GFP_KERNEL | RAW_MAYFAIL;

/// The flags for memory that a program causes the driver to allocate: `GFP_KERNEL_ACCOUNT |
/// __GFP_RETRY_MAYFAIL | __GFP_NOWARN`. It is charged to the memory cgroup of the caller. If there
/// is no memory, or the cgroup has reached its limit, the allocation fails. Above `memory.high`, it
/// can take seconds.
pub(crate) const GFP_ACCOUNT_MAYFAIL: Flags = flags(RAW_GFP_ACCOUNT_MAYFAIL);

/// The flags for memory that is allocated under a lock that other users may wait for: the same, but
/// not charged to the memory cgroup of the caller.
#[cfg(CONFIG_DMA_SHARED_BUFFER)]
pub(in crate::kernel_ext) const GFP_MAYFAIL: Flags = flags(RAW_GFP_MAYFAIL);

const fn flags(raw: bindings::gfp_t) -> Flags {
    // SAFETY: `Flags` is a structure whose only field is a `u32`, of which all values are valid.
    // The compiler checks that they have the same size.
    unsafe { core::mem::transmute::<u32, Flags>(raw) }
}
