// SPDX-License-Identifier: GPL-2.0
/* The depth of the queue: an accepted request has room for its completion, without room the call fails with EAGAIN. */
#include "pace.h"
#include "submitters.h"

FIXTURE(depth)
{
	int fd;
	struct buffer buffer;
	struct rdma_completion completions[DEPTH];
};

FIXTURE_SETUP(depth)
{
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, PAGE + window(self->fd), &self->buffer));
	ASSERT_EQ(0, settle(self->fd, &self->buffer));
}

FIXTURE_TEARDOWN(depth)
{
	hurry();
	close(self->fd);
}

TEST_F(depth, told)
{
	struct rdma_device_info info;

	ASSERT_EQ(0, call(self->fd, RDMA_IOC_DEVICE_INFO, &info));
	EXPECT_EQ(DEPTH, info.queue_depth);
}

TEST_F(depth, full)
{
	ASSERT_EQ(DEPTH, submit_many(self->fd, &self->buffer, DEPTH, 0));
	EXPECT_EQ(-EAGAIN, submit_many(self->fd, &self->buffer, 1, 0));
	EXPECT_EQ(-EAGAIN, submit_many(self->fd, &self->buffer, DEPTH, 0));
	/* A completed request counts until it is collected. */
	pause_us(3 * transfer_us);
	EXPECT_EQ(-EAGAIN, submit_many(self->fd, &self->buffer, 1, 0));
	EXPECT_EQ(1, take(self->fd, self->completions, 1));
	EXPECT_EQ(1, submit_many(self->fd, &self->buffer, 5, 5000));
	EXPECT_EQ(-EAGAIN, submit_many(self->fd, &self->buffer, 1, 0));
	/* And so does a cancelled one. */
	EXPECT_EQ(1, cancel(self->fd, 900));
	EXPECT_EQ(-EAGAIN, submit_many(self->fd, &self->buffer, 1, 0));
}

/* If there is no room for all, the last ones are not accepted. */
TEST_F(depth, almost_full)
{
	for (uint32_t room = 1; room <= 64; room *= 4) {
		uint32_t rest = DEPTH - room;
		int got;

		ASSERT_EQ(rest, submit_many(self->fd, &self->buffer, rest, 0));
		ASSERT_EQ(room, submit_many(self->fd, &self->buffer, 100, 2000));
		EXPECT_EQ(-EAGAIN, submit_many(self->fd, &self->buffer, 1, 0));
		ASSERT_LE(DEPTH - 1, cancel_all(self->fd));
		got = collect(self->fd, self->completions, DEPTH, DEPTH, FOREVER);
		ASSERT_EQ(DEPTH, got);
		for (int i = 0; i < got; i++) {
			uint64_t cookie = self->completions[i].cookie;

			ASSERT_TRUE(cookie < rest || (cookie >= 2000 && cookie < 2000 + room));
		}
	}
}

/* Collecting makes room for exactly as many requests. */
TEST_F(depth, room_comes_back)
{
	uint64_t next = DEPTH, seen = 0;

	ASSERT_EQ(DEPTH, submit_many(self->fd, &self->buffer, DEPTH, 0));
	ASSERT_EQ(DEPTH - 1, cancel_all(self->fd));
	for (uint32_t some = 1; some <= 300; some += 37) {
		ASSERT_EQ(some, take(self->fd, self->completions, some));
		seen += some;
		ASSERT_EQ(some, submit_many(self->fd, &self->buffer, some < 300 ? DEPTH : some, next));
		next += some;
		ASSERT_EQ(-EAGAIN, submit_many(self->fd, &self->buffer, 1, 0));
		ASSERT_LE(some - 1, cancel_all(self->fd));
	}
	ASSERT_EQ(DEPTH, collect(self->fd, self->completions, DEPTH, DEPTH, FOREVER));
	EXPECT_EQ(0, take(self->fd, self->completions, 1));
}

/* A request that was refused for any reason takes no room, and neither does one whose array could not be read. */
TEST_F(depth, what_is_refused_takes_none)
{
	struct rdma_request bad = moving(self->fd, &self->buffer, 0);

	bad.length = 0;
	for (int i = 0; i < 3 * DEPTH; i++) {
		ASSERT_EQ(-EINVAL, submit_one(self->fd, bad));
		ASSERT_EQ(-EFAULT, submit(self->fd, NULL, DEPTH));
	}
	EXPECT_EQ(DEPTH, submit_many(self->fd, &self->buffer, DEPTH, 0));
	ASSERT_EQ(DEPTH - 1, cancel_all(self->fd));
	/* An answer that could not be written does not take room either. */
	for (int i = 0; i < 3 * DEPTH; i++) {
		ASSERT_EQ(-EFAULT, take(self->fd, NULL, DEPTH));
	}
	ASSERT_EQ(DEPTH, collect(self->fd, self->completions, DEPTH, DEPTH, FOREVER));
	EXPECT_EQ(DEPTH, submit_many(self->fd, &self->buffer, DEPTH, 0));
}

/* A blocking transfer has no completion to collect, and needs no room. */
TEST_F(depth, blocking_transfers_need_none)
{
	ASSERT_EQ(DEPTH, submit_many(self->fd, &self->buffer, DEPTH, 0));
	ASSERT_EQ(DEPTH - 1, cancel_all(self->fd));
	EXPECT_EQ(0, transfer_some(self->fd, &self->buffer, DEVICE_MEMORY));
	if (has_memory(self->fd)) {
		EXPECT_EQ(1, pwrite(self->fd, "x", 1, 0));
	}
	EXPECT_EQ(DEPTH, take(self->fd, self->completions, DEPTH));
}

/* Each context has its own depth. */
TEST_F(depth, of_each_context)
{
	int others[8];
	struct buffer buffer;

	ASSERT_EQ(DEPTH, submit_many(self->fd, &self->buffer, DEPTH, 0));
	for (int i = 0; i < 8; i++) {
		others[i] = open_node(O_RDWR);
		ASSERT_LE(0, others[i]);
		ASSERT_EQ(0, allocate(others[i], PAGE + window(others[i]), &buffer));
		EXPECT_EQ(DEPTH, submit_many(others[i], &buffer, DEPTH, 0));
	}
	for (int i = 0; i < 8; i++)
		close(others[i]);
}

/* Several threads submit and collect concurrently: room is never granted twice. */
TEST_F(depth, shared_by_threads)
{
	struct submitters submitters;
	long accepted, collected = 0;

	ASSERT_EQ(0, start_submitters(&submitters, self->fd, &self->buffer, false));
	/* Until more was collected than there is room at once, independent of scheduling. */
	for (int i = 0; i < 20 || collected <= DEPTH; i++) {
		int got;

		pause_us(500);
		ASSERT_LE(0, cancel_all(self->fd));
		got = take(self->fd, self->completions, DEPTH);
		ASSERT_LE(0, got);
		collected += got;
	}
	accepted = stop_submitters(&submitters);
	ASSERT_LE(0, accepted);
	EXPECT_GE(DEPTH, accepted - collected);
	ASSERT_LE(0, cancel_all(self->fd));
	if (accepted > collected) {
		EXPECT_EQ(accepted - collected, collect(self->fd, self->completions, accepted - collected, DEPTH, FOREVER));
	}
	EXPECT_EQ(0, take(self->fd, self->completions, 1));
	TH_LOG("%ld accepted, %ld collected meanwhile", accepted, collected);
}

TEST_HARNESS_MAIN
