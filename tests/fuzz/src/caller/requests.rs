//! Requests: blocking, submitted, collected, cancelled.

use super::{ensure, Caller, Direction, Judged};
use crate::{
    memory::{as_bytes, from_bytes},
    ops, sys,
    uapi::{self, rdma_cancel, rdma_completion, rdma_request, rdma_submit, rdma_wait},
    values::Pointer,
    world::{Context, Verdict},
};
use libc::{E2BIG, EACCES, EAGAIN, EALREADY, EBADF, ECANCELED, EFAULT, EINTR, ENOENT, ENOMEM};

const DEPTH: usize = uapi::RDMA_QUEUE_DEPTH as usize;

impl Caller<'_> {
    pub(super) fn request(&self, file: u8, op: &ops::Request) -> rdma_request {
        let (source, destination) = match op.operation {
            uapi::RDMA_OP_TO_DEVICE => (self.world.handle(file, op.buffer), uapi::RDMA_NO_BUFFER),
            uapi::RDMA_OP_FROM_DEVICE => (uapi::RDMA_NO_BUFFER, self.world.handle(file, op.buffer)),
            _ => (self.world.handle(file, op.buffer), self.world.handle(file, op.other)),
        };
        let other = || self.world.handle(file, op.other);
        rdma_request {
            operation: op.operation,
            flags: op.flags,
            source: if op.any && source == uapi::RDMA_NO_BUFFER { other() } else { source },
            destination: if op.any && destination == uapi::RDMA_NO_BUFFER { other() } else { destination },
            source_offset: op.source_offset,
            destination_offset: op.destination_offset,
            length: op.length,
            cookie: op.cookie,
            reserved: [0, op.reserved],
        }
    }

    fn verdict(&self, file: u8, request: &rdma_request) -> Verdict {
        self.world.with(file, |context, slot| self.world.judge(context, slot, request)).unwrap_or(Verdict::Unclear)
    }

    pub(super) fn transfer(&mut self, op: &ops::Transfer) -> Judged {
        let request = self.request(op.file, &op.request);
        let verdict = if request.flags == 0 { self.verdict(op.file, &request) } else { Verdict::Wrong };
        let errors = [EACCES, EAGAIN, EBADF, EINTR, ENOMEM];
        let (answer, _) = self.ioctl(op.file, uapi::RDMA_IOC_TRANSFER, op.pointer, &request, Direction::In, &errors)?;
        self.check_denied(op.file, answer, &[request])?;
        ensure(answer.is_err() || verdict != Verdict::Wrong, || format!("it was done: {request:?}"))?;
        if self.sound(op.file, op.pointer) && verdict == Verdict::Right {
            let fine = [Ok(0), Err(EAGAIN), Err(EINTR), Err(ENOMEM)].contains(&answer);
            ensure(fine, || format!("{answer:?}, and nothing is wrong with {request:?}"))?;
        }
        Ok(())
    }

    /// Checks that EACCES is the result of a request that would write to a buffer that is read-only.
    fn check_denied(&self, file: u8, answer: sys::Answer, requests: &[rdma_request]) -> Judged {
        let read_only = self.surely(file).and_then(|_| {
            let read_only = |context: &mut Context, _| {
                requests.iter().any(|request| context.find(request.destination).is_some_and(|buffer| !buffer.writable))
            };
            self.world.with(file, read_only)
        });
        ensure(answer != Err(EACCES) || read_only != Some(false), || "EACCES, and no buffer is read-only".into())
    }

    pub(super) fn submit(&mut self, op: &ops::Submit) -> Judged {
        let once: Vec<rdma_request> = op.requests.iter().map(|request| self.request(op.file, request)).collect();
        let times = usize::from(op.copies).min(1030 / once.len().max(1));
        let requests: Vec<rdma_request> = once.iter().copied().cycle().take(once.len() * times).collect();
        // At most the valid length: what follows could be anything.
        let count = op.count.filter(|count| *count as usize <= requests.len() || *count as usize > DEPTH);
        let count = count.unwrap_or(requests.len() as u32);
        let size = op.element.unwrap_or(size_of::<rdma_request>() as u32);
        let array = laid_out(&requests, size);
        let argument = rdma_submit {
            requests: self.memory.array.put(op.array, &array),
            count,
            request_size: size,
            flags: op.flags,
            reserved: op.reserved,
        };
        let errors = [E2BIG, EACCES, EAGAIN, EBADF, EINTR, ENOMEM];
        let possibly = self.world.with(op.file, |context, _| context.commands).unwrap_or(0);
        let (answer, _) = self.ioctl(op.file, uapi::RDMA_IOC_SUBMIT, op.pointer, &argument, Direction::In, &errors)?;
        // Commands that have not ended yet had room during the call.
        self.reap_all()?;
        let surely = self.surely(op.file).map_or(0, |slot| self.surely_queued(slot.context, None));
        self.check_denied(op.file, answer, &requests)?;
        let (back, intact) = self.memory.array.look();
        let readable = back.len() / (array.len() / requests.len().max(1)).max(1);
        ensure(intact && back == &array[..back.len()], || "the array was written".into())?;

        let there =
            if matches!(op.array, Pointer::Good | Pointer::Edge | Pointer::Short(_) | Pointer::ReadOnly) { readable } else { 0 };
        let wrong_size = is_wrong::<rdma_request>(size);
        let wrong = op.flags != 0 || op.reserved != 0 || count == 0 || count as usize > DEPTH || wrong_size;
        let given = &requests[..if wrong { 0 } else { count as usize }];
        let expected =
            self.world.with(op.file, |context, slot| self.world.acceptable(context, slot, given, there, (surely, possibly)));
        let accepted = answer.unwrap_or(0) as usize;
        if let Some((least, most)) = expected {
            ensure(accepted <= most, || format!("{accepted} were accepted, and no more than {most} can be: {requests:?}"))?;
            let hindered = [Err(EINTR), Err(ENOMEM)].contains(&answer);
            if self.sound(op.file, op.pointer) && !hindered {
                ensure(accepted >= least, || format!("{answer:?}, and {least} are right: {requests:?}"))?;
            }
        }
        self.world.with(op.file, |context, _| {
            context.submitted.extend(requests.iter().take(accepted).map(|request| (request.cookie, request.length)));
        });
        Ok(())
    }

    pub(super) fn wait(&mut self, op: &ops::Wait) -> Judged {
        let nothing = rdma_completion { cookie: 0x5c5c, ..Default::default() };
        // Room for the maximum number.
        let there = self.surely(op.file).and_then(|_| self.world.with(op.file, |context, _| context.submitted.len() + 8));
        let room = vec![nothing; (op.max as usize).clamp(1, there.unwrap_or(DEPTH).min(DEPTH))];
        let element = op.element.unwrap_or(size_of::<rdma_completion>() as u32);
        let room = laid_out(&room, element);
        let argument = rdma_wait {
            completions: self.memory.array.put(op.array, &room),
            min: op.min,
            max: op.max,
            completion_size: element,
            deadline_ns: deadline(op.timeout_ns),
            flags: op.flags,
            reserved: op.reserved,
        };
        let errors = [E2BIG, EAGAIN, EINTR, ENOMEM];
        let (answer, _) = self.ioctl(op.file, uapi::RDMA_IOC_WAIT, op.pointer, &argument, Direction::In, &errors)?;
        let for_ring = argument.completions == 0 && op.max == 0 && element == 0;
        let no_array = op.max == 0 || op.min > op.max || is_wrong::<rdma_completion>(element);
        let wrong = op.flags != 0 || op.reserved != 0 || op.min as usize > DEPTH || (no_array && !for_ring);
        ensure(!wrong || answer.is_err(), || "it was accepted".into())?;

        let (back, intact) = self.memory.array.look();
        ensure(intact, || "bytes beside the array were written".into())?;
        if for_ring {
            let ring = self.world.with(op.file, |context, _| context.ring);
            let known = self.surely(op.file).is_none() || ring != Some(false);
            return ensure(answer.is_err() || known, || "it has waited for a ring that there is not".into());
        }
        let count = answer.unwrap_or(0) as usize;
        let size = if wrong { size_of::<rdma_completion>() } else { element as usize };
        ensure(count <= op.max as usize && count * size <= back.len(), || format!("it collected {count}"))?;
        // The first one that cannot be written may have been written in part.
        let written = (count + usize::from(matches!(op.array, Pointer::Short(_)))) * size;
        let same = back.iter().zip(&room).skip(written).all(|(one, other)| one == other);
        ensure(same, || format!("it collected {count}, and wrote more"))?;
        let got: Vec<rdma_completion> = back.chunks(size).take(count).map(from_bytes).collect();
        let exact = self.world.exact();
        let judged = self.world.with(op.file, |context, _| got.iter().try_for_each(|one| collected(context, one, exact)));
        judged.unwrap_or(Ok(()))
    }

    pub(super) fn cancel(&mut self, op: &ops::Cancel) -> Judged {
        let request = rdma_cancel { cookie: op.cookie, flags: op.flags, reserved: op.reserved };
        let errors = [EALREADY, ENOENT, EFAULT];
        let requests = |context: &mut Context, _| context.submitted.len() + context.commands;
        let most = self.surely(op.file).and_then(|_| self.world.with(op.file, requests));
        let (answer, _) = self.ioctl(op.file, uapi::RDMA_IOC_CANCEL, op.pointer, &request, Direction::In, &errors)?;
        let all = op.flags == uapi::RDMA_CANCEL_ALL && op.cookie == 0;
        let right = op.reserved == 0 && (op.flags == 0 || all);
        ensure(right || answer.is_err(), || "it was accepted".into())?;
        ensure(answer.unwrap_or(0) as usize <= most.unwrap_or(DEPTH), || format!("it cancelled {answer:?} of {most:?}"))?;
        if answer.is_ok_and(|count| count > 0) {
            self.world.with(op.file, |context, _| context.cancels += 1);
        }
        if right && self.sound(op.file, op.pointer) {
            self.check_left(op.file, (!all).then_some(op.cookie), answer)?;
        }
        Ok(())
    }
}

/// The elements of an array with this element size, if it is a valid size.
fn laid_out<T: Copy>(elements: &[T], size: u32) -> Vec<u8> {
    let size = if is_wrong::<T>(size) { size_of::<T>() } else { size as usize };
    let mut bytes = vec![0; elements.len() * size];
    for (element, bytes) in elements.iter().zip(bytes.chunks_mut(size)) {
        bytes[..size_of::<T>()].copy_from_slice(as_bytes(std::slice::from_ref(element)));
    }
    bytes
}

/// Whether the driver refuses elements of this size.
fn is_wrong<T>(size: u32) -> bool {
    !(size_of::<T>()..=uapi::RDMA_MAX_ELEMENT_SIZE as usize).contains(&(size as usize))
}

/// The deadline this number of nanoseconds from now; none if it is negative.
fn deadline(timeout_ns: i64) -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: There is room for the time.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    match timeout_ns {
        0 => 0,
        ..0 => uapi::RDMA_WAIT_FOREVER as i64,
        _ => (now.tv_sec * 1_000_000_000 + now.tv_nsec).saturating_add(timeout_ns),
    }
}

/// Checks a completion, and removes the request.
fn collected(context: &mut Context, completion: &rdma_completion, exact: bool) -> Judged {
    let good = completion.reserved == 0 && (completion.status == 0 || completion.status == -ECANCELED);
    ensure(good, || format!("it collected {completion:?}"))?;
    let called = |request: &(u64, u64)| {
        request.0 == completion.cookie
            && (request.1 == completion.bytes || (completion.status != 0 && completion.bytes < request.1))
    };
    match context.submitted.iter().position(called) {
        Some(found) => drop(context.submitted.swap_remove(found)),
        None if exact => return Err(format!("it collected {completion:?}, which was not submitted: {:?}", context.submitted)),
        None => {}
    }
    Ok(())
}
