/* SPDX-License-Identifier: GPL-2.0 */
/* What the programs that are compared have in common: copies in batches, from one area to another. */
#ifndef BENCH_COPIES_H
#define BENCH_COPIES_H

#include <err.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Copies of a batch are next to each other in both areas, and begin again at their ends. */
enum { AREA = 2 << 20, LARGEST_BATCH = 1024 };

/* Phases for the counting plugin: a measurement; in it, what a program that polls does while it waits; one batch; what comes before. */
enum { WHOLE = 1, SPINNING = 2, BATCH = 3, REHEARSAL = 4 };

struct areas {
	unsigned char *source, *destination;
};

/* A way to use the engine. */
struct peer {
	const char *name;
	/* Opens the device with this address in this IOMMU group. */
	struct areas (*open)(const char *address, const char *group);
	/* Begins copies of this size; up to LARGEST_BATCH are in flight. */
	void (*submit)(int count, uint32_t size);
	/* Waits for the end of this number of further copies. */
	void (*collect)(int count);
	bool polls; /* it leaves nothing of the CPU to others */
	bool one_by_one; /* it has no batches */
};

extern const struct peer rdma, rdma_ring, vfio_polling, vfio_eventfd;

/* Those of a program, with NULL at the end. */
extern const struct peer *const peers[];

static inline uint64_t offset_of(int number, uint32_t size)
{
	return (uint64_t)number * size % AREA;
}

#endif
