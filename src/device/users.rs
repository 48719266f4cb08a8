// SPDX-License-Identifier: GPL-2.0

//! The users with an open file that an engine serves, by uid. The engine serves them in turn.
//!
//! The user of a file is the effective uid that opened it, also if other processes use the file.
//! Opening more files does not increase the share of a user.

use crate::{
    kernel_ext::gfp::GFP_ACCOUNT_MAYFAIL,
    schedule::UserId, //
};
use kernel::{
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::{
        new_mutex,
        Mutex, //
    }, //
};

/// The users of an engine.
#[pin_data]
pub(super) struct Users {
    #[pin]
    by_uid: Mutex<RBTree<u32, Clients>>,
}

/// The clients of a user.
struct Clients {
    /// The number of the user in the queue.
    user: UserId,
    /// The number of clients, which is not 0.
    count: usize,
}

impl Users {
    /// Creates a set without users.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            by_uid <- new_mutex!(RBTree::new(), "rdma::Users"),
        })
    }

    /// Adds a client of a user, and returns the user's id in the queue. For the first client, `add`
    /// adds the user to the queue, for which `grow` makes room.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], and the errors of `grow`.
    pub(super) fn join(
        &self,
        uid: u32,
        grow: impl Fn() -> Result,
        add: impl Fn() -> Option<UserId>,
    ) -> Result<UserId> {
        if let Some(user) = Self::join_again(&mut self.by_uid.lock(), uid) {
            return Ok(user);
        }
        // Not under the lock, because it may sleep for long, and all users take the lock when they
        // open and close files.
        let node = RBTreeNodeReservation::new(GFP_ACCOUNT_MAYFAIL)?;
        loop {
            grow()?;
            let mut by_uid = self.by_uid.lock();
            if let Some(user) = Self::join_again(&mut by_uid, uid) {
                return Ok(user);
            }
            // Another thread may have used the new entry.
            if let Some(user) = add() {
                by_uid.insert(node.into_node(uid, Clients { user, count: 1 }));
                return Ok(user);
            }
        }
    }

    /// Adds a client of a user who has one already. Returns the user's id; [`None`] if the user has
    /// none.
    fn join_again(by_uid: &mut RBTree<u32, Clients>, uid: u32) -> Option<UserId> {
        let clients = by_uid.get_mut(&uid)?;
        clients.count += 1;
        Some(clients.user)
    }

    /// Removes a client of a user. After the last one, `remove` removes the user from the queue.
    pub(super) fn leave(&self, uid: u32, remove: impl FnOnce(UserId)) {
        let mut by_uid = self.by_uid.lock();
        let Some(clients) = by_uid.get_mut(&uid) else {
            return;
        };
        clients.count -= 1;
        if clients.count == 0 {
            let user = clients.user;
            by_uid.remove(&uid);
            remove(user);
        }
    }
}
