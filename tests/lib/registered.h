/* SPDX-License-Identifier: GPL-2.0 */
/* Memory of the program as a buffer: RDMA_IOC_REGISTER. */
#ifndef REGISTERED_H
#define REGISTERED_H

#include "rdma_test.h"

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

/* Pages that the process has pinned. Source: Documentation/filesystems/proc.rst, VmPin */
static inline long pinned_pages(void)
{
	char status[8192], *line;

	if (read_text("/proc/self/status", status, sizeof(status)))
		return -1;
	line = strstr(status, "VmPin:");
	return line ? atol(line + 6) * 1024 / (long)PAGE : -1;
}

#endif
