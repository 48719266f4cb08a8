//! Memory of the program: mapped, replaced, and registered as a buffer.

use super::{ensure, mappings::base, Caller, Direction, Judged};
use crate::{
    memory::{as_bytes, own_place},
    ops, sys,
    uapi::{self, rdma_register},
    values::{Kind, PAGE, PLACE_SIZE},
    world,
};
use libc::{EDQUOT, EINTR, EINVAL, ENOMEM, EOPNOTSUPP, MAP_ANONYMOUS, MAP_HUGETLB, MAP_PRIVATE, MAP_SHARED};
use std::sync::atomic::Ordering::Relaxed;

/// Bytes of new memory, at most.
const MOST: u64 = 64 * PAGE;

impl Caller<'_> {
    pub(super) fn provide(&mut self, op: &ops::Provide) -> Judged {
        self.memory_of(op.kind, op.place, op.pages)
    }

    /// Maps memory of this kind.
    fn memory_of(&mut self, kind: Kind, place: u8, pages: u64) -> Judged {
        let (address, length) = (own_place(place), (pages * PAGE).min(PLACE_SIZE));
        let (file, all) = self.memory.own.file();
        let from = |page: u8| (file, u64::from(page) % all * PAGE);
        let (flags, (fd, offset)) = match kind {
            Kind::Private | Kind::ReadOnly => (MAP_PRIVATE | MAP_ANONYMOUS, (-1, 0)),
            Kind::Shared => (MAP_SHARED | MAP_ANONYMOUS, (-1, 0)),
            Kind::Huge => (MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, (-1, 0)),
            Kind::File(page) => (MAP_SHARED, from(page)),
            Kind::Copy(page) => (MAP_PRIVATE, from(page)),
            Kind::None => return self.expect(sys::munmap(address, length), &[EINVAL, ENOMEM]),
        };
        let writable = if kind == Kind::ReadOnly { 0 } else { libc::PROT_WRITE };
        let protection = libc::PROT_READ | writable;
        if kind == Kind::Huge {
            self.world.huge.store(true, Relaxed);
        }
        let answer = sys::mmap(address, length, protection, flags | libc::MAP_FIXED, fd, offset);
        self.expect(answer, &[EINVAL, ENOMEM])?;
        // The rest is loaded by REGISTER.
        let answer = self.memory.own.store(address, PAGE / 2);
        self.expect(answer, &[libc::EFAULT, EINTR])
    }

    pub(super) fn register(&mut self, op: &ops::Register) -> Judged {
        let mut offset = op.offset % PLACE_SIZE;
        if let (Some(kind), true) = (op.fresh, op.own) {
            offset %= PAGE;
            self.memory_of(kind, op.place, (offset + op.size.min(MOST)).div_ceil(PAGE))?;
        }
        let address = base(op.own, op.place) + offset;
        let wanted = rdma_register { address, size: op.size, flags: op.flags, reserved: [op.reserved, 0], ..Default::default() };
        let errors = [EDQUOT, EINTR, ENOMEM, EOPNOTSUPP];
        let (answer, got) = self.ioctl(op.file, uapi::RDMA_IOC_REGISTER, op.pointer, &wanted, Direction::InOut, &errors)?;
        // An I/OAT device accesses all memory.
        ensure(answer != Err(EOPNOTSUPP) || self.world.model.memory > 0, || "the device cannot access it".into())?;
        if answer.is_err() {
            return Ok(());
        }
        let allowed = [0, uapi::RDMA_REGISTER_READ_ONLY].contains(&op.flags) && op.reserved == 0;
        let wrong = op.size == 0 || op.size > uapi::RDMA_MAX_BUFFER_SIZE.into() || !allowed;
        ensure(!wrong, || "it was accepted".into())?;
        ensure(op.own, || "memory of a device was registered".into())?;
        let others = [uapi::RDMA_NO_BUFFER, uapi::RDMA_FIRST_BUFFER];
        let same = rdma_register { handle: got.handle, ..wanted };
        let echoed = as_bytes(&[got]) == as_bytes(&[same]);
        ensure(echoed && !others.contains(&got.handle), || format!("it returned {got:?}"))?;
        let (offset, writable) = (uapi::RDMA_NO_OFFSET, op.flags == 0);
        self.add(op.file, world::Buffer { handle: got.handle, size: op.size, offset, writable })
    }
}
