/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * rdma: DMA buffers and a DMA engine for userspace.
 *
 * (Rust DMA. It has nothing to do with InfiniBand's RDMA.)
 *
 * The words used in this project:
 *
 *   device         one PCI function, QEMU's `edu` or Intel's I/OAT; the node
 *                  /dev/rdmaN
 *   engine         a DMA channel of the device; executes transfers in their order.
 *                  `edu` has one, I/OAT up to 8; an open file uses one of them
 *   device memory  bytes on the device, which read(2), write(2) and lseek(2) on the
 *                  node and transfers access; `edu` has RDMA_DEVICE_MEMORY_SIZE of
 *                  them, I/OAT none
 *   context        an open file of the node; owns buffers
 *   buffer         memory for DMA: coherent memory from the kernel DMA API, zeroed,
 *                  whole pages; registered memory of the program; or imported memory
 *                  of another driver
 *   handle         identifies a buffer within its context
 *   mapping        a buffer, or a part of it, in the address space of a program
 *   request        an operation for the engine
 *   completion     the result of a request that was submitted
 *   ring           the completions of a context, in memory that a program maps
 *
 * The simplest program opens the node and calls mmap(2) with MAP_SHARED at offset
 * 0. This creates the first buffer of the context, with the length of the mapping
 * and the handle RDMA_FIRST_BUFFER. RDMA_IOC_ALLOC allocates all other buffers, and
 * returns their offsets for mmap(2). RDMA_IOC_REGISTER makes a buffer of memory
 * that the program already has.
 *
 * RDMA_IOC_TRANSFER executes one request, and returns when it has ended.
 * RDMA_IOC_SUBMIT queues requests, and does not wait for them. poll(2), epoll(7)
 * and eventfd(2) (RDMA_IOC_EVENTFD) report completions, and RDMA_IOC_WAIT collects
 * them. With a completion ring (RDMA_IOC_COMPLETION_RING), a program collects them
 * without a system call. io_uring(7) executes RDMA_IOC_TRANSFER and RDMA_IOC_SUBMIT
 * as commands.
 *
 * A call that fails returns -1 and sets errno. A call that succeeds returns 0, or a
 * number if one is documented below. Each call can fail with
 *   E2BIG   a structure is larger than the driver's, and the additional bytes are
 *           not 0
 *   EFAULT  an argument points to memory that the caller cannot access
 *   EINVAL  a reserved field or an unknown flag is not 0; a structure is smaller
 *           than in the first version of this interface
 *   ENODEV  the device is gone: unbound or unplugged. After a shutdown, or when the
 *           device does not respond, requests fail with it, and so does
 *           RDMA_IOC_WAIT when all completions are collected; all other calls
 *           continue to work
 *   ENOTTY  the driver does not know the request number
 *
 * Each call can also fail with the errors that are listed for it below.
 *
 * All structures are the same for 32-bit and 64-bit programs. Later versions may
 * add fields at the end of a structure. If a new field is 0, the call behaves as
 * before. A program and a driver that were built with different versions of rdma.h
 * work together: a request number contains the size of its structure, and calls
 * with an array have a field for the size of its elements. If the structure of the
 * program is smaller than that of the driver, the driver reads the missing fields
 * as 0 and does not write them. If it is larger, the additional bytes must be 0
 * where the driver reads, and are set to 0 where the driver writes.
 */
#ifndef RDMA_H
#define RDMA_H

#include <linux/ioctl.h>
#include <linux/types.h>

/*
 * The version of this interface. Later versions only add to it, so that programs
 * continue to work.
 */
#define RDMA_ABI_VERSION 1

/*
 * The size of the device memory of `edu` in bytes. For other devices, it is
 * rdma_device_info.device_memory_size. Source: QEMU, docs/specs/edu.rst, "DMA".
 */
#define RDMA_DEVICE_MEMORY_SIZE 4096

/* The handle of no buffer. */
#define RDMA_NO_BUFFER 0

/* The handle of the buffer that the first mmap(2) at offset 0 creates. */
#define RDMA_FIRST_BUFFER 1

/* The offset for mmap(2) of a buffer that cannot be mapped. */
#define RDMA_NO_OFFSET 0x7fffffffffffffffULL

/* The size of the largest buffer, in bytes. */
#define RDMA_MAX_BUFFER_SIZE (1ULL << 30)

/*
 * The maximum number of requests of a context that were submitted and whose
 * completions are not yet collected. Each of these requests has room for its
 * completion.
 */
#define RDMA_QUEUE_DEPTH 1024

/* The size of the largest element of an array, in bytes. */
#define RDMA_MAX_ELEMENT_SIZE 4096

/* Operations; rdma_request.operation. */
#define RDMA_OP_TO_DEVICE 1   /* buffer to device memory */
#define RDMA_OP_FROM_DEVICE 2 /* device memory to buffer */
#define RDMA_OP_COPY 3        /* buffer to buffer */

/*
 * Optional features of a device; rdma_device_info.capabilities. `edu` has none of
 * them, I/OAT has both.
 */
#define RDMA_CAP_DIRECT_COPY 0x1 /* copies do not change the device memory */
#define RDMA_CAP_ABORT 0x2       /* transfers can be stopped; see RDMA_IOC_CANCEL */

/* The type of the device's interrupt; rdma_device_info.interrupt. */
#define RDMA_INTERRUPT_INTX 1 /* an interrupt line, which other devices may share */
#define RDMA_INTERRUPT_MSI 2  /* a message-signalled interrupt */
#define RDMA_INTERRUPT_MSIX 3 /* one with a vector of its own, MSI-X */

/**
 * struct rdma_device_info - properties of device and driver (RDMA_IOC_DEVICE_INFO)
 * @abi_version:        out: RDMA_ABI_VERSION of the driver
 * @operations:         out: the supported operations, 1 << RDMA_OP_* of each
 * @capabilities:       out: RDMA_CAP_* of the device
 * @device_memory_size: out: size of the device memory in bytes; 0: it has none
 * @max_transfer_size:  out: size of the largest transfer in bytes; longer copies
 *                      are divided into transfers of this size or less
 * @max_buffer_size:    out: RDMA_MAX_BUFFER_SIZE of the driver
 * @queue_depth:        out: RDMA_QUEUE_DEPTH of the driver
 * @engine_depth:       out: maximum number of transfers in the engine at a time
 * @address_alignment:  out: a request's offsets must be multiples of this; a power
 *                      of two
 * @length_alignment:   out: a request's length must be a multiple of this; a power
 *                      of two
 * @dma_bits:           out: the device can access bus addresses below 2^dma_bits
 * @interrupt:          out: RDMA_INTERRUPT_INTX, RDMA_INTERRUPT_MSI or
 *                      RDMA_INTERRUPT_MSIX
 * @hardware_version:   out: major << 8 | minor, from the device's registers
 * @reserved:           out: 0
 *
 * `edu` has an @engine_depth of 1, I/OAT of 128. Neither needs an alignment: both
 * fields are 1. I/OAT has no device memory: its only operation is RDMA_OP_COPY.
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
 * struct rdma_alloc - allocate a buffer (RDMA_IOC_ALLOC)
 * @size:        in: minimum size in bytes, 1 to RDMA_MAX_BUFFER_SIZE;
 *               out: size in bytes, which is rounded up to whole pages
 * @mmap_offset: out: the offset for mmap(2); page n of the buffer is at
 *               @mmap_offset + n * page size
 * @handle:      out: the handle of the buffer, which is neither RDMA_NO_BUFFER nor
 *               RDMA_FIRST_BUFFER
 * @flags:       in: 0
 * @reserved:    in: 0
 *
 * The memory is charged to the user (RLIMIT_MEMLOCK, unless the caller has
 * CAP_IPC_LOCK), to the context, to the device and to the memory cgroup of the
 * caller, until it is freed. The kernel log has the reason of EDQUOT, and of ENOMEM
 * for the memory itself; it gets at most one message on limits and one on memory
 * in 5 seconds for each device.
 *
 * EDQUOT  the limit of the context or the device would be exceeded (the parameters
 *         context_mib and device_mib of the module)
 * EINTR   a fatal signal was received during the allocation
 * EINVAL  @size is 0 or too large
 * ENOMEM  no memory is available at addresses that the device can access, or
 *         RLIMIT_MEMLOCK or the limit of the memory cgroup would be exceeded
 */
struct rdma_alloc {
	__u64 size;
	__u64 mmap_offset;
	__u32 handle;
	__u32 flags;
	__u64 reserved[2];
};

/*
 * rdma_register.flags: the device may not write to the memory. The memory may be
 * read-only for the program, too.
 */
#define RDMA_REGISTER_READ_ONLY 0x1

/**
 * struct rdma_register - make a buffer of memory of the caller (RDMA_IOC_REGISTER)
 * @address:  in: the address of the first byte, with any alignment
 * @size:     in: size in bytes, 1 to RDMA_MAX_BUFFER_SIZE
 * @handle:   out: the handle of the buffer, which is neither RDMA_NO_BUFFER nor
 *            RDMA_FIRST_BUFFER
 * @flags:    in: 0 or RDMA_REGISTER_READ_ONLY
 * @reserved: in: 0
 *
 * Requests then use the handle as that of any other buffer. The memory is pinned
 * (pin_user_pages(9), FOLL_LONGTERM), and charged as that of RDMA_IOC_ALLOC, in
 * whole pages, except to the memory cgroup, which has been charged for it already.
 * If a page is a part of a compound page, such as a huge page, pinning it keeps all
 * of the compound page, and all of it is charged: once for each context, for parts
 * that together have at most as many pages; further ones are charged in addition,
 * each until its own buffer is freed, also if the earlier parts are freed before. At
 * its beginning, the call is charged for the range itself, also for pages of compound
 * pages that the context is charged for already: the limits must have room for this.
 *
 * The memory stays pinned until the handle is freed, or the context ends, and the
 * requests of the buffer have ended. Private anonymous memory, shared memory,
 * memfd_create(2) and huge pages can be registered.
 *
 * The buffer consists of the pages that the program has at these addresses now. If
 * it unmaps them, or maps others there, requests continue to access the old ones,
 * which are not used for anything else until they are unpinned. After fork(2), the
 * pages are those of the parent; the child has copies of private ones. The buffer
 * cannot be mapped: rdma_buffer_info.mmap_offset is RDMA_NO_OFFSET.
 *
 * A transfer needs no copy by the CPU, and the bounce buffers of the kernel
 * (swiotlb) are not used. Therefore the device must be able to access the memory:
 * either it is below 2^rdma_device_info.dma_bits, as all memory is for I/OAT, or
 * there is an IOMMU.
 *
 * EDQUOT, EINTR, ENOMEM  as RDMA_IOC_ALLOC
 * EFAULT      there is no memory at these addresses; it is read-only, and @flags is
 *             0; or it must not be pinned: a mapping of a device or a DAX file, or, if
 *             @flags is 0, of a file of which changes are written back
 * EINVAL      @size is 0 or too large
 * EOPNOTSUPP  the device cannot access the memory; the kernel log has the reason
 */
struct rdma_register {
	__u64 address;
	__u64 size;
	__u32 handle;
	__u32 flags;
	__u64 reserved[2];
};

/**
 * struct rdma_export - share a buffer with other drivers (RDMA_IOC_EXPORT)
 * @handle:   in: the handle of the buffer, neither registered nor imported memory
 * @flags:    in: 0
 * @fd:       out: a descriptor of the buffer as a dma-buf, with O_CLOEXEC and the
 *            access mode of the node's file
 * @reserved: in: 0
 *
 * Other drivers import the descriptor, and access the memory without a copy.
 * mmap(2) of it maps the buffer from its first byte on, with the rules that are
 * documented below. The buffer exists, and is charged, as long as it has its handle,
 * or the dma-buf, its mappings or its importers exist. Until the dma-buf is gone, the
 * call returns further descriptors of the same one, and the module cannot be
 * unloaded.
 *
 * Requests neither wait for the fences of other drivers nor add any: collect the
 * completion before another driver accesses the buffer, and let that driver end
 * before the next request. The memory is coherent: DMA_BUF_IOCTL_SYNC only waits
 * for fences. poll(2) on the descriptor does, too.
 *
 * When the device is gone, an access to a mapping raises SIGBUS, and mmap(2),
 * new mappings by importers, and DMA_BUF_IOCTL_SYNC with DMA_BUF_SYNC_START fail with
 * ENODEV. Importers that support it (invalidate_mappings) are asked to stop, and the
 * memory is freed when they have. If another importer has the memory mapped, or one
 * does not stop within a second, it is never freed.
 *
 * If the importer's device cannot access the memory, or not coherently, the mapping
 * by the importer fails with EOPNOTSUPP; the kernel log has the reason.
 *
 * EINVAL      no buffer has this handle
 * EMFILE, ENFILE  there are too many open files
 * ENOMEM      no memory is available for the dma-buf
 * EOPNOTSUPP  the buffer is registered or imported memory, or the kernel has no
 *             dma-bufs
 */
struct rdma_export {
	__u32 handle;
	__u32 flags;
	__s32 fd;
	__u32 reserved;
};

/*
 * rdma_import.flags: the device may not write to the memory. The descriptor may be
 * open for reading only.
 */
#define RDMA_IMPORT_READ_ONLY 0x1

/**
 * struct rdma_import - make a buffer of memory of another driver (RDMA_IOC_IMPORT)
 * @fd:       in: a descriptor of a dma-buf, open for reading and writing
 * @flags:    in: 0 or RDMA_IMPORT_READ_ONLY
 * @size:     out: size in bytes
 * @handle:   out: the handle of the buffer, which is neither RDMA_NO_BUFFER nor
 *            RDMA_FIRST_BUFFER
 * @reserved: in: 0
 *
 * Requests then use the handle as that of any other buffer. The memory stays as long
 * as this buffer has its handle or requests, also if @fd is closed. It is charged in
 * whole pages, as that of RDMA_IOC_ALLOC, except to the memory cgroup. If the dma-buf
 * keeps all of a compound page for a part of it, as one of /dev/udmabuf does, the
 * other pages are not charged.
 *
 * This driver (RDMA_IOC_EXPORT, of the same or another device), memory files
 * (/dev/udmabuf), the heaps in /dev/dma_heap and other drivers provide dma-bufs.
 *
 * The buffer cannot be mapped (rdma_buffer_info.mmap_offset is RDMA_NO_OFFSET): map
 * @fd. Before and after the program accesses such a mapping, it must call
 * DMA_BUF_IOCTL_SYNC, as the exporter needs it. As for RDMA_IOC_EXPORT, requests
 * neither wait for fences nor add any.
 *
 * The exporter cannot ask this driver to stop, and therefore may refuse to export to
 * it. The device must be able to access all memory, by its address bits or by an
 * IOMMU; for dma-bufs of this driver, the memory of the buffer.
 *
 * EACCES      @fd is not open for reading, or not for writing and @flags is 0
 * EBADF       @fd is not open
 * EDQUOT, ENOMEM  as RDMA_IOC_ALLOC
 * EINTR       a signal was received while the exporter prepared the memory
 * EINVAL      @fd is not a dma-buf, or it is larger than RDMA_MAX_BUFFER_SIZE
 * EOPNOTSUPP  the device cannot access the memory, or the exporter refuses it, and
 *             the kernel log has the reason; or the kernel has no dma-bufs
 *
 * The call can fail with other errors of the exporter.
 */
struct rdma_import {
	__s32 fd;
	__u32 flags;
	__u64 size;
	__u32 handle;
	__u32 reserved[3];
};

/**
 * struct rdma_free - free a handle (RDMA_IOC_FREE)
 * @handle:   in: the handle of the buffer
 * @flags:    in: 0
 * @reserved: in: 0
 *
 * The handle becomes invalid at once. The memory is freed when the buffer has no
 * mappings, no requests and no dma-buf any more: mappings stay valid until
 * munmap(2), requests continue to their end, and a dma-buf holds the buffer until
 * its last descriptor is closed and the last driver has detached from it.
 *
 * EINVAL  no buffer has this handle
 */
struct rdma_free {
	__u32 handle;
	__u32 flags;
	__u64 reserved;
};

/**
 * struct rdma_buffer_info - properties of a buffer (RDMA_IOC_BUFFER_INFO)
 * @handle:      in: the handle of the buffer
 * @flags:       in: 0
 * @size:        out: size in bytes
 * @mmap_offset: out: the offset for mmap(2); RDMA_NO_OFFSET: it cannot be mapped
 * @mappings:    out: number of mappings of the buffer and of parts of it, in all
 *               processes
 * @requests:    out: number of requests on the buffer that are queued or executing
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
 * only if this one succeeds; otherwise it is completed with ECANCELED.
 */
#define RDMA_REQUEST_LINK 0x1

/**
 * struct rdma_request - an operation for the engine (RDMA_IOC_TRANSFER)
 * @operation:          in: RDMA_OP_TO_DEVICE, RDMA_OP_FROM_DEVICE or RDMA_OP_COPY
 * @flags:              in: 0, or RDMA_REQUEST_LINK (RDMA_IOC_SUBMIT only)
 * @source:             in: the handle of the buffer to read;
 *                      RDMA_NO_BUFFER for RDMA_OP_FROM_DEVICE
 * @destination:        in: the handle of the buffer to write;
 *                      RDMA_NO_BUFFER for RDMA_OP_TO_DEVICE
 * @source_offset:      in: the first byte to read, within the source buffer or the
 *                      device memory
 * @destination_offset: in: the first byte to write, within the destination buffer
 *                      or the device memory
 * @length:             in: number of bytes to move, at least 1
 * @cookie:             in: any value, which the completion contains
 *                      (RDMA_IOC_TRANSFER ignores it, except as a command of
 *                      io_uring)
 * @reserved:           in: 0
 *
 * RDMA_IOC_TRANSFER executes one request, and returns when it has ended.
 *
 * The requests of a context are executed one after the other, in the order in which
 * they were submitted. The engine serves the users with requests in turn, and the
 * contexts of each user in turn, with one transfer or one piece of a copy at a
 * time. On I/OAT, a turn is 256 KiB of copies, and a copy of less than 4096 bytes
 * counts as 4096. No more transfers begin while the engine has 2 MiB of them.
 *
 * RDMA_OP_COPY can have any length. Without RDMA_CAP_DIRECT_COPY it uses the device
 * memory and overwrites it. Its two ranges must not overlap. If two handles have the
 * same memory (registered twice, or exported and imported), this is not checked, and
 * the contents of the destination are undefined.
 *
 * Device memory belongs to the user (uid) that wrote it last. It is filled with zeros
 * before another user reads it or writes a part of it.
 *
 * EACCES    the buffer to write was registered with RDMA_REGISTER_READ_ONLY, or
 *           imported with RDMA_IMPORT_READ_ONLY
 * EAGAIN    RDMA_IOC_TRANSFER, and the file has O_NONBLOCK
 * EBADF     RDMA_OP_TO_DEVICE or RDMA_OP_COPY, and the file is not open for
 *           writing; RDMA_OP_FROM_DEVICE, and the file is not open for reading
 * EINTR     a signal handler ran. If the engine had begun the request, the contents
 *           of the destination range are undefined. If it had not, the request was
 *           removed, no bytes of it are complete, and the call is restarted if the
 *           handler has SA_RESTART. After a stop without a handler, the call is
 *           restarted. Events that are not signals to the program, such as those of a
 *           tracer, a frozen control group or io_uring, are deferred until the request
 *           has ended.
 * EINVAL    the operation or a handle is not valid; RDMA_OP_TO_DEVICE or
 *           RDMA_OP_FROM_DEVICE with two buffers, or on a device without memory; a
 *           range is empty, or not within its buffer or the device memory; the
 *           ranges of a copy within one buffer overlap
 * EIO       an earlier transfer has not ended, and the engine cannot be used; or
 *           the device was not a bus master, and moved no bytes; or, without
 *           RDMA_CAP_ABORT, the device was reset before the transfer had ended
 * ENOMEM    no memory is available for the request itself, or twice
 *           RDMA_QUEUE_DEPTH requests of the context wait
 * EREMOTEIO the engine reported an error; the contents of the destination range are
 *           undefined. All other requests continue.
 * ETIMEDOUT the transfer did not end within a second. With RDMA_CAP_ABORT it was
 *           stopped, and all other requests continue. Otherwise, and if the engine
 *           does not stop, the buffer is not freed until the transfer ends.
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
 * @count:        in: number of requests, 1 to RDMA_QUEUE_DEPTH
 * @request_size: in: sizeof(struct rdma_request): bytes from one request of the
 *                array to the next, up to RDMA_MAX_ELEMENT_SIZE
 * @flags:        in: 0
 * @reserved:     in: 0
 *
 * Returns the number of accepted requests, from the first one on. It never waits
 * for the engine. If the number is less than @count, submit the other requests
 * again, to get the error, or when there is room. Requests that are linked
 * (RDMA_REQUEST_LINK) are accepted all or not at all.
 *
 * If no request can be accepted, the errors are those of struct rdma_request, and
 * EAGAIN  RDMA_QUEUE_DEPTH requests are queued, executing, or completed and not yet
 *         collected
 * E2BIG   @request_size is too large
 * EINVAL  @count is 0 or too large, or @request_size is too small; the last request
 *         of the array has RDMA_REQUEST_LINK
 */
struct rdma_submit {
	__u64 requests;
	__u32 count;
	__u32 request_size;
	__u32 flags;
	__u32 reserved;
};

/**
 * struct rdma_completion - the result of a request that was submitted
 * @cookie:   out: the cookie of the request
 * @bytes:    out: number of bytes that were moved; the length if the request
 *            succeeded
 * @status:   out: 0, or an errno as a negative number:
 *            -ECANCELED  cancelled, or linked to a request that did not succeed
 *            -EIO        an earlier transfer has not ended; or the device was not a
 *                        bus master, and moved no bytes; or it was reset before the
 *                        transfer had ended
 *            -ENODEV     the device was gone, did not respond or was shut down
 *                        before the request ended
 *            -EREMOTEIO  the engine reported an error
 *            -ETIMEDOUT  the transfer did not end within a second
 * @reserved: out: 0
 */
struct rdma_completion {
	__u64 cookie;
	__u64 bytes;
	__s32 status;
	__u32 reserved;
};

/* rdma_wait.deadline_ns: no deadline. */
#define RDMA_WAIT_FOREVER 0x7fffffffffffffffLL

/**
 * struct rdma_wait - collect completions (RDMA_IOC_WAIT)
 * @completions:     in: address of an array of struct rdma_completion to write
 * @min:             in: number of completions to wait for, up to RDMA_QUEUE_DEPTH;
 *                   0: do not wait
 * @max:             in: maximum number of completions to collect, at least 1 and
 *                   @min; with a completion ring: 0
 * @completion_size: in: sizeof(struct rdma_completion): bytes from one completion
 *                   of the array to the next, up to RDMA_MAX_ELEMENT_SIZE
 * @flags:           in: 0
 * @deadline_ns:     in: the time of CLOCK_MONOTONIC (clock_gettime(2)) at which the
 *                   wait ends, in nanoseconds; 0, or a time in the past: do not
 *                   wait; RDMA_WAIT_FOREVER: no deadline
 * @reserved:        in: 0
 *
 * Returns the number of collected completions, which are in the order in which the
 * requests were completed. The number is less than @min if the deadline has passed,
 * if a signal handler is to run, or if no requests are left and the device is gone,
 * does not respond or was shut down. Completions that cannot be written to
 * @completions are not lost: the next call collects them.
 *
 * A call that is restarted, for example because of SA_RESTART, waits for the same
 * deadline.
 *
 * If the context has a completion ring, the call only waits: @completions, @max and
 * @completion_size must be 0. It waits until @min completions are in the ring, that
 * is, until the tail is at least @min beyond the head, and returns their number.
 * It then ends early for the same reasons as without a ring.
 *
 * E2BIG   @completion_size is too large
 * EAGAIN  there are no completions, and the file has O_NONBLOCK. (With O_NONBLOCK
 *         no call waits, regardless of @min and @deadline_ns.)
 * EINTR   a signal handler without SA_RESTART ran, and there are no completions, or
 *         the thread was stopped before the handler ran. Nothing is lost. (Events
 *         that run no handler, such as a stop, a tracer or a frozen control group,
 *         do not end the call.)
 * EINVAL  @max is 0 or less than @min, @min is over RDMA_QUEUE_DEPTH, or
 *         @completion_size is too small; with a completion ring: @completions, @max
 *         or @completion_size is not 0
 * ENODEV  the device is gone, does not respond or was shut down, and all completions
 *         are collected
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

/* rdma_cancel.flags: cancel all requests of the context, with any cookie. */
#define RDMA_CANCEL_ALL 0x1

/**
 * struct rdma_cancel - cancel requests that were submitted (RDMA_IOC_CANCEL)
 * @cookie:   in: the cookie of the requests; 0 with RDMA_CANCEL_ALL
 * @flags:    in: 0 or RDMA_CANCEL_ALL
 * @reserved: in: 0
 *
 * Returns the number of cancelled requests. It includes the requests that are
 * linked to those with the cookie. Each cancelled request is completed at once,
 * with ECANCELED. A request that the engine has begun cannot be cancelled: it
 * continues to its end, and its completion contains the result. With RDMA_CAP_ABORT
 * it is cancelled, too, unless all of its transfers have begun: it is completed
 * when those have ended, with the number of bytes that they have moved, or with the
 * error of one of them. The requests that are linked to it are completed then, too,
 * and the returned number may not include them. Requests of RDMA_IOC_TRANSFER are
 * not cancelled. Those of commands of io_uring are, if the engine has not begun
 * them.
 *
 * EALREADY  no request with this cookie was cancelled, because the engine has
 *           begun it
 * EINVAL    @cookie is not 0, and @flags is RDMA_CANCEL_ALL
 * ENOENT    no request with this cookie is queued or executing
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
 * After this call, 1 is added to the counter of @fd when requests are completed,
 * and when the device is gone, does not respond or was shut down. Requests that are
 * completed together, for example by RDMA_IOC_CANCEL, may add 1 in total: the
 * counter shows that there are completions, but not how many.
 *
 * A context has at most one eventfd; a new one replaces the old one. The descriptor
 * can be closed afterwards.
 *
 * EBADF   @fd is not open
 * EINVAL  @fd is not an eventfd
 * ENOMEM  no memory is available
 */
struct rdma_eventfd {
	__s32 fd;
	__u32 flags;
	__u64 reserved;
};

/**
 * struct rdma_completion_ring - create a ring (RDMA_IOC_COMPLETION_RING)
 * @mmap_offset:        out: the offset for mmap(2)
 * @size:               out: size in bytes, whole pages
 * @entries:            out: number of entries, a power of two and at least
 *                      RDMA_QUEUE_DEPTH
 * @completion_size:    out: bytes from one completion to the next, at least
 *                      sizeof(struct rdma_completion)
 * @completions_offset: out: the offset of the first completion in the mapping
 * @head_offset:        out: the offset of the head, a __u32
 * @tail_offset:        out: the offset of the tail, a __u32
 * @flags_offset:       out: the offset of the flags, a __u32 of 0; ignore unknown
 *                      flags
 * @flags:              in: 0
 * @reserved:           in: 0; out: 0
 *
 * From this call on, the completions of the context are written to the ring, and
 * RDMA_IOC_WAIT only waits for them. A context has one ring at most, which exists
 * as long as the context. Its memory is charged to the memory cgroup of the caller.
 *
 * The driver writes completion number n to the entry n % @entries, and then stores
 * n + 1 in the tail. The program reads the completions from the head up to the tail,
 * and then stores the number of the next one to read in the head. The next
 * RDMA_IOC_SUBMIT can use the room that this makes. It does not wake a thread that
 * waits for room in poll(2); RDMA_IOC_WAIT does, also with a @min of 0. Completions
 * are never lost: a request is accepted only if there is an entry for its completion.
 *
 * Head and tail are counted modulo 2^32. They begin a few thousand completions before
 * they wrap around, so that a program that does not expect this fails early: read the
 * first head from the ring. The lower bits are the number of an entry.
 *
 *	__u32 head = *head_of_ring;
 *	__u32 tail = __atomic_load_n(tail_of_ring, __ATOMIC_ACQUIRE);
 *
 *	for (; head != tail; head++)
 *		use(completions + (head % entries) * completion_size);
 *	__atomic_store_n(head_of_ring, head, __ATOMIC_RELEASE);
 *
 * The load of the tail must be an acquire, and the store of the head a release
 * operation. One thread at a time may collect, as with liburing's rings: threads,
 * and processes that share the context, must agree on that. A file that is open for
 * reading only cannot store the head.
 *
 * The driver reads nothing from this memory but the head. If a program stores a head
 * that is not between the last one and the tail, this head frees no room. If it
 * overwrites the tail or completions, only the programs that share this context read
 * wrong values.
 *
 * The mapping is one of ordinary memory, not of the device: it can be read after
 * the device is gone, which completes all requests, and is mapped with MAP_SHARED,
 * whole or in part. mmap(2) can fail as for a buffer, but not because the device is
 * gone.
 *
 * EBUSY   requests are queued or executing, or their completions are not collected
 * EEXIST  the context has a completion ring, whose properties are written
 * ENOMEM  no memory is available
 */
struct rdma_completion_ring {
	__u64 mmap_offset;
	__u64 size;
	__u32 entries;
	__u32 completion_size;
	__u32 completions_offset;
	__u32 head_offset;
	__u32 tail_offset;
	__u32 flags_offset;
	__u32 flags;
	__u32 reserved[5];
};

/* 0xED, as in the identification register of edu; unused in ioctl-number.rst. */
#define RDMA_IOC_MAGIC 0xED

#define RDMA_IOC_DEVICE_INFO _IOR(RDMA_IOC_MAGIC, 0x00, struct rdma_device_info)
#define RDMA_IOC_ALLOC _IOWR(RDMA_IOC_MAGIC, 0x10, struct rdma_alloc)
#define RDMA_IOC_FREE _IOW(RDMA_IOC_MAGIC, 0x11, struct rdma_free)
#define RDMA_IOC_BUFFER_INFO _IOWR(RDMA_IOC_MAGIC, 0x12, struct rdma_buffer_info)
#define RDMA_IOC_REGISTER _IOWR(RDMA_IOC_MAGIC, 0x13, struct rdma_register)
#define RDMA_IOC_EXPORT _IOWR(RDMA_IOC_MAGIC, 0x14, struct rdma_export)
#define RDMA_IOC_IMPORT _IOWR(RDMA_IOC_MAGIC, 0x15, struct rdma_import)
#define RDMA_IOC_TRANSFER _IOW(RDMA_IOC_MAGIC, 0x20, struct rdma_request)
#define RDMA_IOC_SUBMIT _IOW(RDMA_IOC_MAGIC, 0x21, struct rdma_submit)
#define RDMA_IOC_WAIT _IOW(RDMA_IOC_MAGIC, 0x22, struct rdma_wait)
#define RDMA_IOC_CANCEL _IOW(RDMA_IOC_MAGIC, 0x23, struct rdma_cancel)
#define RDMA_IOC_EVENTFD _IOW(RDMA_IOC_MAGIC, 0x24, struct rdma_eventfd)
#define RDMA_IOC_COMPLETION_RING \
	_IOWR(RDMA_IOC_MAGIC, 0x25, struct rdma_completion_ring)

/*
 * io_uring(7): IORING_OP_URING_CMD on the node executes RDMA_IOC_TRANSFER and
 * RDMA_IOC_SUBMIT as commands. cmd_op of the entry is the request number, and addr
 * the address of the structure. If addr is 0, the structure is in cmd of the entry,
 * which must have 128 bytes (IORING_SETUP_SQE128). The result of the entry is that of
 * the call, or an errno as a negative number.
 *
 * A command of RDMA_IOC_TRANSFER ends when its request has ended, also if the file
 * has O_NONBLOCK. Its request is in the queue of the context like those of
 * RDMA_IOC_SUBMIT, but has no completion there. The commands of a context are
 * executed in the order in which io_uring issues them. When the ring is removed,
 * and when the thread that submitted a command calls execve(2), the command ends
 * with ECANCELED; a transfer that has begun continues, and the buffer stays in use
 * until it ends. If that thread exits, its commands continue.
 * IORING_OP_ASYNC_CANCEL and IORING_OP_LINK_TIMEOUT do not find commands that were
 * issued, because io_uring does not pass these cancellations to drivers.
 * RDMA_IOC_CANCEL cancels a command by the cookie of its request.
 *
 * In addition to the errors of the call, a command can fail with
 *   EAGAIN     RDMA_QUEUE_DEPTH requests of the context have not been collected, or
 *              are those of commands that have not ended
 *   ECANCELED  cancelled by RDMA_IOC_CANCEL, or with its ring
 *   EFAULT     addr is 0, and the structure is larger than cmd
 *   EINVAL     uring_cmd_flags is not 0
 *   ENOTTY     another request number
 *
 * IORING_OP_POLL_ADD reports the events of poll(2) below.
 *
 * open(2) of the node creates a context. It can fail with
 *   ENODEV  the device is being unbound
 *   ENOMEM  no memory is available
 *   ENXIO   there is no device with this node
 *
 * mmap(2) maps a buffer or a completion ring, or a part of it. The offset is that of
 * the buffer (0, or rdma_alloc.mmap_offset) or of the ring plus whole pages. The call
 * can fail with
 *   EACCES  the file is not open for reading; PROT_WRITE, and it is not open for
 *           writing
 *   EINVAL  not MAP_SHARED; the range is not within one buffer; offset 0 and a
 *           length over RDMA_MAX_BUFFER_SIZE
 *   EDQUOT, ENOMEM  the first mapping at offset 0: as RDMA_IOC_ALLOC
 *   ENODEV  the device is gone
 *   EPERM   PROT_EXEC
 *
 * Pages of a buffer are mapped on first access, together with up to 4 MiB around
 * them, or 64 MiB with pages of 16 KiB. After MADV_RANDOM (madvise(2)), each page is
 * mapped separately. After MADV_NOHUGEPAGE, no huge pages are mapped. Advice does not
 * change pages that are mapped already.
 * MAP_POPULATE, MAP_LOCKED and mlock(2) map no pages in advance, and
 * MADV_POPULATE_READ and MADV_POPULATE_WRITE fail with EINVAL, as for all mappings
 * of page frames: to avoid page faults later, access each page once. Buffers are
 * never swapped out. For a huge page (2 MiB, or 32 MiB with pages of 16 KiB) and
 * more, mmap(2) selects addresses that are aligned for huge pages. When the device
 * is gone, each access raises SIGBUS.
 *
 * A completion ring has ordinary pages, which are mapped on first access, one at a
 * time. They can be mapped in advance (MAP_POPULATE) and pinned, and an access raises
 * no SIGBUS when the device is gone.
 *
 * mremap(2) can move a mapping of a buffer or a ring, but not enlarge it. A child of
 * fork(2) inherits mappings. Core dumps do not contain them.
 *
 * read(2), write(2), pread(2), pwrite(2) and lseek(2) access the device memory as a
 * file of rdma_device_info.device_memory_size bytes. At its end, reading returns 0,
 * and writing fails with ENOSPC; without device memory, this is so at offset 0. Each
 * call that moves bytes is one transfer. It uses a buffer for its data, which is
 * charged as that of RDMA_IOC_ALLOC during the transfer, and can fail with EDQUOT
 * or ENOMEM as that does. If the file has O_NONBLOCK, it fails with EAGAIN.
 *
 * poll(2), select(2) and epoll(7) report POLLIN | POLLRDNORM when there are
 * completions to collect, and POLLOUT | POLLWRNORM when there is room for requests.
 * When the device is gone, does not respond or was shut down, they report POLLHUP |
 * POLLERR, and no POLLOUT.
 *
 * A context belongs to its open file (the open file description), not to a process:
 * dup(2), fork(2) and SCM_RIGHTS share it, and threads can use it at the same time.
 * execve(2) keeps it open unless O_CLOEXEC is set. It ends when its last descriptor
 * and its last mapping are gone. Its requests are abandoned then.
 */

#endif /* RDMA_H */
