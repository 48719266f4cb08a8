// SPDX-License-Identifier: GPL-2.0

//! A context's place in the queue of its device: submitting, collecting, cancelling, and waiting
//! for one request.

use super::{
    notices::{
        Owner,
        Waiters, //
    },
    queue::{
        deliver,
        Job,
        Request,
        Types,
        Work, //
    },
    sync_waiter::SyncWaiter,
    traced::Traced,
    users::Membership,
    Device, //
};
use crate::{
    engines::request::{
        Operation,
        Uid, //
    },
    kernel_ext::{
        collections::fifo::{
            Entry,
            Fifo, //
        },
        fs::{
            eventfd::EventFd,
            poll::PollQueue, //
        },
        sync::{
            clock,
            signal::Pending,
            wait::Woken, //
        }, //
    },
    memory::hold::BufferHold,
    schedule::{
        self,
        AbandonedWait,
        Answer,
        CancelScan,
        LaneId,
        LaneState,
        SyncId,
        UserId, //
    }, //
};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        new_mutex,
        Arc,
        Mutex,
        UniqueArc, //
    },
    task::Kuid, //
};

/// Contexts that there have been.
static CONTEXTS: Atomic<u64> = Atomic::new(0);

/// What requests to come are made of: a context that goes on submitting, or one of whose threads goes
/// on calling, allocates no more.
#[pin_data]
struct Pool {
    #[pin]
    spare: Mutex<Spare>,
}

/// Blank jobs, and a call that no thread is in.
struct Spare {
    jobs: Fifo<Job>,
    call: Option<Pin<UniqueArc<SyncWaiter<Types>>>>,
}

impl Pool {
    /// Jobs that are kept for later, some 200 bytes each: as many as there can have been at a time.
    const MOST: usize = schedule::DEPTH;

    fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            spare <- new_mutex!(
                Spare {
                    jobs: Fifo::new(),
                    call: None,
                },
                "rdma::Pool"
            ),
        })
    }

    /// Takes at most so many jobs.
    fn take(&self, most: usize) -> Fifo<Job> {
        let jobs = &mut self.spare.lock().jobs;
        if jobs.len() <= most {
            core::mem::replace(jobs, Fifo::new())
        } else {
            jobs.take_front(most)
        }
    }

    /// A blank job and a call, both of which may have to be allocated.
    fn take_for_call(&self, traced: Traced) -> Result<(Entry<Job>, Arc<SyncWaiter<Types>>)> {
        let mut spare = self.spare.lock();
        let (job, call) = (spare.jobs.pop_front(), spare.call.take());
        drop(spare);
        Ok((
            job.map_or_else(Job::blank, Ok)?,
            call.map_or_else(|| SyncWaiter::new(traced), |call| Ok(call.into()))?,
        ))
    }

    /// Gives blank jobs back.
    fn give(&self, mut blank: Fifo<Job>) {
        let mut spare = self.spare.lock();
        if spare.jobs.len() + blank.len() <= Self::MOST {
            spare.jobs.append(&mut blank);
        }
        drop(spare);
        // Those that are too many are freed here.
    }

    /// Gives back a blank job and a call that has been answered.
    fn give_from_call(&self, blank: Entry<Job>, call: Arc<SyncWaiter<Types>>) {
        // What has answered it may still be about to drop it: then it is not kept.
        let call = Arc::into_unique_or_drop(call);
        let mut spare = self.spare.lock();
        if spare.jobs.len() < Self::MOST {
            spare.jobs.push_front(blank);
        }
        let old = core::mem::replace(&mut spare.call, call);
        drop(spare);
        drop(old);
    }
}

/// A context's place in the queue of its device; dropping it cancels or abandons all that is in it.
#[pin_data(PinnedDrop)]
pub(crate) struct Lane {
    device: Arc<Device>,
    id: LaneId,
    traced: Traced,
    waiters: Arc<Waiters>,
    #[pin]
    pool: Pool,
    /// Held while the lane is scanned for requests to cancel.
    #[pin]
    cancel: Mutex<()>,
    /// Held while completions are taken out.
    #[pin]
    collect: Mutex<()>,
    // Dropped when the lane is removed from the queue.
    user: Membership,
}

/// What has ended the wait for completions, if not that there are enough.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// Nothing.
    NotYet,
    /// The time is over.
    ByTime,
    /// A signal whose handler is to run.
    BySignal,
    /// Something that restarts the call as if nothing had been.
    ToRestart,
}

/// Room that was set aside for requests of a lane; what is not used is given back.
pub(crate) struct Reserved<'a> {
    lane: &'a Lane,
    room: usize,
    blank: Fifo<Job>,
    user: Uid,
    now: u64,
}

impl Lane {
    /// A lane with nothing in it.
    pub(crate) fn new(device: Arc<Device>) -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(move || {
            let waiters = Waiters::new()?;
            let traced = Traced {
                device: device.number(),
                context: CONTEXTS.fetch_add(1, Relaxed) + 1,
            };
            let user = Membership::new(&device)?;
            let id = Self::add(&device, user.id(), traced, &waiters)?;
            Ok(try_pin_init!(Self {
                device,
                id,
                traced,
                waiters,
                pool <- Pool::new(),
                cancel <- new_mutex!((), "rdma::Lane::cancel"),
                collect <- new_mutex!((), "rdma::Lane::collect"),
                user,
            }))
        })
    }

    fn add(
        device: &Device,
        user: UserId,
        traced: Traced,
        waiters: &Arc<Waiters>,
    ) -> Result<LaneId> {
        let owner = Owner {
            traced,
            waiters: waiters.clone(),
            eventfd: None,
        };
        let mut lane = KBox::new(schedule::Lane::new(owner), GFP_KERNEL_ACCOUNT)?;
        loop {
            // Room is made outside of the lock, and another thread may take it.
            device.grow_queue()?;
            let added = device.work.lock().queue.add_lane(user, lane);
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

    /// Those who poll the context.
    pub(crate) fn poll_queue(&self) -> &PollQueue {
        &self.waiters.pollers
    }

    /// What is in it.
    pub(crate) fn state(&self) -> LaneState {
        self.device.work.lock().queue.state(self.id)
    }

    fn caller() -> Uid {
        Uid(Kuid::current_euid().into_raw().val)
    }

    /// Has the engine do an operation, and waits until it is done.
    ///
    /// # Errors
    ///
    /// As in `uapi/rdma.h`, `struct rdma_request`, from `EINTR` on.
    pub(crate) fn transfer(&self, operation: Operation<BufferHold>) -> Result {
        let now = clock::now();
        let (mut job, call) = self.pool.take_for_call(self.traced)?;
        call.begin(now);
        let request = Request::new(operation, Self::caller());
        job.submit_sync(request, call.clone(), now);
        let mut jobs = Fifo::new();
        jobs.push_back(job);
        self.traced.submitted(&jobs);
        let id = self
            .device
            .enter(|engine| engine.submit_sync(self.id, &mut jobs))
            .and_then(|accepted| accepted)
            .inspect_err(|error| self.traced.refused(&jobs, *error))?;
        match call.wait() {
            Ok(answer) => self.outcome(answer, call),
            Err(_) => self.abandon_wait(call, id),
        }
    }

    /// How a request has ended for the thread that has waited for it.
    fn outcome(&self, answer: Answer<Types>, call: Arc<SyncWaiter<Types>>) -> Result {
        match answer {
            Answer::Ended(mut job) => {
                let outcome = job.outcome();
                job.clear();
                self.pool.give_from_call(job, call);
                outcome
            }
            Answer::Failed(error) => Err(error),
        }
    }

    /// What a signal makes of a request that a thread waits for.
    fn abandon_wait(&self, call: Arc<SyncWaiter<Types>>, id: SyncId) -> Result {
        let abandoned = self.device.work.lock().queue.abandon_wait(self.id, id);
        match abandoned {
            AbandonedWait::Ended => match call.answer() {
                Some(answer) => self.outcome(answer, call),
                None => Err(ERESTARTNOHAND),
            },
            // Nothing has happened yet.
            AbandonedWait::Waiting(job) if !job.is_begun() => Err(ERESTARTSYS),
            // All operations can be done again, but not each time that a handler has run: a timer
            // could keep a transfer from ever ending.
            AbandonedWait::Waiting(_) | AbandonedWait::Begun => Err(ERESTARTNOHAND),
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
            blank: self.pool.take(room),
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
    /// [`ENODEV`] if there are none, and no more will come. [`ERESTARTSYS`] if there are none and a
    /// signal comes, or if what comes is no signal: a call that is restarted waits for the same
    /// `until`.
    pub(crate) fn collect(&self, min: usize, most: usize, until: Option<u64>) -> Result<Fifo<Job>> {
        let mut ended = Ended::NotYet;
        loop {
            if let Some(taken) = self.take(min, most, ended)? {
                return Ok(taken);
            }
            ended = self.sleep(min, until);
        }
    }

    /// Sleeps until there may be `min` completions, and returns what else has ended that.
    fn sleep(&self, min: usize, until: Option<u64>) -> Ended {
        let work = self.device.work.lock();
        if self.is_enough(&work, min, Ended::NotYet) != Ok(false) {
            return Ended::NotYet;
        }
        match self.waiters.collectors.sleep_for(work, min, until) {
            Woken::Changed => Ended::NotYet,
            Woken::TimedOut => Ended::ByTime,
            Woken::Interrupted if Pending::now() == Pending::Signal => Ended::BySignal,
            Woken::Interrupted => Ended::ToRestart,
        }
    }

    /// Whether a thread that wants `min` completions has waited long enough.
    fn is_enough(&self, work: &Work, min: usize, ended: Ended) -> Result<bool> {
        let lane = work.queue.state(self.id);
        let over = lane.closed && lane.outstanding == 0;
        match (lane.completed, ended) {
            (0, _) if over => Err(ENODEV),
            (0, Ended::BySignal) => Err(ERESTARTSYS),
            (completed, _) if completed >= min || over => Ok(true),
            (_, Ended::NotYet) => Ok(false),
            (_, Ended::ByTime | Ended::BySignal) => Ok(true),
            (_, Ended::ToRestart) => Err(ERESTARTSYS),
        }
    }

    /// Takes completions out, at most so many; a few at a time: others need the lock, too. Returns
    /// [`None`] if there are not enough yet.
    fn take(&self, min: usize, most: usize, ended: Ended) -> Result<Option<Fifo<Job>>> {
        let _one_at_a_time = self.collect.lock();
        let mut taken = Fifo::new();
        let mut enough = Ok(true);
        let mut left = most;
        while left > 0 && enough == Ok(true) && taken.len() < most {
            let mut work = self.device.work.lock();
            if taken.is_empty() {
                enough = self.is_enough(&work, min, ended);
            }
            if enough == Ok(true) {
                taken.append(&mut work.queue.collect(self.id, most - taken.len()));
            }
            left = work.queue.state(self.id).completed;
        }
        if left > 0 {
            // They were divided among threads of which this one has taken fewer, or was too early.
            self.waiters.collectors.wake_satisfied(left);
        }
        enough.map(|enough| enough.then_some(taken))
    }

    /// Takes back completions: `delivered` ones, whose jobs are blank, and `others`, which could not be
    /// delivered, and are collected next time.
    pub(crate) fn deliver(&self, delivered: Fifo<Job>, others: Fifo<Job>) {
        let (count, kept) = (delivered.len(), others.len());
        self.pool.give(delivered);
        let mut work = self.device.work.lock();
        let put_back = if kept > 0 {
            work.queue.put_back(self.id, others)
        } else {
            None
        };
        let released = work.queue.release(self.id, count);
        drop(work);
        deliver(put_back);
        deliver(released);
    }

    /// Cancels the requests that have this cookie ([`None`]: all) and that the engine has not begun
    /// with. Returns how many.
    ///
    /// # Errors
    ///
    /// For one cookie: [`EALREADY`] if the engine has begun, [`ENOENT`] if there is none.
    pub(crate) fn cancel(&self, cookie: Option<u64>) -> Result<usize> {
        let _one_at_a_time = self.cancel.lock();
        let scan = self.device.work.lock().queue.cancel(self.id, cookie);
        let mut scan: CancelScan = scan.ok_or(ENODEV)?;
        self.device
            .in_steps(|queue| queue.cancel_step(self.id, &mut scan));
        // The engine may have found nothing to do meanwhile. Without a device it has nothing anyway.
        let _ = self.device.enter(|engine| engine.kick());
        match scan.cancelled {
            0 if cookie.is_some() && scan.begun => Err(EALREADY),
            0 if cookie.is_some() => Err(ENOENT),
            cancelled => Ok(cancelled),
        }
    }

    /// Has `eventfd` signalled from now on, for each step in which requests are completed.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the device is gone.
    pub(crate) fn set_eventfd(&self, eventfd: Option<EventFd>) -> Result {
        self.device.info()?;
        let eventfd = eventfd
            .map(|eventfd| Arc::new(eventfd, GFP_KERNEL_ACCOUNT))
            .transpose()?;
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
#[allow(unsafe_code, reason = "For the macro, which is of the crate.")]
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
        &mut self,
        operation: Operation<BufferHold>,
        cookie: u64,
        linked: bool,
    ) -> Result<Entry<Job>> {
        let mut job = match self.blank.pop_front() {
            Some(job) => job,
            None => Job::blank()?,
        };
        let request = Request::new(operation, self.user);
        job.submit(request, cookie, linked, self.now);
        Ok(job)
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
            .and_then(|accepted| accepted)
            .inspect_err(|error| lane.traced.refused(&jobs, *error))?;
        self.room -= count;
        Ok(count)
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let blank = core::mem::replace(&mut self.blank, Fifo::new());
        if !blank.is_empty() {
            self.lane.pool.give(blank);
        }
        if self.room > 0 {
            let mut work = self.lane.device.work.lock();
            let notice = work.queue.release(self.lane.id, self.room);
            drop(work);
            deliver(notice);
        }
    }
}
