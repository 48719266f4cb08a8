// SPDX-License-Identifier: GPL-2.0

//! The charge for the memory of a buffer: its pages, and for registered memory, the compound pages
//! of which it pins a part, such as huge pages.
//!
//! A pin of one page of a compound page keeps all of it, also when the program has unmapped the
//! rest. A context is charged for all of it, once, for as long as any of its buffers pins a part,
//! as io_uring does (`io_buffer_account_pin`). Parts are charged in addition when together they
//! have more pages than the compound page: each registration takes bus addresses. An additional
//! charge stays until its own buffer is freed, also if the other parts are freed before.

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
        let compound = if compound.parts.is_empty() {
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
    /// The pages of these parts that are not charged in addition.
    covered: usize,
}

/// A part of a compound page that a buffer pins.
struct Part {
    page: CompoundPage,
    /// The pages of the part that are not charged in addition.
    covered: usize,
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

    /// Adds a part of a page, which has `pinned` pages. If the context is not charged for the page
    /// yet, `charge` charges it for this number of pages. It is called under the lock, and must not
    /// sleep or print. Releases those pages of the part from `charged` that the charge for the page
    /// covers, and returns their number.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; the error of `charge`.
    fn add(
        &self,
        key: Key,
        charged: &mut Charge,
        pinned: usize,
        charge: impl FnOnce(usize) -> Result<Charge>,
    ) -> Result<usize> {
        let again = Self::add_again(&mut self.by_page.lock(), key, charged, pinned);
        if let Some(covered) = again {
            return Ok(covered);
        }
        // Not under the lock, because it may sleep for long.
        let node = RBTreeNodeReservation::new(GFP_ACCOUNT_MAYFAIL)?;
        let mut by_page = self.by_page.lock();
        // Another thread may have added the page meanwhile.
        if let Some(covered) = Self::add_again(&mut by_page, key, charged, pinned) {
            return Ok(covered);
        }
        let covered = pinned.min(key.page.pages());
        // First, so that the limits need no room for both.
        charged.release(covered);
        let counted = Counted {
            _charge: charge(key.page.pages())?,
            parts: 1,
            covered,
        };
        by_page.insert(node.into_node(key, counted));
        Ok(covered)
    }

    /// Adds a part of a page for which the context is charged, as [`add`](Self::add); [`None`] if
    /// it is not charged.
    fn add_again(
        by_page: &mut RBTree<Key, Counted>,
        key: Key,
        charged: &mut Charge,
        pinned: usize,
    ) -> Option<usize> {
        let counted = by_page.get_mut(&key)?;
        let covered = pinned.min(key.page.pages().saturating_sub(counted.covered));
        counted.parts += 1;
        counted.covered += covered;
        charged.release(covered);
        Some(covered)
    }

    fn remove(&self, key: Key, covered: usize) {
        let mut by_page = self.by_page.lock();
        if let Some(counted) = by_page.get_mut(&key) {
            counted.parts -= 1;
            counted.covered -= covered;
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
    parts: KVVec<Part>,
}

impl CompoundShares {
    /// Creates the shares of a buffer of the context with this quota, without any page.
    pub(super) fn new(charges: &Arc<CompoundCharges>, context: &Arc<Quota>) -> Self {
        Self {
            charges: charges.clone(),
            context: context.clone(),
            parts: KVVec::new(),
        }
    }

    /// Adds a part of a page, which has `pinned` pages, all of which `charged` includes. Those that
    /// the charge for the page covers are released from it. `charge` charges the context for the
    /// page if it is not charged yet. It must not sleep or print.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; the error of `charge`.
    pub(super) fn add(
        &mut self,
        page: CompoundPage,
        charged: &mut Charge,
        pinned: usize,
        charge: impl FnOnce(usize) -> Result<Charge>,
    ) -> Result {
        self.parts.reserve(1, GFP_ACCOUNT_MAYFAIL)?;
        let covered = self.charges.add(self.key(page), charged, pinned, charge)?;
        // The capacity was reserved above, so this does not fail.
        Ok(self.parts.push(Part { page, covered }, GFP_KERNEL)?)
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
        for part in self.parts.iter() {
            self.charges.remove(self.key(part.page), part.covered);
        }
    }
}
