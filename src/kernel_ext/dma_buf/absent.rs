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
        fn log_unreachable(&self, importer: &CStr);
    }

    /// Fails.
    ///
    /// # Errors
    ///
    /// [`EOPNOTSUPP`].
    pub(crate) fn export<M: Exportable>(_: ArcBorrow<'_, M>, _: u32) -> Result<ARef<File>> {
        // Never called.
        let _ = M::log_unreachable;
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

/// Importing dma-bufs, which fails.
pub(crate) mod import {
    use crate::kernel_ext::mm::layout::Layout;
    use core::{
        convert::Infallible,
        marker::PhantomData, //
    };
    use kernel::{
        device::{
            Bound,
            Device, //
        },
        prelude::*, //
    };

    /// A dma-buf, which does not exist.
    #[derive(Clone)]
    pub(crate) struct Importable(Infallible);

    impl Importable {
        /// Fails.
        ///
        /// # Errors
        ///
        /// [`EOPNOTSUPP`].
        pub(crate) fn from_fd(_: i32, _: bool) -> Result<Self> {
            Err(EOPNOTSUPP)
        }

        /// Never called.
        pub(crate) fn size(&self) -> usize {
            match self.0 {}
        }
    }

    /// The memory of a dma-buf, which does not exist.
    pub(crate) struct ImportedMemory<'bound>(Infallible, PhantomData<&'bound ()>);

    impl<'bound> ImportedMemory<'bound> {
        /// Never called.
        pub(crate) fn new(_: &'bound Device<Bound>, dma_buf: Importable, _: bool) -> Result<Self> {
            match dma_buf.0 {}
        }

        /// Never called.
        ///
        /// # Safety
        ///
        /// None.
        pub(in crate::kernel_ext) unsafe fn into_static(self) -> ImportedMemory<'static> {
            match self.0 {}
        }

        /// Never called.
        pub(in crate::kernel_ext) fn device(&self) -> &Device {
            match self.0 {}
        }

        /// Never called.
        pub(in crate::kernel_ext) fn layout(&self) -> Result<Layout> {
            match self.0 {}
        }

        /// Never called.
        pub(in crate::kernel_ext) fn size(&self) -> usize {
            match self.0 {}
        }
    }
}
