//! Completion rings: created, and scribbled.

use super::{ensure, Caller, Direction, Judged};
use crate::{
    ops, sys,
    uapi::{self, rdma_completion_ring},
};
use libc::{E2BIG, EACCES, EAGAIN, EBADF, EBUSY, EEXIST, EINTR, ENOMEM};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

impl Caller<'_> {
    pub(super) fn ring(&mut self, op: &ops::Ring) -> Judged {
        let wanted = rdma_completion_ring { flags: op.flags, reserved: [0, 0, 0, 0, op.reserved], ..Default::default() };
        let errors = [E2BIG, EBUSY, EEXIST, EINTR, ENOMEM];
        let number = uapi::RDMA_IOC_COMPLETION_RING;
        let (answer, ring) = self.ioctl(op.file, number, op.pointer, &wanted, Direction::InOut, &errors)?;
        let right = op.flags == 0 && op.reserved == 0;
        ensure(right || answer.is_err(), || "it was accepted".into())?;
        let known = answer.is_ok() || answer == Err(EEXIST);
        if self.sound(op.file, op.pointer) && known {
            let had = self.world.with(op.file, |context, _| std::mem::replace(&mut context.ring, true));
            ensure(had != Some(answer.is_ok()), || format!("{answer:?}, and a ring was there: {had:?}"))?;
        }
        // Another thread may replace the file: then, what it is not surely known for must not be judged.
        self.world.with(op.file, |context, _| context.ring |= known);
        if answer.is_ok() {
            self.scribble(op, &ring)
        } else {
            Ok(())
        }
    }

    /// Does what a hostile program does: stores a head, and a word at any position.
    fn scribble(&mut self, op: &ops::Ring, ring: &rdma_completion_ring) -> Judged {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let answer = sys::mmap(0, ring.size, protection, libc::MAP_SHARED, self.world.fd(op.file), ring.mmap_offset);
        let Ok(address) = self.answered(answer, &[EACCES, EAGAIN, EBADF, libc::EINVAL, ENOMEM])? else {
            return Ok(());
        };
        let word = |offset: u64| {
            // SAFETY: The ring was mapped above, and all offsets are within it.
            unsafe { AtomicU32::from_ptr(std::ptr::with_exposed_provenance_mut((address + offset) as usize)) }
        };
        let tail = word(ring.tail_offset.into()).load(Relaxed);
        word(ring.head_offset.into()).store(tail.wrapping_sub(op.behind), Relaxed);
        if let Some(at) = op.at {
            word(at % ring.size / 4 * 4).store(op.behind, Relaxed);
        }
        let answer = sys::munmap(address, ring.size);
        self.expect(answer, &[])
    }
}
