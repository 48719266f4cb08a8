/* SPDX-License-Identifier: GPL-2.0 */
/* Memory of the program as a buffer: RDMA_IOC_REGISTER. */
#ifndef REGISTERED_H
#define REGISTERED_H

#include "rdma_test.h"

#include <linux/userfaultfd.h>
#include <sys/syscall.h>

/* Memory of the program, private. */
#define ANYWHERE (MAP_PRIVATE | MAP_ANONYMOUS)

static inline int register_memory(int fd, const void *address, uint64_t size, uint32_t flags, struct buffer *buffer)
{
	struct rdma_register request = { .address = (uintptr_t)address, .size = size, .flags = flags };
	int error = call(fd, RDMA_IOC_REGISTER, &request);

	*buffer = (struct buffer){ request.handle, size, RDMA_NO_OFFSET, (unsigned char *)address };
	return error;
}

/* Memory of the program; NULL if there is none. */
static inline unsigned char *memory_at(void *address, size_t size, int protection, int flags)
{
	unsigned char *bytes = mmap(address, size, protection, flags, -1, 0);

	return bytes == MAP_FAILED ? NULL : bytes;
}

/* Size of the transparent huge pages of the process. Source: Documentation/filesystems/proc.rst, smaps_rollup */
static inline long anonymous_huge(void)
{
	char rollup[4096], *line;

	if (read_text("/proc/self/smaps_rollup", rollup, sizeof(rollup)))
		return -1;
	line = strstr(rollup, "AnonHugePages:");
	return line ? atol(line + 14) * 1024 : -1;
}

/* A transparent huge page; NULL if the kernel gives none. */
static inline unsigned char *transparent_huge_page(size_t huge)
{
	unsigned char *bytes = memory_at(NULL, 2 * huge, PROT_READ | PROT_WRITE, ANYWHERE);
	long before = anonymous_huge();

	if (!bytes)
		return NULL;
	bytes += -(uintptr_t)bytes % huge;
	madvise(bytes, huge, MADV_HUGEPAGE);
	memset(bytes, 1, huge);
	return anonymous_huge() == before + (long)huge ? bytes : NULL;
}

/* Pages that the process has pinned. Source: Documentation/filesystems/proc.rst, VmPin */
static inline long pinned_pages(void)
{
	char status[8192], *line;

	if (read_text("/proc/self/status", status, sizeof(status)))
		return -1;
	line = strstr(status, "VmPin:");
	return line ? atol(line + 6) * 1024 / (long)PAGE : -1;
}

/* Waits in REGISTER for a page fault that never ends, with the first page pinned. */
static inline void register_for_ever(int fd, size_t size)
{
	unsigned char *bytes = memory_at(NULL, size, PROT_READ | PROT_WRITE, ANYWHERE);
	int fault = syscall(SYS_userfaultfd, O_CLOEXEC);
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .range = { (uintptr_t)bytes, size }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct buffer buffer;

	bytes[0] = 1;
	if (fault < 0 || ioctl(fault, UFFDIO_API, &api) || ioctl(fault, UFFDIO_REGISTER, &range))
		_exit(1);
	register_memory(fd, bytes, size, 0, &buffer);
	_exit(2);
}

#endif
