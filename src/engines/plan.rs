// SPDX-License-Identifier: GPL-2.0

//! How a request becomes transfers: what the scheduler asks of the part of an engine that cuts
//! requests.
//!
//! No hardware and no bindings: also compiled and tested on the host.

/// What is to be moved.
pub(crate) trait Payload {
    /// Bytes, at least 1.
    fn length(&self) -> u64;

    /// Records that the request is over. Its memory is held on, to be released in process context.
    fn ended(&mut self);
}

/// A transfer that was cut off a request.
pub(crate) struct Cut<T> {
    /// What the engine is to do.
    pub(crate) transfer: T,
    /// Bytes that it moves.
    pub(crate) moves: u64,
    /// Bytes of the request that have arrived once it has ended; 0 if others must end first.
    pub(crate) completes: u64,
    /// What it takes of the quantum of a turn.
    pub(crate) cost: u64,
    /// Whether other requests may come between this transfer and the next one of the request.
    pub(crate) ends_piece: bool,
}

/// Cuts requests of type `R` into transfers. Called under the queue's lock.
///
/// The engine does the transfers in the order in which they are cut. After one that has failed it
/// does none of those behind it: they are cut anew.
pub(crate) trait Plan<R> {
    /// What the engine is to do.
    type Transfer;

    /// Which transfer of a piece comes next; by default the first one.
    type Stage: Default;

    /// What the transfers of one turn may cost together.
    fn quantum(&self) -> u64;

    /// Cuts the next transfer off `request`, `issued` bytes of which are cut already. It costs no more
    /// than `most`, unless the engine cannot do less. [`None`] if nothing is left of the request.
    fn cut(
        &mut self,
        request: &R,
        issued: u64,
        stage: &mut Self::Stage,
        most: u64,
    ) -> Option<Cut<Self::Transfer>>;

    /// Records that it is unknown what the transfers have done that were cut.
    fn invalidate(&mut self);
}
