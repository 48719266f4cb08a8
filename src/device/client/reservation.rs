// SPDX-License-Identifier: GPL-2.0

//! Submitting requests: room for them is reserved first, and unused room is released.

use super::Client;
use crate::{
    device::{
        types::{
            deliver,
            DeviceTypes,
            Job,
            Request, //
        },
        waiter::AnyWaiter, //
    },
    engines::request::{
        Operation,
        Uid, //
    },
    kernel_ext::{
        collections::fifo::{
            Entry,
            Fifo, //
        },
        sync::clock, //
    },
    memory::hold::BufferHold, //
};
use kernel::prelude::*;

/// Room for requests in a client's lane. Dropping it releases the unused room.
pub(crate) struct Reservation<'a> {
    client: &'a Client,
    /// The number of requests for which room is reserved.
    room: usize,
    /// Jobs for these requests. If they do not suffice, others are allocated.
    blank: Fifo<Job>,
    /// The caller.
    user: Uid,
    /// The time of submission of all these requests, in nanoseconds.
    now: u64,
}

impl Client {
    /// Reserves room for up to `max` requests.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the device is gone, [`EIO`] if the engine is stuck, [`EAGAIN`] if there is no
    /// room.
    // Inlined, because returning a reservation takes longer than the rest.
    #[inline(always)]
    pub(crate) fn reserve(&self, max: usize) -> Result<Reservation<'_>> {
        let has_ring = self.ring().is_some();
        if has_ring {
            self.free_collected();
        }
        let mut state = self.engine_queue.state.lock();
        if let Some(error) = state.queue.refuses() {
            return Err(error);
        }
        let room = state.queue.reserve(self.lane, max);
        drop(state);
        if room == 0 {
            return Err(EAGAIN);
        }
        Ok(Reservation {
            client: self,
            room,
            blank: if has_ring {
                self.take_blank(room)
            } else {
                self.jobs.take(room)
            },
            user: Self::uid(),
            now: clock::now(),
        })
    }
}

impl Reservation<'_> {
    /// Returns the number of requests that there is room for.
    pub(crate) fn room(&self) -> usize {
        self.room
    }

    /// Creates a job with a request of the caller. `linked`: the request is linked to the one
    /// before it.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn job(
        &mut self,
        operation: Operation<BufferHold>,
        cookie: u64,
        linked: bool,
    ) -> Result<Entry<Job>> {
        let mut job = self.blank_job()?;
        let request = Request::new(operation, self.user);
        job.fill(request, cookie, linked, self.now);
        Ok(job)
    }

    /// Creates a job with a request of the caller, which `waiter` waits for.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(super) fn job_for(
        &mut self,
        operation: Operation<BufferHold>,
        cookie: u64,
        waiter: AnyWaiter<DeviceTypes>,
    ) -> Result<Entry<Job>> {
        let mut job = self.blank_job()?;
        let request = Request::new(operation, self.user);
        job.fill_waited(request, cookie, waiter, self.now);
        Ok(job)
    }

    fn blank_job(&mut self) -> Result<Entry<Job>> {
        self.blank.pop_front().map_or_else(Job::blank, Ok)
    }

    /// Does not release the room when this is dropped.
    pub(super) fn keep(&mut self) {
        self.room = 0;
    }

    /// Queues requests, and posts their first transfers if the engine accepts more. Returns the
    /// number of requests, which must not exceed the room.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the device is gone, [`EIO`] if the engine is stuck.
    pub(crate) fn submit(mut self, mut jobs: Fifo<Job>) -> Result<usize> {
        let count = jobs.len();
        let client = self.client;
        client.trace_ids.submitted(&jobs);
        client
            .device
            .enter(&client.engine_queue, |engine| {
                engine.submit(client.lane, &mut jobs)
            })
            .and_then(|accepted| accepted)
            .inspect_err(|error| client.trace_ids.refused(&jobs, *error))?;
        self.room -= count;
        Ok(count)
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let blank = core::mem::replace(&mut self.blank, Fifo::new());
        if !blank.is_empty() {
            self.client.jobs.put(blank);
        }
        if self.room > 0 {
            let mut state = self.client.engine_queue.state.lock();
            let notice = state.queue.free_reserved(self.client.lane, self.room);
            drop(state);
            deliver(notice);
        }
    }
}
