// SPDX-License-Identifier: GPL-2.0

//! A queue whose engine is at rest for a while, as the machine sleeps.

use super::{
    job::{
        QueueTypes,
        Request, //
    },
    queue::Queue,
    running::{
        Piece,
        Stage, //
    }, //
};
use crate::engines::device_memory::{
    Contents,
    User, //
};

impl<T: QueueTypes> Queue<T> {
    /// Starts nothing any more. What is taken waits; what the engine has can [end](Self::finish).
    pub(crate) fn pause(&mut self) {
        self.paused = true;
    }

    /// Goes on from where it was when it was [paused](Self::pause).
    pub(crate) fn resume(&mut self) {
        self.paused = false;
    }

    /// Records that the device memory has lost what was in it. A piece that the engine is not at
    /// any more is begun anew.
    pub(crate) fn forget(&mut self) {
        self.contents = Contents::Mixed;
        let running = self.running.as_ref().filter(|running| !running.started);
        let begun = running.and_then(|running| Some((running.request()?.user(), running.piece)));
        let stage = begun.map(|(user, piece)| self.first_stage(user, piece));
        if let (Some(running), Some(stage)) = (&mut self.running, stage) {
            running.stage = stage;
        }
    }

    /// What a piece begins with. It is taken for granted that it is then done.
    pub(super) fn first_stage(&mut self, user: User, piece: Piece) -> Stage {
        let scrub = self.contents.needs_scrub(user, piece.access());
        self.contents = self.contents.after(user, piece.access());
        if scrub {
            Stage::Scrub
        } else {
            Stage::First
        }
    }
}
