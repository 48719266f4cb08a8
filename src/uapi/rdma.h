/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * rdma: DMA buffers and a DMA engine for userspace.
 *
 * (Rust DMA. It has nothing to do with InfiniBand's RDMA.)
 *
 * The words used here and everywhere in the project:
 *
 *   device         one PCI function, QEMU's `edu`; the node /dev/rdmaN
 *   engine         its one DMA channel; it does one transfer at a time
 *   device memory  bytes of its own, RDMA_DEVICE_MEMORY_SIZE of them, reached by
 *                  read(2), write(2), lseek(2) on the node and by transfers
 *   context        one open file of the node; owns buffers
 *   buffer         coherent memory from the kernel DMA API, zeroed, whole pages
 *   handle         names a buffer within its context
 *   mapping        a buffer, or a part of it, in a program's address space
 *   request        one piece of work for the engine
 *   completion     the result of a request that was submitted
 *
 * The smallest program opens the node and calls mmap(2) with MAP_SHARED at
 * offset 0: that makes the context's first buffer, of that length, under the
 * handle RDMA_FIRST_BUFFER. Every other buffer comes from RDMA_IOC_ALLOC, which
 * answers with the offset to give to mmap(2).
 *
 * A program that has nothing else to do has the engine do one request and waits
 * for it (RDMA_IOC_TRANSFER). All others submit requests (RDMA_IOC_SUBMIT), go on,
 * are told by poll(2), epoll(7) or an eventfd(2) (RDMA_IOC_EVENTFD), and collect
 * the completions (RDMA_IOC_WAIT).
 *
 * Calls that fail answer -1 and errno; the others 0, or a number where that is
 * said. Every call can answer
 *   E2BIG   a structure is larger than this driver's, and bytes that the driver
 *           does not know are not 0
 *   EFAULT  an argument points to memory that is not the caller's
 *   EINVAL  a reserved field or an unknown flag is not 0; a structure is smaller
 *           than in the first version of this interface
 *   ENODEV  the device is gone: unbound, unplugged, or its driver shut down
 *   ENOTTY  the request number is unknown to this driver
 * and what is listed with it below.
 *
 * All structures are the same for 32-bit and 64-bit programs. Later versions may
 * add fields to their ends; 0 in a new field means what the call did without it. A
 * program and a driver that were built with different versions of rdma.h work
 * together: a request number tells the size of its structure, and calls that take
 * an array are told the size of its elements. The driver takes fields that a
 * program does not have to be 0, and writes no more than the program's structure
 * has room for; fields that it does not know itself must be 0, and are set to 0 in
 * what it writes.
 */
#ifndef RDMA_H
#define RDMA_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Version of this interface. It grows only: what works today goes on working. */
#define RDMA_ABI_VERSION 1

/*
 * Bytes of device memory of `edu`; rdma_device_info.device_memory_size has those of
 * any device. Source: QEMU, docs/specs/edu.rst, "DMA".
 */
#define RDMA_DEVICE_MEMORY_SIZE 4096

/* No buffer: no buffer has this handle. */
#define RDMA_NO_BUFFER 0

/* The handle of the buffer that the first mmap(2) at offset 0 makes. */
#define RDMA_FIRST_BUFFER 1

/* Bytes of the largest buffer. */
#define RDMA_MAX_BUFFER_SIZE (1ULL << 30)

/*
 * Requests that a context can have submitted and whose completions it has not yet
 * collected: there is always room for the completion of what was accepted.
 */
#define RDMA_QUEUE_DEPTH 1024

/* Bytes of the largest element of an array; request_size, completion_size. */
#define RDMA_MAX_ELEMENT_SIZE 4096

/* Operations; rdma_request.operation. */
#define RDMA_OP_TO_DEVICE 1   /* buffer to device memory */
#define RDMA_OP_FROM_DEVICE 2 /* device memory to buffer */
#define RDMA_OP_COPY 3        /* buffer to buffer */

/*
 * What not every device can do; rdma_device_info.capabilities. `edu` can do none of
 * it.
 */
#define RDMA_CAP_DIRECT_COPY 0x1 /* copies leave the device memory as it is */
#define RDMA_CAP_ABORT 0x2       /* a transfer that has begun can be cancelled */

/*
 * How the device tells the driver that a transfer is over;
 * rdma_device_info.interrupt.
 */
#define RDMA_INTERRUPT_INTX 1 /* a line, perhaps shared with other devices */
#define RDMA_INTERRUPT_MSI 2  /* a message */

/**
 * struct rdma_device_info - what device and driver can do (RDMA_IOC_DEVICE_INFO)
 * @abi_version:        out: RDMA_ABI_VERSION of the driver
 * @operations:         out: the operations that there are, 1 << RDMA_OP_* of each
 * @capabilities:       out: RDMA_CAP_* of the device
 * @device_memory_size: out: bytes of device memory; 0: it has none
 * @max_transfer_size:  out: bytes that the engine moves in one transfer, at most;
 *                      longer copies are cut into pieces of this size
 * @max_buffer_size:    out: RDMA_MAX_BUFFER_SIZE of the driver
 * @queue_depth:        out: RDMA_QUEUE_DEPTH of the driver
 * @engine_depth:       out: transfers that the engine can be given at a time
 * @address_alignment:  out: a request's offsets must be multiples of this; a power
 *                      of two
 * @length_alignment:   out: a request's length must be a multiple of this; a power
 *                      of two
 * @dma_bits:           out: the device reaches bus addresses below 2^dma_bits
 * @interrupt:          out: RDMA_INTERRUPT_INTX or RDMA_INTERRUPT_MSI
 * @hardware_version:   out: major << 8 | minor, from the identification register
 * @reserved:           out: 0
 *
 * `edu` has an @engine_depth of 1, and no alignment: both fields are 1.
 */
struct rdma_device_info {
	__u32 abi_version;
	__u32 operations;
	__u64 capabilities;
	__u64 device_memory_size;
	__u64 max_transfer_size;
	__u64 max_buffer_size;
	__u32 queue_depth;
	__u32 engine_depth;
	__u32 address_alignment;
	__u32 length_alignment;
	__u32 dma_bits;
	__u32 interrupt;
	__u32 hardware_version;
	__u32 reserved[3];
};

/**
 * struct rdma_alloc - a new buffer (RDMA_IOC_ALLOC)
 * @size:        in: bytes wanted, 1 to RDMA_MAX_BUFFER_SIZE;
 *               out: bytes there are, @size rounded up to whole pages
 * @mmap_offset: out: the offset to give to mmap(2); the buffer's page n is at
 *               @mmap_offset + n * page size
 * @handle:      out: the buffer's handle, neither RDMA_NO_BUFFER nor
 *               RDMA_FIRST_BUFFER
 * @flags:       in: 0
 * @reserved:    in: 0
 *
 * The memory is charged to the user (RLIMIT_MEMLOCK, unless the caller has
 * CAP_IPC_LOCK), to the context, to the device and to the memory cgroup of the
 * caller, until it is freed. The kernel log says why when there is none.
 *
 * EDQUOT  the context's or the device's quota is used up (the module's parameters
 *         context_mib and device_mib)
 * EINTR   a fatal signal came while the memory was being gathered
 * EINVAL  @size is 0 or too large
 * ENOMEM  there is no such memory within the device's reach, or it is more than
 *         RLIMIT_MEMLOCK or the memory cgroup allows
 */
struct rdma_alloc {
	__u64 size;
	__u64 mmap_offset;
	__u32 handle;
	__u32 flags;
	__u64 reserved[2];
};

/**
 * struct rdma_free - give a handle back (RDMA_IOC_FREE)
 * @handle:   in: the buffer's handle
 * @flags:    in: 0
 * @reserved: in: 0
 *
 * The handle is gone at once. The memory stays for as long as something holds
 * it: mappings stay valid until munmap(2), and a transfer in flight ends first.
 *
 * EINVAL  no buffer has this handle
 */
struct rdma_free {
	__u32 handle;
	__u32 flags;
	__u64 reserved;
};

/**
 * struct rdma_buffer_info - what is known of a buffer (RDMA_IOC_BUFFER_INFO)
 * @handle:      in: the buffer's handle
 * @flags:       in: 0
 * @size:        out: bytes
 * @mmap_offset: out: the offset to give to mmap(2)
 * @mappings:    out: mappings that there are of it, or of parts of it, in all
 *               processes
 * @requests:    out: requests on it that are waiting or at work
 * @reserved:    in: 0; out: 0
 *
 * EINVAL  no buffer has this handle
 */
struct rdma_buffer_info {
	__u32 handle;
	__u32 flags;
	__u64 size;
	__u64 mmap_offset;
	__u32 mappings;
	__u32 requests;
	__u64 reserved[2];
};

/*
 * rdma_request.flags, for RDMA_IOC_SUBMIT: the next request of the array starts
 * only if this one has succeeded; otherwise it comes back with ECANCELED.
 */
#define RDMA_REQUEST_LINK 0x1

/**
 * struct rdma_request - one piece of work for the engine
 * @operation:          in: RDMA_OP_TO_DEVICE, RDMA_OP_FROM_DEVICE or RDMA_OP_COPY
 * @flags:              in: 0, or RDMA_REQUEST_LINK (RDMA_IOC_SUBMIT only)
 * @source:             in: the handle of the buffer to read;
 *                      RDMA_NO_BUFFER for RDMA_OP_FROM_DEVICE
 * @destination:        in: the handle of the buffer to write;
 *                      RDMA_NO_BUFFER for RDMA_OP_TO_DEVICE
 * @source_offset:      in: first byte to read, within the source buffer or the
 *                      device memory
 * @destination_offset: in: first byte to write, within the destination buffer or
 *                      the device memory
 * @length:             in: bytes to move, at least 1
 * @cookie:             in: anything; comes back in the completion
 *                      (RDMA_IOC_TRANSFER has none, and ignores it)
 * @reserved:           in: 0
 *
 * RDMA_IOC_TRANSFER does one request and returns when it is done.
 *
 * The requests of a context are done one after the other, in the order in which
 * they came. The engine goes round the contexts that have any, a piece each.
 *
 * RDMA_OP_COPY takes any length. Without RDMA_CAP_DIRECT_COPY it goes through the
 * device memory and overwrites it. Its two ranges must not overlap.
 *
 * Device memory belongs to the user (uid) who wrote it last: what another user
 * left there reads as zeros.
 *
 * EAGAIN    RDMA_IOC_TRANSFER, and the file is O_NONBLOCK
 * EBADF     RDMA_OP_TO_DEVICE and RDMA_OP_COPY need a file opened for writing,
 *           RDMA_OP_FROM_DEVICE one opened for reading
 * EINTR     a signal handler ran while the engine was at work on this request;
 *           what has arrived in the destination range is undefined. (Before the
 *           engine starts, SA_RESTART and being stopped restart the call; after
 *           that only being stopped does. What is no signal to the program, as a
 *           tracer, a frozen control group or its own io_uring, waits until the
 *           request is done.)
 * EINVAL    no such operation or handle; RDMA_OP_TO_DEVICE or RDMA_OP_FROM_DEVICE
 *           with two buffers, or on a device that has no memory; a range that is
 *           empty or not wholly inside its buffer or the device memory; overlapping
 *           ranges
 * EIO       an earlier transfer never ended, and the engine is not usable; or the
 *           device was no bus master, and has moved nothing
 * ENOMEM    no memory for the request itself
 * ETIMEDOUT the transfer did not end within a second. The buffer stays with the
 *           device until it does.
 */
struct rdma_request {
	__u32 operation;
	__u32 flags;
	__u32 source;
	__u32 destination;
	__u64 source_offset;
	__u64 destination_offset;
	__u64 length;
	__u64 cookie;
	__u64 reserved[2];
};

/**
 * struct rdma_submit - queue requests (RDMA_IOC_SUBMIT)
 * @requests:     in: address of an array of struct rdma_request
 * @count:        in: how many, 1 to RDMA_QUEUE_DEPTH
 * @request_size: in: sizeof(struct rdma_request): bytes from one request of the
 *                array to the next, up to RDMA_MAX_ELEMENT_SIZE
 * @flags:        in: 0
 * @reserved:     in: 0
 *
 * Answers how many were accepted, from the first one on; it never waits for the
 * engine. Where that is less than @count, submit the rest again to learn why, or
 * when there is room. Requests that are linked (RDMA_REQUEST_LINK) are accepted all
 * or not at all.
 *
 * If not even the first one can be accepted, the errors are those of struct
 * rdma_request, and
 * EAGAIN  RDMA_QUEUE_DEPTH requests wait, are at work, or are completed and not
 *         yet collected
 * E2BIG   @request_size is too large
 * EINVAL  @count is 0 or too large, or @request_size is too small; the last request
 *         of the array is linked to a next one
 */
struct rdma_submit {
	__u64 requests;
	__u32 count;
	__u32 request_size;
	__u32 flags;
	__u32 reserved;
};

/**
 * struct rdma_completion - how a request that was submitted has ended
 * @cookie:   out: that of the request
 * @bytes:    out: bytes that have arrived; the request's length if all went well
 * @status:   out: 0, or an errno as a negative number:
 *            -ECANCELED  cancelled, or linked to one that has not succeeded
 *            -EIO        an earlier transfer never ended, or the device was no bus
 *                        master, and has moved nothing
 *            -ENODEV     the device has gone before the end
 *            -ETIMEDOUT  the transfer did not end within a second
 * @reserved: out: 0
 */
struct rdma_completion {
	__u64 cookie;
	__u64 bytes;
	__s32 status;
	__u32 reserved;
};

/* rdma_wait.deadline_ns: there is none. */
#define RDMA_WAIT_FOREVER 0x7fffffffffffffffLL

/**
 * struct rdma_wait - collect completions (RDMA_IOC_WAIT)
 * @completions:     in: address of an array of struct rdma_completion, to be filled
 * @min:             in: wait until so many are there, up to RDMA_QUEUE_DEPTH;
 *                   0: do not wait
 * @max:             in: collect no more than so many, at least 1 and @min
 * @completion_size: in: sizeof(struct rdma_completion): bytes from one completion of
 *                   the array to the next, up to RDMA_MAX_ELEMENT_SIZE
 * @flags:           in: 0
 * @deadline_ns:     in: wait no longer than until this time of CLOCK_MONOTONIC
 *                   (clock_gettime(2)), in nanoseconds; 0, or a time in the past: do
 *                   not wait; RDMA_WAIT_FOREVER: no deadline
 * @reserved:        in: 0
 *
 * Answers how many were collected, in the order in which they were completed:
 * less than @min if the time is over or a signal handler is to run, or the device
 * is gone and no more will come. What cannot be written to @completions is not lost:
 * it is collected next time.
 *
 * A call that is restarted, as by SA_RESTART, waits for the same deadline.
 *
 * E2BIG   @completion_size is too large
 * EAGAIN  nothing is there, and the file is O_NONBLOCK. (With O_NONBLOCK no call
 *         waits, whatever @min and @deadline_ns say.)
 * EINTR   a signal handler without SA_RESTART ran, and nothing is there. (What runs
 *         no handler does not end the call, as being stopped, a tracer or a frozen
 *         control group.)
 * EINVAL  @max is 0 or less than @min, @min is over RDMA_QUEUE_DEPTH, or
 *         @completion_size is too small
 * ENODEV  the device is gone, and all completions are collected
 */
struct rdma_wait {
	__u64 completions;
	__u32 min;
	__u32 max;
	__u32 completion_size;
	__u32 flags;
	__s64 deadline_ns;
	__u64 reserved;
};

/* rdma_cancel.flags: cancel all requests of the context, whatever their cookies. */
#define RDMA_CANCEL_ALL 0x1

/**
 * struct rdma_cancel - cancel requests that were submitted (RDMA_IOC_CANCEL)
 * @cookie:   in: that of the requests; 0 with RDMA_CANCEL_ALL
 * @flags:    in: 0 or RDMA_CANCEL_ALL
 * @reserved: in: 0
 *
 * Answers how many were cancelled: those, and the ones that are linked to them.
 * Each comes back at once as a completion, with ECANCELED. A request that the
 * engine has begun with cannot be taken back: it goes on to its end, and its
 * completion says how that was. Requests of RDMA_IOC_TRANSFER are not cancelled.
 *
 * EALREADY  the engine has begun with the only request of this cookie
 * EINVAL    a @cookie with RDMA_CANCEL_ALL
 * ENOENT    no request of this cookie is waiting or at work
 */
struct rdma_cancel {
	__u64 cookie;
	__u32 flags;
	__u32 reserved;
};

/**
 * struct rdma_eventfd - signal completions by an eventfd (RDMA_IOC_EVENTFD)
 * @fd:       in: an eventfd(2); -1: none
 * @flags:    in: 0
 * @reserved: in: 0
 *
 * From now on, 1 is added to the counter of @fd when requests are completed, and
 * when the device is gone. Requests that are completed together, as by
 * RDMA_IOC_CANCEL, may add 1 for all: the counter says that there is something to
 * collect, and not how much.
 *
 * A context has one at most; the new one replaces the old one. The descriptor can
 * be closed afterwards.
 *
 * EBADF   @fd is not open
 * EINVAL  @fd is not an eventfd
 */
struct rdma_eventfd {
	__s32 fd;
	__u32 flags;
	__u64 reserved;
};

/* 0xED, as in the device's identification; free in ioctl-number.rst. */
#define RDMA_IOC_MAGIC 0xED

#define RDMA_IOC_DEVICE_INFO _IOR(RDMA_IOC_MAGIC, 0x00, struct rdma_device_info)
#define RDMA_IOC_ALLOC _IOWR(RDMA_IOC_MAGIC, 0x10, struct rdma_alloc)
#define RDMA_IOC_FREE _IOW(RDMA_IOC_MAGIC, 0x11, struct rdma_free)
#define RDMA_IOC_BUFFER_INFO _IOWR(RDMA_IOC_MAGIC, 0x12, struct rdma_buffer_info)
#define RDMA_IOC_TRANSFER _IOW(RDMA_IOC_MAGIC, 0x20, struct rdma_request)
#define RDMA_IOC_SUBMIT _IOW(RDMA_IOC_MAGIC, 0x21, struct rdma_submit)
#define RDMA_IOC_WAIT _IOW(RDMA_IOC_MAGIC, 0x22, struct rdma_wait)
#define RDMA_IOC_CANCEL _IOW(RDMA_IOC_MAGIC, 0x23, struct rdma_cancel)
#define RDMA_IOC_EVENTFD _IOW(RDMA_IOC_MAGIC, 0x24, struct rdma_eventfd)

/*
 * mmap(2) at an offset of a buffer (0, or rdma_alloc.mmap_offset, plus whole
 * pages) maps it, whole or in part:
 *   EACCES  PROT_WRITE, and the file is not open for writing
 *   EINVAL  not MAP_SHARED; the range is not wholly inside one buffer; offset 0
 *           and a length over RDMA_MAX_BUFFER_SIZE
 *   EDQUOT, ENOMEM  offset 0 for the first time: as RDMA_IOC_ALLOC
 *   EPERM   PROT_EXEC
 * Pages are mapped on first access, together with up to 4 MiB around them; after
 * MADV_RANDOM (madvise(2)), each by itself; after MADV_NOHUGEPAGE, without huge
 * pages. What is mapped already stays. MAP_POPULATE, MAP_LOCKED and mlock(2) map
 * nothing in advance, and MADV_POPULATE_READ and MADV_POPULATE_WRITE are answered
 * with EINVAL, as for all mappings of page frames: to have no page fault later,
 * access each page once. Buffers are never swapped out. From 2 MiB on, mmap(2)
 * finds addresses that are aligned for huge pages. When the device goes, every
 * access is answered with SIGBUS. mremap(2) moves a mapping but does not make it
 * longer; fork(2) hands it on; it is in no core dump.
 *
 * read(2), write(2), pread(2), pwrite(2) and lseek(2) see the device memory as a
 * file of rdma_device_info.device_memory_size bytes: reading at its end gives 0,
 * writing there ENOSPC. Each call is one transfer, and EAGAIN if the file is
 * O_NONBLOCK.
 *
 * poll(2), select(2) and epoll(7) say POLLIN | POLLRDNORM when completions wait to
 * be collected, POLLOUT | POLLWRNORM when there is room for requests to be
 * submitted, and POLLHUP | POLLERR when the device is gone.
 *
 * A context belongs to its open file (the open file description), not to a process:
 * dup(2), fork(2) and SCM_RIGHTS share it, threads can use it side by side, and it
 * goes over execve(2) unless O_CLOEXEC is set. It ends with its last descriptor and
 * its last mapping, whichever is gone later: what it has submitted is given up then.
 */

#endif /* RDMA_H */
