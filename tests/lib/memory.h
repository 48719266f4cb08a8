/* SPDX-License-Identifier: GPL-2.0 */
/* How much memory is in use, for tests that detect leaks. */
#ifndef MEMORY_H
#define MEMORY_H

#include "rdma_test.h"

struct memory {
	long free_kb;
	long unknown_kb; /* that no account of the kernel's has: what drivers have, for the most part */
	long objects; /* in the kernel's slabs */
};

/* A line of /proc/meminfo; 0 if it does not exist. */
static inline long meminfo_kb(const char *text, const char *name)
{
	const char *line = strstr(text, name);

	return line ? atol(line + strlen(name)) : 0;
}

/*
 * Makes the kernel's counts of pages exact. Each CPU first counts on its own, up to 125 pages per zone, and adds that to the common count
 * later. Source: Documentation/admin-guide/sysctl/vm.rst, stat_refresh
 */
static inline void refresh_counts(void)
{
	write_text("/proc/sys/vm/stat_refresh", "1");
}

/* Free pages in the lists of CPUs, which MemFree does not include. */
static inline long kept_by_cpus_kb(void)
{
	char line[256];
	long pages, total = 0;
	FILE *file = fopen("/proc/zoneinfo", "re");

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, " count: %ld", &pages) == 1)
			total += pages * (PAGE / 1024);
	if (file)
		fclose(file);
	return total;
}

/* Source: Documentation/filesystems/proc.rst, meminfo */
static inline void count_pages(struct memory *memory)
{
	static const char *const accounts[] = {
		"\nBuffers:", "\nCached:", "\nAnonPages:", "\nSlab:", "\nKernelStack:", "\nPercpu:",
	};
	char text[8192];

	memory->free_kb = memory->unknown_kb = -1;
	refresh_counts();
	if (read_text("/proc/meminfo", text, sizeof(text)))
		return;
	memory->free_kb = meminfo_kb(text, "\nMemFree:") + kept_by_cpus_kb();
	memory->unknown_kb = meminfo_kb(text, "MemTotal:") - memory->free_kb;
	for (size_t i = 0; i < ARRAY_SIZE(accounts); i++)
		memory->unknown_kb -= meminfo_kb(text, accounts[i]);
}

/* Objects in all kmalloc caches, from which a driver's structures are allocated. */
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

/*
 * Mappings of the kernel's DMA API for this driver's devices that exist; -1 if this kernel does not count them. A kernel that counts them also has
 * KASAN, which keeps freed memory to detect its use, and describes addresses of vmalloc(): there, the amount of free memory changes by megabytes,
 * and tests compare this count instead.
 */
static inline long live_mappings(void)
{
	char line[512];
	long count = 0;
	FILE *file = fopen("/sys/kernel/debug/dma-api/dump", "re");

	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file))
		count += strstr(line, "rdma") != NULL;
	fclose(file);
	return count;
}

static inline struct memory memory(void)
{
	struct memory memory;

	/* Objects that were freed by RCU and by other CPUs are free after a moment. */
	pause_us(500000);
	sync();
	write_text("/proc/sys/vm/drop_caches", "3");
	write_text("/proc/sys/vm/compact_memory", "1");
	pause_us(500000);
	count_pages(&memory);
	memory.objects = kmalloc_objects();
	return memory;
}

#endif
