//! Calls on files, on the device memory as a file, and on buffers.

use super::{ensure, Caller, Direction, Judged};
use crate::{
    memory::foreign,
    ops, sys,
    uapi::{self, rdma_alloc, rdma_buffer_info, rdma_device_info, rdma_eventfd, rdma_free},
    values::{Pointer, PAGE},
    world::{self, Slot},
};
use libc::{
    E2BIG, EAGAIN, EALREADY, EBADF, EBUSY, EDQUOT, EEXIST, EFAULT, EINTR, EINVAL, ENOENT, ENOMEM, ENOSPC, ENOTTY, EOVERFLOW,
};

/// The bits of a request number that contain the size of its structure; `asm-generic/ioctl.h`.
const SIZE: u32 = 0x3fff << 16;

impl Caller<'_> {
    pub(super) fn open(&mut self, op: &ops::Open) -> Judged {
        let access = i32::from(op.access % 3);
        let flags = access | if op.nonblock { libc::O_NONBLOCK } else { 0 } | libc::O_CLOEXEC;
        let path = self.world.node.as_ptr() as u64;
        let answer = sys::call(libc::SYS_openat, [libc::AT_FDCWD as u64, path, flags as u64]);
        if let Ok(fd) = self.answered(answer, &[EINTR, ENOMEM])? {
            let slot = Slot { context: 0, access };
            self.world.replace(op.file, fd as i32, Some(slot), true);
        }
        Ok(())
    }

    pub(super) fn close(&mut self, op: &ops::Close) -> Judged {
        self.calls += 1;
        self.world.replace(op.file, -1, None, false);
        Ok(())
    }

    pub(super) fn dup(&mut self, op: &ops::Dup) -> Judged {
        let (fd, slot) = (self.world.fd(op.file), self.world.slot(op.file));
        let answer = sys::call(libc::SYS_dup, [fd as u64]);
        if let Ok(fd) = self.answered(answer, &[EBADF])? {
            self.world.replace(op.to, fd as i32, slot, false);
        }
        Ok(())
    }

    /// Passes a descriptor with SCM_RIGHTS. The kernel drops it if the receiver has no room for the control message.
    pub(super) fn pass(&mut self, op: &ops::Pass) -> Judged {
        let (fd, slot) = (self.world.fd(op.file), self.world.slot(op.file));
        let mut control = [0u64; 3];
        let mut byte = 0u8;
        let mut data = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
        // SAFETY: All zeros is an empty message.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        (message.msg_iov, message.msg_iovlen) = (&raw mut data, 1);
        (message.msg_control, message.msg_controllen) = (control.as_mut_ptr().cast(), size_of_val(&control));
        // SAFETY: There is room for a header and a descriptor in `control`.
        unsafe {
            let header = libc::CMSG_FIRSTHDR(&message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(4) as usize;
            *libc::CMSG_DATA(header).cast::<i32>() = fd;
        }
        let [one, other] = self.world.sockets.map(|fd| fd as u64);
        let quick = libc::MSG_DONTWAIT as u64;
        let sent = sys::call(libc::SYS_sendmsg, [one, &raw const message as u64, quick]);
        if self.answered(sent, &[EBADF, EAGAIN, EINTR])?.is_err() {
            return Ok(());
        }
        control = [0; 3];
        (message.msg_control, message.msg_controllen) = (control.as_mut_ptr().cast(), size_of_val(&control));
        if op.lost {
            (message.msg_control, message.msg_controllen) = (std::ptr::null_mut(), 0);
        }
        let flags = quick | libc::MSG_CMSG_CLOEXEC as u64;
        let got = sys::call(libc::SYS_recvmsg, [other, &raw mut message as u64, flags]);
        if self.answered(got, &[EAGAIN, EINTR])?.is_ok() && !op.lost && message.msg_controllen > 0 {
            // The descriptor is in the third word, after the two words of the header.
            self.world.replace(op.to, control[2] as i32, slot, false);
        }
        Ok(())
    }

    pub(super) fn info(&mut self, op: &ops::Info) -> Judged {
        let nothing = rdma_device_info::default();
        let (answer, info) = self.ioctl(op.file, uapi::RDMA_IOC_DEVICE_INFO, op.pointer, &nothing, Direction::Out, &[])?;
        let model = self.world.model;
        let good = info.abi_version == uapi::RDMA_ABI_VERSION
            && info.device_memory_size == model.memory
            && info.queue_depth == uapi::RDMA_QUEUE_DEPTH
            && info.max_buffer_size == uapi::RDMA_MAX_BUFFER_SIZE.into()
            && (info.engine_depth, info.address_alignment, info.length_alignment) == (model.depth, 1, 1)
            && info.capabilities == model.capabilities
            && info.reserved == [0; 3];
        ensure(answer.is_err() || good, || format!("it returned {info:?}"))
    }

    pub(super) fn alloc(&mut self, op: &ops::Alloc) -> Judged {
        let wanted = rdma_alloc { size: op.size, flags: op.flags, reserved: [0, op.reserved], ..Default::default() };
        let errors = [EDQUOT, EINTR, ENOMEM];
        let (answer, got) = self.ioctl(op.file, uapi::RDMA_IOC_ALLOC, op.pointer, &wanted, Direction::InOut, &errors)?;
        if answer.is_err() {
            return Ok(());
        }
        let wrong = op.size == 0 || op.size > uapi::RDMA_MAX_BUFFER_SIZE.into() || op.flags != 0 || op.reserved != 0;
        ensure(!wrong, || "it was accepted".into())?;
        let good = got.size == op.size.next_multiple_of(PAGE)
            && got.mmap_offset % PAGE == 0
            && got.mmap_offset != 0
            && ![uapi::RDMA_NO_BUFFER, uapi::RDMA_FIRST_BUFFER].contains(&got.handle)
            && got.flags == 0
            && got.reserved == [0; 2];
        ensure(good, || format!("it returned {got:?}"))?;
        let buffer = world::Buffer { handle: got.handle, size: got.size, offset: got.mmap_offset, writable: true };
        self.add(op.file, buffer)
    }

    /// Adds a new buffer to the known state.
    pub(super) fn add(&self, file: u8, buffer: world::Buffer) -> Judged {
        let exact = self.world.exact();
        let added = self.world.with(file, |context, _| {
            let known = context.find(buffer.handle).is_some();
            context.buffers.retain(|other| other.handle != buffer.handle);
            context.buffers.push(buffer);
            !known
        });
        ensure(added != Some(false) || !exact, || format!("handle {} is in use already", buffer.handle))
    }

    pub(super) fn free(&mut self, op: &ops::Free) -> Judged {
        let handle = self.world.handle(op.file, op.buffer);
        let request = rdma_free { handle, flags: op.flags, reserved: op.reserved };
        let (answer, _) = self.ioctl(op.file, uapi::RDMA_IOC_FREE, op.pointer, &request, Direction::In, &[])?;
        let known = self.world.with(op.file, |context, _| {
            let known = context.find(handle).is_some();
            if answer.is_ok() {
                context.buffers.retain(|buffer| buffer.handle != handle);
            }
            known
        });
        let allowed = op.flags == 0 && op.reserved == 0;
        let right = known == Some(true) && allowed;
        ensure(answer.is_err() || allowed, || "it was accepted".into())?;
        ensure(answer.is_ok() == right || !self.sound(op.file, op.pointer), || {
            format!("it returned {answer:?}, and the handle exists: {known:?}")
        })
    }

    /// Returns whether the known state determines a result: the file is open, its argument is readable, and no other thread uses it.
    pub(super) fn sound(&self, file: u8, pointer: Pointer) -> bool {
        let readable = matches!(pointer, Pointer::Good | Pointer::Edge | Pointer::ReadOnly);
        readable && self.surely(file).is_some()
    }

    pub(super) fn buffer(&mut self, op: &ops::Buffer) -> Judged {
        let handle = self.world.handle(op.file, op.buffer);
        let wanted = rdma_buffer_info { handle, flags: op.flags, reserved: [op.reserved, 0], ..Default::default() };
        let (answer, got) = self.ioctl(op.file, uapi::RDMA_IOC_BUFFER_INFO, op.pointer, &wanted, Direction::InOut, &[])?;
        let known = self.world.with(op.file, |context, _| context.find(handle).copied()).flatten();
        let right = op.flags == 0 && op.reserved == 0;
        ensure(answer.is_err() || right, || "it was accepted".into())?;
        if self.sound(op.file, op.pointer) && op.pointer != Pointer::ReadOnly {
            ensure(answer.is_ok() == (right && known.is_some()), || format!("it returned {answer:?}, expected is {known:?}"))?;
        }
        let Some(known) = known.filter(|_| answer.is_ok() && self.world.exact()) else {
            return Ok(());
        };
        let good = got.size == known.size && got.mmap_offset == known.offset && got.handle == handle && got.reserved == [0; 2];
        ensure(good, || format!("it returned {got:?}, expected is {known:?}"))
    }

    pub(super) fn eventfd(&mut self, op: &ops::Eventfd) -> Judged {
        let request = rdma_eventfd { fd: self.world.descriptor(op.fd), flags: op.flags, reserved: op.reserved };
        let (answer, _) = self.ioctl(op.file, uapi::RDMA_IOC_EVENTFD, op.pointer, &request, Direction::In, &[EBADF, ENOMEM])?;
        use crate::values::Descriptor::{Eventfd, None};
        let right = op.flags == 0 && op.reserved == 0 && (matches!(op.fd, Eventfd(_) | None) || request.fd == -1);
        ensure(answer.is_err() || right, || "it was accepted".into())
    }

    pub(super) fn unknown(&mut self, op: &ops::Unknown) -> Judged {
        // Skip the numbers of the driver, and those that the kernel handles for all files, such as FIOCLEX ('T', 'f', 0, ...).
        if ops::NUMBERS.contains(&op.number) || (op.number >> 8) & 0xff != uapi::RDMA_IOC_MAGIC {
            return Ok(());
        }
        let address = self.memory.argument.put(op.pointer, &[0; 72]);
        let answer = sys::ioctl(self.world.fd(op.file), op.number, address);
        // A number of the driver, with another size of the structure.
        if ops::NUMBERS.iter().any(|number| (number ^ op.number) & !SIZE == 0) {
            let is = |number: u32| (number ^ op.number) & !SIZE == 0;
            let created = is(uapi::RDMA_IOC_COMPLETION_RING) && matches!(answer, Ok(_) | Err(EEXIST));
            // Zeros are a valid structure of CANCEL: the requests with cookie 0.
            let cancelled = is(uapi::RDMA_IOC_CANCEL) && answer.is_ok_and(|count| count > 0);
            self.world.with(op.file, |context, _| {
                context.ring |= created;
                context.cancels += u64::from(cancelled);
            });
            return self.expect(answer, &[E2BIG, EAGAIN, EALREADY, EBADF, EBUSY, EEXIST, EFAULT, EINVAL, ENOENT, ENOMEM, ENOTTY]);
        }
        let answer = self.answered(answer, &[ENOTTY, EBADF])?;
        let (back, intact) = self.memory.argument.look();
        ensure(answer.is_err(), || "it was accepted".into())?;
        ensure(intact && back.iter().all(|byte| *byte == 0), || "it wrote its argument".into())
    }

    pub(super) fn read(&mut self, op: &ops::Read) -> Judged {
        // The memory is no larger than this, but the count may be.
        let length = op.length.min(PAGE + 64) as usize;
        let address = self.memory.argument.put(op.pointer, &[0xe5; PAGE as usize + 64][..length]);
        let fd = self.world.fd(op.file) as u64;
        let answer = match op.at {
            Some(at) => sys::call(libc::SYS_pread64, [fd, address, op.length, at]),
            None => sys::call(libc::SYS_read, [fd, address, op.length]),
        };
        let errors = [EAGAIN, EBADF, EINTR, EINVAL, ENOMEM, EDQUOT, EOVERFLOW, libc::EFAULT];
        let answer = self.answered(answer, &errors)?;
        let (back, intact) = self.memory.argument.look();
        ensure(intact, || "bytes beside its buffer were written".into())?;
        if let Some((at, byte)) = foreign(back) {
            return Err(format!("it read {byte:#x} at byte {at}, which no program has written"));
        }
        let most = op.length.min(self.world.model.memory.saturating_sub(op.at.unwrap_or(0)));
        ensure(answer.unwrap_or(0) <= most, || format!("it read {answer:?} bytes"))
    }

    pub(super) fn write(&mut self, op: &ops::Write) -> Judged {
        let address = self.memory.own.own(op.pointer, op.length);
        let fd = self.world.fd(op.file) as u64;
        let answer = match op.at {
            Some(at) => sys::call(libc::SYS_pwrite64, [fd, address, op.length, at]),
            None => sys::call(libc::SYS_write, [fd, address, op.length]),
        };
        let errors = [EAGAIN, EBADF, EINTR, EINVAL, ENOMEM, EDQUOT, ENOSPC, EOVERFLOW, libc::EFAULT, libc::EFBIG];
        let answer = self.answered(answer, &errors)?;
        let most = op.length.min(self.world.model.memory.saturating_sub(op.at.unwrap_or(0)));
        ensure(answer.unwrap_or(0) <= most, || format!("it wrote {answer:?} bytes"))?;
        let surely = self.surely(op.file).is_some_and(Slot::writes);
        let outside = op.at.is_some_and(|at| at >= self.world.model.memory) && op.length > 0;
        ensure(!(surely && outside && answer.is_ok()), || "it was accepted".into())
    }

    pub(super) fn seek(&mut self, op: &ops::Seek) -> Judged {
        let fd = self.world.fd(op.file) as u64;
        let answer = sys::call(libc::SYS_lseek, [fd, op.offset as u64, op.whence.into()]);
        self.expect(answer, &[EBADF, EINVAL, libc::ENXIO, EOVERFLOW])
    }

    pub(super) fn poll(&mut self, op: &ops::Poll) -> Judged {
        let mut one = libc::pollfd { fd: self.world.fd(op.file), events: op.events.into(), revents: 0 };
        let time = u64::from(op.milliseconds);
        let answer = sys::call(libc::SYS_poll, [&raw mut one as u64, 1, time]);
        self.expect(answer, &[EINTR])?;
        let gone = one.revents & (libc::POLLERR | libc::POLLHUP) != 0;
        ensure(!gone, || format!("it reports that the device is gone: {:#x}", one.revents))
    }

    /// Reads the fdinfo of a file, if no other thread opens and closes files. Otherwise the file of /proc could get the number of a
    /// closed file of the node, and another thread would use it.
    pub(super) fn fdinfo(&mut self, op: &ops::Fdinfo) -> Judged {
        if !self.world.exact() {
            return Ok(());
        }
        let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", self.world.fd(op.file)));
        let error = text.as_ref().err().map(|error| error.raw_os_error().unwrap_or(0));
        self.expect(error.map_or(Ok(0), Err), &[libc::ENOENT])?;
        let (Ok(text), Some(known)) = (text, self.world.with(op.file, |context, _| context.buffers.len())) else {
            return Ok(());
        };
        let reported = text.lines().find_map(|line| line.strip_prefix("rdma-buffers:\t")?.parse().ok());
        ensure(reported == Some(known), || format!("the file has {known} buffers, but fdinfo reports {reported:?}"))
    }
}
