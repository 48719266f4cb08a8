// SPDX-License-Identifier: GPL-2.0

//! The membership of a client in the clients of its user.

use crate::{
    device::engine_queue::EngineQueue,
    schedule::UserId, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// The user of a client, in the queue of an engine. Dropping the membership of a user's last client
/// removes the user.
///
/// # Invariants
///
/// The users of the engine count one client of `uid` for this membership.
pub(super) struct Membership {
    engine_queue: Arc<EngineQueue>,
    /// The effective uid that opened the file.
    uid: u32,
    /// The number of the user in the queue.
    id: UserId,
}

impl Membership {
    /// Adds a client of the user with this uid to the users of `engine_queue`. (The user of a
    /// request is the one that submits it.)
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(super) fn new(engine_queue: &Arc<EngineQueue>, uid: u32) -> Result<Self> {
        let (grow, add) = (|| engine_queue.grow(), || engine_queue.add_user());
        let id = engine_queue.users.join(uid, grow, add)?;
        // INVARIANT: just counted.
        Ok(Self {
            engine_queue: engine_queue.clone(),
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
        let remove = |id| self.engine_queue.state.lock().queue.remove_user(id);
        self.engine_queue.users.leave(self.uid, remove);
    }
}
