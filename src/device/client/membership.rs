// SPDX-License-Identifier: GPL-2.0

//! A client counts as one of its user's.

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

/// A user in the queue of a device, for one client; dropping it removes the user with its last client.
///
/// # Invariants
///
/// The users of the device count one client of `uid` for it.
pub(super) struct Membership {
    device: Arc<Device>,
    uid: u32,
    id: UserId,
}

impl Membership {
    /// Counts the caller as a user of `device`, for one more client.
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

    /// The user in the queue.
    pub(super) fn id(&self) -> UserId {
        self.id
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let remove = |id| self.device.channel.work.lock().queue.remove_user(id);
        self.device.users.leave(self.uid, remove);
    }
}

impl Device {
    /// Makes room for one more user and one more lane.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(super) fn grow_queue(&self) -> Result {
        let request = self.channel.work.lock().queue.grow_request();
        if let Some(request) = request {
            let growth = Growth::<Types>::new(request)?;
            let old = self.channel.work.lock().queue.grow(growth);
            drop(old);
        }
        Ok(())
    }

    fn add_user(&self) -> Result<UserId> {
        loop {
            // Room is made outside of the lock, and another thread may use it.
            self.grow_queue()?;
            if let Some(id) = self.channel.work.lock().queue.add_user() {
                return Ok(id);
            }
        }
    }
}
