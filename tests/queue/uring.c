// SPDX-License-Identifier: GPL-2.0
/* Commands of io_uring: TRANSFER ends when its request has ended, SUBMIT at once. Cancelled by the cookie, and with the ring. */
#include "requests.h"
#include "uring.h"

#include <pthread.h>
#include <sys/wait.h>

enum { SLACK_US = 10000 };

FIXTURE(uring)
{
	int fd;
	struct buffer buffer;
	struct uring ring;
};

FIXTURE_VARIANT(uring)
{
	unsigned int flags;
	unsigned char entry_flags;
};

FIXTURE_VARIANT_ADD(uring, plain) { .flags = 0 };
FIXTURE_VARIANT_ADD(uring, deferred) { .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN };
FIXTURE_VARIANT_ADD(uring, polled) { .flags = IORING_SETUP_SQPOLL };
FIXTURE_VARIANT_ADD(uring, worker) { .entry_flags = IOSQE_ASYNC };

FIXTURE_SETUP(uring)
{
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, 16 * PAGE, &self->buffer));
	/* Waits for transfers of an earlier test. */
	ASSERT_EQ(0, transfer_some(self->fd, &self->buffer, 1));
	ASSERT_EQ(0, uring_open(&self->ring, 1024, variant->flags));
}

FIXTURE_TEARDOWN(uring)
{
	uring_close(&self->ring);
	close(self->fd);
}

/* A command that transfers; `request` is used until it is submitted. */
static void transfer(FIXTURE_DATA(uring) *self, const FIXTURE_VARIANT(uring) *variant, const struct rdma_request *request,
		     uint64_t user_data)
{
	uring_command(&self->ring, self->fd, RDMA_IOC_TRANSFER, request, user_data)->flags |= variant->entry_flags;
}

/* A copy of one byte within the buffer. */
static struct rdma_request byte_copy(const FIXTURE_DATA(uring) *self, uint64_t cookie)
{
	return copying(&self->buffer, PAGE, &self->buffer, 0, 1, cookie);
}

/* A number of /proc/PID/fdinfo; -1 if there is none. */
static long fdinfo(int fd, const char *name)
{
	char path[64], text[2048], *at;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	if (read_text(path, text, sizeof(text)))
		return -1;
	at = strstr(text, name);
	return at ? atol(at + strlen(name) + 1) : -1;
}

static long in_flight(int fd)
{
	return fdinfo(fd, "rdma-in-flight");
}

TEST_F(uring, moves_bytes)
{
	struct rdma_request request = copying(&self->buffer, 2 * PAGE, &self->buffer, 0, PAGE, 7);
	uint64_t user_data = 0;
	int64_t began;

	fill(self->buffer.bytes, PAGE, 3);
	began = now();
	transfer(self, variant, &request, 99);
	ASSERT_EQ(1, uring_submit(&self->ring, 0));
	ASSERT_EQ(0, uring_wait(&self->ring, &user_data));
	EXPECT_EQ(99, user_data);
	EXPECT_EQ(0, memcmp(self->buffer.bytes, self->buffer.bytes + 2 * PAGE, PAGE));
	if (has_memory(self->fd)) {
		EXPECT_LE(TRANSFER_US, now() - began);
	}
}

/* The file is not blocking, which is no reason for EAGAIN here. */
TEST_F(uring, of_a_file_that_does_not_block)
{
	struct rdma_request request = byte_copy(self, 0);

	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_NONBLOCK));
	EXPECT_EQ(0, uring_call(&self->ring, self->fd, RDMA_IOC_TRANSFER, &request));
}

TEST_F(uring, one_after_the_other)
{
	struct rdma_request first = copying(&self->buffer, PAGE, &self->buffer, 0, PAGE, 1);
	struct rdma_request second = copying(&self->buffer, 2 * PAGE, &self->buffer, PAGE, PAGE, 2);
	uint64_t user_data = 0;

	fill(self->buffer.bytes, PAGE, 5);
	transfer(self, variant, &first, 1);
	transfer(self, variant, &second, 2);
	ASSERT_EQ(2, uring_submit(&self->ring, 0));
	EXPECT_EQ(0, uring_wait(&self->ring, &user_data));
	EXPECT_EQ(0, uring_wait(&self->ring, &user_data));
	if (!variant->entry_flags) {
		/* Workers execute commands in any order. */
		EXPECT_EQ(2, user_data);
		EXPECT_EQ(0, memcmp(self->buffer.bytes, self->buffer.bytes + 2 * PAGE, PAGE));
	}
}

/* IOSQE_IO_LINK: the second command begins when the first one has succeeded, and is cancelled when it has failed. */
TEST_F(uring, linked_entries)
{
	struct rdma_request first = copying(&self->buffer, PAGE, &self->buffer, 0, PAGE, 1);
	struct rdma_request second = copying(&self->buffer, 2 * PAGE, &self->buffer, PAGE, PAGE, 2);
	struct rdma_request wrong = first;
	struct io_uring_sqe *entry;

	fill(self->buffer.bytes, PAGE, 6);
	entry = uring_command(&self->ring, self->fd, RDMA_IOC_TRANSFER, &first, 1);
	entry->flags |= variant->entry_flags | IOSQE_IO_LINK;
	transfer(self, variant, &second, 2);
	ASSERT_EQ(2, uring_submit(&self->ring, 0));
	EXPECT_EQ(0, uring_wait(&self->ring, NULL));
	EXPECT_EQ(0, uring_wait(&self->ring, NULL));
	EXPECT_EQ(0, memcmp(self->buffer.bytes, self->buffer.bytes + 2 * PAGE, PAGE));

	wrong.length = 0;
	entry = uring_command(&self->ring, self->fd, RDMA_IOC_TRANSFER, &wrong, 1);
	entry->flags |= variant->entry_flags | IOSQE_IO_LINK;
	transfer(self, variant, &second, 2);
	ASSERT_EQ(2, uring_submit(&self->ring, 0));
	EXPECT_EQ(-EINVAL, uring_wait(&self->ring, NULL));
	EXPECT_EQ(-ECANCELED, uring_wait(&self->ring, NULL));
}

TEST_F(uring, bad_commands)
{
	struct rdma_request request = byte_copy(self, 0), bad;
	int reader = open_node(O_RDONLY);
	struct io_uring_sqe *entry;
	struct {
		struct rdma_request request;
		uint64_t more;
	} larger = { .request = request, .more = 1 };

	ASSERT_LE(0, reader);
	EXPECT_EQ(-ENOTTY, uring_call(&self->ring, self->fd, RDMA_IOC_DEVICE_INFO, &request));
	EXPECT_EQ(-ENOTTY, uring_call(&self->ring, self->fd, RDMA_IOC_WAIT, &request));
	EXPECT_EQ(-ENOTTY, uring_call(&self->ring, self->fd, 0, &request));
	EXPECT_EQ(-EFAULT, uring_call(&self->ring, self->fd, RDMA_IOC_TRANSFER, (void *)4096));
	EXPECT_EQ(-EFAULT, uring_call(&self->ring, self->fd, RDMA_IOC_TRANSFER, (void *)-4096));
	/* No address, and no room in an entry of 64 bytes. */
	EXPECT_EQ(-EFAULT, uring_call(&self->ring, self->fd, RDMA_IOC_TRANSFER, NULL));
	EXPECT_EQ(-EFAULT, uring_call(&self->ring, self->fd, RDMA_IOC_SUBMIT, NULL));
	/* The buffer is of another file. */
	EXPECT_EQ(-EBADF, uring_call(&self->ring, reader, RDMA_IOC_TRANSFER, &request));
	EXPECT_EQ(-E2BIG, uring_call(&self->ring, self->fd,
				     _IOC(_IOC_DIR(RDMA_IOC_TRANSFER), _IOC_TYPE(RDMA_IOC_TRANSFER),
					  _IOC_NR(RDMA_IOC_TRANSFER), sizeof(larger)),
				     &larger));
	EXPECT_EQ(-EINVAL, uring_call(&self->ring, self->fd,
				      _IOC(_IOC_DIR(RDMA_IOC_TRANSFER), _IOC_TYPE(RDMA_IOC_TRANSFER),
					   _IOC_NR(RDMA_IOC_TRANSFER), 8),
				      &request));
	bad = request;
	bad.flags = RDMA_REQUEST_LINK;
	EXPECT_EQ(-EINVAL, uring_call(&self->ring, self->fd, RDMA_IOC_TRANSFER, &bad));
	bad = request;
	bad.source = 12345;
	EXPECT_EQ(-EINVAL, uring_call(&self->ring, self->fd, RDMA_IOC_TRANSFER, &bad));
	/* A registered buffer of io_uring. */
	entry = uring_command(&self->ring, self->fd, RDMA_IOC_TRANSFER, &request, 0);
	entry->uring_cmd_flags = IORING_URING_CMD_FIXED;
	ASSERT_EQ(1, uring_submit(&self->ring, 0));
	EXPECT_EQ(-EINVAL, uring_wait(&self->ring, NULL));
	EXPECT_EQ(0, uring_call(&self->ring, self->fd, RDMA_IOC_TRANSFER, &request));
	close(reader);
}

/* A command takes room in the queue of the file. The room is back when it has ended. */
TEST_F(uring, as_many_as_the_queue_is_deep)
{
	struct rdma_request request = byte_copy(self, 5);
	int ended = 0, refused = 0;
	struct rdma_completion completion;

	for (int i = 0; i < DEPTH; i++)
		transfer(self, variant, &request, i);
	ASSERT_EQ(DEPTH, uring_submit(&self->ring, 0));
	if (!variant->flags && !variant->entry_flags && has_memory(self->fd) && virtual_time()) {
		EXPECT_EQ(-EAGAIN, uring_call(&self->ring, self->fd, RDMA_IOC_TRANSFER, &request));
		EXPECT_EQ(-EAGAIN, submit_many(self->fd, &self->buffer, 1, 0));
	}
	/* Commands are no completions of the file. */
	EXPECT_EQ(0, take(self->fd, &completion, 1));
	/* Most of them, which would take a hundred seconds. Workers may not have submitted all of them yet. */
	while (ended + refused < DEPTH) {
		struct io_uring_cqe result;

		cancel(self->fd, 5);
		if (!uring_take(&self->ring, &result)) {
			uring_turn(&self->ring);
			pause_us(1000);
			continue;
		}
		refused += result.res == -ECANCELED;
		ended += result.res == 0;
		ASSERT_TRUE(result.res == 0 || result.res == -ECANCELED) TH_LOG("%d", result.res);
	}
	if (has_memory(self->fd)) {
		EXPECT_LT(0, refused);
	}
	EXPECT_EQ(DEPTH, submit_many(self->fd, &self->buffer, DEPTH, 5));
	cancel_all(self->fd);
}

/* CANCEL reaches a command by its cookie, and wakes nothing else. */
TEST_F(uring, cancelled_by_cookie)
{
	struct rdma_request requests[3];
	uint64_t user_data = 0;

	if (!has_memory(self->fd))
		SKIP(return, "requests end too soon on this device");
	ASSERT_EQ(1, submit_many(self->fd, &self->buffer, 1, 77));
	for (int i = 0; i < 3; i++) {
		requests[i] = byte_copy(self, 100 + i);
		transfer(self, variant, &requests[i], i);
	}
	ASSERT_EQ(3, uring_submit(&self->ring, 0));
	while (cancel(self->fd, 101) != 1)
		pause_us(1000);
	EXPECT_EQ(-ECANCELED, uring_wait(&self->ring, &user_data));
	EXPECT_EQ(1, user_data);
	EXPECT_EQ(-ENOENT, cancel(self->fd, 101));
	EXPECT_EQ(0, uring_wait(&self->ring, NULL));
	EXPECT_EQ(0, uring_wait(&self->ring, NULL));
	EXPECT_EQ(0, drain(self->fd, 1));
}

/* io_uring does not pass its own cancellation to drivers: the command waits on, until CANCEL. */
TEST_F(uring, not_cancelled_by_an_entry)
{
	struct rdma_request request = byte_copy(self, 5);
	struct io_uring_sqe *entry;
	uint64_t user_data = 0;

	if (!has_memory(self->fd))
		SKIP(return, "requests end too soon on this device");
	ASSERT_EQ(4, submit_many(self->fd, &self->buffer, 4, 77));
	transfer(self, variant, &request, 5);
	ASSERT_EQ(1, uring_submit(&self->ring, 0));
	/* A thread of the kernel submits it, and returns from the driver. */
	pause_us(10000);
	entry = uring_next(&self->ring);
	entry->opcode = IORING_OP_ASYNC_CANCEL;
	entry->addr = 5;
	entry->user_data = 6;
	ASSERT_EQ(1, uring_submit(&self->ring, 0));
	EXPECT_EQ(-ENOENT, uring_wait(&self->ring, &user_data));
	EXPECT_EQ(6, user_data);
	EXPECT_EQ(1, cancel(self->fd, 5));
	EXPECT_EQ(-ECANCELED, uring_wait(&self->ring, &user_data));
	EXPECT_EQ(5, user_data);
	EXPECT_EQ(0, drain(self->fd, 4));
}

/* CANCEL of all: completions and commands at once. */
TEST_F(uring, cancelled_with_the_others)
{
	struct rdma_request request = byte_copy(self, 1);
	struct rdma_completion completions[DEPTH];
	int count;

	if (!has_memory(self->fd))
		SKIP(return, "requests end too soon on this device");
	if (!virtual_time())
		SKIP(return, "in real time, requests end while others are submitted");
	if (variant->entry_flags || variant->flags & IORING_SETUP_SQPOLL)
		SKIP(return, "the order of the requests is not known");
	ASSERT_EQ(3, submit_many(self->fd, &self->buffer, 3, 10));
	for (int i = 0; i < 40; i++)
		transfer(self, variant, &request, i);
	ASSERT_EQ(40, uring_submit(&self->ring, 0));
	ASSERT_EQ(60, submit_many(self->fd, &self->buffer, 60, 20));
	count = cancel_all(self->fd);
	EXPECT_EQ(102, count);
	for (int i = 0; i < 40; i++)
		EXPECT_EQ(-ECANCELED, uring_wait(&self->ring, NULL));
	EXPECT_EQ(63, collect(self->fd, completions, 63, DEPTH, FOREVER));
}

/* A command that has begun is not cancelled by CANCEL. */
TEST_F(uring, begun)
{
	struct rdma_request request = byte_copy(self, 9);

	if (!has_memory(self->fd))
		SKIP(return, "requests end too soon on this device");
	transfer(self, variant, &request, 0);
	ASSERT_EQ(1, uring_submit(&self->ring, 0));
	while (in_flight(self->fd) != 1)
		pause_us(1000);
	EXPECT_EQ(-EALREADY, cancel(self->fd, 9));
	EXPECT_EQ(0, uring_wait(&self->ring, NULL));
}

/* A request that has ended holds no memory, although the ring is not entered, and the command does not end. */
TEST_F(uring, ended_and_not_entered)
{
	long before = fdinfo(self->fd, "rdma-memory");
	struct rdma_request request;
	struct buffer other;

	if (variant->entry_flags || variant->flags & IORING_SETUP_SQPOLL)
		SKIP(return, "a thread of the kernel submits it, at any time");
	ASSERT_EQ(0, allocate(self->fd, 16 * PAGE, &other));
	request = copying(&other, PAGE, &self->buffer, 0, 1, 0);
	transfer(self, variant, &request, 0);
	ASSERT_EQ(1, uring_submit(&self->ring, 0));
	ASSERT_EQ(0, release(self->fd, &other));
	for (int i = 0; i < 1000 && fdinfo(self->fd, "rdma-memory") != before; i++)
		pause_us(1000);
	EXPECT_EQ(before, fdinfo(self->fd, "rdma-memory"));
	EXPECT_EQ(0, uring_wait(&self->ring, NULL));
}

/* SUBMIT ends at once. Its completions are those of the file. */
TEST_F(uring, submits)
{
	struct rdma_request requests[3];
	struct rdma_submit batch = { .requests = (uintptr_t)requests, .count = 3, .request_size = sizeof(*requests) };

	for (int i = 0; i < 3; i++)
		requests[i] = byte_copy(self, i);
	EXPECT_EQ(3, uring_call(&self->ring, self->fd, RDMA_IOC_SUBMIT, &batch));
	EXPECT_EQ(0, drain(self->fd, 3));
	batch.count = 0;
	EXPECT_EQ(-EINVAL, uring_call(&self->ring, self->fd, RDMA_IOC_SUBMIT, &batch));
	batch.count = DEPTH + 1;
	EXPECT_EQ(-EINVAL, uring_call(&self->ring, self->fd, RDMA_IOC_SUBMIT, &batch));
}

/* A process that ends with commands: its ring is removed, and with it the commands. Those that have begun keep their memory. */
TEST_F(uring, removed_with_the_process)
{
	int64_t began;
	pid_t child = fork();
	int status;

	ASSERT_LE(0, child);
	if (!child) {
		FIXTURE_DATA(uring) own;
		struct rdma_request request;

		own.fd = open_node(O_RDWR);
		if (own.fd < 0 || allocate(own.fd, PAGE, &own.buffer) || uring_open(&own.ring, 256, variant->flags))
			_exit(1);
		request = copying(&own.buffer, 100, &own.buffer, 0, 1, 0);
		for (int i = 0; i < 200; i++)
			transfer(&own, variant, &request, i);
		if (uring_submit(&own.ring, 0) != 200)
			_exit(2);
		while (has_memory(own.fd) && in_flight(own.fd) != 1)
			pause_us(1000);
		raise(SIGKILL);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	/* At most the one that has begun is before this one. */
	began = now();
	EXPECT_EQ(0, transfer_some(self->fd, &self->buffer, 1));
	if (virtual_time()) {
		EXPECT_GE(3 * TRANSFER_US + SLACK_US, now() - began);
	}
}

static void *submit_and_exit(void *argument)
{
	FIXTURE_DATA(uring) *self = argument;

	return uring_submit(&self->ring, 0) == 3 ? self : NULL;
}

/* The thread that has submitted commands ends: they continue. */
TEST_F(uring, outlive_their_thread)
{
	struct rdma_request request = byte_copy(self, 0);
	pthread_t thread;
	void *result;

	if (variant->flags & IORING_SETUP_SINGLE_ISSUER)
		SKIP(return, "the thread must not use the ring of another one");
	for (int i = 0; i < 3; i++)
		transfer(self, variant, &request, i);
	ASSERT_EQ(0, pthread_create(&thread, NULL, submit_and_exit, self));
	ASSERT_EQ(0, pthread_join(thread, &result));
	ASSERT_EQ(self, result);
	for (int i = 0; i < 3; i++)
		EXPECT_EQ(0, uring_wait(&self->ring, NULL));
}

/* A process that shares the ring executes another program: its commands are cancelled. The one that has begun keeps its memory. */
TEST_F(uring, cancelled_by_another_program)
{
	struct rdma_request request = byte_copy(self, 0);
	int64_t began;
	pid_t child;
	int status;

	if (variant->flags || variant->entry_flags)
		SKIP(return, "another thread submits the commands");
	if (!has_memory(self->fd))
		SKIP(return, "requests end too soon on this device");
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		for (int i = 0; i < 3; i++)
			transfer(self, variant, &request, i);
		if (uring_submit(&self->ring, 0) != 3)
			_exit(2);
		while (in_flight(self->fd) != 1)
			pause_us(1000);
		execl("/bin/true", "true", NULL);
		_exit(3);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	ASSERT_EQ(0, status);
	began = now();
	for (int i = 0; i < 3; i++)
		EXPECT_EQ(-ECANCELED, uring_wait(&self->ring, NULL));
	if (virtual_time()) {
		EXPECT_GT(TRANSFER_US / 2, now() - began);
	}
	ASSERT_EQ(0, release(self->fd, &self->buffer));
	if (virtual_time()) {
		EXPECT_EQ(16 * (long)PAGE, fdinfo(self->fd, "rdma-memory"));
	}
	for (int i = 0; i < 1000 && fdinfo(self->fd, "rdma-memory"); i++)
		pause_us(1000);
	EXPECT_EQ(0, fdinfo(self->fd, "rdma-memory"));
}

/* The ring is closed, the program lives on. */
TEST_F(uring, removed_with_the_ring)
{
	static struct rdma_completion completions[DEPTH];
	struct rdma_request request = byte_copy(self, 0);
	int64_t began;

	for (int i = 0; i < 100; i++)
		transfer(self, variant, &request, i);
	ASSERT_EQ(100, uring_submit(&self->ring, 0));
	uring_close(&self->ring);
	/* All of them would take ten seconds. */
	began = now();
	while (fdinfo(self->fd, "rdma-queued") || in_flight(self->fd))
		pause_us(1000);
	if (virtual_time()) {
		EXPECT_GE(5 * TRANSFER_US, now() - began);
	}
	/* Their room is back soon after. */
	while (submit_many(self->fd, &self->buffer, DEPTH, 5) != DEPTH) {
		cancel_all(self->fd);
		while (take(self->fd, completions, DEPTH) > 0)
			;
		pause_us(1000);
	}
	cancel_all(self->fd);
	ASSERT_EQ(0, uring_open(&self->ring, 8, 0));
}

/* The end of a command that is cancelled is traced with its cookie, like its submission. */
TEST_F(uring, traced)
{
	static char text[65536];
	struct rdma_request request = byte_copy(self, 4242);

	if (!has_memory(self->fd))
		SKIP(return, "requests end too soon on this device");
	ASSERT_EQ(0, write_text("/sys/kernel/tracing/events/rust_dma/rdma_complete/enable", "1"));
	ASSERT_EQ(0, write_text("/sys/kernel/tracing/trace", " "));
	for (int i = 0; i < 4; i++)
		transfer(self, variant, &request, i);
	ASSERT_EQ(4, uring_submit(&self->ring, 0));
	while (fdinfo(self->fd, "rdma-queued") + in_flight(self->fd) != 4)
		pause_us(1000);
	uring_close(&self->ring);
	while (fdinfo(self->fd, "rdma-queued"))
		pause_us(1000);
	pause_us(2 * TRANSFER_US);
	EXPECT_EQ(0, read_text("/sys/kernel/tracing/trace", text, sizeof(text)));
	EXPECT_EQ(0, write_text("/sys/kernel/tracing/events/rust_dma/rdma_complete/enable", "0"));
	EXPECT_NE(NULL, strstr(text, "cookie=4242 status=-125"));
	EXPECT_EQ(NULL, strstr(text, "cookie=0 "));
	ASSERT_EQ(0, uring_open(&self->ring, 8, 0));
}

/* Multishot poll: an event for each step of completions, while it is armed. */
TEST_F(uring, polled_for_completions)
{
	struct io_uring_sqe *entry = uring_next(&self->ring);
	struct io_uring_cqe completion;

	entry->opcode = IORING_OP_POLL_ADD;
	entry->fd = self->fd;
	entry->len = IORING_POLL_ADD_MULTI;
	entry->poll32_events = POLLIN;
	entry->user_data = 1;
	ASSERT_EQ(1, uring_submit(&self->ring, 0));
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(1, submit_many(self->fd, &self->buffer, 1, i));
		EXPECT_EQ(POLLIN, uring_wait(&self->ring, NULL) & POLLIN);
		EXPECT_EQ(0, drain(self->fd, 1));
		/* No event without a completion. */
		pause_us(1000);
		uring_turn(&self->ring);
		EXPECT_FALSE(uring_take(&self->ring, &completion));
	}
}

/* Structures within entries of 128 bytes. */
TEST_F(uring, in_the_entry)
{
	struct rdma_request request = copying(&self->buffer, 2 * PAGE, &self->buffer, 0, PAGE, 7);
	struct rdma_submit batch = { .requests = (uintptr_t)&request, .count = 1, .request_size = sizeof(request) };
	unsigned int larger = _IOC(_IOC_DIR(RDMA_IOC_TRANSFER), _IOC_TYPE(RDMA_IOC_TRANSFER), _IOC_NR(RDMA_IOC_TRANSFER), 80);
	unsigned int largest = _IOC(_IOC_DIR(RDMA_IOC_TRANSFER), _IOC_TYPE(RDMA_IOC_TRANSFER), _IOC_NR(RDMA_IOC_TRANSFER), 81);
	unsigned int smaller = _IOC(_IOC_DIR(RDMA_IOC_TRANSFER), _IOC_TYPE(RDMA_IOC_TRANSFER), _IOC_NR(RDMA_IOC_TRANSFER), 56);
	unsigned char bytes[81] = { 0 };
	struct uring ring;

	ASSERT_EQ(0, uring_open(&ring, 8, variant->flags | IORING_SETUP_SQE128));
	fill(self->buffer.bytes, PAGE, 8);
	uring_inline(&ring, self->fd, RDMA_IOC_TRANSFER, &request, 1)->flags |= variant->entry_flags;
	ASSERT_EQ(1, uring_submit(&ring, 0));
	ASSERT_EQ(0, uring_wait(&ring, NULL));
	EXPECT_EQ(0, memcmp(self->buffer.bytes, self->buffer.bytes + 2 * PAGE, PAGE));

	uring_inline(&ring, self->fd, RDMA_IOC_SUBMIT, &batch, 1)->flags |= variant->entry_flags;
	ASSERT_EQ(1, uring_submit(&ring, 0));
	EXPECT_EQ(1, uring_wait(&ring, NULL));
	EXPECT_EQ(0, drain(self->fd, 1));

	/* A larger structure of a newer program, and what does not fit. */
	memcpy(bytes, &request, sizeof(request));
	uring_inline(&ring, self->fd, larger, bytes, 1);
	ASSERT_EQ(1, uring_submit(&ring, 0));
	EXPECT_EQ(0, uring_wait(&ring, NULL));
	bytes[79] = 1;
	uring_inline(&ring, self->fd, larger, bytes, 1);
	ASSERT_EQ(1, uring_submit(&ring, 0));
	EXPECT_EQ(-E2BIG, uring_wait(&ring, NULL));
	uring_command(&ring, self->fd, largest, NULL, 1);
	ASSERT_EQ(1, uring_submit(&ring, 0));
	EXPECT_EQ(-EFAULT, uring_wait(&ring, NULL));
	uring_inline(&ring, self->fd, smaller, bytes, 1);
	ASSERT_EQ(1, uring_submit(&ring, 0));
	EXPECT_EQ(-EINVAL, uring_wait(&ring, NULL));
	uring_close(&ring);
}

TEST_HARNESS_MAIN
