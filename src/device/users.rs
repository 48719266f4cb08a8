// SPDX-License-Identifier: GPL-2.0

//! The users who have a device open, by uid: turns on the engine go round them.
//!
//! A user is the effective uid that opened the file. Other processes that get the file use the turns of
//! that user: a file that is opened adds nothing to what its user gets.

use super::{
    queue::Types,
    Device, //
};
use crate::schedule::{
    Growth,
    UserId, //
};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    prelude::*,
    rbtree::RBTree,
    sync::{
        new_mutex,
        Arc,
        Mutex, //
    },
    task::Kuid, //
};

/// The users of a device.
#[pin_data]
pub(super) struct Users {
    #[pin]
    by_uid: Mutex<RBTree<u32, Entry>>,
}

/// A user in the queue, and how many lanes it has.
struct Entry {
    id: UserId,
    lanes: usize,
}

/// A user in the queue of a device, for one lane; dropping it removes the user with its last lane.
///
/// # Invariants
///
/// The entry of `uid` counts one lane for it.
pub(super) struct Membership {
    device: Arc<Device>,
    uid: u32,
    id: UserId,
}

impl Users {
    /// None.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            by_uid <- new_mutex!(RBTree::new(), "rdma::Users"),
        })
    }
}

impl Membership {
    /// The caller as a user of `device`, for one more lane.
    pub(super) fn new(device: &Arc<Device>) -> Result<Self> {
        let uid = Kuid::current_euid().into_raw().val;
        let mut by_uid = device.users.by_uid.lock();
        let id = match by_uid.get_mut(&uid) {
            Some(entry) => {
                entry.lanes += 1;
                entry.id
            }
            None => {
                let id = device.add_user()?;
                let entry = Entry { id, lanes: 1 };
                by_uid
                    .try_create_and_insert(uid, entry, GFP_KERNEL_ACCOUNT)
                    .inspect_err(|_| device.work.lock().queue.remove_user(id))?;
                id
            }
        };
        drop(by_uid);
        // INVARIANT: just counted.
        Ok(Self {
            device: device.clone(),
            uid,
            id,
        })
    }

    /// The user in the queue.
    pub(super) fn id(&self) -> UserId {
        self.id
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut by_uid = self.device.users.by_uid.lock();
        let Some(entry) = by_uid.get_mut(&self.uid) else {
            return;
        };
        entry.lanes -= 1;
        if entry.lanes == 0 {
            by_uid.remove(&self.uid);
            self.device.work.lock().queue.remove_user(self.id);
        }
    }
}

impl Device {
    /// Makes room for one more user and one more lane.
    pub(super) fn grow_queue(&self) -> Result {
        let request = self.work.lock().queue.grow_request();
        if let Some(request) = request {
            let growth = Growth::<Types>::new(request)?;
            let old = self.work.lock().queue.grow(growth);
            drop(old);
        }
        Ok(())
    }

    fn add_user(&self) -> Result<UserId> {
        loop {
            // Room is made outside of the lock, and another thread may take it.
            self.grow_queue()?;
            if let Some(id) = self.work.lock().queue.add_user() {
                return Ok(id);
            }
        }
    }
}
