// SPDX-License-Identifier: GPL-2.0

//! Mappings whose pages are put in when they are touched.
//!
//! C header: `include/linux/mm.h`

use core::marker::PhantomData;
use kernel::{
    bindings,
    mm::virt::{
        flags,
        VmaNew, //
    },
    page::PAGE_SHIFT,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    },
    types::ForeignOwnable, //
};

/// Memory that can be mapped. Each mapping holds a reference to it.
pub(crate) trait Mappable: Send + Sync + Sized + 'static {
    /// Puts in the page that was touched, with [`Fault::insert`].
    ///
    /// Called with the lock of the mapping (or of the whole address space) held.
    ///
    /// # Errors
    ///
    /// Any error is a SIGBUS for whoever touched the page; [`ENOMEM`] is out of memory.
    fn fault(this: ArcBorrow<'_, Self>, fault: &Fault<'_>) -> Result;
}

/// A page of a mapping that was touched and is not there.
///
/// # Invariants
///
/// The pointer is that of a fault that is being handled, in a mapping made by [`Mapping::show`].
pub(crate) struct Fault<'a>(*mut bindings::vm_fault, PhantomData<&'a bindings::vm_fault>);

impl Fault<'_> {
    /// The page, counted from the start of the file.
    pub(crate) fn page(&self) -> usize {
        // SAFETY: By the type invariant.
        unsafe { (*self.0).__bindgen_anon_1.pgoff }
    }

    /// Puts a frame in for the page. The frame must be removed from the mapping before it is freed.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`] if there is no memory for page tables, otherwise [`EFAULT`].
    pub(crate) fn insert(&self, pfn: usize) -> Result {
        // SAFETY: By the type invariant.
        let (vma, address) = unsafe {
            let at = &(*self.0).__bindgen_anon_1;
            (at.vma, at.address)
        };
        // SAFETY: The mapping is `VM_PFNMAP`, as `show` made it, its lock is held, and the address
        // is in it. Also where another thread was faster, this is right.
        match unsafe { bindings::vmf_insert_pfn(vma, address, pfn) } {
            bindings::vm_fault_reason_VM_FAULT_NOPAGE => Ok(()),
            bindings::vm_fault_reason_VM_FAULT_OOM => Err(ENOMEM),
            _ => Err(EFAULT),
        }
    }
}

/// A mapping that is being set up, and follows our rules: it is shared, never executable, does not
/// grow, is in no core dump, and is inherited by a child.
pub(crate) struct Mapping<'a>(&'a VmaNew);

impl<'a> Mapping<'a> {
    /// Applies the rules to a mapping that is being set up.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if it is private, [`EPERM`] if it is executable.
    pub(crate) fn new(vma: &'a VmaNew) -> Result<Self> {
        // Not `SHARED`, which a mapping of a file that is open for reading only has not.
        if vma.flags() & flags::MAYSHARE == 0 {
            return Err(EINVAL);
        }
        vma.try_clear_mayexec().map_err(|_| EPERM)?;
        Ok(Self(vma))
    }

    /// Its first page, counted from the start of the file.
    pub(crate) fn first_page(&self) -> usize {
        // SAFETY: The mapping is valid, and nobody changes it.
        unsafe { (*self.0.as_ptr()).vm_pgoff }
    }

    /// Its pages.
    pub(crate) fn pages(&self) -> usize {
        (self.0.end() - self.0.start()) >> PAGE_SHIFT
    }

    /// Makes it show `memory`.
    pub(crate) fn show<T: Mappable>(self, memory: Arc<T>) {
        let raw = self.0.as_ptr();
        // SAFETY: The mapping is being set up, so that nobody else has it. It will only ever have
        // page frames that are inserted by number, as the flags say.
        unsafe {
            (*raw).__bindgen_anon_2.vm_flags =
                self.0.flags() | flags::PFNMAP | flags::IO | flags::DONTEXPAND | flags::DONTDUMP
        };
        // SAFETY: As above. The reference is given back by `Operations::close`.
        unsafe { (*raw).vm_private_data = memory.into_foreign().cast() };
        // SAFETY: As above. The operations go with the private data.
        unsafe { (*raw).vm_ops = &Operations::<T>::TABLE };
    }
}

/// What the kernel calls for a mapping made by [`Mapping::show`].
struct Operations<T>(PhantomData<T>);

impl<T: Mappable> Operations<T> {
    const TABLE: bindings::vm_operations_struct = bindings::vm_operations_struct {
        open: Some(Self::open),
        close: Some(Self::close),
        fault: Some(Self::fault),
        ..pin_init::zeroed()
    };

    /// Called when there is one more mapping: by fork, or when one is split or moved.
    ///
    /// # Safety
    ///
    /// `vma` must be a copy of a mapping made by [`Mapping::show`].
    unsafe extern "C" fn open(vma: *mut bindings::vm_area_struct) {
        // SAFETY: By the requirement; the mapping that was copied holds a reference meanwhile.
        let memory = unsafe { <Arc<T>>::borrow((*vma).vm_private_data.cast()) };
        // One more reference, which `close` gives back.
        let _ = Arc::from(memory).into_foreign();
    }

    /// Called when there is one mapping less.
    ///
    /// # Safety
    ///
    /// `vma` must be a mapping made by [`Mapping::show`] or a copy of one, and is not used any
    /// more.
    unsafe extern "C" fn close(vma: *mut bindings::vm_area_struct) {
        // SAFETY: By the requirement; `show` or `open` put the reference in.
        drop(unsafe { <Arc<T>>::from_foreign((*vma).vm_private_data.cast()) });
    }

    /// Called when a page is touched that is not there.
    ///
    /// # Safety
    ///
    /// `vmf` must be a fault in a mapping made by [`Mapping::show`] or a copy of one.
    unsafe extern "C" fn fault(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        // SAFETY: By the requirement; the mapping holds a reference.
        let memory = unsafe {
            let vma = (*vmf).__bindgen_anon_1.vma;
            <Arc<T>>::borrow((*vma).vm_private_data.cast())
        };
        // INVARIANT: by the requirement.
        match T::fault(memory, &Fault(vmf, PhantomData)) {
            Ok(()) => bindings::vm_fault_reason_VM_FAULT_NOPAGE,
            Err(e) if e == ENOMEM => bindings::vm_fault_reason_VM_FAULT_OOM,
            Err(_) => bindings::vm_fault_reason_VM_FAULT_SIGBUS,
        }
    }
}
