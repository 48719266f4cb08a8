//! Executes the calls of one thread, and checks each result against `uapi/rdma.h`.

mod commands;
mod device;
mod mappings;
mod processes;
mod registered;
mod requests;
mod rings;

pub use processes::kill;

use crate::{
    memory::Area,
    ops::{self, Op},
    sys::{self, Answer},
    values::Pointer,
    world::{Slot, World},
};
use std::sync::atomic::Ordering::Relaxed;

/// The description of a wrong result.
pub type Finding = String;
type Judged = Result<(), Finding>;

/// One thread of a program.
pub struct Caller<'a> {
    world: &'a World,
    /// The number of the thread.
    number: usize,
    memory: &'a mut Memory,
    /// The number of system calls on the node and its mappings.
    pub calls: u64,
    /// The number of calls that succeeded.
    pub accepted: u64,
}

/// The memory for the arguments of a thread's calls.
pub struct Memory {
    argument: Area,
    array: Area,
    own: Area,
}

impl Memory {
    /// Allocates the memory for one thread.
    pub fn new() -> Self {
        Self { argument: Area::new(), array: Area::new(), own: Area::new() }
    }
}

impl<'a> Caller<'a> {
    /// Creates the thread with this number.
    pub fn new(world: &'a World, number: usize, memory: &'a mut Memory) -> Self {
        Self { world, number, memory, calls: 0, accepted: 0 }
    }

    /// Executes the calls one after the other, while `proceed` returns true.
    pub fn run(&mut self, ops: &[Op], proceed: &dyn Fn() -> bool) -> Judged {
        for op in ops {
            if !proceed() {
                break;
            }
            match op {
                Op::Storm(storm) => self.storm(storm, proceed)?,
                op => self.run_one(op)?,
            }
        }
        Ok(())
    }

    fn run_one(&mut self, op: &Op) -> Judged {
        self.world.steps[self.number].fetch_add(1, Relaxed);
        self.one(op).map_err(|wrong| format!("{wrong}\nin the call: {op:?}"))
    }

    fn storm(&mut self, storm: &ops::Storm, proceed: &dyn Fn() -> bool) -> Judged {
        // Calls of a storm run in parallel, and must not wait. Only single calls may wait.
        self.world.nonblocking();
        for number in 0..storm.times {
            if !proceed() {
                break;
            }
            self.run_one(&storm.nth(number))?;
        }
        Ok(())
    }

    fn one(&mut self, op: &Op) -> Judged {
        match op {
            Op::Open(op) => self.open(op),
            Op::Close(op) => self.close(op),
            Op::Dup(op) => self.dup(op),
            Op::Pass(op) => self.pass(op),
            Op::Info(op) => self.info(op),
            Op::Alloc(op) => self.alloc(op),
            Op::Register(op) => self.register(op),
            Op::Provide(op) => self.provide(op),
            Op::Free(op) => self.free(op),
            Op::Buffer(op) => self.buffer(op),
            Op::Export(op) => self.export(op),
            Op::Transfer(op) => self.transfer(op),
            Op::Submit(op) => self.submit(op),
            Op::Wait(op) => self.wait(op),
            Op::Cancel(op) => self.cancel(op),
            Op::Eventfd(op) => self.eventfd(op),
            Op::Ring(op) => self.ring(op),
            Op::Command(op) => self.command(op),
            Op::Await(op) => self.await_commands(op),
            Op::Withdraw(op) => self.withdraw(op),
            Op::Shut(op) => self.shut(op),
            Op::Unknown(op) => self.unknown(op),
            Op::Map(op) => self.map(op),
            Op::Unmap(op) => self.unmap(op),
            Op::Remap(op) => self.remap(op),
            Op::Protect(op) => self.protect(op),
            Op::Advise(op) => self.advise(op),
            Op::Touch(op) => self.touch(op),
            Op::Read(op) => self.read(op),
            Op::Write(op) => self.write(op),
            Op::Seek(op) => self.seek(op),
            Op::Poll(op) => self.poll(op),
            Op::Fdinfo(op) => self.fdinfo(op),
            Op::Fork(op) => self.fork(op),
            Op::Kill(op) => self.kill(op),
            Op::Signal(op) => self.signal(op),
            Op::Storm(op) => self.storm(op, &|| true),
        }
    }

    /// Counts a call, and returns its result if this is a success or one of `errors`.
    fn answered(&mut self, answer: Answer, errors: &[i32]) -> Result<Answer, Finding> {
        self.calls += 1;
        self.accepted += u64::from(answer.is_ok());
        match answer {
            Err(error) if !errors.contains(&error) => Err(format!("{} is not among its errors", sys::name(error))),
            _ => Ok(answer),
        }
    }

    /// Counts a call, and checks that its result is a success or one of `errors`.
    fn expect(&mut self, answer: Answer, errors: &[i32]) -> Judged {
        self.answered(answer, errors).map(drop)
    }

    /// Calls ioctl(2) with its argument at `pointer`. Returns the result, and the argument after the call.
    fn ioctl<T: Copy + Default>(
        &mut self,
        file: u8,
        number: u32,
        pointer: Pointer,
        argument: &T,
        direction: Direction,
        errors: &[i32],
    ) -> Result<(Answer, T), Finding> {
        let slot = self.world.slot(file);
        let sent = crate::memory::as_bytes(std::slice::from_ref(argument));
        let address = self.memory.argument.put(pointer, sent);
        let answer = sys::ioctl(self.world.fd(file), number, address);
        let mut all = vec![libc::EFAULT, libc::EINVAL];
        all.extend_from_slice(errors);
        if slot.is_none() || !self.world.exact() {
            all.push(libc::EBADF);
        }
        let answer = self.answered(answer, &all)?;
        let (back, intact) = self.memory.argument.look();
        if !intact {
            return Err("bytes beside its argument were written".into());
        }
        let same = back == &sent[..back.len()];
        let in_part = matches!(pointer, Pointer::Short(_)) && direction != Direction::In;
        // The properties of a ring are written, too, if it exists, or if another thread submits requests meanwhile.
        let refused = answer.is_err() && answer != Err(libc::EEXIST) && (answer != Err(libc::EBUSY) || self.world.exact());
        if !same && !in_part && (direction == Direction::In || refused) {
            return Err(format!("its argument was written: {back:02x?}, result {answer:?}"));
        }
        let unreadable = !matches!(pointer, Pointer::Good | Pointer::Edge | Pointer::ReadOnly);
        let unwritable = pointer == Pointer::ReadOnly && direction != Direction::In;
        if (unreadable || unwritable) && answer.is_ok() {
            return Err(format!("the call succeeded, but its argument is not accessible ({pointer:?})"));
        }
        if unreadable && direction != Direction::Out && slot.is_some() && self.world.exact() && answer != Err(libc::EFAULT) {
            return Err(format!("the call returned {answer:?}, but its argument is not accessible ({pointer:?})"));
        }
        let back = if answer.is_ok() { crate::memory::from_bytes(back) } else { *argument };
        Ok((answer, back))
    }

    /// Returns the mode of a file, if the known state is certain.
    fn surely(&self, file: u8) -> Option<Slot> {
        self.world.slot(file).filter(|_| self.world.exact())
    }
}

/// The direction of an argument.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    In,
    Out,
    InOut,
}

/// Returns an error with the finding `otherwise`, unless `condition` holds.
fn ensure(condition: bool, otherwise: impl FnOnce() -> String) -> Judged {
    if condition {
        Ok(())
    } else {
        Err(otherwise())
    }
}
