//! Mappings: created, moved, split, changed, and accessed.

use super::{ensure, Caller, Direction, Judged};
use crate::{
    memory::{foreign, in_places, own_place, place},
    ops, sys,
    uapi::{self, rdma_buffer_info, rdma_export, rdma_import},
    values::{Pointer, PAGE, PLACE_SIZE},
    world::{Buffer, Slot},
};
use libc::{
    EACCES, EAGAIN, EBADF, EBUSY, EDQUOT, EEXIST, EFAULT, EINTR, EINVAL, EIO, ENODEV, ENOMEM, EOPNOTSUPP, EOVERFLOW, EPERM,
};

/// Distance of the offsets of two handles, for handles whose offset is not known.
const WINDOW: u64 = 1 << 30;

/// The address of a place for mappings, or for memory of the program.
pub(super) fn base(own: bool, number: u8) -> u64 {
    if own {
        own_place(number)
    } else {
        place(number)
    }
}

/// A part of a place: its address and size. No other address is used.
fn part(own: bool, number: u8, page: u64, pages: u64) -> (u64, u64) {
    let offset = (page * PAGE) % PLACE_SIZE;
    (base(own, number) + offset, (pages * PAGE).min(PLACE_SIZE - offset))
}

impl Caller<'_> {
    pub(super) fn map(&mut self, op: &ops::Map) -> Judged {
        let handle = self.world.handle(op.file, op.buffer);
        let known = self.world.with(op.file, |context, _| context.find(handle).copied()).flatten();
        let number = u64::from(handle).wrapping_sub(uapi::RDMA_FIRST_BUFFER.into());
        let mappable = known.filter(|buffer| buffer.offset != uapi::RDMA_NO_OFFSET);
        let start = mappable.map_or(number.wrapping_mul(WINDOW), |buffer| buffer.offset);
        let offset = start.wrapping_add(op.page.wrapping_mul(PAGE));
        let (shared, fd) = (op.flags as i32, self.world.fd(op.file));
        let protection = i32::from(op.protection & 7);
        let answer = sys::mmap(place(op.place), op.length, protection, shared | libc::MAP_FIXED_NOREPLACE, fd, offset);
        let errors = [EACCES, EAGAIN, EBADF, EDQUOT, EEXIST, EINTR, EINVAL, ENOMEM, EOPNOTSUPP, EOVERFLOW, EPERM];
        let answer = self.answered(answer, &errors)?;
        if offset == 0 {
            self.look_at_first(op.file)?;
        }
        if answer.is_err() {
            return Ok(());
        }
        let forbidden = protection & libc::PROT_EXEC != 0 || shared & libc::MAP_SHARED == 0;
        ensure(!forbidden, || "it was mapped".into())?;
        let Some(slot) = self.surely(op.file) else {
            return Ok(());
        };
        ensure(slot.reads() && (slot.writes() || protection & libc::PROT_WRITE == 0), || "it was mapped".into())?;
        let buffer = self.world.with(op.file, |context, _| {
            let mappable = |buffer: &&Buffer| buffer.offset != uapi::RDMA_NO_OFFSET;
            let holds = |buffer: &&Buffer| (buffer.offset..buffer.offset + WINDOW).contains(&offset);
            context.buffers.iter().filter(mappable).find(holds).copied()
        });
        let length = op.length.next_multiple_of(PAGE);
        let inside = buffer.flatten().is_some_and(|buffer| offset - buffer.offset + length <= buffer.size);
        ensure(inside, || format!("{length:#x} bytes at {offset:#x} were mapped, and there is {buffer:?}"))
    }

    /// Whether the first buffer exists, also if the mapping failed.
    fn look_at_first(&mut self, file: u8) -> Judged {
        let handle = uapi::RDMA_FIRST_BUFFER;
        let wanted = rdma_buffer_info { handle, ..Default::default() };
        let number = uapi::RDMA_IOC_BUFFER_INFO;
        let (answer, got) = self.ioctl(file, number, Pointer::Good, &wanted, Direction::InOut, &[EBADF])?;
        if answer.is_ok() {
            self.world.with(file, |context, _| {
                context.buffers.retain(|buffer| buffer.handle != handle);
                context.buffers.push(Buffer { handle, size: got.size, offset: 0, writable: true });
            });
        }
        Ok(())
    }

    /// Exports a buffer, maps its first page by the new descriptor, and closes this.
    pub(super) fn export(&mut self, op: &ops::Export) -> Judged {
        // Another thread may use the number of the new descriptor as that of a file of the node.
        if !self.world.exact() {
            return Ok(());
        }
        let handle = self.world.handle(op.file, op.buffer);
        let wanted = rdma_export { handle, flags: op.flags, fd: -1, reserved: op.reserved };
        let errors = [EBADF, ENOMEM, EOPNOTSUPP];
        let (answer, got) = self.ioctl(op.file, uapi::RDMA_IOC_EXPORT, op.pointer, &wanted, Direction::InOut, &errors)?;
        let known = self.world.with(op.file, |context, _| context.find(handle).copied()).flatten();
        let is_imported = known.is_some_and(|buffer| buffer.offset == uapi::RDMA_NO_OFFSET);
        let right = op.flags == 0 && op.reserved == 0 && known.is_some() && !is_imported;
        ensure(answer.is_err() || right, || "it was accepted".into())?;
        ensure(answer != Err(EOPNOTSUPP) || is_imported, || format!("it is not supported for {known:?}"))?;
        if answer.is_err() {
            return Ok(());
        }
        let flags = libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE;
        let mapped = sys::mmap(place(op.place), PAGE, libc::PROT_READ, flags, got.fd, 0);
        let writable = self.world.slot(op.file).is_none_or(Slot::writes);
        let imported = self.import(op.to, got.fd, writable);
        let _ = sys::close(got.fd);
        self.expect(mapped, &[EACCES, EAGAIN, EEXIST, ENOMEM])?;
        imported
    }

    /// Imports a dma-buf into the context of a file. `writable`: it was exported by a file that is open for writing.
    fn import(&mut self, file: u8, fd: i32, writable: bool) -> Judged {
        let wanted = rdma_import { fd, ..Default::default() };
        let errors = [EACCES, EBADF, EDQUOT, EINTR, ENOMEM];
        let (answer, got) = self.ioctl(file, uapi::RDMA_IOC_IMPORT, Pointer::Good, &wanted, Direction::InOut, &errors)?;
        if answer.is_ok() {
            let buffer = Buffer { handle: got.handle, size: got.size, offset: uapi::RDMA_NO_OFFSET, writable };
            self.world.with(file, |context, _| context.buffers.push(buffer));
        }
        Ok(())
    }

    pub(super) fn unmap(&mut self, op: &ops::Unmap) -> Judged {
        let (address, length) = part(op.own, op.place, op.page, op.pages);
        let answer = sys::munmap(address, length);
        self.expect(answer, &[EINVAL, ENOMEM])
    }

    pub(super) fn remap(&mut self, op: &ops::Remap) -> Judged {
        let (address, length) = part(false, op.place, op.page, op.pages);
        let (to, new_length) = part(false, op.to, 0, op.new_pages);
        let flags = u64::from(op.flags & 7);
        let answer = sys::call(libc::SYS_mremap, [address, length, new_length, flags, to]);
        let answer = self.answered(answer, &[EAGAIN, EFAULT, EINVAL, ENOMEM, EPERM])?;
        let Ok(moved) = answer else {
            return Ok(());
        };
        if !in_places(moved) {
            let _ = sys::munmap(moved, new_length);
        }
        ensure(new_length <= length, || format!("{length:#x} bytes became {new_length:#x}"))
    }

    pub(super) fn protect(&mut self, op: &ops::Protect) -> Judged {
        let (address, length) = part(op.own, op.place, op.page, op.pages);
        let protection = op.protection & 7;
        let answer = sys::call(libc::SYS_mprotect, [address, length, protection.into()]);
        let answer = self.answered(answer, &[EACCES, EINVAL, ENOMEM, EPERM])?;
        let executable = i32::from(protection) & libc::PROT_EXEC != 0;
        ensure(op.own || answer.is_err() || !executable || length == 0, || "it can be executed".into())
    }

    pub(super) fn advise(&mut self, op: &ops::Advise) -> Judged {
        let (address, length) = part(op.own, op.place, op.page, op.pages);
        let answer = sys::call(libc::SYS_madvise, [address, length, op.advice.into()]);
        self.expect(answer, &[EACCES, EAGAIN, EBADF, EBUSY, EFAULT, EINTR, EINVAL, EIO, ENODEV, ENOMEM, EPERM])
    }

    pub(super) fn touch(&mut self, op: &ops::Touch) -> Judged {
        let offset = op.offset % PLACE_SIZE;
        let (address, length) = (base(op.own, op.place) + offset, op.length.min(PLACE_SIZE - offset).min(PAGE));
        let errors = [EFAULT, EINTR];
        if op.store {
            let answer = self.memory.own.store(address, length);
            self.expect(answer, &errors)?;
            return Ok(());
        }
        let loaded = self.memory.argument.load(address, length);
        let strange = loaded.map(foreign);
        self.expect(strange.map(|_| 0), &errors)?;
        match strange {
            Ok(Some((at, byte))) => Err(format!("byte {at} is {byte:#x}, which no program has written")),
            _ => Ok(()),
        }
    }
}
