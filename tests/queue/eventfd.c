// SPDX-License-Identifier: GPL-2.0
/* EVENTFD: it is signalled when requests complete, from the time that it is set; and invalid descriptors. */
#include "pace.h"

#define SLACK_US slack_us(2000)

FIXTURE(eventfd)
{
	int fd;
	int event;
	struct buffer buffer;
	struct rdma_completion completions[DEPTH];
};

FIXTURE_SETUP(eventfd)
{
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, PAGE + window(self->fd), &self->buffer));
	ASSERT_EQ(0, settle(self->fd, &self->buffer));
	self->event = eventfd(0, EFD_CLOEXEC);
	ASSERT_LE(0, self->event);
}

FIXTURE_TEARDOWN(eventfd)
{
	hurry();
	close(self->event);
	close(self->fd);
}

TEST_F(eventfd, one_for_each_completion)
{
	ASSERT_EQ(0, tell(self->fd, self->event));
	EXPECT_EQ(0, counted(self->event));
	ASSERT_EQ(5, submit_many(self->fd, &self->buffer, 5, 0));
	EXPECT_EQ(0, counted(self->event));
	pause_us(2 * transfer_us + transfer_us / 2);
	EXPECT_EQ(2, counted(self->event));
	pause_us(3 * transfer_us);
	EXPECT_EQ(3, counted(self->event));
	/* Collecting does not change the counter. */
	EXPECT_EQ(5, take(self->fd, self->completions, DEPTH));
	EXPECT_EQ(0, counted(self->event));
}

/* After reading the counter, all completions that it counted can be collected. */
TEST_F(eventfd, told_when_there)
{
	uint64_t count, told = 0, got = 0;
	int64_t began = now();

	ASSERT_EQ(0, tell(self->fd, self->event));
	ASSERT_EQ(20, submit_many(self->fd, &self->buffer, 20, 0));
	while (told < 20) {
		int taken;

		ASSERT_EQ(sizeof(count), read(self->event, &count, sizeof(count)));
		told += count;
		taken = take(self->fd, self->completions, DEPTH);
		ASSERT_LE(0, taken);
		got += taken;
		EXPECT_LE(told, got);
		EXPECT_GE(told * transfer_us + SLACK_US, now() - began);
	}
	EXPECT_EQ(20, got);
}

TEST_F(eventfd, as_a_semaphore)
{
	int event = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);

	ASSERT_EQ(0, tell(self->fd, event));
	ASSERT_EQ(3, submit_many(self->fd, &self->buffer, 3, 0));
	ASSERT_EQ(0, drain(self->fd, 3));
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(1, counted(event));
	}
	EXPECT_EQ(0, counted(event));
	close(event);
}

TEST_F(eventfd, of_cancelled_ones_too)
{
	int steps;

	ASSERT_EQ(0, tell(self->fd, self->event));
	ASSERT_EQ(DEPTH, submit_many(self->fd, &self->buffer, DEPTH, 0));
	ASSERT_EQ(DEPTH - 1, cancel_all(self->fd));
	/* The counter increases by the number of steps, not of completions. */
	steps = counted(self->event);
	EXPECT_LE(1, steps);
	EXPECT_GE(DEPTH / 16, steps);
	pause_us(2 * transfer_us);
	EXPECT_EQ(1, counted(self->event));
}

TEST_F(eventfd, not_of_blocking_transfers)
{
	ASSERT_EQ(0, tell(self->fd, self->event));
	ASSERT_EQ(0, transfer_some(self->fd, &self->buffer, 1));
	if (has_memory(self->fd)) {
		ASSERT_EQ(1, pwrite(self->fd, "x", 1, 0));
	}
	EXPECT_EQ(0, counted(self->event));
}

/* Completions from before are not counted. */
TEST_F(eventfd, from_now_on)
{
	ASSERT_EQ(3, submit_many(self->fd, &self->buffer, 3, 0));
	pause_us(2 * transfer_us + transfer_us / 2);
	ASSERT_EQ(0, tell(self->fd, self->event));
	EXPECT_EQ(0, counted(self->event));
	pause_us(transfer_us);
	EXPECT_EQ(1, counted(self->event));
}

TEST_F(eventfd, the_new_one_replaces_the_old_one)
{
	int other = eventfd(0, EFD_CLOEXEC);

	ASSERT_EQ(0, tell(self->fd, self->event));
	ASSERT_EQ(0, tell(self->fd, other));
	ASSERT_EQ(1, submit_many(self->fd, &self->buffer, 1, 0));
	ASSERT_EQ(0, drain(self->fd, 1));
	EXPECT_EQ(0, counted(self->event));
	EXPECT_EQ(1, counted(other));

	ASSERT_EQ(0, tell(self->fd, -1));
	ASSERT_EQ(1, submit_many(self->fd, &self->buffer, 1, 0));
	ASSERT_EQ(0, drain(self->fd, 1));
	EXPECT_EQ(0, counted(self->event));
	EXPECT_EQ(0, counted(other));
	ASSERT_EQ(0, tell(self->fd, -1));
	close(other);
}

/* It is replaced repeatedly while requests complete: each completion is signalled to exactly one of the two. */
TEST_F(eventfd, replaced_in_mid_work)
{
	int events[2] = { self->event, eventfd(0, EFD_CLOEXEC) };
	long told = 0;

	ASSERT_EQ(0, tell(self->fd, events[0]));
	ASSERT_EQ(50, submit_many(self->fd, &self->buffer, 50, 0));
	for (int i = 0; i < 500; i++) {
		ASSERT_EQ(0, tell(self->fd, events[i % 2]));
		pause_us(transfer_us * 11 / 100);
		told += counted(events[0]) + counted(events[1]);
	}
	EXPECT_EQ(50, told);
	EXPECT_EQ(0, drain(self->fd, 50));
	close(events[1]);
}

TEST_F(eventfd, descriptor_may_be_closed)
{
	int kept = dup(self->event), closed = eventfd(0, EFD_CLOEXEC);

	ASSERT_EQ(0, tell(self->fd, self->event));
	close(self->event);
	ASSERT_EQ(1, submit_many(self->fd, &self->buffer, 1, 0));
	ASSERT_EQ(0, drain(self->fd, 1));
	EXPECT_EQ(1, counted(kept));
	close(kept);

	/* One that no process has open any more. */
	ASSERT_EQ(0, tell(self->fd, closed));
	close(closed);
	ASSERT_EQ(2, submit_many(self->fd, &self->buffer, 2, 0));
	EXPECT_EQ(0, drain(self->fd, 2));
}

TEST_F(eventfd, one_for_two_contexts)
{
	int other = open_node(O_RDWR);
	struct buffer buffer;

	ASSERT_LE(0, other);
	ASSERT_EQ(0, allocate(other, PAGE + window(other), &buffer));
	ASSERT_EQ(0, tell(self->fd, self->event));
	ASSERT_EQ(0, tell(other, self->event));
	ASSERT_EQ(2, submit_many(self->fd, &self->buffer, 2, 0));
	ASSERT_EQ(3, submit_many(other, &buffer, 3, 0));
	ASSERT_EQ(0, drain(self->fd, 2));
	ASSERT_EQ(0, drain(other, 3));
	EXPECT_EQ(5, counted(self->event));
	close(other);
}

/* A full counter stays full, and the driver does not wait for its reader. */
TEST_F(eventfd, full)
{
	uint64_t almost = UINT64_MAX - 2;

	ASSERT_EQ(sizeof(almost), write(self->event, &almost, sizeof(almost)));
	ASSERT_EQ(0, tell(self->fd, self->event));
	ASSERT_EQ(8, submit_many(self->fd, &self->buffer, 8, 0));
	EXPECT_EQ(0, drain(self->fd, 8));
	ASSERT_EQ(sizeof(almost), read(self->event, &almost, sizeof(almost)));
	EXPECT_LE(UINT64_MAX - 1, almost);
}

TEST_F(eventfd, no_eventfds)
{
	int ends[2], null = open("/dev/null", O_RDWR | O_CLOEXEC), file = memfd_create("file", MFD_CLOEXEC);

	ASSERT_EQ(0, pipe(ends));
	ASSERT_LE(0, null);
	ASSERT_LE(0, file);
	EXPECT_EQ(-EINVAL, tell(self->fd, ends[1]));
	EXPECT_EQ(-EINVAL, tell(self->fd, null));
	EXPECT_EQ(-EINVAL, tell(self->fd, file));
	EXPECT_EQ(-EINVAL, tell(self->fd, self->fd));
	EXPECT_EQ(-EBADF, tell(self->fd, -2));
	EXPECT_EQ(-EBADF, tell(self->fd, INT32_MIN));
	EXPECT_EQ(-EBADF, tell(self->fd, INT32_MAX));
	EXPECT_EQ(-EBADF, tell(self->fd, 999));
}

TEST_F(eventfd, what_is_refused_changes_nothing)
{
	ASSERT_EQ(0, tell(self->fd, self->event));
	EXPECT_EQ(-EBADF, tell(self->fd, 999));
	EXPECT_EQ(-EINVAL, tell(self->fd, self->fd));
	for (int bit = 0; bit < 32; bit++) {
		struct rdma_eventfd flag = { .fd = -1, .flags = 1U << bit };
		struct rdma_eventfd reserved = { .fd = -1, .reserved = 1ULL << 2 * bit };

		EXPECT_EQ(-EINVAL, call(self->fd, RDMA_IOC_EVENTFD, &flag)) TH_LOG("bit %d", bit);
		EXPECT_EQ(-EINVAL, call(self->fd, RDMA_IOC_EVENTFD, &reserved)) TH_LOG("bit %d", 2 * bit);
	}
	ASSERT_EQ(1, submit_many(self->fd, &self->buffer, 1, 0));
	EXPECT_EQ(0, drain(self->fd, 1));
	EXPECT_EQ(1, counted(self->event));
}

/* It outlives the context that it was set in. */
TEST_F(eventfd, outlives_the_context)
{
	ASSERT_EQ(0, tell(self->fd, self->event));
	ASSERT_EQ(3, submit_many(self->fd, &self->buffer, 3, 0));
	munmap(self->buffer.bytes, self->buffer.size);
	close(self->fd);
	pause_us(4 * transfer_us);
	/* A request whose thread stopped waiting is not signalled. */
	EXPECT_GE(1, counted(self->event));
	self->fd = open_node(O_RDWR);
}

TEST_HARNESS_MAIN
