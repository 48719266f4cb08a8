// SPDX-License-Identifier: GPL-2.0
/* The completion ring: its properties, what is written to it, what frees room, and hostile programs. */
#include "completion_ring.h"
#include "submitters.h"

#include <sched.h>
#include <sys/wait.h>

FIXTURE(ring)
{
	int fd;
	struct buffer buffer;
	struct ring ring;
	struct rdma_completion completions[DEPTH];
};

FIXTURE_SETUP(ring)
{
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, 2 * PAGE, &self->buffer));
	/* Waits for transfers of an earlier test. */
	ASSERT_EQ(0, transfer_some(self->fd, &self->buffer, 1));
	ASSERT_EQ(0, open_ring(self->fd, &self->ring));
}

/* A request for this many bytes: to the device memory, if there is any, otherwise to the buffer's second page. */
static struct rdma_request some(const FIXTURE_DATA(ring) *self, uint64_t length, uint64_t cookie)
{
	return has_memory(self->fd) ? writing(&self->buffer, 0, 0, length, cookie) : copying(&self->buffer, PAGE, &self->buffer, 0, length, cookie);
}

FIXTURE_TEARDOWN(ring)
{
	if (self->ring.bytes)
		munmap(self->ring.bytes, self->ring.properties.size);
	close(self->fd);
}

/* Completes requests with these cookies at once; all but one are cancelled. */
static int complete_many(int fd, struct buffer *buffer, uint32_t count, uint64_t first)
{
	int submitted = submit_many(fd, buffer, count, first), cancelled;

	if (submitted <= 0)
		return submitted;
	cancelled = cancel_all(fd);
	return cancelled < 0 ? cancelled : submitted;
}

TEST_F(ring, properties)
{
	struct rdma_completion_ring *ring = &self->ring.properties;

	EXPECT_LE(DEPTH, ring->entries);
	EXPECT_EQ(0, ring->entries & (ring->entries - 1));
	EXPECT_LE(sizeof(struct rdma_completion), ring->completion_size);
	EXPECT_EQ(0, ring->completion_size % 8);
	EXPECT_EQ(0, ring->completions_offset % 8);
	EXPECT_EQ(0, ring->size % PAGE);
	EXPECT_LE(ring->completions_offset + ring->entries * ring->completion_size, ring->size);
	EXPECT_EQ(0, (ring->head_offset | ring->tail_offset | ring->flags_offset) % 4);
	EXPECT_EQ(0, ring->flags);
	EXPECT_EQ(0, differing(ring->reserved, 0, sizeof(ring->reserved)));
	EXPECT_EQ(0, *self->ring.flags);
	EXPECT_EQ(0, ready(&self->ring));
	/* The indices wrap around after a few thousand completions. */
	EXPECT_GT(10 * DEPTH, -ring_head(&self->ring));
	/* A new ring shows nothing that was in the memory before. */
	EXPECT_EQ(0, differing(completion_at(&self->ring, 0), 0, ring->size - ring->completions_offset));
}

TEST_F(ring, completions)
{
	struct rdma_request requests[3];

	for (int i = 0; i < 3; i++)
		requests[i] = some(self, 1 + i, 70 + i);
	ASSERT_EQ(3, submit(self->fd, requests, 3));
	EXPECT_EQ(3, await_ring(self->fd, 3, FOREVER));
	EXPECT_EQ(POLLIN | POLLRDNORM, polled(self->fd));
	ASSERT_EQ(3, gather(&self->ring, self->completions, DEPTH));
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(70 + i, self->completions[i].cookie);
		EXPECT_EQ(1 + i, self->completions[i].bytes);
		EXPECT_EQ(0, self->completions[i].status);
		EXPECT_EQ(0, self->completions[i].reserved);
	}
	EXPECT_EQ(0, polled(self->fd));
	EXPECT_EQ(0, await_ring(self->fd, 0, FOREVER));
	EXPECT_EQ(0, gather(&self->ring, self->completions, DEPTH));
	/* A blocking transfer has no completion. */
	EXPECT_EQ(0, transfer_some(self->fd, &self->buffer, 1));
	EXPECT_EQ(0, ready(&self->ring));
}

TEST_F(ring, links_and_cancelling)
{
	struct rdma_request requests[] = {
		some(self, DEVICE_MEMORY, 1),
		linked(some(self, 1, 2)),
		some(self, 1, 3),
		some(self, 1, 4),
	};

	if (!has_memory(self->fd))
		SKIP(return, "requests end too soon on this device");
	ASSERT_EQ(4, submit(self->fd, requests, 4));
	EXPECT_EQ(2, cancel(self->fd, 2));
	EXPECT_EQ(4, await_ring(self->fd, 4, FOREVER));
	ASSERT_EQ(4, gather(&self->ring, self->completions, DEPTH));
	for (int i = 0; i < 4; i++) {
		bool cancelled = i < 2;

		EXPECT_EQ(cancelled ? 2 + i : i == 2 ? 1 : 4, self->completions[i].cookie);
		EXPECT_EQ(cancelled ? -ECANCELED : 0, self->completions[i].status);
	}
}

TEST_F(ring, created_once)
{
	struct rdma_completion_ring properties = { 0 };
	struct buffer buffer;
	int fd = open_node(O_RDWR);

	EXPECT_EQ(-EEXIST, create_ring(self->fd, &properties));
	EXPECT_EQ(0, memcmp(&properties, &self->ring.properties, sizeof(properties)));
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, allocate(fd, PAGE, &buffer));
	properties = (struct rdma_completion_ring){ .flags = 1 };
	EXPECT_EQ(-EINVAL, call(fd, RDMA_IOC_COMPLETION_RING, &properties));
	properties = (struct rdma_completion_ring){ .reserved = { [4] = 1 } };
	EXPECT_EQ(-EINVAL, call(fd, RDMA_IOC_COMPLETION_RING, &properties));
	EXPECT_EQ(-EFAULT, call(fd, RDMA_IOC_COMPLETION_RING, NULL));
	/* Nothing was created. */
	EXPECT_EQ(-EINVAL, await_ring(fd, 0, 0));
	EXPECT_EQ(NULL, map(fd, self->ring.properties.mmap_offset, PAGE, PROT_READ));
	EXPECT_EQ(EINVAL, errno);

	ASSERT_EQ(1, submit_many(fd, &buffer, 1, 0));
	EXPECT_EQ(-EBUSY, create_ring(fd, &properties));
	EXPECT_EQ(0, properties.size);
	pause_us(3 * TRANSFER_US);
	EXPECT_EQ(-EBUSY, create_ring(fd, &properties));
	EXPECT_EQ(0, drain(fd, 1));
	EXPECT_EQ(0, create_ring(fd, &properties));
	EXPECT_EQ(0, memcmp(&properties, &self->ring.properties, sizeof(properties)));
	close(fd);
}

/* The structure may be written to memory that is read-only: no ring is created then. */
TEST_F(ring, properties_that_cannot_be_written)
{
	int fd = open_node(O_RDWR);
	void *page = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct ring ring;

	ASSERT_LE(0, fd);
	ASSERT_NE(MAP_FAILED, page);
	EXPECT_EQ(-EFAULT, call(fd, RDMA_IOC_COMPLETION_RING, page));
	EXPECT_EQ(-EINVAL, await_ring(fd, 0, 0));
	EXPECT_EQ(0, open_ring(fd, &ring));
	munmap(page, PAGE);
	munmap(ring.bytes, ring.properties.size);
	close(fd);
}

/* The rules of WAIT with a ring, and without one. */
TEST_F(ring, wait_rules)
{
	struct rdma_wait good = { .deadline_ns = 0 }, wait;
	struct rdma_completion completion;
	int fd = open_node(O_RDWR);

	ASSERT_LE(0, fd);
	EXPECT_EQ(0, call(self->fd, RDMA_IOC_WAIT, &good));
	EXPECT_EQ(-EINVAL, call(fd, RDMA_IOC_WAIT, &good));
	close(fd);
	wait = good, wait.max = 1;
	EXPECT_EQ(-EINVAL, call(self->fd, RDMA_IOC_WAIT, &wait));
	wait = good, wait.completion_size = sizeof(completion);
	EXPECT_EQ(-EINVAL, call(self->fd, RDMA_IOC_WAIT, &wait));
	wait = good, wait.completions = (uintptr_t)&completion;
	EXPECT_EQ(-EINVAL, call(self->fd, RDMA_IOC_WAIT, &wait));
	wait = good, wait.min = DEPTH + 1;
	EXPECT_EQ(-EINVAL, call(self->fd, RDMA_IOC_WAIT, &wait));
	wait = good, wait.flags = 1;
	EXPECT_EQ(-EINVAL, call(self->fd, RDMA_IOC_WAIT, &wait));
	EXPECT_EQ(-EINVAL, take(self->fd, &completion, 1));
	ASSERT_EQ(1, submit_many(self->fd, &self->buffer, 1, 0));
	pause_us(3 * TRANSFER_US);
	EXPECT_EQ(-EINVAL, take(self->fd, &completion, 1));
	EXPECT_EQ(1, ready(&self->ring));
}

TEST_F(ring, wait_sleeps)
{
	int64_t began;

	if (!has_memory(self->fd))
		SKIP(return, "requests end too soon on this device");
	/* Until the deadline. */
	began = now();
	EXPECT_EQ(0, await_ring(self->fd, 1, 50 * MS));
	EXPECT_LE(50000, now() - began);
	/* Until there are enough, which are not there yet. */
	ASSERT_EQ(3, submit_many(self->fd, &self->buffer, 3, 0));
	EXPECT_EQ(0, await_ring(self->fd, 0, FOREVER));
	EXPECT_EQ(1, await_ring(self->fd, 1, FOREVER));
	EXPECT_EQ(3, await_ring(self->fd, 3, FOREVER));
	/* They count until they are collected. */
	EXPECT_EQ(3, await_ring(self->fd, 2, FOREVER));
	set_head(&self->ring, ring_head(&self->ring) + 2);
	EXPECT_EQ(1, await_ring(self->fd, 1, FOREVER));
	EXPECT_EQ(1, await_ring(self->fd, 2, MS));
	set_head(&self->ring, ring_tail(&self->ring));
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_NONBLOCK));
	EXPECT_EQ(-EAGAIN, await_ring(self->fd, 1, FOREVER));
}

/* A thread that waits for completions in the ring. */
struct ring_waiter {
	pthread_t thread;
	int fd;
	uint32_t min;
	int answer;
	int64_t ended;
};

static void *ring_waiter(void *argument)
{
	struct ring_waiter *waiter = argument;

	waiter->answer = await_ring(waiter->fd, waiter->min, FOREVER);
	waiter->ended = now();
	return NULL;
}

/* A thread is woken, but another one has collected: there is enough for a third one, which is woken, too. */
TEST_F(ring, wake_up_is_passed_on)
{
	struct ring_waiter one = { .fd = self->fd, .min = 1 }, two = { .fd = self->fd, .min = 2 };
	struct sched_param first = { .sched_priority = 1 }, normal = { 0 };
	int64_t began;

	if (!virtual_time())
		SKIP(return, "in real time, the third request may end before the thread runs");
	ASSERT_EQ(0, pthread_create(&one.thread, NULL, ring_waiter, &one));
	pause_us(20000);
	ASSERT_EQ(0, pthread_create(&two.thread, NULL, ring_waiter, &two));
	pause_us(20000);
	/* On the only CPU, no other thread runs before this one sleeps. */
	ASSERT_EQ(0, sched_setscheduler(0, SCHED_FIFO, &first));
	began = now();
	ASSERT_EQ(3, complete_many(self->fd, &self->buffer, 3, 0));
	EXPECT_EQ(2, ready(&self->ring));
	set_head(&self->ring, ring_head(&self->ring) + 1);
	ASSERT_EQ(0, sched_setscheduler(0, SCHED_OTHER, &normal));
	ASSERT_EQ(0, pthread_join(one.thread, NULL));
	EXPECT_EQ(1, one.answer);
	EXPECT_GT(TRANSFER_US / 2, one.ended - began);
	ASSERT_EQ(0, pthread_join(two.thread, NULL));
	EXPECT_EQ(2, two.answer);
}

/* A thread that waits to collect into an array when the ring is created. */
static void *sleeper(void *argument)
{
	static struct rdma_completion completion;
	struct pending *pending = argument;

	pending->answer = collect(pending->fd, &completion, 1, 1, FOREVER);
	return NULL;
}

TEST_F(ring, created_during_a_wait)
{
	struct pending pending = { .fd = open_node(O_RDWR) };
	struct rdma_completion_ring properties;

	ASSERT_LE(0, pending.fd);
	ASSERT_EQ(0, pthread_create(&pending.thread, NULL, sleeper, &pending));
	pause_us(50000);
	ASSERT_EQ(0, create_ring(pending.fd, &properties));
	EXPECT_EQ(-EINVAL, finish(&pending));
	close(pending.fd);
}

TEST_F(ring, eventfd_and_epoll)
{
	int event = eventfd(0, EFD_CLOEXEC);

	if (!has_memory(self->fd))
		SKIP(return, "requests end too soon on this device");
	ASSERT_LE(0, event);
	ASSERT_EQ(0, tell(self->fd, event));
	ASSERT_EQ(2, submit_many(self->fd, &self->buffer, 2, 0));
	EXPECT_EQ(2, await_ring(self->fd, 2, FOREVER));
	EXPECT_EQ(2, counted(event));
	EXPECT_EQ(POLLIN | POLLRDNORM, polled(self->fd));
	set_head(&self->ring, ring_head(&self->ring) + 1);
	EXPECT_EQ(POLLIN | POLLRDNORM, polled(self->fd));
	set_head(&self->ring, ring_head(&self->ring) + 1);
	EXPECT_EQ(0, polled(self->fd));
	close(event);
}

/* Completions that are not collected take room; the head frees it. */
TEST_F(ring, full)
{
	struct pollfd room = { .fd = self->fd, .events = POLLOUT };

	ASSERT_EQ(DEPTH, complete_many(self->fd, &self->buffer, DEPTH, 0));
	EXPECT_EQ(DEPTH, await_ring(self->fd, DEPTH, FOREVER));
	EXPECT_EQ(-EAGAIN, submit_many(self->fd, &self->buffer, 1, 0));
	EXPECT_EQ(0, poll(&room, 1, 0));
	ASSERT_EQ(3, gather(&self->ring, self->completions, 3));
	EXPECT_EQ(1, poll(&room, 1, 0));
	EXPECT_EQ(3, complete_many(self->fd, &self->buffer, DEPTH, 5000));
	EXPECT_EQ(-EAGAIN, submit_many(self->fd, &self->buffer, 1, 0));
	EXPECT_EQ(DEPTH, await_ring(self->fd, DEPTH, FOREVER));
	ASSERT_EQ(DEPTH, gather(&self->ring, self->completions, DEPTH));
	EXPECT_EQ(5000, self->completions[DEPTH - 3].cookie + self->completions[DEPTH - 2].cookie +
				self->completions[DEPTH - 1].cookie - 5001 - 5002);
	EXPECT_EQ(DEPTH, submit_many(self->fd, &self->buffer, DEPTH, 0));
}

static void *waits_for_room(void *argument)
{
	struct pending *pending = argument;
	struct pollfd room = { .fd = pending->fd, .events = POLLOUT };

	pending->answer = poll(&room, 1, -1);
	return NULL;
}

/* A thread that waits for room is woken by the WAIT or the SUBMIT that finds it. */
TEST_F(ring, room_wakes)
{
	for (int i = 0; i < 2; i++) {
		struct pending pending = { .fd = self->fd };

		ASSERT_EQ(DEPTH, complete_many(self->fd, &self->buffer, DEPTH, 0));
		EXPECT_EQ(DEPTH, await_ring(self->fd, DEPTH, FOREVER));
		ASSERT_EQ(0, pthread_create(&pending.thread, NULL, waits_for_room, &pending));
		pause_us(50000);
		set_head(&self->ring, ring_tail(&self->ring));
		EXPECT_EQ(i, i ? submit_many(self->fd, &self->buffer, 1, 0) : await_ring(self->fd, 0, 0));
		EXPECT_EQ(1, finish(&pending));
		EXPECT_EQ(i, await_ring(self->fd, i, FOREVER));
		set_head(&self->ring, ring_tail(&self->ring));
	}
}

/* The 32-bit indices pass from 2^32 - 1 to 0. */
TEST_F(ring, wrap_around)
{
	uint32_t first = ring_head(&self->ring);
	uint64_t next = 0, seen = 0;

	while (next < 12 * DEPTH) {
		bool known[DEPTH] = { false };
		int got = complete_many(self->fd, &self->buffer, DEPTH - 7, next);

		ASSERT_EQ(DEPTH - 7, got);
		ASSERT_EQ(got, await_ring(self->fd, got, FOREVER));
		ASSERT_EQ(got, gather(&self->ring, self->completions, DEPTH));
		for (int i = 0; i < got; i++) {
			uint64_t at = self->completions[i].cookie - next;

			ASSERT_GT(got, at);
			ASSERT_FALSE(known[at]);
			known[at] = true;
		}
		next += got;
		seen += got;
	}
	EXPECT_EQ((uint32_t)(first + seen), ring_tail(&self->ring));
	EXPECT_LT(ring_tail(&self->ring), first);
}

/* A head that is not between the last one and the tail frees no room, and is harmless. */
TEST_F(ring, hostile_head)
{
	uint32_t head, tail;

	ASSERT_EQ(100, complete_many(self->fd, &self->buffer, 100, 0));
	ASSERT_EQ(100, await_ring(self->fd, 100, FOREVER));
	ASSERT_EQ(40, gather(&self->ring, self->completions, 40));
	ASSERT_EQ(60, await_ring(self->fd, 0, 0)); /* The driver has seen this head. */
	head = ring_head(&self->ring);
	tail = ring_tail(&self->ring);
	uint32_t wrong[] = { head - 1, tail + 1, head - DEPTH, tail ^ 1U << 31, 0, UINT32_MAX, 0x7fffffff };

	for (int i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		set_head(&self->ring, wrong[i]);
		ASSERT_EQ(60, await_ring(self->fd, 60, MS));
		EXPECT_EQ(POLLIN | POLLRDNORM, polled(self->fd));
	}
	EXPECT_EQ(DEPTH - 60, complete_many(self->fd, &self->buffer, DEPTH, 0));
	EXPECT_EQ(-EAGAIN, submit_many(self->fd, &self->buffer, 1, 0));
	set_head(&self->ring, head);
	EXPECT_EQ(DEPTH, await_ring(self->fd, DEPTH, FOREVER));
	ASSERT_EQ(DEPTH, gather(&self->ring, self->completions, DEPTH));
	EXPECT_TRUE(works());
}

/* Writes random values over the ring until the end. */
struct scribbler {
	pthread_t thread;
	struct ring *ring;
	bool enough;
};

static void *scribbler(void *argument)
{
	struct scribbler *self = argument;
	size_t words = self->ring->properties.size / sizeof(uint32_t);
	volatile uint32_t *word = (volatile uint32_t *)self->ring->bytes;
	uint32_t random = 1;

	while (!__atomic_load_n(&self->enough, __ATOMIC_RELAXED)) {
		random = random * 1664525 + 1013904223;
		*self->ring->head = random;
		*self->ring->tail = ~random;
		word[random % words] = random;
		for (size_t i = 0; i < words && random % 64 == 0; i++)
			word[i] = random;
	}
	return NULL;
}

/* Another context is correct, and the scribbled one accepts no more than its depth. */
TEST_F(ring, scribbled)
{
	struct scribbler scribbles = { .ring = &self->ring };
	struct buffer buffer;
	struct ring ring;
	int other = open_node(O_RDWR), rounds = scale(100, 5000);

	ASSERT_LE(0, other);
	ASSERT_EQ(0, allocate(other, PAGE, &buffer));
	ASSERT_EQ(0, open_ring(other, &ring));
	ASSERT_EQ(0, pthread_create(&scribbles.thread, NULL, scribbler, &scribbles));
	for (int i = 0; i < rounds; i++) {
		int accepted = complete_many(self->fd, &self->buffer, DEPTH, 0);
		int left = await_ring(self->fd, 0, 0);

		ASSERT_TRUE(accepted == -EAGAIN || (accepted > 0 && accepted <= DEPTH));
		ASSERT_TRUE(left >= 0 && left <= DEPTH);
		ASSERT_EQ(20, complete_many(other, &buffer, 20, 20 * i));
		ASSERT_EQ(20, await_ring(other, 20, FOREVER));
		ASSERT_EQ(20, gather(&ring, self->completions, DEPTH));
		for (int at = 0; at < 20; at++)
			ASSERT_EQ(i, self->completions[at].cookie / 20);
	}
	__atomic_store_n(&scribbles.enough, true, __ATOMIC_RELAXED);
	ASSERT_EQ(0, pthread_join(scribbles.thread, NULL));
	munmap(ring.bytes, ring.properties.size);
	close(other);
	FIGURE("%d completions beside a ring that is overwritten with random values", "each as in a context alone", 20 * rounds);
	EXPECT_TRUE(works());
}

TEST_F(ring, mapping_rules)
{
	uint64_t offset = self->ring.properties.mmap_offset, size = self->ring.properties.size;
	int reader = open_node(O_RDONLY);
	struct rdma_completion_ring properties;
	unsigned char *part;

	EXPECT_EQ(NULL, map(self->fd, offset, size + PAGE, PROT_READ));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(NULL, map(self->fd, offset + size, PAGE, PROT_READ));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(NULL, map(self->fd, offset - PAGE, 2 * PAGE, PROT_READ));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(NULL, map(self->fd, offset, size, PROT_READ | PROT_EXEC));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, size, PROT_READ, MAP_PRIVATE, self->fd, offset));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, mprotect(self->ring.bytes, size, PROT_READ | PROT_EXEC));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(MAP_FAILED, mremap(self->ring.bytes, size, 2 * size, MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);
	/* A part of it shows that part. */
	part = map(self->fd, offset + size - PAGE, PAGE, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, part);
	self->ring.bytes[size - 1] = 0xa5;
	EXPECT_EQ(0xa5, part[PAGE - 1]);
	EXPECT_EQ(0, munmap(part, PAGE));
	/* Who can only read cannot collect. */
	ASSERT_LE(0, reader);
	ASSERT_EQ(0, create_ring(reader, &properties));
	EXPECT_EQ(NULL, map(reader, offset, size, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	part = map(reader, offset, size, PROT_READ);
	ASSERT_NE(NULL, part);
	EXPECT_TRUE(readable(part));
	EXPECT_EQ(-1, mprotect(part, size, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	munmap(part, size);
	close(reader);
}

/* No buffer has the handle of the ring's part of the file. */
TEST_F(ring, is_no_buffer)
{
	uint32_t handle = RDMA_FIRST_BUFFER + self->ring.properties.mmap_offset / RDMA_MAX_BUFFER_SIZE;
	struct rdma_buffer_info info = { .handle = handle };
	struct rdma_request request = some(self, 1, 0);

	EXPECT_EQ(0, self->ring.properties.mmap_offset % RDMA_MAX_BUFFER_SIZE);
	EXPECT_EQ(-EINVAL, free_handle(self->fd, handle));
	EXPECT_EQ(-EINVAL, call(self->fd, RDMA_IOC_BUFFER_INFO, &info));
	request.source = handle;
	EXPECT_EQ(-EINVAL, submit_one(self->fd, request));
	EXPECT_TRUE(readable(self->ring.bytes));
}

/* Completions are kept for a mapping that is created later. */
TEST_F(ring, mapped_again)
{
	ASSERT_EQ(0, munmap(self->ring.bytes, self->ring.properties.size));
	self->ring.bytes = NULL;
	ASSERT_EQ(50, complete_many(self->fd, &self->buffer, 50, 0));
	ASSERT_EQ(50, await_ring(self->fd, 50, FOREVER));
	ASSERT_EQ(0, map_ring(self->fd, &self->ring));
	EXPECT_EQ(50, gather(&self->ring, self->completions, DEPTH));
}

/* A mapping keeps the context: requests end, and their completions can be read. */
TEST_F(ring, mapping_outlives_the_descriptor)
{
	ASSERT_EQ(2, submit_many(self->fd, &self->buffer, 2, 30));
	ASSERT_EQ(0, munmap(self->buffer.bytes, self->buffer.size));
	ASSERT_EQ(0, close(self->fd));
	self->fd = -1;
	while (ready(&self->ring) < 2)
		pause_us(10000);
	ASSERT_EQ(2, gather(&self->ring, self->completions, DEPTH));
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(30 + i, self->completions[i].cookie);
		EXPECT_EQ(0, self->completions[i].status);
	}
}

/* Pages that a pipe has pinned outlive the ring. */
TEST_F(ring, pinned_pages)
{
	struct iovec part = { self->ring.bytes, PAGE };
	unsigned char *before = malloc(PAGE), *after = malloc(PAGE);
	int pipes[2];

	ASSERT_EQ(0, pipe(pipes));
	ASSERT_EQ(30, complete_many(self->fd, &self->buffer, 30, 1));
	ASSERT_EQ(30, await_ring(self->fd, 30, FOREVER));
	memcpy(before, self->ring.bytes, PAGE);
	ASSERT_EQ(PAGE, vmsplice(pipes[1], &part, 1, 0));
	ASSERT_EQ(0, munmap(self->ring.bytes, self->ring.properties.size));
	self->ring.bytes = NULL;
	ASSERT_EQ(0, close(self->fd));
	self->fd = -1;
	for (int i = 0; i < 10; i++) {
		int fd = open_node(O_RDWR);
		struct ring ring;

		ASSERT_EQ(0, open_ring(fd, &ring));
		memset(ring.bytes, 0x55, ring.properties.size);
		munmap(ring.bytes, ring.properties.size);
		close(fd);
	}
	ASSERT_EQ(PAGE, read(pipes[0], after, PAGE));
	EXPECT_EQ(0, memcmp(before, after, PAGE));
	close(pipes[0]);
	close(pipes[1]);
}

/* Parent and child share the ring. */
TEST_F(ring, fork)
{
	int status;
	pid_t child;

	ASSERT_EQ(5, complete_many(self->fd, &self->buffer, 5, 40));
	ASSERT_EQ(5, await_ring(self->fd, 5, FOREVER));
	child = fork();
	if (!child) {
		/* The file is not closed by fork(2). */
		bool good = ready(&self->ring) == 5 && gather(&self->ring, self->completions, 2) == 2 &&
			    submit_many(self->fd, &self->buffer, 1, 99) == 1;

		_exit(!good);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(4, await_ring(self->fd, 4, FOREVER));
	ASSERT_EQ(4, gather(&self->ring, self->completions, DEPTH));
	EXPECT_EQ(99, self->completions[3].cookie);
}

/* Threads submit and cancel while another one collects. */
TEST_F(ring, shared_by_threads)
{
	struct submitters submitters;
	long accepted, collected = 0;

	ASSERT_EQ(0, start_submitters(&submitters, self->fd, &self->buffer, true));
	/* Until the indices have wrapped around. */
	while (collected <= 20 * DEPTH) {
		uint32_t got;

		ASSERT_LE(0, await_ring(self->fd, 1, 500000));
		got = gather(&self->ring, self->completions, DEPTH);
		ASSERT_GE(DEPTH, got);
		for (uint32_t i = 0; i < got; i++)
			ASSERT_TRUE(self->completions[i].status == -ECANCELED || self->completions[i].status == 0);
		collected += got;
	}
	accepted = stop_submitters(&submitters);
	ASSERT_LE(0, accepted);
	ASSERT_LE(0, cancel_all(self->fd));
	EXPECT_EQ(accepted - collected, await_ring(self->fd, accepted - collected, FOREVER));
	EXPECT_EQ(accepted - collected, gather(&self->ring, self->completions, DEPTH));
	TH_LOG("%ld accepted", accepted);
}

TEST_HARNESS_MAIN
