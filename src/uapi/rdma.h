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
 *   device memory  its RDMA_DEVICE_MEMORY_SIZE bytes, reached by read(2),
 *                  write(2), lseek(2) on the node and by transfers
 *   context        one open file of the node; owns buffers
 *   buffer         coherent memory from the kernel DMA API, zeroed, whole pages
 *   handle         names a buffer within its context
 *   mapping        a buffer, or a part of it, in a program's address space
 *   request        one piece of work for the engine
 *
 * The smallest program opens the node and calls mmap(2) with MAP_SHARED at
 * offset 0: that makes the context's first buffer, of that length, under the
 * handle RDMA_FIRST_BUFFER. Every other buffer comes from RDMA_IOC_ALLOC, which
 * answers with the offset to give to mmap(2).
 *
 * All calls answer -1 and errno. Every call can answer
 *   EFAULT  an argument points to memory that is not the caller's
 *   EINVAL  a reserved field or an unknown flag is not 0
 *   ENODEV  the device is gone: unbound, unplugged, or its driver shut down
 *   ENOTTY  the request number is unknown to this driver
 * and what is listed with it below.
 *
 * All structures are the same for 32-bit and 64-bit programs.
 */
#ifndef RDMA_H
#define RDMA_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Version of this interface. It grows only: what works today goes on working. */
#define RDMA_ABI_VERSION 1

/* Bytes of device memory. Source: QEMU, docs/specs/edu.rst, "DMA". */
#define RDMA_DEVICE_MEMORY_SIZE 4096

/* The handle of the buffer that the first mmap(2) at offset 0 makes. */
#define RDMA_FIRST_BUFFER 0

/* Bytes of the largest buffer. */
#define RDMA_MAX_BUFFER_SIZE (1ULL << 30)

/* How the device tells the driver that a transfer is over; rdma_info.interrupt. */
#define RDMA_INTERRUPT_INTX 1 /* a line, perhaps shared with other devices */
#define RDMA_INTERRUPT_MSI 2  /* a message */

/**
 * struct rdma_info - what the device and this driver can do (RDMA_IOC_INFO)
 * @abi_version:        out: RDMA_ABI_VERSION of the driver
 * @capabilities:       out: bits for what later versions add; 0 in version 1
 * @device_memory_size: out: bytes of device memory
 * @max_transfer_size:  out: bytes that the engine moves in one go, at most;
 *                      longer copies are cut into pieces of this size
 * @dma_bits:           out: the device reaches bus addresses below 2^dma_bits
 * @interrupt:          out: RDMA_INTERRUPT_INTX or RDMA_INTERRUPT_MSI
 * @hardware_version:   out: major << 8 | minor, from the identification register
 * @reserved:           out: 0
 */
struct rdma_info {
	__u32 abi_version;
	__u32 capabilities;
	__u64 device_memory_size;
	__u64 max_transfer_size;
	__u32 dma_bits;
	__u32 interrupt;
	__u32 hardware_version;
	__u32 reserved[5];
};

/**
 * struct rdma_alloc - a new buffer (RDMA_IOC_ALLOC)
 * @size:        in: bytes wanted, 1 to RDMA_MAX_BUFFER_SIZE;
 *               out: bytes there are, @size rounded up to whole pages
 * @mmap_offset: out: the offset to give to mmap(2); the buffer's page n is at
 *               @mmap_offset + n * page size
 * @handle:      out: the buffer's handle, never RDMA_FIRST_BUFFER
 * @flags:       in: 0
 * @reserved:    in: 0
 *
 * EINVAL  @size is 0 or too large
 * ENOMEM  there is no such memory within the device's reach; the kernel log
 *         says why
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
 * @handle: in: the buffer's handle
 * @flags:  in: 0
 *
 * The handle is gone at once. The memory stays for as long as something holds
 * it: mappings stay valid until munmap(2), and a transfer in flight ends first.
 *
 * EINVAL  no buffer has this handle
 */
struct rdma_free {
	__u32 handle;
	__u32 flags;
};

/* Operations; rdma_request.operation. */
#define RDMA_OP_TO_DEVICE 1   /* buffer to device memory */
#define RDMA_OP_FROM_DEVICE 2 /* device memory to buffer */
#define RDMA_OP_COPY 3        /* buffer to buffer, through device memory */

/**
 * struct rdma_request - one piece of work for the engine
 * @operation:          in: RDMA_OP_TO_DEVICE, RDMA_OP_FROM_DEVICE or RDMA_OP_COPY
 * @flags:              in: 0
 * @source:             in: the handle of the buffer to read;
 *                      0 for RDMA_OP_FROM_DEVICE
 * @destination:        in: the handle of the buffer to write;
 *                      0 for RDMA_OP_TO_DEVICE
 * @source_offset:      in: first byte to read, within the source buffer or the
 *                      device memory
 * @destination_offset: in: first byte to write, within the destination buffer or
 *                      the device memory
 * @length:             in: bytes to move, at least 1
 * @reserved:           in: 0
 *
 * RDMA_IOC_TRANSFER does one request and returns when it is done.
 *
 * RDMA_OP_COPY takes any length. It goes through the device memory and
 * overwrites it. Its two ranges must not overlap.
 *
 * Device memory belongs to the user (uid) who wrote it last: what another user
 * left there reads as zeros.
 *
 * EBADF     RDMA_OP_TO_DEVICE and RDMA_OP_COPY need a file opened for writing,
 *           RDMA_OP_FROM_DEVICE one opened for reading
 * EINTR     a signal handler ran while the engine was at work on this request;
 *           what has arrived in the destination range is undefined. (Before the
 *           engine starts, SA_RESTART and being stopped restart the call; after
 *           that only being stopped does.)
 * EINVAL    no such operation or handle; a range that is empty or not wholly
 *           inside its buffer or the device memory; overlapping ranges
 * EIO       an earlier transfer never ended, and the engine is not usable
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
	__u64 reserved[3];
};

/* 0xED, as in the device's identification; free in ioctl-number.rst. */
#define RDMA_IOC_MAGIC 0xED

#define RDMA_IOC_INFO _IOR(RDMA_IOC_MAGIC, 0x00, struct rdma_info)
#define RDMA_IOC_ALLOC _IOWR(RDMA_IOC_MAGIC, 0x10, struct rdma_alloc)
#define RDMA_IOC_FREE _IOW(RDMA_IOC_MAGIC, 0x11, struct rdma_free)
#define RDMA_IOC_TRANSFER _IOW(RDMA_IOC_MAGIC, 0x20, struct rdma_request)

/*
 * mmap(2) at an offset of a buffer (0, or rdma_alloc.mmap_offset, plus whole
 * pages) maps it, whole or in part:
 *   EACCES  PROT_WRITE, and the file is not open for writing
 *   EINVAL  not MAP_SHARED; the range is not wholly inside one buffer; offset 0
 *           and a length over RDMA_MAX_BUFFER_SIZE
 *   ENOMEM  offset 0 for the first time, and no such memory within reach
 *   EPERM   PROT_EXEC
 * Pages are loaded when they are touched, with those around them, of 4 MiB at
 * most; with MAP_POPULATE or MAP_LOCKED, all at once. From 2 MiB on, mmap(2) finds
 * addresses that are aligned for huge pages. When the device goes, every access is
 * answered with SIGBUS. mremap(2) moves a mapping but does not make it longer;
 * fork(2) hands it on; it is in no core dump.
 *
 * read(2), write(2), pread(2), pwrite(2) and lseek(2) see the device memory as a
 * file of RDMA_DEVICE_MEMORY_SIZE bytes: reading at its end gives 0, writing
 * there ENOSPC. Each call is one transfer.
 */

#endif /* RDMA_H */
