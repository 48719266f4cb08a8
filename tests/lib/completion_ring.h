/* SPDX-License-Identifier: GPL-2.0 */
/* Completion rings: what a program does with one. */
#ifndef COMPLETION_RING_H
#define COMPLETION_RING_H

#include "requests.h"

struct ring {
	struct rdma_completion_ring properties;
	unsigned char *bytes;
	uint32_t *head, *tail, *flags;
};

static inline int create_ring(int fd, struct rdma_completion_ring *properties)
{
	*properties = (struct rdma_completion_ring){ 0 };
	return call(fd, RDMA_IOC_COMPLETION_RING, properties);
}

/* Maps the ring with the properties in `ring`. */
static inline int map_ring(int fd, struct ring *ring)
{
	ring->bytes = map(fd, ring->properties.mmap_offset, ring->properties.size, PROT_READ | PROT_WRITE);
	if (!ring->bytes)
		return -errno;
	ring->head = (uint32_t *)(ring->bytes + ring->properties.head_offset);
	ring->tail = (uint32_t *)(ring->bytes + ring->properties.tail_offset);
	ring->flags = (uint32_t *)(ring->bytes + ring->properties.flags_offset);
	return 0;
}

static inline int open_ring(int fd, struct ring *ring)
{
	int error = create_ring(fd, &ring->properties);

	return error ? error : map_ring(fd, ring);
}

static inline uint32_t ring_head(const struct ring *ring)
{
	return __atomic_load_n(ring->head, __ATOMIC_RELAXED);
}

static inline uint32_t ring_tail(const struct ring *ring)
{
	return __atomic_load_n(ring->tail, __ATOMIC_ACQUIRE);
}

static inline void set_head(struct ring *ring, uint32_t head)
{
	__atomic_store_n(ring->head, head, __ATOMIC_RELEASE);
}

/* The number of completions to collect. */
static inline uint32_t ready(const struct ring *ring)
{
	return ring_tail(ring) - ring_head(ring);
}

static inline struct rdma_completion *completion_at(const struct ring *ring, uint32_t number)
{
	return (struct rdma_completion *)(ring->bytes + ring->properties.completions_offset +
					  number % ring->properties.entries * ring->properties.completion_size);
}

/* Collects up to this many completions, without a system call; returns their number. */
static inline uint32_t gather(struct ring *ring, struct rdma_completion *completions, uint32_t most)
{
	uint32_t head = ring_head(ring), count = ready(ring);

	count = count < most ? count : most;
	for (uint32_t i = 0; i < count; i++)
		completions[i] = *completion_at(ring, head + i);
	set_head(ring, head + count);
	return count;
}

/* RDMA_IOC_WAIT with a ring. */
static inline int await_ring(int fd, uint32_t min, int64_t timeout_ns)
{
	struct rdma_wait argument = { .min = min, .deadline_ns = deadline(timeout_ns) };

	return call(fd, RDMA_IOC_WAIT, &argument);
}

#endif
