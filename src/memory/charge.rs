// SPDX-License-Identifier: GPL-2.0

//! The charge for the memory of a buffer: its pages, and for registered memory, the compound pages
//! of which it pins a part, such as huge pages.
//!
//! A pin of one page of a compound page keeps all of it, also when the program has unmapped the
//! rest. A context is charged for all of it, once, for as long as any of its buffers pins a part, as
//! io_uring does (`io_buffer_account_pin`).

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

/// The charge for the memory of a buffer. Dropping it ends the charge.
pub(crate) struct BufferCharge {
    _pages: Charge,
    _compound: Option<CompoundShares>,
}

impl BufferCharge {
    /// Creates the charge for registered memory that has parts of compound pages.
    pub(super) fn with_compound(pages: Charge, compound: CompoundShares) -> Self {
        Self {
            _pages: pages,
            _compound: Some(compound),
        }
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

    /// Charges a context for the compound pages of one buffer, each of which may occur several
    /// times. `charge` charges the context for a number of pages; it is called for each compound
    /// page that the context is not charged for yet.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], and the errors of `charge`.
    pub(super) fn charge(
        this: &Arc<Self>,
        context: &Arc<Quota>,
        pages: KVVec<CompoundPage>,
        charge: impl Fn(usize) -> Result<Charge>,
    ) -> Result<CompoundShares> {
        let mut shares = CompoundShares {
            charges: this.clone(),
            context: context.clone(),
            pages,
            count: 0,
        };
        for index in 0..shares.pages.len() {
            this.add(shares.key(index), &charge)?;
            shares.count += 1;
        }
        Ok(shares)
    }

    fn add(&self, key: Key, charge: impl Fn(usize) -> Result<Charge>) -> Result {
        if self.add_again(key) {
            return Ok(());
        }
        let node = RBTreeNodeReservation::new(GFP_ACCOUNT_MAYFAIL)?;
        let charge = charge(key.page.pages())?;
        let mut by_page = self.by_page.lock();
        // Another thread may have added the page meanwhile.
        if let Some(counted) = by_page.get_mut(&key) {
            counted.parts += 1;
        } else {
            let counted = Counted {
                _charge: charge,
                parts: 1,
            };
            by_page.insert(node.into_node(key, counted));
        }
        Ok(())
    }

    /// Adds a part of a buffer to a page that the context is charged for. Returns whether it is.
    fn add_again(&self, key: Key) -> bool {
        let mut by_page = self.by_page.lock();
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
    // Its address names the context, for as long as there are shares.
    context: Arc<Quota>,
    pages: KVVec<CompoundPage>,
    /// The number of pages, from the first on, that the context is charged for.
    count: usize,
}

impl CompoundShares {
    fn key(&self, index: usize) -> Key {
        Key {
            context: core::ptr::from_ref::<Quota>(&self.context).addr(),
            page: self.pages[index],
        }
    }
}

impl Drop for CompoundShares {
    fn drop(&mut self) {
        for index in 0..self.count {
            self.charges.remove(self.key(index));
        }
    }
}
