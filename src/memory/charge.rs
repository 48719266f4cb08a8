// SPDX-License-Identifier: GPL-2.0

//! The charge for the memory of a buffer: its pages, and for registered memory, the compound pages
//! of which it pins a part, such as huge pages.
//!
//! A pin of one page of a compound page keeps all of it, also when the program has unmapped the
//! rest. A context is charged for all of it, once, for as long as any of its buffers pins a part,
//! as io_uring does (`io_buffer_account_pin`).

use crate::{
    kernel_ext::{
        gfp::GFP_ACCOUNT_MAYFAIL,
        mm::pinned::CompoundPage, //
    },
    memory::quota::{
        Charge,
        Quota, //
    }, //
};
use kernel::{
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::{
        new_mutex,
        Arc,
        Mutex, //
    }, //
};

/// The charge for the memory of a buffer. Dropping it ends the charge, and may sleep.
pub(crate) struct BufferCharge {
    _pages: Charge,
    /// [`None`] if the buffer pins no part of a compound page. Boxed, because most do not, and the
    /// charge is a part of each buffer.
    _compound: Option<KBox<CompoundShares>>,
}

impl BufferCharge {
    /// Creates the charge for pages and compound pages.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(super) fn new(pages: Charge, compound: CompoundShares) -> Result<Self> {
        let compound = if compound.pages.is_empty() {
            None
        } else {
            Some(KBox::new(compound, GFP_ACCOUNT_MAYFAIL)?)
        };
        Ok(Self {
            _pages: pages,
            _compound: compound,
        })
    }
}

impl From<Charge> for BufferCharge {
    fn from(pages: Charge) -> Self {
        Self {
            _pages: pages,
            _compound: None,
        }
    }
}

/// A compound page that a context is charged for. The context is named by the address of its quota.
///
/// Between the unpinning of a page and the end of its charge, the frame may be that of another
/// compound page. It is the same charge if it has the same size.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    context: usize,
    page: CompoundPage,
}

/// The charge for a compound page.
struct Counted {
    _charge: Charge,
    /// The number of parts of buffers that pin the page, which is not 0.
    parts: usize,
}

/// The compound pages that all contexts of a device are charged for.
#[pin_data]
pub(super) struct CompoundCharges {
    /// Its lock is taken inside and outside of the gate. Only the kernel's lock of its users is
    /// taken under it.
    #[pin]
    by_page: Mutex<RBTree<Key, Counted>>,
}

impl CompoundCharges {
    /// Creates an empty set.
    pub(super) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                by_page <- new_mutex!(RBTree::new(), "rdma::CompoundCharges"),
            }),
            GFP_KERNEL,
        )
    }

    /// Adds a part of a page. If the context is not charged for the page yet, `charge` charges it
    /// for this number of pages. It is called under the lock, and must not sleep or print.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; the error of `charge`.
    fn add(&self, key: Key, charge: impl FnOnce(usize) -> Result<Charge>) -> Result {
        if Self::add_again(&mut self.by_page.lock(), key) {
            return Ok(());
        }
        // Not under the lock, because it may sleep for long.
        let node = RBTreeNodeReservation::new(GFP_ACCOUNT_MAYFAIL)?;
        let mut by_page = self.by_page.lock();
        // Another thread may have added the page meanwhile.
        if Self::add_again(&mut by_page, key) {
            return Ok(());
        }
        let counted = Counted {
            _charge: charge(key.page.pages())?,
            parts: 1,
        };
        by_page.insert(node.into_node(key, counted));
        Ok(())
    }

    /// Adds a part of a page for which the context is charged. Returns whether it is.
    fn add_again(by_page: &mut RBTree<Key, Counted>, key: Key) -> bool {
        let counted = by_page.get_mut(&key);
        counted.map(|counted| counted.parts += 1).is_some()
    }

    fn remove(&self, key: Key) {
        let mut by_page = self.by_page.lock();
        if let Some(counted) = by_page.get_mut(&key) {
            counted.parts -= 1;
            if counted.parts == 0 {
                by_page.remove(&key);
            }
        }
    }
}

/// The shares of a buffer in the charges for its compound pages. Dropping them ends the charges
/// that no other buffer of the context shares.
pub(super) struct CompoundShares {
    charges: Arc<CompoundCharges>,
    /// Its address names the context, for as long as there are shares.
    context: Arc<Quota>,
    pages: KVVec<CompoundPage>,
}

impl CompoundShares {
    /// Creates the shares of a buffer of the context with this quota, without any page.
    pub(super) fn new(charges: &Arc<CompoundCharges>, context: &Arc<Quota>) -> Self {
        Self {
            charges: charges.clone(),
            context: context.clone(),
            pages: KVVec::new(),
        }
    }

    /// Adds a part of a page, for which `charge` charges the context if it is not charged yet. It
    /// must not sleep or print.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; the error of `charge`.
    pub(super) fn add(
        &mut self,
        page: CompoundPage,
        charge: impl FnOnce(usize) -> Result<Charge>,
    ) -> Result {
        self.pages.reserve(1, GFP_ACCOUNT_MAYFAIL)?;
        self.charges.add(self.key(page), charge)?;
        // The capacity was reserved above, so this does not fail.
        Ok(self.pages.push(page, GFP_KERNEL)?)
    }

    fn key(&self, page: CompoundPage) -> Key {
        Key {
            context: core::ptr::from_ref::<Quota>(&self.context).addr(),
            page,
        }
    }
}

impl Drop for CompoundShares {
    fn drop(&mut self) {
        for page in self.pages.iter() {
            self.charges.remove(self.key(*page));
        }
    }
}
