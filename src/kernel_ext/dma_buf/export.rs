// SPDX-License-Identifier: GPL-2.0

//! Exports memory as a dma-buf, which other drivers import.
//!
//! The dma-buf holds references to its object, to the memory that the object had when the dma-buf
//! was created, and to the module. Its mappings are revoked with those of the node, whose address
//! space its file has. Other drivers' accesses are counted inside the gate, or, by `vmap`, under
//! the lock of the reservation. The memory is not freed before they have ended ([`Exported`]).
//!
//! The lock of the reservation is held when other drivers begin and end accesses, and the gate is
//! entered under it. An import takes this lock inside the gate. This is no deadlock: entering the
//! gate never waits.
//!
//! [`Exported`]: super::exported::Exported
//!
//! C header: `include/linux/dma-buf.h`

use super::{
    exported::{
        DriverAccess,
        Exported, //
    },
    reference::DmaBuf, //
};
use crate::kernel_ext::{
    gfp::{
        GFP_ACCOUNT_MAYFAIL,
        GFP_MAYFAIL,
        RAW_GFP_MAYFAIL, //
    },
    mm::{
        dma_table::{
            Bytes,
            DmaTable, //
        },
        layout::Layout,
        shared_memory::{
            RevocableMemory,
            SharedMemory, //
        },
        vma::{
            self,
            Mappable, //
        },
    }, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    device::Device,
    error::{
        from_err_ptr,
        from_result, //
    },
    fs::File,
    page::PAGE_SHIFT,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        ArcBorrow, //
    },
    types::ForeignOwnable, //
};

extern "C" {
    /// Returns null if there is no memory for the page tables. `pages` is an array of
    /// `struct page *`.
    fn rdma_helper_vmap(pages: *mut c_void, count: c_uint) -> *mut c_void;
    fn rdma_helper_vunmap(address: *const c_void);
    /// Returns a `struct page *`, which is null if the frame has none.
    fn rdma_helper_page(pfn: c_ulong) -> *mut c_void;
}

/// An object whose memory can be exported.
pub(crate) trait Exportable: Mappable {
    /// Called when the device with this name cannot access the memory. May be called inside the
    /// gate.
    fn log_unreachable(&self, importer: &CStr);
}

/// Returns the file of the dma-buf of `object`, which is created if there is none, with this access
/// mode. It holds a reference to `object`.
///
/// # Errors
///
/// [`ENODEV`] if the device is gone; [`ENOMEM`], [`ENFILE`].
pub(crate) fn export<M: Exportable>(object: ArcBorrow<'_, M>, access: u32) -> Result<ARef<File>> {
    let memory = object.shared_memory();
    memory.address_space().gate().enter(|| {
        let revoked = &DmaBufOperations::<M>::REVOKED_TABLE;
        let create = || create(object.into(), memory, access);
        // SAFETY: The operation `release` calls `clear` of the same memory. The tables of
        // operations differ in one only, which is called with the lock held.
        let dma_buf = unsafe { memory.exported().get_or_create(revoked, create)? };
        Ok(dma_buf.to_file())
    })?
}

/// What a dma-buf holds.
struct Private<M: Exportable> {
    object: Arc<M>,
    /// The memory of the object, which the dma-buf is registered in. An object whose memory is
    /// another one later is an error of its implementation, and must not do harm.
    memory: Arc<RevocableMemory<M::Charge>>,
}

impl<M: Exportable> Private<M> {
    /// Returns the memory of the object.
    ///
    /// # Errors
    ///
    /// [`EIO`] if it is not the one that the dma-buf is registered in.
    fn shared_memory(&self) -> Result<&SharedMemory<M::Charge>> {
        let memory = self.object.shared_memory();
        if Arc::ptr_eq(memory.revocable(), &self.memory) {
            Ok(memory)
        } else {
            Err(EIO)
        }
    }

    /// Returns what other drivers do with the memory.
    fn exported(&self) -> &Exported {
        self.memory.exported()
    }
}

/// Creates the dma-buf of an object with this memory.
fn create<M: Exportable>(
    object: Arc<M>,
    memory: &SharedMemory<M::Charge>,
    access: u32,
) -> Result<DmaBuf> {
    let size = memory.size();
    let private = Private {
        object,
        memory: memory.revocable().clone(),
    };
    let private = KBox::new(private, GFP_ACCOUNT_MAYFAIL)?.into_foreign();
    let info = bindings::dma_buf_export_info {
        exp_name: c"rdma".as_char_ptr(),
        owner: kernel::module::this_module::<crate::LocalModule>().as_ptr(),
        ops: &DmaBufOperations::<M>::TABLE,
        size,
        // CAST: The flags are small.
        flags: access as c_int,
        resv: core::ptr::null_mut(),
        priv_: private.cast(),
    };
    // SAFETY: All values are valid. The tables of operations are those of this module.
    let created = from_err_ptr(unsafe { bindings::dma_buf_export(&info) });
    let dma_buf = created.and_then(|dma_buf| NonNull::new(dma_buf).ok_or(ENOMEM));
    let dma_buf = dma_buf.inspect_err(|_| {
        // SAFETY: No dma-buf has the data.
        drop(unsafe { <KBox<Private<M>>>::from_foreign(private) });
    })?;
    // SAFETY: The function has returned a reference to the new dma-buf.
    let dma_buf = unsafe { DmaBuf::from_raw(dma_buf) };
    // SAFETY: No other thread uses the file yet, except to list it. The memory, which the dma-buf
    // holds until `release`, holds the address space.
    unsafe { memory.address_space().adopt(dma_buf.file()) };
    Ok(dma_buf)
}

/// The operations of a dma-buf. Its private data is a `KBox<Private<M>>`, until
/// [`release`](Self::release).
///
/// There is no `attach`: what cannot be imported is refused by [`map_dma_buf`](Self::map_dma_buf).
/// If `attach` fails, videobuf2 never drops its reference to the dma-buf (`__prepare_dmabuf`, 7.3).
struct DmaBufOperations<M>(PhantomData<M>);

impl<M: Exportable> DmaBufOperations<M> {
    const TABLE: bindings::dma_buf_ops = bindings::dma_buf_ops {
        vmap: Some(Self::vmap),
        ..Self::REVOKED_TABLE
    };

    /// The operations when the device is gone: without [`vmap`](Self::vmap), because the kernel
    /// warns if that fails, but not if it does not exist.
    const REVOKED_TABLE: bindings::dma_buf_ops = bindings::dma_buf_ops {
        map_dma_buf: Some(Self::map_dma_buf),
        unmap_dma_buf: Some(Self::unmap_dma_buf),
        release: Some(Self::release),
        begin_cpu_access: Some(Self::begin_cpu_access),
        mmap: Some(Self::mmap),
        vunmap: Some(Self::vunmap),
        ..pin_init::zeroed()
    };

    /// Returns what a dma-buf holds.
    ///
    /// # Safety
    ///
    /// `dma_buf` must have these operations, and be valid for `'a`.
    unsafe fn private<'a>(dma_buf: *mut bindings::dma_buf) -> &'a Private<M> {
        // SAFETY: By the safety requirement, the private data is a `KBox<Private<M>>`, which the
        // dma-buf holds.
        unsafe { <KBox<Private<M>>>::borrow((*dma_buf).priv_.cast()) }
    }

    /// Returns an error if the device is gone.
    ///
    /// # Safety
    ///
    /// As for [`private`](Self::private).
    unsafe fn check_bound(dma_buf: *mut bindings::dma_buf) -> Result {
        // SAFETY: The safety requirement is the same.
        let memory = unsafe { Self::private(dma_buf) }.shared_memory()?;
        if memory.address_space().is_closed() {
            Err(ENODEV)
        } else {
            Ok(())
        }
    }

    /// Called before the CPU accesses the memory. The memory is coherent.
    ///
    /// # Safety
    ///
    /// Must be called by the kernel only, with a valid dma-buf with these operations.
    unsafe extern "C" fn begin_cpu_access(
        dma_buf: *mut bindings::dma_buf,
        _: bindings::dma_data_direction,
    ) -> c_int {
        // SAFETY: The safety requirement is the same.
        from_result(|| unsafe { Self::check_bound(dma_buf) }.map(|()| 0))
    }

    /// Called to map the memory for a device.
    ///
    /// # Safety
    ///
    /// Must be called by the kernel only, with an attachment to a dma-buf with these operations,
    /// and the lock of its reservation held.
    unsafe extern "C" fn map_dma_buf(
        attachment: *mut bindings::dma_buf_attachment,
        direction: bindings::dma_data_direction,
    ) -> *mut bindings::sg_table {
        // SAFETY: By the safety requirement, the attachment and its dma-buf are valid.
        let private = unsafe { Self::private((*attachment).dmabuf) };
        // SAFETY: As above. The driver that imports keeps its device.
        let importer: &Device = unsafe { Device::from_raw((*attachment).dev) };
        // SAFETY: As above.
        let access = unsafe { access(attachment) };
        let map = |memory: &SharedMemory<M::Charge>, layout: &Layout| {
            let bytes = Bytes {
                pages: &pages(layout, memory.size())?,
                offset: 0,
                size: memory.size(),
            };
            // SAFETY: The memory is not freed before the access has ended. The driver imports for a
            // device that it does DMA with, and unmaps the memory before it releases the device.
            let table = unsafe { DmaTable::map(importer, &bytes, direction, RAW_GFP_MAYFAIL)? };
            let table = KBox::new(table, GFP_MAYFAIL)?;
            private.exported().begin(access);
            Ok(table)
        };
        let memory = private.shared_memory();
        let mapped = memory.and_then(|memory| memory.with_layout(|layout| map(memory, layout))?);
        match mapped {
            Ok(table) => table.into_raw(),
            Err(e) => {
                if e == EOPNOTSUPP {
                    private.object.log_unreachable(importer.name());
                }
                e.to_ptr()
            }
        }
    }

    /// Called when a device does not access the memory any more.
    ///
    /// # Safety
    ///
    /// Must be called by the kernel only, once for each result of
    /// [`map_dma_buf`](Self::map_dma_buf), with the same attachment and the lock held.
    unsafe extern "C" fn unmap_dma_buf(
        attachment: *mut bindings::dma_buf_attachment,
        table: *mut bindings::sg_table,
        _: bindings::dma_data_direction,
    ) {
        // SAFETY: By the safety requirement, `map_dma_buf` has returned this table.
        drop(unsafe { DmaTable::from_raw(table) });
        // SAFETY: By the safety requirement, the attachment and its dma-buf are valid.
        let private = unsafe { Self::private((*attachment).dmabuf) };
        // SAFETY: As above.
        private.exported().end(unsafe { access(attachment) });
    }

    /// Called when the last reference to the dma-buf has been dropped.
    ///
    /// # Safety
    ///
    /// Must be called by the kernel only, as the last operation.
    unsafe extern "C" fn release(dma_buf: *mut bindings::dma_buf) {
        // SAFETY: By the safety requirement, the dma-buf holds the data, which is not borrowed any
        // more.
        let private = unsafe { <KBox<Private<M>>>::from_foreign((*dma_buf).priv_.cast()) };
        private.exported().clear(dma_buf);
    }

    /// Called to map the memory into a program.
    ///
    /// # Safety
    ///
    /// Must be called by the kernel only, with a mapping that is being created, of the file of a
    /// dma-buf with these operations, and within its size.
    unsafe extern "C" fn mmap(
        dma_buf: *mut bindings::dma_buf,
        vma: *mut bindings::vm_area_struct,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirement, the dma-buf is valid.
            unsafe { Self::check_bound(dma_buf)? };
            // SAFETY: As above.
            let object = unsafe { Self::private(dma_buf) }.object.clone();
            // SAFETY: By the safety requirement, `vma` is such a mapping.
            unsafe { vma::set_up(vma, object)? };
            Ok(0)
        })
    }

    /// Called to map the memory into the kernel, when it is not mapped yet. The device is bound: an
    /// unbind takes the lock of the dma-buf before it removes this operation.
    ///
    /// # Safety
    ///
    /// Must be called by the kernel only, with a dma-buf with this operation, whose lock is held,
    /// and a map to write to.
    unsafe extern "C" fn vmap(
        dma_buf: *mut bindings::dma_buf,
        map: *mut bindings::iosys_map,
    ) -> c_int {
        // SAFETY: By the safety requirement, the dma-buf is valid.
        let private = unsafe { Self::private(dma_buf) };
        let address = match private.shared_memory().and_then(Self::vmap_memory) {
            Ok(address) => address,
            Err(e) => return e.to_errno(),
        };
        private.exported().begin(DriverAccess::Lasting);
        let vaddr = bindings::iosys_map__bindgen_ty_1 { vaddr: address };
        // SAFETY: By the safety requirement, `map` is valid for writing.
        unsafe {
            map.write(bindings::iosys_map {
                __bindgen_anon_1: vaddr,
                is_iomem: false,
            });
        }
        0
    }

    fn vmap_memory(memory: &SharedMemory<M::Charge>) -> Result<*mut c_void> {
        let mut pages = pages(memory.layout(), memory.size())?;
        // CAST: The number of pages of a buffer is limited.
        // SAFETY: The array has this number of pages. They are not freed before the access has
        // ended.
        let address = unsafe { rdma_helper_vmap(pages.as_mut_ptr().cast(), pages.len() as c_uint) };
        if address.is_null() {
            Err(ENOMEM)
        } else {
            Ok(address)
        }
    }

    /// Called when the kernel does not access the memory any more.
    ///
    /// # Safety
    ///
    /// Must be called by the kernel only, once after each [`vmap`](Self::vmap) that has succeeded,
    /// with the same map and the lock held.
    unsafe extern "C" fn vunmap(dma_buf: *mut bindings::dma_buf, map: *mut bindings::iosys_map) {
        // SAFETY: By the safety requirement, `vmap` has mapped this address.
        unsafe { rdma_helper_vunmap((*map).__bindgen_anon_1.vaddr) };
        // SAFETY: By the safety requirement, the dma-buf is valid.
        let private = unsafe { Self::private(dma_buf) };
        private.exported().end(DriverAccess::Lasting);
    }
}

/// Returns the `struct page` of each page of a memory of this layout and size. The caller holds the
/// lock of the reservation, which others wait for. The array is not charged to the memory cgroup,
/// which could delay the allocation, or let it fail: the kernel warns if `vmap` fails.
///
/// # Errors
///
/// [`ENOMEM`]; [`EOPNOTSUPP`] if a frame has none.
fn pages(layout: &Layout, size: usize) -> Result<KVVec<*mut bindings::page>> {
    let count = size >> PAGE_SHIFT;
    let mut pages = KVVec::with_capacity(count, GFP_MAYFAIL)?;
    while pages.len() < count {
        let (pfn, frames) = layout.frames(pages.len());
        for pfn in pfn..pfn + frames {
            // SAFETY: The function accepts any number.
            let page = unsafe { rdma_helper_page(pfn) };
            if page.is_null() {
                return Err(EOPNOTSUPP);
            }
            pages.push(page.cast(), GFP_MAYFAIL)?;
        }
    }
    Ok(pages)
}

/// Returns how the driver of an attachment accesses the memory.
///
/// # Safety
///
/// The attachment must be valid.
unsafe fn access(attachment: *mut bindings::dma_buf_attachment) -> DriverAccess {
    // SAFETY: The safety requirement is the same.
    if unsafe { bindings::dma_buf_attach_revocable(attachment) } {
        DriverAccess::Revocable
    } else {
        DriverAccess::Lasting
    }
}
