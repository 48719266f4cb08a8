// SPDX-License-Identifier: GPL-2.0

//! The interface between the scheduler and the part of an engine that divides requests into
//! transfers.
//!
//! Where is a request divided into transfers? One transfer at a time, when the engine accepts one:
//! nothing is divided in advance. `advance` in `device/engine.rs` calls `issue` in
//! `schedule/turns.rs` until the slots are full or no requests are left. When a turn begins,
//! `issue` takes the next request of the lane whose turn it is, by `take_next` in
//! `schedule/lanes.rs`. Then `cut` in `turns.rs` calls [`Plan::cut`] of the engine (`edu/plan.rs`,
//! `ioat/plan.rs`) with the number of bytes that were issued before, which returns the transfer
//! after these. `post` in `schedule/flight.rs` assigns a slot to it, and `advance` gives it to the
//! hardware, by `post` and `kick` of `engines/engine.rs`. If the quantum of the turn is used up
//! before the end of the request, `continue_later` in `lanes.rs` leaves the rest to the lane's next
//! turn. Otherwise, the turn continues with the next request of the lane, by `begin_next`.
//!
//! No hardware and no bindings: also compiled and tested on the host.

use crate::kernel_ext::collections::fifo::Fifo;

/// A request, as the scheduler and the plan see it.
pub(crate) trait SchedulableRequest {
    /// Returns the number of bytes, at least 1.
    fn length(&self) -> u64;

    /// Memory that can be freed in process context only.
    type Deferred;

    /// Records that the request is over. It still holds its memory.
    fn ended(&mut self);

    /// Releases the memory of a request that is over, also in an interrupt handler. Memory that the
    /// request is the last to hold is appended to `deferred`, which the caller drops in process
    /// context.
    fn release(&mut self, deferred: &mut Fifo<Self::Deferred>);
}

/// The next transfer of a request.
pub(crate) struct Cut<T> {
    /// What the engine is to execute.
    pub(crate) transfer: T,
    /// Bytes that it moves.
    pub(crate) moves: u64,
    /// Bytes of the request that are complete when it has ended; 0 if another transfer must follow.
    pub(crate) completes: u64,
    /// The part of a turn's quantum that it uses.
    pub(crate) cost: u64,
    /// Whether other requests may come between this transfer and the next one of the request.
    pub(crate) ends_piece: bool,
}

/// Divides requests of type `R` into transfers. Called under the queue's lock.
///
/// The engine does the transfers in the order in which [`cut`](Self::cut) returns them. After a
/// transfer has failed, the engine does none of the later ones; `cut` returns them again.
pub(crate) trait Plan<R> {
    /// What the engine executes at once.
    type Transfer;

    /// The position within a piece; by default its first transfer.
    type Stage: Default;

    /// Returns the cost that a turn may have.
    fn quantum(&self) -> u64;

    /// Returns the transfer of `request` that follows its first `issued` bytes. Its cost is at most
    /// `max_cost`, unless the engine has no smaller transfer. Returns [`None`] at the end of the
    /// request.
    fn cut(
        &mut self,
        request: &R,
        issued: u64,
        stage: &mut Self::Stage,
        max_cost: u64,
    ) -> Option<Cut<Self::Transfer>>;

    /// Records that the effects of earlier transfers on the device are unknown.
    fn invalidate(&mut self);
}
