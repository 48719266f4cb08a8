/* SPDX-License-Identifier: GPL-2.0 */
/* An io_uring by its system calls, io_uring_setup(2) and io_uring_enter(2), and commands of the node on it. */
#ifndef URING_H
#define URING_H

#include <errno.h>
#include <linux/io_uring.h>
#include <linux/time_types.h>
#include <rdma.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct uring {
	int fd;
	unsigned int entry_size, submitted;
	char *queue, *entries;
	size_t queue_size, entries_size;
	struct io_uring_params params;
};

/* The result of a system call, or -errno. */
static inline int uring_result(long answer)
{
	return answer < 0 ? -errno : answer;
}

static inline int uring_open(struct uring *ring, unsigned int entries, unsigned int flags)
{
	*ring = (struct uring){ .params.flags = flags | IORING_SETUP_CQSIZE, .params.cq_entries = 4 * entries };
	ring->fd = uring_result(syscall(SYS_io_uring_setup, entries, &ring->params));
	if (ring->fd < 0)
		return ring->fd;
	ring->entry_size = sizeof(struct io_uring_sqe) * (flags & IORING_SETUP_SQE128 ? 2 : 1);
	ring->queue_size = ring->params.cq_off.cqes + ring->params.cq_entries * sizeof(struct io_uring_cqe);
	if (ring->queue_size < ring->params.sq_off.array + ring->params.sq_entries * sizeof(unsigned int))
		ring->queue_size = ring->params.sq_off.array + ring->params.sq_entries * sizeof(unsigned int);
	ring->entries_size = ring->params.sq_entries * ring->entry_size;
	/* One area for both queues: IORING_FEAT_SINGLE_MMAP. */
	ring->queue = mmap(NULL, ring->queue_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd,
			   IORING_OFF_SQ_RING);
	ring->entries = mmap(NULL, ring->entries_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd,
			     IORING_OFF_SQES);
	return ring->queue == MAP_FAILED || ring->entries == MAP_FAILED ? -ENOMEM : 0;
}

static inline void uring_close(struct uring *ring)
{
	munmap(ring->queue, ring->queue_size);
	munmap(ring->entries, ring->entries_size);
	close(ring->fd);
}

/* The next entry, with zeros. uring_submit() submits it. */
static inline struct io_uring_sqe *uring_next(struct uring *ring)
{
	unsigned int index = ring->submitted++ & (ring->params.sq_entries - 1);
	struct io_uring_sqe *entry = (void *)(ring->entries + index * ring->entry_size);

	((unsigned int *)(ring->queue + ring->params.sq_off.array))[index] = index;
	memset(entry, 0, ring->entry_size);
	return entry;
}

static inline unsigned int *uring_word(const struct uring *ring, unsigned int offset)
{
	return (unsigned int *)(ring->queue + offset);
}

/* Submits the entries, and waits until there are `min` completions. Returns the number of submitted entries, or an error. */
static inline int uring_submit(struct uring *ring, unsigned int min)
{
	unsigned int *tail = uring_word(ring, ring->params.sq_off.tail);
	unsigned int count = ring->submitted - *tail, flags = min ? IORING_ENTER_GETEVENTS : 0;

	__atomic_store_n(tail, ring->submitted, __ATOMIC_RELEASE);
	if (ring->params.flags & IORING_SETUP_SQPOLL)
		flags |= IORING_ENTER_SQ_WAKEUP;
	return uring_result(syscall(SYS_io_uring_enter, ring->fd, count, min, flags, NULL, 0));
}

/* Lets the kernel do what is left to do in this thread. */
static inline int uring_turn(struct uring *ring)
{
	return uring_result(syscall(SYS_io_uring_enter, ring->fd, 0, 0, IORING_ENTER_GETEVENTS, NULL, 0));
}

/* Takes the next completion, if there is one. */
static inline bool uring_take(struct uring *ring, struct io_uring_cqe *completion)
{
	unsigned int *head = uring_word(ring, ring->params.cq_off.head);
	const struct io_uring_cqe *all = (void *)(ring->queue + ring->params.cq_off.cqes);

	if (*head == __atomic_load_n(uring_word(ring, ring->params.cq_off.tail), __ATOMIC_ACQUIRE))
		return false;
	*completion = all[*head & (ring->params.cq_entries - 1)];
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return true;
}

/* Waits for the next completion, and returns its result. Stores its user_data, unless the address is NULL. */
static inline int uring_wait(struct uring *ring, uint64_t *user_data)
{
	struct io_uring_cqe completion;

	while (!uring_take(ring, &completion)) {
		int error = uring_submit(ring, 1);

		if (error < 0 && error != -EINTR)
			return error;
	}
	if (user_data)
		*user_data = completion.user_data;
	return completion.res;
}

/* A command of the node, whose structure is at an address. */
static inline struct io_uring_sqe *uring_command(struct uring *ring, int fd, unsigned int number, const void *argument,
						 uint64_t user_data)
{
	struct io_uring_sqe *entry = uring_next(ring);

	entry->opcode = IORING_OP_URING_CMD;
	entry->fd = fd;
	entry->cmd_op = number;
	entry->addr = (uintptr_t)argument;
	entry->user_data = user_data;
	return entry;
}

/* A command of the node, whose structure is in the entry. The ring has entries of 128 bytes. */
static inline struct io_uring_sqe *uring_inline(struct uring *ring, int fd, unsigned int number, const void *argument,
						uint64_t user_data)
{
	struct io_uring_sqe *entry = uring_command(ring, fd, number, NULL, user_data);

	memcpy(entry->cmd, argument, _IOC_SIZE(number));
	return entry;
}

/* Submits one command, and waits for its result. */
static inline int uring_call(struct uring *ring, int fd, unsigned int number, const void *argument)
{
	int error;

	uring_command(ring, fd, number, argument, 0);
	error = uring_submit(ring, 1);
	return error == 1 ? uring_wait(ring, NULL) : error < 0 ? error : -EPROTO;
}

#endif
