// SPDX-License-Identifier: GPL-2.0
/* Copies by this driver: SUBMIT for a batch, and WAIT for its end, which collects the completions or finds them in a ring. */
#include "copies.h"

#include <fcntl.h>
#include <rdma.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

static int fd;
static uint32_t source, destination;
static struct rdma_request requests[LARGEST_BATCH];
static struct rdma_completion completions[LARGEST_BATCH];

static unsigned char *allocate(uint32_t *handle)
{
	struct rdma_alloc alloc = { .size = AREA };
	unsigned char *bytes;

	if (ioctl(fd, RDMA_IOC_ALLOC, &alloc))
		err(1, "ALLOC");
	bytes = mmap(NULL, AREA, PROT_READ | PROT_WRITE, MAP_SHARED, fd, alloc.mmap_offset);
	if (bytes == MAP_FAILED)
		err(1, "mmap");
	*handle = alloc.handle;
	return bytes;
}

static struct areas open_device(const char *address, const char *group)
{
	struct areas areas;

	(void)address, (void)group;
	fd = open("/dev/rdma0", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		err(1, "/dev/rdma0");
	areas.source = allocate(&source);
	areas.destination = allocate(&destination);
	return areas;
}

static void submit(int count, uint32_t size)
{
	struct rdma_submit argument = {
		.requests = (uintptr_t)requests,
		.count = count,
		.request_size = sizeof(*requests),
	};

	for (int i = 0; i < count; i++)
		requests[i] = (struct rdma_request){
			.operation = RDMA_OP_COPY,
			.source = source,
			.source_offset = offset_of(i, size),
			.destination = destination,
			.destination_offset = offset_of(i, size),
			.length = size,
			.cookie = i,
		};
	if (ioctl(fd, RDMA_IOC_SUBMIT, &argument) != count)
		err(1, "SUBMIT of %d", count);
}

static void collect(int count)
{
	struct rdma_wait argument = {
		.completions = (uintptr_t)completions,
		.min = count,
		.max = count,
		.completion_size = sizeof(*completions),
		.deadline_ns = RDMA_WAIT_FOREVER,
	};

	if (ioctl(fd, RDMA_IOC_WAIT, &argument) != count)
		err(1, "WAIT for %d", count);
	for (int i = 0; i < count; i++)
		if (completions[i].status)
			errx(1, "a copy failed: %d", completions[i].status);
}

static struct rdma_completion_ring ring;
static unsigned char *ring_bytes;

static struct areas open_with_ring(const char *address, const char *group)
{
	struct areas areas = open_device(address, group);

	if (ioctl(fd, RDMA_IOC_COMPLETION_RING, &ring))
		err(1, "COMPLETION_RING");
	ring_bytes = mmap(NULL, ring.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, ring.mmap_offset);
	if (ring_bytes == MAP_FAILED)
		err(1, "mmap of the ring");
	return areas;
}

/* Sleeps only if they have not ended yet. */
static void collect_from_ring(int count)
{
	const struct rdma_completion *first = (void *)(ring_bytes + ring.completions_offset);
	uint32_t *head = (uint32_t *)(ring_bytes + ring.head_offset), *tail = (uint32_t *)(ring_bytes + ring.tail_offset);
	struct rdma_wait argument = { .min = count, .deadline_ns = RDMA_WAIT_FOREVER };
	uint32_t begin = *head, end = begin + count;

	if (__atomic_load_n(tail, __ATOMIC_ACQUIRE) - begin < count && ioctl(fd, RDMA_IOC_WAIT, &argument) < count)
		err(1, "WAIT for %d", count);
	for (; begin != end; begin++) {
		const void *at = (const char *)first + (begin & (ring.entries - 1)) * (size_t)ring.completion_size;
		const struct rdma_completion *completion = at;

		if (completion->status)
			errx(1, "a copy failed: %d", completion->status);
	}
	__atomic_store_n(head, end, __ATOMIC_RELEASE);
}

const struct peer rdma_ring = { "ring", open_with_ring, submit, collect_from_ring, false, false };
const struct peer rdma = { "rdma", open_device, submit, collect, false, false };
