//! Commands of io_uring: submitted, awaited, cancelled, and left behind by a ring that is closed.

use super::{ensure, Caller, Judged};
use crate::{
    memory::{as_bytes, Area},
    ops, sys,
    uapi::{self, rdma_request, rdma_submit},
    uring::{nowhere, Layout, Pending, Uring, What, LARGE_AREA, RINGS},
    values::Pointer,
    world::{Verdict, World},
};
use io_uring::types::{CancelBuilder, Fd};
use libc::{E2BIG, EACCES, EAGAIN, EALREADY, EBADF, EBUSY, ECANCELED, EFAULT, EINTR, EINVAL, ENOENT, ENOMEM, ENOTTY, ETIME};
use std::{
    io,
    sync::{atomic::Ordering::Relaxed, MutexGuard},
};

const DEPTH: usize = uapi::RDMA_QUEUE_DEPTH as usize;
/// How long it may take until a command of SUBMIT ends, and until the commands of a closed ring are cancelled.
const SOON_MS: u64 = 3000;

impl Caller<'_> {
    pub(super) fn command(&mut self, op: &ops::Command) -> Judged {
        let ring = usize::from(op.ring) % RINGS;
        let requests: Vec<rdma_request> = op.requests.iter().map(|request| self.request(op.file, request)).collect();
        let once: Vec<&[rdma_request]> = if op.batch { vec![&requests] } else { requests.chunks(1).collect() };
        let all = once.len() * usize::from(op.copies);
        let entries: Vec<&[rdma_request]> = once.into_iter().cycle().take(all).collect();
        self.reap(ring)?;
        let Some(mut guard) = uring(self.world, ring)? else { return Ok(()) };
        let uring = guard.as_mut().expect("it is open");
        let entries = &entries[..entries.len().min(uring.room())];
        let fd = self.world.fd(op.file);
        let number = op.number.unwrap_or(if op.batch { uapi::RDMA_IOC_SUBMIT } else { uapi::RDMA_IOC_TRANSFER });
        let memory = &mut self.memory.argument;
        // There is one place for a structure at an address like that.
        memory.put(Pointer::Good, &[]);
        for requests in entries {
            let (layout, pending) = prepare(self.world, memory, op, uring.area(), requests, entries.len());
            uring.push(fd, number, &layout, pending);
        }
        let entered = uring.enter(op.milliseconds);
        drop(guard);
        let (_, intact) = memory.look();
        ensure(intact, || "bytes beside its structure were written".into())?;
        entered_well(&entered)?;
        self.reap(ring)?;
        if op.batch {
            self.await_batches(ring)?;
        }
        Ok(())
    }

    /// Checks the results of the commands that have ended.
    fn reap(&mut self, ring: usize) -> Judged {
        let Ok(mut guard) = self.world.rings[ring].try_lock() else { return Ok(()) };
        let Some(uring) = guard.as_mut().filter(|uring| uring.is_own()) else { return Ok(()) };
        let ended = uring.take()?;
        drop(guard);
        ended.into_iter().try_for_each(|(pending, result)| self.ended(&pending, result))
    }

    /// Checks the results of all commands that have ended, of all rings.
    pub(super) fn reap_all(&mut self) -> Judged {
        (0..RINGS).try_for_each(|ring| self.reap(ring))
    }

    /// The number of transfers by commands in flight that surely have room in the queue of a context, by cookie.
    pub(super) fn surely_queued(&self, context: usize, cookie: Option<u64>) -> usize {
        let count = |uring: &Uring| {
            let queued = |pending: &&Pending| {
                let transfer = matches!(pending.what, What::Transfer(_)) && pending.valid;
                let same = cookie.is_none_or(|cookie| pending.requests[0].cookie == cookie);
                transfer && same && pending.context == Some(context)
            };
            uring.pending().map(|(_, pending)| pending).filter(queued).count()
        };
        let rings = self.world.rings.iter().filter_map(|ring| ring.try_lock().ok()?.as_ref().map(count));
        rings.sum()
    }

    /// Checks the result of an entry.
    fn ended(&mut self, pending: &Pending, result: i32) -> Judged {
        let answer = u64::try_from(result).map_err(|_| -result);
        let named = |wrong: String| {
            let what = match pending.what {
                What::Transfer(_) => "TRANSFER",
                What::Submit(_) => "SUBMIT",
                What::Withdraw => "ASYNC_CANCEL",
            };
            format!("{wrong}\na command of {what}, result {result}: {:?}", pending.requests)
        };
        self.judge_ended(pending, answer).map_err(named)
    }

    fn judge_ended(&mut self, pending: &Pending, answer: sys::Answer) -> Judged {
        let exact = self.world.exact();
        let mut errors = vec![EACCES, EAGAIN, EBADF, EFAULT, EINVAL, ENOMEM];
        if pending.renumbered {
            errors.extend([ENOTTY, E2BIG]);
        }
        let known = |context: usize| self.world.known().contexts.get(context).map(|context| context.cancels);
        let cancelled = pending.context.and_then(known) != Some(pending.cancels);
        if !(pending.valid && exact) || (matches!(pending.what, What::Transfer(_)) && cancelled) {
            errors.push(ECANCELED);
        }
        if matches!(pending.what, What::Withdraw) {
            errors = vec![EALREADY, EBADF, ENOENT];
        }
        let answer = self.answered(answer, &errors)?;
        if let (What::Transfer(_), Some(context)) = (&pending.what, pending.context) {
            if let Some(context) = self.world.known().contexts.get_mut(context) {
                context.commands = context.commands.saturating_sub(1);
            }
        }
        let full = pending.room.is_some_and(|room| room > 0);
        ensure(answer != Err(EAGAIN) || !full, || format!("there was room for {:?} requests", pending.room))?;
        ensure(answer.is_err() || !pending.faults || pending.renumbered, || "its structure is not accessible".into())?;
        let certain = pending.valid && exact;
        if certain && pending.faults {
            return ensure(answer == Err(EFAULT), || "its structure is not accessible".into());
        }
        match pending.what {
            What::Transfer(verdict) => {
                ensure(answer.unwrap_or(0) == 0 || pending.renumbered, || "a number that is not 0".into())?;
                ensure(answer.is_err() || verdict != Verdict::Wrong, || "it was done".into())?;
                let fine = [Ok(0), Err(EAGAIN), Err(ENOMEM), Err(ECANCELED)].contains(&answer);
                let right = certain && verdict == Verdict::Right;
                ensure(fine || !right, || "nothing is wrong with it".into())?;
            }
            What::Submit(expected) => {
                let accepted = answer.unwrap_or(0) as usize;
                ensure(accepted <= pending.requests.len(), || "more than there are".into())?;
                if let Some((least, most)) = expected.filter(|_| exact) {
                    ensure(accepted <= most, || format!("no more than {most} can be accepted"))?;
                    ensure(accepted >= least || answer == Err(ENOMEM), || format!("{least} are right"))?;
                }
            }
            What::Withdraw => {}
        }
        if let (Some(context), false) = (pending.context, matches!(pending.what, What::Withdraw)) {
            let accepted = answer.unwrap_or(0) as usize;
            if let Some(context) = self.world.known().contexts.get_mut(context) {
                context.submitted.extend(pending.requests.iter().take(accepted).map(|request| (request.cookie, request.length)));
            }
        }
        Ok(())
    }

    /// Waits until all commands of SUBMIT have ended. They do not wait for the engine.
    fn await_batches(&mut self, ring: usize) -> Judged {
        for _ in 0..SOON_MS / 5 {
            let Ok(mut guard) = self.world.rings[ring].try_lock() else { return Ok(()) };
            let Some(uring) = guard.as_mut() else { return Ok(()) };
            if !uring.pending().any(|(_, pending)| matches!(pending.what, What::Submit(_))) {
                return Ok(());
            }
            let entered = uring.enter(5);
            drop(guard);
            entered_well(&entered)?;
            self.reap(ring)?;
        }
        let waits = |uring: &Uring| uring.pending().any(|(_, pending)| matches!(pending.what, What::Submit(_)) && pending.steady);
        let waiting = self.world.rings[ring].try_lock().is_ok_and(|uring| uring.as_ref().is_some_and(waits));
        ensure(!waiting, || "a command of SUBMIT does not end".into())
    }

    pub(super) fn await_commands(&mut self, op: &ops::Await) -> Judged {
        let ring = usize::from(op.ring) % RINGS;
        if let Some(mut guard) = uring(self.world, ring)? {
            let entered = guard.as_mut().expect("it is open").enter(op.milliseconds);
            drop(guard);
            entered_well(&entered)?;
        }
        self.reap(ring)
    }

    pub(super) fn withdraw(&mut self, op: &ops::Withdraw) -> Judged {
        let ring = usize::from(op.ring) % RINGS;
        self.reap(ring)?;
        let Some(mut guard) = uring(self.world, ring)? else { return Ok(()) };
        let uring = guard.as_mut().expect("it is open");
        if uring.room() == 0 {
            return Ok(());
        }
        let numbers: Vec<u64> = uring.pending().map(|(number, _)| number).collect();
        let nth = numbers.get(usize::from(op.nth) % numbers.len().max(1)).copied().unwrap_or(op.nth.into());
        let target = match op.by % 3 {
            0 => CancelBuilder::user_data(nth),
            1 => CancelBuilder::fd(Fd(self.world.fd(op.file))),
            _ => CancelBuilder::any(),
        };
        let none = Pending {
            what: What::Withdraw,
            context: None,
            requests: Box::default(),
            batch: Box::default(),
            steady: false,
            valid: false,
            faults: false,
            renumbered: false,
            room: None,
            cancels: 0,
        };
        uring.push_withdraw(if op.all { target.all() } else { target }, none);
        let entered = uring.enter(0);
        drop(guard);
        entered_well(&entered)?;
        self.reap(ring)
    }

    /// Closes a ring with the commands in flight on it, which are cancelled soon.
    pub(super) fn shut(&mut self, op: &ops::Shut) -> Judged {
        let ring = usize::from(op.ring) % RINGS;
        self.reap(ring)?;
        let Ok(mut guard) = self.world.rings[ring].try_lock() else { return Ok(()) };
        let Some(uring) = guard.take_if(|uring| uring.is_own()) else { return Ok(()) };
        drop(guard);
        self.calls += 1;
        let contexts: Vec<usize> = uring.pending().filter_map(|(_, pending)| pending.context).collect();
        drop(uring);
        let mut seen = None;
        for context in contexts {
            if self.world.exact() && seen.replace(context) != Some(context) {
                self.check_cancelled(context)?;
            }
        }
        Ok(())
    }

    /// Checks that soon no more requests of a context wait than those that were not of the closed ring.
    fn check_cancelled(&self, context: usize) -> Judged {
        let of_it = |file: &u8| self.world.slot(*file).is_some_and(|slot| slot.context == context);
        let Some(file) = (0..crate::values::FILES).find(of_it) else { return Ok(()) };
        let path = format!("/proc/self/fdinfo/{}", self.world.fd(file));
        let others = self.surely_queued(context, None) + self.world.known().contexts[context].submitted.len();
        let mut queued = 0;
        for _ in 0..SOON_MS / 5 {
            // Another process may have the file open, but no other thread uses this number.
            let Ok(text) = std::fs::read_to_string(&path) else { return Ok(()) };
            queued = text.lines().find_map(|line| line.strip_prefix("rdma-queued:\t")?.parse().ok()).unwrap_or(0);
            if queued <= others || crate::shared::get().stop.load(Relaxed) {
                return Ok(());
            }
            sys::sleep_ms(5);
        }
        Err(format!("{queued} requests wait, {others} of them not of the ring that is closed"))
    }

    /// Checks what is left of the commands of a context after CANCEL.
    pub(super) fn check_left(&mut self, file: u8, cookie: Option<u64>, answer: sys::Answer) -> Judged {
        self.reap_all()?;
        let Some(slot) = self.surely(file) else { return Ok(()) };
        let left = self.surely_queued(slot.context, cookie);
        ensure(answer != Err(ENOENT) || left == 0, || format!("{answer:?}, and {left} commands are in flight"))?;
        let all_but_begun = cookie.is_none() && answer.is_ok();
        let begun = self.world.model.depth as usize;
        ensure(!all_but_begun || left <= begun, || format!("{left} commands are in flight, of {begun} that can have begun"))
    }
}

/// Lays out a command, one of `count` of the same call, and records what its result may be. `area`: bytes of the command area.
fn prepare(
    world: &World,
    memory: &mut Area,
    op: &ops::Command,
    area: usize,
    requests: &[rdma_request],
    count: usize,
) -> (Layout, Pending) {
    let steady = op.entry_flags == 0;
    let requests: Box<[rdma_request]> = requests.into();
    let batch = Box::new(rdma_submit {
        requests: nowhere(op.array).unwrap_or(requests.as_ptr() as u64),
        count: requests.len() as u32,
        request_size: size_of::<rdma_request>() as u32,
        flags: 0,
        reserved: op.reserved,
    });
    let structure = if op.batch { as_bytes(std::slice::from_ref(&*batch)) } else { as_bytes(&requests) };
    let mut layout =
        Layout { address: structure.as_ptr() as u64, area: [op.rest; LARGE_AREA], flags: op.flags, entry_flags: op.entry_flags };
    let mut faults = false;
    if let Some(address) = nowhere(op.pointer) {
        (layout.address, faults) = (address, true);
    } else if op.inline || op.pointer == Pointer::Null {
        layout.area[..structure.len()].copy_from_slice(structure);
        (layout.address, faults) = (0, structure.len() > area);
    } else if op.pointer != Pointer::Good && count == 1 && steady {
        layout.address = memory.put(op.pointer, structure);
        faults = matches!(op.pointer, Pointer::Short(_));
    }
    let certain = world.exact() && steady && op.number.is_none();
    let known = world.with(op.file, |context, slot| {
        let what = if op.batch {
            let there = if nowhere(op.array).is_some() { 0 } else { requests.len() };
            let given = if op.reserved == 0 { &*requests } else { &[] };
            let expected = world.acceptable(context, slot, given, there, (0, context.commands));
            What::Submit((certain && count == 1).then_some(expected))
        } else {
            let right = requests[0].flags == 0;
            let verdict = if right { world.judge(context, slot, &requests[0]) } else { Verdict::Wrong };
            What::Transfer(if certain { verdict } else { Verdict::Unclear })
        };
        let room = DEPTH.saturating_sub(context.submitted.len() + context.commands);
        let known = certain && !context.ring && (count == 1 || !op.batch);
        if !op.batch {
            context.commands += 1;
        }
        (what, slot.context, known.then_some(room), context.cancels)
    });
    let context = known.as_ref().map(|(_, context, _, _)| *context);
    let unknown = if op.batch { What::Submit(None) } else { What::Transfer(Verdict::Unclear) };
    let (mut what, _, room, cancels) = known.unwrap_or((unknown, 0, None, 0));
    if op.flags != 0 {
        what = if op.batch { What::Submit(Some((0, 0))) } else { What::Transfer(Verdict::Wrong) };
    }
    let valid = certain && context.is_some() && op.flags == 0;
    (layout, Pending { what, context, requests, batch, steady, valid, faults, renumbered: op.number.is_some(), room, cancels })
}

/// Locks a ring; none if another thread has it, or has closed it.
fn uring(world: &World, number: usize) -> Result<Option<MutexGuard<'_, Option<Uring>>>, String> {
    let Ok(mut ring) = world.rings[number].try_lock() else { return Ok(None) };
    let inherited = ring.as_ref().is_some_and(|ring| !ring.is_own());
    if inherited {
        // Its memory is not mapped here.
        std::mem::forget(ring.take());
    }
    // With other threads, its descriptor could be one that another thread believes to be a file of the node.
    if ring.is_none() && (inherited || world.exact()) {
        *ring = Some(Uring::open(number).map_err(|error| format!("io_uring_setup: {error}"))?);
    }
    Ok(ring.is_some().then_some(ring))
}

/// Checks the result of io_uring_enter(2).
fn entered_well(entered: &io::Result<usize>) -> Judged {
    let error = entered.as_ref().err().map_or(0, |error| error.raw_os_error().unwrap_or(0));
    ensure([0, ETIME, EINTR, EAGAIN, EBUSY].contains(&error), || format!("io_uring_enter: {}", sys::name(error)))
}
