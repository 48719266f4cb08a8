// SPDX-License-Identifier: GPL-2.0

//! The membership of a client in the clients of its user.

use crate::{
    device::{
        queue::Types,
        Device, //
    },
    schedule::{
        Growth,
        UserId, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc,
    task::Kuid, //
};

/// The user of a client, in the queue of a device. Dropping the membership of a user's last client
/// removes the user.
///
/// # Invariants
///
/// The users of the device count one client of `uid` for this membership.
pub(super) struct Membership {
    device: Arc<Device>,
    uid: u32,
    id: UserId,
}

impl Membership {
    /// Adds a client of the caller's user to `device`.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(super) fn new(device: &Arc<Device>) -> Result<Self> {
        let uid = Kuid::current_euid().into_raw().val;
        let id = device.users.join(uid, || device.add_user())?;
        // INVARIANT: just counted.
        Ok(Self {
            device: device.clone(),
            uid,
            id,
        })
    }

    /// Returns the id of the user in the queue.
    pub(super) fn id(&self) -> UserId {
        self.id
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let remove = |id| self.device.channel.state.lock().queue.remove_user(id);
        self.device.users.leave(self.uid, remove);
    }
}

impl Device {
    /// Grows the queue, so that a user and a lane can be added.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(super) fn grow_queue(&self) -> Result {
        let request = self.channel.state.lock().queue.grow_request();
        if let Some(request) = request {
            let growth = Growth::<Types>::new(request)?;
            let old = self.channel.state.lock().queue.grow(growth);
            drop(old);
        }
        Ok(())
    }

    fn add_user(&self) -> Result<UserId> {
        loop {
            // The queue grows without the lock, so that another thread may use the new entry.
            self.grow_queue()?;
            if let Some(id) = self.channel.state.lock().queue.add_user() {
                return Ok(id);
            }
        }
    }
}
