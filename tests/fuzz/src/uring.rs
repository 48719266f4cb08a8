//! Rings of io_uring, and the commands that are in flight on them.

use crate::{uapi, values::Pointer, world::Verdict};
use io_uring::{
    cqueue, opcode, squeue,
    types::{CancelBuilder, Fd, SubmitArgs, Timespec},
    IoUring,
};
use std::{collections::BTreeMap, io};

/// The number of rings of a program: the first has entries of 128 bytes, the second of 64.
pub const RINGS: usize = 2;
/// The number of entries that are submitted at once, at most.
pub const ENTRIES: usize = 64;
/// The number of commands in flight, at most. There is room for their completions.
const MOST: usize = 1900;
const COMPLETIONS: u32 = 2048;

/// The position of `uring_cmd_flags` in an entry; `linux/io_uring.h`.
const COMMAND_FLAGS: usize = 28;
/// The bytes of the command area of an entry of 128 bytes, and of one of 64.
pub const LARGE_AREA: usize = 80;
pub const SMALL_AREA: usize = 16;

/// An entry of a ring that was submitted.
pub struct Pending {
    /// What it does.
    pub what: What,
    /// The context of its file.
    pub context: Option<usize>,
    /// The requests that the kernel reads, at the address that it was given.
    pub requests: Box<[uapi::rdma_request]>,
    /// The structure of SUBMIT, likewise.
    #[expect(dead_code, reason = "only the kernel reads it")]
    pub batch: Box<uapi::rdma_submit>,
    /// Whether it was issued when it was submitted, not later by a worker or after another one.
    pub steady: bool,
    /// Whether it was so, by the only thread, with the right request number, for an open file, and without flags: the state that was
    /// known then determines its result.
    pub valid: bool,
    /// Whether the kernel cannot read its structure.
    pub faults: bool,
    /// Whether its request number was changed.
    pub renumbered: bool,
    /// The number of requests that there was room for, if this is known.
    pub room: Option<usize>,
    /// The number of successful CANCELs of its context when it was submitted.
    pub cancels: u64,
}

/// What an entry does, and the expected result.
pub enum What {
    /// RDMA_IOC_TRANSFER
    Transfer(Verdict),
    /// RDMA_IOC_SUBMIT, of which this many requests are accepted, at least and at most, if this is known.
    Submit(Option<(usize, usize)>),
    /// IORING_OP_ASYNC_CANCEL
    Withdraw,
}

/// An entry of a command: what is in it besides the request number and the descriptor.
pub struct Layout {
    /// The address of the structure; 0: it is in the command area.
    pub address: u64,
    /// The command area.
    pub area: [u8; LARGE_AREA],
    /// `uring_cmd_flags`
    pub flags: u32,
    /// `IOSQE_ASYNC`, `IOSQE_IO_LINK` and others.
    pub entry_flags: u8,
}

enum Queues {
    Small(IoUring<squeue::Entry>),
    Large(IoUring<squeue::Entry128>),
}

/// Calls a method of either kind of ring.
macro_rules! both {
    ($queues:expr, $ring:ident => $value:expr) => {
        match $queues {
            Queues::Small($ring) => $value,
            Queues::Large($ring) => $value,
        }
    };
}

/// A ring.
pub struct Uring {
    queues: Queues,
    /// The process that has created it. A child does not inherit its memory.
    process: u32,
    pending: BTreeMap<u64, Pending>,
    next: u64,
}

impl Uring {
    /// Creates the ring of this number.
    pub fn open(number: usize) -> io::Result<Self> {
        let queues = if number == 0 {
            let mut builder = IoUring::<squeue::Entry128>::builder();
            Queues::Large(builder.dontfork().setup_submit_all().setup_cqsize(COMPLETIONS).build(ENTRIES as u32)?)
        } else {
            let mut builder = IoUring::<squeue::Entry>::builder();
            Queues::Small(builder.dontfork().setup_submit_all().setup_cqsize(COMPLETIONS).build(ENTRIES as u32)?)
        };
        Ok(Self { queues, process: std::process::id(), pending: BTreeMap::new(), next: 1 })
    }

    /// Returns whether this process has created it.
    pub fn is_own(&self) -> bool {
        self.process == std::process::id()
    }

    /// Returns the number of bytes of the command area.
    pub fn area(&self) -> usize {
        match self.queues {
            Queues::Small(_) => SMALL_AREA,
            Queues::Large(_) => LARGE_AREA,
        }
    }

    /// Returns the number of entries that can be submitted.
    pub fn room(&self) -> usize {
        MOST.saturating_sub(self.pending.len()).min(ENTRIES)
    }

    /// Returns the entries that have not ended.
    pub fn pending(&self) -> impl Iterator<Item = (u64, &Pending)> {
        self.pending.iter().map(|(number, pending)| (*number, pending))
    }

    /// Adds a command. There must be room.
    pub fn push(&mut self, fd: i32, number: u32, layout: &Layout, pending: Pending) {
        let user_data = self.add(pending);
        let flags = squeue::Flags::from_bits_truncate(layout.entry_flags);
        match &mut self.queues {
            Queues::Small(ring) => {
                let mut area = [0; SMALL_AREA];
                area.copy_from_slice(&layout.area[..SMALL_AREA]);
                let command = opcode::UringCmd16::new(Fd(fd), number).cmd(area).addr(Some(layout.address));
                let mut entry = command.build().flags(flags).user_data(user_data);
                set_command_flags(&mut entry, layout.flags);
                // SAFETY: What the kernel reads is in `pending`, and stays there until the command has ended, or is in a
                // `memory::Area`, which is mapped as long as the process exists. It writes nothing.
                unsafe { ring.submission().push(&entry) }.expect("there is room");
            }
            Queues::Large(ring) => {
                let command = opcode::UringCmd80::new(Fd(fd), number).cmd(layout.area).addr(Some(layout.address));
                let mut entry = command.build().flags(flags).user_data(user_data);
                set_command_flags(&mut entry, layout.flags);
                // SAFETY: As above.
                unsafe { ring.submission().push(&entry) }.expect("there is room");
            }
        }
    }

    /// Adds the cancellation of other entries. There must be room.
    pub fn push_withdraw(&mut self, target: CancelBuilder, pending: Pending) {
        let user_data = self.add(pending);
        let entry = opcode::AsyncCancel2::new(target).build().user_data(user_data);
        let pushed = match &mut self.queues {
            // SAFETY: The kernel accesses no memory for it.
            Queues::Small(ring) => unsafe { ring.submission().push(&entry) },
            // SAFETY: As above.
            Queues::Large(ring) => unsafe { ring.submission().push(&entry.into()) },
        };
        pushed.expect("there is room");
    }

    fn add(&mut self, pending: Pending) -> u64 {
        let user_data = self.next;
        self.next += 1;
        self.pending.insert(user_data, pending);
        user_data
    }

    /// Submits what was added, and waits up to this time for the end of an entry. In each system call of the thread that has submitted
    /// commands, the kernel ends those whose requests have ended.
    pub fn enter(&mut self, milliseconds: u8) -> io::Result<usize> {
        if milliseconds == 0 {
            return both!(&self.queues, ring => ring.submit());
        }
        let time = Timespec::new().nsec(u32::from(milliseconds) * 1_000_000);
        let arguments = SubmitArgs::new().timespec(&time);
        both!(&self.queues, ring => ring.submitter().submit_with_args(1, &arguments))
    }

    /// Takes the entries that have ended, and their results. Returns an error for a completion of no entry.
    pub fn take(&mut self) -> Result<Vec<(Pending, i32)>, String> {
        let ended: Vec<cqueue::Entry> = both!(&mut self.queues, ring => ring.completion().collect());
        let pending = &mut self.pending;
        let found = ended.iter().map(|entry| {
            let user_data = entry.user_data();
            let pending = pending.remove(&user_data).ok_or_else(|| format!("entry {user_data} of a ring has ended twice"))?;
            Ok((pending, entry.result()))
        });
        found.collect()
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        // A worker of io_uring may still read the structures of commands that it has not issued.
        let pending = std::mem::take(&mut self.pending);
        std::mem::forget(pending.into_values().filter(|pending| !pending.steady).collect::<Vec<_>>());
    }
}

/// Sets `uring_cmd_flags`, for which the builder has no function.
fn set_command_flags<T>(entry: &mut T, flags: u32) {
    assert!(size_of::<T>() >= COMMAND_FLAGS + size_of::<u32>());
    // SAFETY: The entry has this many bytes, and is an entry of the kernel's layout (`repr(C)`), in which all bytes are valid.
    unsafe { std::ptr::from_mut(entry).cast::<u8>().add(COMMAND_FLAGS).cast::<u32>().write_unaligned(flags) };
}

/// Returns the address of the structure for a kind of pointer for which nothing is at the address; none for other kinds.
pub fn nowhere(pointer: Pointer) -> Option<u64> {
    match pointer {
        Pointer::Kernel => Some(0xffff_8880_0010_0000),
        Pointer::Wild => Some(1 << 63),
        _ => None,
    }
}
