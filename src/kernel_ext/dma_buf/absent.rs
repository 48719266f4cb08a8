// SPDX-License-Identifier: GPL-2.0

//! What the driver does in kernels without dma-bufs.

/// Exporting memory, which fails.
pub(crate) mod export {
    use crate::kernel_ext::mm::vma::Mappable;
    use kernel::{
        fs::File,
        prelude::*,
        sync::{
            aref::ARef,
            ArcBorrow, //
        }, //
    };

    /// Memory that could be exported.
    pub(crate) trait Exportable: Mappable {
        /// Called when a device cannot access the memory.
        fn unreachable(&self, importer: &CStr);
    }

    /// Fails.
    ///
    /// # Errors
    ///
    /// [`EOPNOTSUPP`].
    pub(crate) fn export<M: Exportable>(_: ArcBorrow<'_, M>, _: u32) -> Result<ARef<File>> {
        // Never called.
        let _ = M::unreachable;
        Err(EOPNOTSUPP)
    }
}

/// The state of memory that is never exported.
pub(in crate::kernel_ext) mod exported {
    use kernel::prelude::*;

    /// No dma-buf.
    pub(in crate::kernel_ext) struct Exported;

    impl Exported {
        /// Creates the state.
        pub(in crate::kernel_ext) fn new() -> impl PinInit<Self> {
            Self
        }

        /// Does nothing.
        pub(in crate::kernel_ext) fn revoke(&self, _: u64) {}

        /// Returns true.
        pub(in crate::kernel_ext) fn is_unused(&self, _: u64) -> bool {
            true
        }
    }
}
