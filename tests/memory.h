/* SPDX-License-Identifier: GPL-2.0 */
/* How much memory is in use, for tests that look for leaks. */
#ifndef MEMORY_H
#define MEMORY_H

#include "rdma_test.h"

struct memory {
	long free_kb;
	long objects; /* in the kernel's slabs */
};

static inline long free_kb(void)
{
	char text[4096], *line;

	return !read_text("/proc/meminfo", text, sizeof(text)) && (line = strstr(text, "MemFree:")) ?
		       atol(line + strlen("MemFree:")) :
		       -1;
}

/* Objects in all kmalloc caches: what a driver's structures are made of. */
static inline long kmalloc_objects(void)
{
	char line[512], name[64];
	long active, total = 0;
	FILE *file = fopen("/proc/slabinfo", "re");

	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%63s %ld", name, &active) == 2 && strstr(name, "kmalloc"))
			total += active;
	fclose(file);
	return total;
}

static inline struct memory memory(void)
{
	/* What was freed by RCU and by other CPUs is free a moment later. */
	pause_us(500000);
	sync();
	write_text("/proc/sys/vm/drop_caches", "3");
	write_text("/proc/sys/vm/compact_memory", "1");
	pause_us(500000);
	return (struct memory){ free_kb(), kmalloc_objects() };
}

#endif
