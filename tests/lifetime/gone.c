// SPDX-License-Identifier: GPL-2.0
/* Promise 7: a device is removed in each way, with files, mappings and transfers held. The removal waits for no process. */
#include "requests.h"
#include "teardown.h"
#include "uring.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { PAGES = 4, CANARIES = 4096 };

FIXTURE(gone)
{
	char address[32]; /* of the device on its bus */
	int fd;
	struct buffer buffer;
	bool away;
};

FIXTURE_VARIANT(gone)
{
	enum way way;
};

FIXTURE_VARIANT_ADD(gone, unbind) { .way = UNBIND };
FIXTURE_VARIANT_ADD(gone, remove) { .way = REMOVE };
FIXTURE_VARIANT_ADD(gone, unplug) { .way = UNPLUG };

static int64_t leave(FIXTURE_DATA(gone) *self, enum way way)
{
	self->away = true;
	return go_away(self->address, way);
}

static int back(FIXTURE_DATA(gone) *self, enum way way)
{
	self->away = false;
	return come_back(self->address, way);
}

FIXTURE_SETUP(gone)
{
	ASSERT_EQ(0, pci_address("rdma0", self->address));
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, PAGES * PAGE, &self->buffer));
	fill(self->buffer.bytes, PAGES * DEVICE_MEMORY, 1);
}

FIXTURE_TEARDOWN(gone)
{
	if (self->away)
		back(self, variant->way);
	close(self->fd);
}

TEST_F(gone, calls_answer_enodev)
{
	struct rdma_device_info info;
	struct rdma_alloc alloc = { .size = PAGE };
	struct rdma_buffer_info buffer = { 0 };
	struct rdma_completion completion;
	char bytes[16];

	ASSERT_LE(0, leave(self, variant->way));
	EXPECT_EQ(-ENODEV, call(self->fd, RDMA_IOC_DEVICE_INFO, &info));
	EXPECT_EQ(-ENODEV, call(self->fd, RDMA_IOC_ALLOC, &alloc));
	EXPECT_EQ(-ENODEV, to_device(self->fd, &self->buffer, 0, 0, 1));
	EXPECT_EQ(-ENODEV, from_device(self->fd, &self->buffer, 0, 0, 1));
	EXPECT_EQ(-ENODEV, copy(self->fd, &self->buffer, 0, &self->buffer, 1, 1));
	EXPECT_EQ(-ENODEV, result(read(self->fd, bytes, sizeof(bytes))));
	EXPECT_EQ(-ENODEV, result(write(self->fd, bytes, sizeof(bytes))));
	EXPECT_EQ(NULL, map(self->fd, self->buffer.offset, PAGE, PROT_READ));
	EXPECT_EQ(ENODEV, errno);
	EXPECT_EQ(NULL, map(self->fd, 0, PAGE, PROT_READ));
	EXPECT_EQ(ENODEV, errno);
	EXPECT_EQ(-ENODEV, free_handle(self->fd, self->buffer.handle));
	buffer.handle = self->buffer.handle;
	EXPECT_EQ(-ENODEV, call(self->fd, RDMA_IOC_BUFFER_INFO, &buffer));
	EXPECT_EQ(-ENODEV, submit_many(self->fd, &self->buffer, 1, 0));
	EXPECT_EQ(-ENODEV, take(self->fd, &completion, 1));
	EXPECT_EQ(-ENODEV, collect(self->fd, &completion, 1, 1, FOREVER));
	EXPECT_EQ(-ENODEV, cancel(self->fd, 0));
	EXPECT_EQ(-ENODEV, cancel_all(self->fd));
	EXPECT_EQ(-ENODEV, tell(self->fd, -1));
}

TEST_F(gone, node_goes_and_comes_back)
{
	ASSERT_LE(0, leave(self, variant->way));
	EXPECT_EQ(-ENOENT, open_node(O_RDWR));
	EXPECT_NE(0, access("/sys/class/rust_dma/rdma0", F_OK));
	close(self->fd);
	ASSERT_EQ(0, back(self, variant->way));
	EXPECT_TRUE(works());
}

TEST_F(gone, mappings_answer_sigbus)
{
	unsigned char *untouched = map(self->fd, self->buffer.offset, PAGES * PAGE, PROT_READ | PROT_WRITE);
	int go[2], status;
	pid_t child;
	char byte;

	ASSERT_NE(NULL, untouched);
	ASSERT_EQ(0, pipe(go));
	child = fork();
	if (!child)
		_exit(read(go[0], &byte, 1) != 1 || readable(self->buffer.bytes) || readable(untouched));
	EXPECT_TRUE(readable(self->buffer.bytes));
	ASSERT_LE(0, leave(self, variant->way));
	for (int i = 0; i < PAGES; i++) {
		EXPECT_FALSE(readable(self->buffer.bytes + i * DEVICE_MEMORY));
		EXPECT_FALSE(readable(untouched + i * DEVICE_MEMORY));
	}
	ASSERT_EQ(1, write(go[1], "", 1));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, munmap(untouched, PAGES * PAGE));
	EXPECT_EQ(0, munmap(self->buffer.bytes, PAGES * PAGE));
}

/* The old file and the old mapping are independent of the device that was added again. */
TEST_F(gone, what_was_held_stays_dead)
{
	struct rdma_device_info info;

	ASSERT_LE(0, leave(self, variant->way));
	ASSERT_EQ(0, back(self, variant->way));
	EXPECT_TRUE(works());
	EXPECT_EQ(-ENODEV, call(self->fd, RDMA_IOC_DEVICE_INFO, &info));
	EXPECT_EQ(-ENODEV, to_device(self->fd, &self->buffer, 0, 0, 1));
	EXPECT_FALSE(readable(self->buffer.bytes));
	EXPECT_EQ(0, munmap(self->buffer.bytes, PAGES * PAGE));
	close(self->fd);
	EXPECT_TRUE(works());
}

/* Mappings of a file that was opened through another node. */
TEST_F(gone, other_names_of_the_node)
{
	static const char name[] = "/dev/rdma-by-another-name";
	struct buffer buffer;
	char numbers[32];
	unsigned int major, minor;
	int fd;

	ASSERT_EQ(0, read_text("/sys/class/rust_dma/rdma0/dev", numbers, sizeof(numbers)));
	ASSERT_EQ(2, sscanf(numbers, "%u:%u", &major, &minor));
	unlink(name);
	ASSERT_EQ(0, mknod(name, S_IFCHR | 0600, makedev(major, minor)));
	fd = open(name, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, allocate(fd, PAGE, &buffer));
	EXPECT_TRUE(readable(buffer.bytes));
	ASSERT_LE(0, leave(self, variant->way));
	EXPECT_FALSE(readable(buffer.bytes));
	EXPECT_EQ(-ENODEV, to_device(fd, &buffer, 0, 0, 1));
	EXPECT_EQ(-1, open(name, O_RDWR));
	EXPECT_TRUE(errno == ENXIO || errno == ENODEV) TH_LOG("errno %d", errno);
	close(fd);
	unlink(name);
}

/*
 * Whether a request that has succeeded, of three, can have ended: the running one, because the driver waits for the engine, and in real time others
 * on a busy host. The engine executes one after the other, in any order, because each is submitted by a thread of its own.
 */
static bool may_have_ended(const struct pending *pending, int of)
{
	int64_t began = pending[0].began;
	int ended = 0;

	for (int i = 0; i < 3; i++) {
		began = pending[i].began < began ? pending[i].began : began;
		ended += !pending[i].answer && pending[i].ended <= pending[of].ended;
	}
	return pending[of].ended - began >= ended * TRANSFER_US - 1000;
}

/* A running transfer, one that waits behind it, and one of another context: all return at once. */
TEST_F(gone, transfers_in_flight_and_queued)
{
	struct pending pending[3];
	struct buffer buffer;
	int other = open_node(O_RDWR);
	int64_t took, began;

	ASSERT_LE(0, other);
	ASSERT_EQ(0, allocate(other, PAGE, &buffer));
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, begin(&pending[i], i == 2 ? other : self->fd,
				   (struct rdma_request){ .operation = RDMA_OP_FROM_DEVICE,
							  .destination = i == 2 ? buffer.handle :
										  self->buffer.handle,
							  .length = DEVICE_MEMORY }));
	}
	pause_us(20000);
	began = now();
	took = leave(self, variant->way);
	ASSERT_LE(0, took);
	TH_LOG("took %lld us", (long long)took);
	EXPECT_GE(limit_us(), took);
	for (int i = 0; i < 3; i++)
		finish(&pending[i]);
	for (int i = 0; i < 3; i++) {
		int answer = pending[i].answer;

		EXPECT_TRUE(answer == -ENODEV || (!answer && may_have_ended(pending, i)))
			TH_LOG("request %d: %d", i, answer);
		EXPECT_GE(limit_us(), pending[i].ended - began);
	}
	close(other);
	ASSERT_EQ(0, back(self, variant->way));
	EXPECT_TRUE(works());
}

TEST_F(gone, in_a_long_copy)
{
	struct pending pending;
	struct buffer buffer;
	int64_t took;

	ASSERT_EQ(0, allocate(self->fd, 64 * PAGE, &buffer));
	ASSERT_EQ(0, begin(&pending, self->fd, (struct rdma_request){ .operation = RDMA_OP_COPY,
								     .source = buffer.handle,
								     .destination = buffer.handle,
								     .destination_offset = 32 * DEVICE_MEMORY,
								     .length = 32 * DEVICE_MEMORY }));
	pause_us(250000);
	took = leave(self, variant->way);
	ASSERT_LE(0, took);
	EXPECT_GE(limit_us(), took);
	EXPECT_EQ(-ENODEV, finish(&pending));
	ASSERT_EQ(0, back(self, variant->way));
	EXPECT_TRUE(works());
}

/*
 * Each submitted request completes once and can be collected. Only then WAIT fails with ENODEV. Some may have ended
 * before. The running one may complete after the others, because the driver waits for the engine, and may succeed.
 */
static void expect_gone(struct __test_metadata *_metadata, const struct rdma_completion *completions, int count)
{
	const struct rdma_completion *begun;
	bool last;
	int done = 0;

	while (done < count && completions[done].cookie == done && !completions[done].status) {
		EXPECT_EQ(1, completions[done].bytes);
		done++;
	}
	/* No more of them than the time allowed. */
	EXPECT_GT(count, done);
	last = completions[count - 1].cookie == done;
	begun = &completions[last ? count - 1 : done];
	EXPECT_EQ(done, begun->cookie);
	EXPECT_TRUE(begun->status == -ENODEV || !begun->status);
	EXPECT_EQ(!begun->status, begun->bytes);
	for (int i = done + 1; i < count; i++) {
		const struct rdma_completion *completion = &completions[last ? i - 1 : i];

		EXPECT_EQ(i, completion->cookie);
		EXPECT_EQ(-ENODEV, completion->status);
		EXPECT_EQ(0, completion->bytes);
	}
}

TEST_F(gone, submitted)
{
	struct rdma_completion completions[16];
	struct buffer buffer;
	int other = open_node(O_RDWR), event = eventfd(0, EFD_CLOEXEC);
	int64_t took;

	ASSERT_LE(0, other);
	ASSERT_EQ(0, allocate(other, PAGE, &buffer));
	ASSERT_EQ(0, tell(self->fd, event));
	ASSERT_EQ(6, submit_many(self->fd, &self->buffer, 6, 0));
	ASSERT_EQ(3, submit_many(other, &buffer, 3, 0));
	pause_us(20000);
	took = leave(self, variant->way);
	ASSERT_LE(0, took);
	EXPECT_GE(limit_us(), took);
	EXPECT_EQ(POLLIN | POLLRDNORM | POLLHUP | POLLERR, polled(self->fd));
	EXPECT_LE(1, counted(event));
	EXPECT_EQ(-ENODEV, submit_many(self->fd, &self->buffer, 1, 9));
	/* They are collected in several steps; no call waits for completions that will not come. */
	ASSERT_EQ(2, take(self->fd, completions, 2));
	ASSERT_EQ(4, collect(self->fd, completions + 2, 16, 16, FOREVER));
	expect_gone(_metadata, completions, 6);
	EXPECT_EQ(-ENODEV, take(self->fd, completions, 16));
	EXPECT_EQ(-ENODEV, collect(self->fd, completions, 1, 1, FOREVER));
	EXPECT_EQ(POLLHUP | POLLERR, polled(self->fd));
	ASSERT_EQ(3, take(other, completions, 16));
	expect_gone(_metadata, completions, 3);
	EXPECT_EQ(-ENODEV, take(other, completions, 16));
	close(event);
	close(other);
	ASSERT_EQ(0, back(self, variant->way));
	EXPECT_TRUE(works());
	EXPECT_EQ(-ENODEV, take(self->fd, completions, 16));
}

/* Commands of io_uring, and in another ring a poll that stays armed. The first copy does not end before the device is gone, also on a busy host. */
TEST_F(gone, commands_of_io_uring)
{
	struct rdma_request request;
	struct uring ring, polling;
	struct buffer buffer;
	struct io_uring_sqe *poll;
	int64_t took;

	ASSERT_EQ(0, allocate(self->fd, 64 * PAGE, &buffer));
	request = copying(&buffer, 32 * PAGE, &buffer, 0, 32 * PAGE, 3);
	ASSERT_EQ(0, uring_open(&ring, 64, 0));
	ASSERT_EQ(0, uring_open(&polling, 4, 0));
	poll = uring_next(&polling);
	poll->opcode = IORING_OP_POLL_ADD;
	poll->fd = self->fd;
	poll->len = IORING_POLL_ADD_MULTI;
	poll->poll32_events = POLLIN;
	ASSERT_EQ(1, uring_submit(&polling, 0));
	for (int i = 0; i < 40; i++)
		uring_command(&ring, self->fd, RDMA_IOC_TRANSFER, &request, 0);
	ASSERT_EQ(40, uring_submit(&ring, 0));
	pause_us(20000);
	took = leave(self, variant->way);
	ASSERT_LE(0, took);
	EXPECT_GE(limit_us(), took);
	for (int i = 0; i < 40; i++)
		EXPECT_EQ(-ENODEV, uring_wait(&ring, NULL));
	EXPECT_EQ(POLLHUP | POLLERR, uring_wait(&polling, NULL) & (POLLHUP | POLLERR));
	EXPECT_EQ(-ENODEV, uring_call(&ring, self->fd, RDMA_IOC_TRANSFER, &request));
	uring_close(&polling);
	uring_close(&ring);
	close(self->fd);
	ASSERT_EQ(0, back(self, variant->way));
	EXPECT_TRUE(works());
}

/* Earlier completions do not change. */
TEST_F(gone, submitted_and_completed)
{
	struct rdma_completion completions[16];

	ASSERT_EQ(3, submit_many(self->fd, &self->buffer, 3, 0));
	while (!polled(self->fd))
		pause_us(10000);
	pause_us(4 * TRANSFER_US);
	ASSERT_LE(0, leave(self, variant->way));
	ASSERT_EQ(3, take(self->fd, completions, 16));
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(i, completions[i].cookie);
		EXPECT_EQ(0, completions[i].status);
		EXPECT_EQ(1, completions[i].bytes);
	}
	EXPECT_EQ(-ENODEV, take(self->fd, completions, 16));
}

/* A full queue of chains and copies: all requests complete. */
TEST_F(gone, submitted_in_chains)
{
	static struct rdma_request requests[DEPTH];
	static struct rdma_completion completions[DEPTH];
	int64_t took;
	bool first_is_last;
	int wrong = 0;

	for (int i = 0; i < DEPTH; i++) {
		requests[i] = copying(&self->buffer, 2 * DEVICE_MEMORY, &self->buffer, 0, 2 * DEVICE_MEMORY, i);
		requests[i].flags = i % 4 == 3 ? 0 : RDMA_REQUEST_LINK;
	}
	ASSERT_EQ(DEPTH, submit(self->fd, requests, DEPTH));
	pause_us(20000);
	took = leave(self, variant->way);
	ASSERT_LE(0, took);
	EXPECT_GE(limit_us(), took);
	ASSERT_EQ(DEPTH, collect(self->fd, completions, DEPTH, DEPTH, FOREVER));
	first_is_last = completions[DEPTH - 1].cookie == 0;
	for (int i = 0; i < DEPTH; i++) {
		uint64_t cookie = first_is_last ? (i + 1) % DEPTH : i;

		wrong += completions[i].cookie != cookie ||
			 (completions[i].status != -ENODEV && (cookie % 4 == 0 || completions[i].status != -ECANCELED));
	}
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(-ENODEV, take(self->fd, completions, 1));
}

/* Waiting threads are woken: with completions, or with the error. */
struct waiter {
	pthread_t thread;
	int fd, answer;
	int64_t ended;
	struct rdma_completion completions[16];
};

static void *waiter(void *argument)
{
	struct waiter *self = argument;

	self->answer = collect(self->fd, self->completions, 10, 16, FOREVER);
	self->ended = now();
	return NULL;
}

TEST_F(gone, waited_for)
{
	int other = open_node(O_RDWR);
	struct waiter with = { .fd = self->fd }, without = { .fd = other };
	int64_t began;

	ASSERT_LE(0, other);
	ASSERT_EQ(0, pthread_create(&with.thread, NULL, waiter, &with));
	ASSERT_EQ(0, pthread_create(&without.thread, NULL, waiter, &without));
	ASSERT_EQ(5, submit_many(self->fd, &self->buffer, 5, 0));
	pause_us(20000);
	began = now();
	ASSERT_LE(0, leave(self, variant->way));
	ASSERT_EQ(0, pthread_join(with.thread, NULL));
	ASSERT_EQ(0, pthread_join(without.thread, NULL));
	EXPECT_EQ(5, with.answer);
	expect_gone(_metadata, with.completions, 5);
	EXPECT_EQ(-ENODEV, without.answer);
	EXPECT_GE(limit_us(), with.ended - began);
	EXPECT_GE(limit_us(), without.ended - began);
	close(other);
}

/* A command that has ended, but whose result its thread does not take, is nothing to wait for. */
TEST_F(gone, waited_for_beside_commands)
{
	struct rdma_request request = copying(&self->buffer, PAGE, &self->buffer, 0, 1, 3);
	struct waiter waiting = { .fd = self->fd };
	struct timespec until;
	struct uring ring;
	int joined;

	ASSERT_EQ(0, uring_open(&ring, 64, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN));
	for (int i = 0; i < 40; i++)
		uring_command(&ring, self->fd, RDMA_IOC_TRANSFER, &request, 0);
	ASSERT_EQ(40, uring_submit(&ring, 0));
	ASSERT_EQ(0, pthread_create(&waiting.thread, NULL, waiter, &waiting));
	pause_us(20000);
	ASSERT_LE(0, leave(self, variant->way));
	ASSERT_EQ(0, clock_gettime(CLOCK_REALTIME, &until));
	until.tv_sec += 10;
	joined = pthread_timedjoin_np(waiting.thread, NULL, &until);
	EXPECT_EQ(0, joined);
	/* Now the thread takes the results. */
	for (int i = 0; i < 40; i++)
		EXPECT_GE(0, uring_wait(&ring, NULL));
	if (joined)
		pthread_join(waiting.thread, NULL);
	EXPECT_EQ(-ENODEV, waiting.answer);
	uring_close(&ring);
	close(self->fd);
	ASSERT_EQ(0, back(self, variant->way));
	EXPECT_TRUE(works());
}

/* The last transfer does not write to memory that has been allocated by another process. */
TEST_F(gone, no_late_transfer)
{
	unsigned char *canaries =
		mmap(NULL, CANARIES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct pending pending;

	ASSERT_NE(MAP_FAILED, canaries);
	memset(self->buffer.bytes, 0xee, DEVICE_MEMORY);
	ASSERT_EQ(0, to_device(self->fd, &self->buffer, 0, 0, DEVICE_MEMORY));
	ASSERT_EQ(0, begin(&pending, self->fd, (struct rdma_request){ .operation = RDMA_OP_FROM_DEVICE,
								     .destination = self->buffer.handle,
								     .length = DEVICE_MEMORY }));
	pause_us(20000);
	munmap(self->buffer.bytes, PAGES * PAGE);
	ASSERT_LE(0, leave(self, variant->way));
	finish(&pending);
	close(self->fd);
	memset(canaries, 0x11, CANARIES * DEVICE_MEMORY);
	pause_us(2 * TRANSFER_US);
	EXPECT_EQ(0, differing(canaries, 0x11, CANARIES * DEVICE_MEMORY));
}

/* The device memory is scrubbed when a driver binds to the device. */
TEST_F(gone, device_memory_is_scrubbed)
{
	struct buffer buffer;
	int fd;

	memset(self->buffer.bytes, 0x53, DEVICE_MEMORY);
	ASSERT_EQ(0, to_device(self->fd, &self->buffer, 0, 0, DEVICE_MEMORY));
	ASSERT_LE(0, leave(self, variant->way));
	ASSERT_EQ(0, back(self, variant->way));
	fd = open_node(O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, allocate(fd, PAGE, &buffer));
	ASSERT_EQ(0, from_device(fd, &buffer, 0, 0, DEVICE_MEMORY));
	EXPECT_EQ(0, differing(buffer.bytes, 0, DEVICE_MEMORY));
	close(fd);
}

/* Other processes open, map, transfer and close all the time. */
struct user {
	pthread_t thread;
	volatile bool over;
	long opened, unexpected;
};

/* Accepted requests must complete. */
static int submits(int fd, struct buffer *buffer)
{
	struct rdma_completion completions[8];
	int accepted = submit_many(fd, buffer, 8, 0), got = 0, answer = 0;

	cancel_all(fd);
	while (got < accepted && (answer = collect(fd, completions, 8, 8, FOREVER)) > 0)
		got += answer;
	return accepted < 0 ? accepted : got == accepted ? 0 : -EPROTO;
}

static void *user(void *argument)
{
	struct user *self = argument;

	while (!self->over) {
		int fd = open_node(O_RDWR), error;
		struct buffer buffer;

		if (fd < 0) {
			self->unexpected += fd != -ENOENT && fd != -ENODEV && fd != -ENXIO;
			pause_us(1000);
			continue;
		}
		self->opened++;
		error = allocate(fd, PAGE, &buffer);
		if (!error) {
			readable(buffer.bytes);
			error = self->opened % 2 ? to_device(fd, &buffer, 0, 0, DEVICE_MEMORY) : submits(fd, &buffer);
			munmap(buffer.bytes, PAGE);
		}
		self->unexpected += error && error != -ENODEV;
		close(fd);
	}
	return NULL;
}

TEST_F(gone, again_and_again_under_use)
{
	struct user users[2] = { 0 };
	int64_t slowest = 0;

	close(self->fd);
	signal(SIGBUS, SIG_IGN);
	srandom(variant->way);
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_create(&users[i].thread, NULL, user, &users[i]));
	}
	for (int round = 0; round < (variant->way == UNPLUG ? 5 : 12); round++) {
		int64_t took;

		pause_us(random() % 150000);
		took = leave(self, variant->way);
		ASSERT_LE(0, took);
		slowest = took > slowest ? took : slowest;
		ASSERT_EQ(0, back(self, variant->way));
	}
	users[0].over = users[1].over = true;
	for (int i = 0; i < 2; i++) {
		pthread_join(users[i].thread, NULL);
		EXPECT_EQ(0, users[i].unexpected);
		EXPECT_LT(0, users[i].opened);
	}
	TH_LOG("the slowest took %lld us", (long long)slowest);
	EXPECT_GE(limit_us(), slowest);
	EXPECT_TRUE(works());
}

TEST_HARNESS_MAIN
