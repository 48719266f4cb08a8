// SPDX-License-Identifier: GPL-2.0

//! A context's place in the queue of its device: submitting, collecting, cancelling, and waiting
//! for one request.

use super::{
    call::{
        self,
        Call, //
    },
    traced::Traced,
    Device,
    Job,
    Request,
    Types,
    Work, //
};
use crate::{
    buffer::InUse,
    device_memory::User,
    kernel_ext::{
        clock,
        eventfd::EventFd,
        fifo::{
            Entry,
            Fifo, //
        },
        wait::{
            WaitQueue,
            Woken, //
        }, //
    },
    queue::{
        self,
        GivenUp,
        LaneId,
        Load,
        Ticket, //
    },
    request::Operation,
    slab::Room, //
};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    prelude::*,
    static_lock_class,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        new_mutex,
        Arc,
        Mutex, //
    },
    task::Kuid, //
};

/// Contexts that there have been.
static CONTEXTS: Atomic<u64> = Atomic::new(0);

/// Those who wait for completions of one lane, asleep or by polling.
#[pin_data]
pub(crate) struct Waiters {
    #[pin]
    queue: WaitQueue,
}

/// Whom the queue tells of a lane.
pub(crate) struct Owner {
    traced: Traced,
    waiters: Arc<Waiters>,
    eventfd: Option<EventFd>,
}

impl queue::Owner<Types> for Owner {
    fn completed(&self, job: &Job) {
        self.traced.completed(job);
        self.changed();
        if let Some(eventfd) = &self.eventfd {
            eventfd.signal();
        }
    }

    fn changed(&self) {
        self.waiters.queue.wake_all();
    }
}

/// A context's place in the queue of its device; dropping it gives up all that is in it.
#[pin_data(PinnedDrop)]
pub(crate) struct Lane {
    device: Arc<Device>,
    id: LaneId,
    traced: Traced,
    waiters: Arc<Waiters>,
    /// Held by whoever searches the lane for requests to cancel.
    #[pin]
    search: Mutex<()>,
    /// Held by whoever takes completions out.
    #[pin]
    collect: Mutex<()>,
}

/// Room that was set aside for requests of a lane; what is not used is given back.
pub(crate) struct Reserved<'a> {
    lane: &'a Lane,
    room: usize,
    user: User,
    now: u64,
}

impl Lane {
    /// A lane with nothing in it.
    pub(crate) fn new(device: Arc<Device>) -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(move || {
            let waiters = Arc::pin_init(
                pin_init!(Waiters {
                    queue <- WaitQueue::new(c"rdma::Waiters", static_lock_class!()),
                }),
                GFP_KERNEL_ACCOUNT,
            )?;
            let traced = Traced {
                device: device.number(),
                context: CONTEXTS.fetch_add(1, Relaxed) + 1,
            };
            let id = Self::add(&device, traced, &waiters)?;
            Ok(try_pin_init!(Self {
                device,
                id,
                traced,
                waiters,
                search <- new_mutex!((), "rdma::Lane::search"),
                collect <- new_mutex!((), "rdma::Lane::collect"),
            }))
        })
    }

    fn add(device: &Device, traced: Traced, waiters: &Arc<Waiters>) -> Result<LaneId> {
        let owner = Owner {
            traced,
            waiters: waiters.clone(),
            eventfd: None,
        };
        let mut lane = KBox::new(queue::Lane::new(owner), GFP_KERNEL_ACCOUNT)?;
        loop {
            // Room is made outside of the lock, where one may sleep; somebody else may take it.
            let wanted = device.work.lock().queue.wants();
            if let Some(capacity) = wanted {
                let room = Room::new(capacity)?;
                let old = device.work.lock().queue.grow(room);
                drop(old);
            }
            let added = device.work.lock().queue.add_lane(lane);
            match added {
                Ok(id) => return Ok(id),
                Err(back) => lane = back,
            }
        }
    }

    /// A number that no other context has had.
    pub(crate) fn context_number(&self) -> u64 {
        self.traced.context
    }

    /// Those who wait for completions.
    pub(crate) fn wait_queue(&self) -> &WaitQueue {
        &self.waiters.queue
    }

    /// What is in it.
    pub(crate) fn load(&self) -> Load {
        self.device.work.lock().queue.load(self.id)
    }

    fn caller() -> User {
        User(Kuid::current_euid().into_raw().val)
    }

    /// Has the engine do an operation, and waits until it is done.
    ///
    /// # Errors
    ///
    /// As in `uapi/rdma.h`, `struct rdma_request`, from `EINTR` on.
    pub(crate) fn transfer(&self, operation: Operation<InUse>) -> Result {
        let now = clock::now();
        let call = Call::new(self.traced, now)?;
        let request = Request::new(operation, Self::caller());
        let job = Job::called(request, call.clone(), now)?;
        let mut jobs = Fifo::new();
        jobs.push_back(job);
        self.traced.submitted(&jobs);
        let ticket = self
            .device
            .enter(|engine| engine.call(self.id, &mut jobs))
            .and_then(|taken| taken)
            .inspect_err(|error| self.traced.refused(&jobs, *error))?;
        match call.wait() {
            Ok(answer) => call::outcome(answer),
            Err(_) => self.give_up(&call, ticket),
        }
    }

    /// What a signal makes of a request that is waited for.
    fn give_up(&self, call: &Call, ticket: Ticket) -> Result {
        let given_up = self.device.work.lock().queue.give_up(self.id, ticket);
        match given_up {
            GivenUp::Ended => call.answer().map_or(Err(ERESTARTNOHAND), call::outcome),
            // Nothing has happened yet.
            GivenUp::Waiting(job) if !job.is_begun() => Err(ERESTARTSYS),
            // All operations can be done again, but not each time that a handler has run: a timer
            // could keep a transfer from ever ending.
            GivenUp::Waiting(_) | GivenUp::Begun => Err(ERESTARTNOHAND),
        }
    }

    /// Sets aside room for at most so many requests.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the device is gone, [`EAGAIN`] if there is no room at all.
    pub(crate) fn reserve(&self, most: usize) -> Result<Reserved<'_>> {
        let mut work = self.device.work.lock();
        if let Some(error) = work.queue.refuses() {
            return Err(error);
        }
        let room = work.queue.reserve(self.id, most);
        drop(work);
        if room == 0 {
            return Err(EAGAIN);
        }
        Ok(Reserved {
            lane: self,
            room,
            user: Self::caller(),
            now: clock::now(),
        })
    }

    /// Sleeps until there are `min` completions to collect, no more will come, the time is `until`
    /// ([`None`]: never), or a signal comes. Takes out those that there are, at most so many; they
    /// are to be [delivered](Self::deliver).
    ///
    /// # Errors
    ///
    /// If there are none: [`ENODEV`] if no more will come, [`EINTR`] for a signal.
    pub(crate) fn collect(&self, min: usize, most: usize, until: Option<u64>) -> Result<Fifo<Job>> {
        let mut woken = Woken::Changed;
        loop {
            let work = self.device.work.lock();
            if !self.is_enough(&work, min, woken)? {
                woken = self.waiters.queue.sleep(work, until);
                continue;
            }
            drop(work);
            if let Some(taken) = self.take(min, most, woken)? {
                return Ok(taken);
            }
        }
    }

    /// Whether whoever wants `min` completions, and was woken so, has waited long enough.
    fn is_enough(&self, work: &Work, min: usize, woken: Woken) -> Result<bool> {
        let load = work.queue.load(self.id);
        let over = load.closed && load.outstanding == 0;
        match load.completed {
            0 if over => Err(ENODEV),
            0 if woken == Woken::Signal => Err(EINTR),
            completed => Ok(completed >= min || over || woken != Woken::Changed),
        }
    }

    /// Takes completions out, at most so many; a few at a time: others need the lock, too. Returns
    /// [`None`] if there are not enough any more.
    fn take(&self, min: usize, most: usize, woken: Woken) -> Result<Option<Fifo<Job>>> {
        let _one_at_a_time = self.collect.lock();
        let mut taken = Fifo::new();
        loop {
            let mut work = self.device.work.lock();
            if taken.is_empty() && !self.is_enough(&work, min, woken)? {
                return Ok(None);
            }
            let mut some = work.queue.collect(self.id, most - taken.len());
            drop(work);
            if some.is_empty() {
                return Ok(Some(taken));
            }
            taken.append(&mut some);
        }
    }

    /// Takes note that so many completions are delivered, and puts back those that could not be.
    pub(crate) fn deliver(&self, delivered: usize, others: Fifo<Job>) {
        let mut work = self.device.work.lock();
        if !others.is_empty() {
            work.queue.put_back(self.id, others);
        }
        work.queue.release(self.id, delivered);
    }

    /// Cancels the requests that are called `cookie` ([`None`]: all) and that the engine has not
    /// begun with. Returns how many.
    ///
    /// # Errors
    ///
    /// For one cookie: [`EALREADY`] if the engine has begun, [`ENOENT`] if there is none.
    pub(crate) fn cancel(&self, cookie: Option<u64>) -> Result<usize> {
        let _one_at_a_time = self.search.lock();
        let search = self.device.work.lock().queue.search(self.id, cookie);
        let mut search = search.ok_or(ENODEV)?;
        // A few at a time: others need the lock, too.
        while {
            let mut work = self.device.work.lock();
            work.queue.search_some(self.id, &mut search)
        } {}
        // The engine may have found nothing to do meanwhile. Without a device it has nothing anyway.
        let _ = self.device.enter(|engine| engine.go_on());
        match search.cancelled {
            0 if cookie.is_some() && search.begun => Err(EALREADY),
            0 if cookie.is_some() => Err(ENOENT),
            cancelled => Ok(cancelled),
        }
    }

    /// Has completions counted by `eventfd` from now on.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the device is gone.
    pub(crate) fn set_eventfd(&self, eventfd: Option<EventFd>) -> Result {
        self.device.info()?;
        let mut work = self.device.work.lock();
        let owner = work.queue.owner_mut(self.id);
        let old = owner.map(|owner| core::mem::replace(&mut owner.eventfd, eventfd));
        drop(work);
        // Outside of the lock.
        drop(old);
        Ok(())
    }
}

#[pinned_drop]
impl PinnedDrop for Lane {
    fn drop(self: Pin<&mut Self>) {
        let left = self.device.work.lock().queue.remove_lane(self.id);
        drop(left);
    }
}

impl Reserved<'_> {
    /// For how many requests there is room.
    pub(crate) fn room(&self) -> usize {
        self.room
    }

    /// A request of the caller, to be submitted; `linked` to the one before it.
    pub(crate) fn job(
        &self,
        operation: Operation<InUse>,
        cookie: u64,
        linked: bool,
    ) -> Result<Entry<Job>> {
        let request = Request::new(operation, self.user);
        Job::submitted(request, cookie, linked, self.now)
    }

    /// Queues requests, no more than there is room for, and starts the engine if it has nothing to
    /// do. Returns how many.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the device is gone, [`EIO`] if the engine is stuck.
    pub(crate) fn submit(mut self, mut jobs: Fifo<Job>) -> Result<usize> {
        let count = jobs.len();
        let lane = self.lane;
        lane.traced.submitted(&jobs);
        lane.device
            .enter(|engine| engine.submit(lane.id, &mut jobs))
            .and_then(|taken| taken)
            .inspect_err(|error| lane.traced.refused(&jobs, *error))?;
        self.room -= count;
        Ok(count)
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if self.room > 0 {
            let mut work = self.lane.device.work.lock();
            work.queue.release(self.lane.id, self.room);
        }
    }
}
