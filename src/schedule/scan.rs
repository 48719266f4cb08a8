// SPDX-License-Identifier: GPL-2.0

//! The state of a scan for requests to cancel, between two steps of it (`cancel.rs`).
//!
//! No hardware and no bindings: also compiled and tested on the host.

use super::job::{
    Job,
    QueueTypes, //
};

/// What a scan cancels, and its result.
pub(crate) struct Cancellation {
    /// The cookie of the requests; [`None`]: all requests.
    pub(super) cookie: Option<u64>,
    /// Requests that have begun can be cancelled.
    pub(super) cancels_in_flight: bool,
    /// The number of cancelled requests.
    pub(crate) cancelled: usize,
    /// The lane has completions without a notice.
    pub(super) unnotified: bool,
    /// One of the requests was started before it was scanned. It may have been cancelled later.
    pub(crate) was_in_flight: bool,
}

impl Cancellation {
    /// Returns whether a request that waits is not cancelled, although it has the cookie: it has
    /// begun, and such requests are not cancelled, or a command waits for it.
    #[inline]
    pub(super) fn cannot_cancel<T: QueueTypes>(&self, job: &Job<T>) -> bool {
        job.has_progress() && (!self.cancels_in_flight || job.waiter.is_some())
    }
}

/// The state of a scan in its lane.
pub(super) struct LaneScan {
    /// The cookie of the requests to cancel; [`None`]: all requests.
    pub(super) cookie: Option<u64>,
    /// Requests that are not scanned yet.
    pub(super) left: usize,
    /// Requests that the engine has returned during the scan. They are the first ones of `scanned`.
    pub(super) returned: usize,
    /// A request that was to be cancelled was started.
    pub(super) was_in_flight: bool,
    /// The request before the next one was cancelled, and with it those that are linked to it.
    pub(super) cancels_links: bool,
}

impl LaneScan {
    /// Records that the first request of `unscanned` is taken, which is not scanned.
    #[inline]
    pub(super) fn skip(&mut self) {
        self.left = self.left.saturating_sub(1);
    }

    /// Records that the request at this position of `unscanned`, from 1 on, is taken.
    pub(super) fn skip_at(&mut self, position: usize) {
        self.left -= usize::from(position <= self.left);
    }

    /// Records that the links of the request before the next one are not cancelled with it.
    pub(super) fn keep_links(&mut self) {
        self.cancels_links = false;
    }

    /// Records that the engine returns a request to the lane.
    pub(super) fn add_returned(&mut self) {
        self.returned += 1;
    }

    /// Records that the first request of `scanned` is taken.
    pub(super) fn remove_returned(&mut self) {
        self.returned = self.returned.saturating_sub(1);
    }

    /// Records that the request at this position of `scanned`, from 1 on, is taken.
    pub(super) fn remove_returned_at(&mut self, position: usize) {
        self.returned -= usize::from(position <= self.returned);
    }

    /// Records that the engine takes a request.
    pub(super) fn begin<T: QueueTypes>(&mut self, job: &Job<T>) {
        self.was_in_flight |= job.matches(self.cookie);
    }
}
