// SPDX-License-Identifier: GPL-2.0
/* Contexts take turns on the engine; the requests of a context are executed in order. */
#include "rdma_test.h"

enum { PAGES = 16, SLACK_US = 10000 };

FIXTURE(turns)
{
	int fds[3];
	struct buffer buffers[3];
};

FIXTURE_SETUP(turns)
{
	for (int i = 0; i < 3; i++) {
		self->fds[i] = open_node(O_RDWR);
		ASSERT_LE(0, self->fds[i]);
		ASSERT_EQ(0, allocate(self->fds[i], 2 * PAGES * PAGE, &self->buffers[i]));
		fill(self->buffers[i].bytes, PAGES * DEVICE_MEMORY, i);
	}
}

FIXTURE_TEARDOWN(turns)
{
	for (int i = 0; i < 3; i++)
		close(self->fds[i]);
}

static int begin_copy(FIXTURE_DATA(turns) *self, int which, struct pending *pending, uint64_t pages)
{
	return begin(pending, self->fds[which], (struct rdma_request){
							.operation = RDMA_OP_COPY,
							.source = self->buffers[which].handle,
							.destination = self->buffers[which].handle,
							.destination_offset = PAGES * DEVICE_MEMORY,
							.length = pages * DEVICE_MEMORY,
						});
}

/* A short request waits for one piece of another context's long copy, which is two transfers, not for all of it. */
TEST_F(turns, a_long_copy_lets_others_through)
{
	struct pending long_copy;
	int64_t began;

	ASSERT_EQ(0, begin_copy(self, 0, &long_copy, PAGES));
	pause_us(TRANSFER_US / 4);
	for (int i = 0; i < 5; i++) {
		began = now();
		ASSERT_EQ(0, to_device(self->fds[1], &self->buffers[1], 0, 0, DEVICE_MEMORY));
		EXPECT_GE(3 * TRANSFER_US + SLACK_US, now() - began);
	}
	EXPECT_EQ(0, finish(&long_copy));
	EXPECT_EQ(0, memcmp(self->buffers[0].bytes, self->buffers[0].bytes + PAGES * DEVICE_MEMORY, PAGES * DEVICE_MEMORY));
	EXPECT_GE((2 * PAGES + 5) * TRANSFER_US + 4 * SLACK_US, long_copy.ended - long_copy.began);
}

/* Three long copies run in parallel: each is correct, and they end at about the same time. */
TEST_F(turns, equal_shares)
{
	struct pending copies[3];
	int64_t first = INT64_MAX, last = 0;

	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, begin_copy(self, i, &copies[i], PAGES));
	}
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(0, finish(&copies[i]));
		EXPECT_EQ(0, memcmp(self->buffers[i].bytes, self->buffers[i].bytes + PAGES * DEVICE_MEMORY, PAGES * DEVICE_MEMORY));
		first = copies[i].ended < first ? copies[i].ended : first;
		last = copies[i].ended > last ? copies[i].ended : last;
	}
	EXPECT_GE(4 * TRANSFER_US + SLACK_US, last - first);
	EXPECT_GE(3 * 2 * PAGES * TRANSFER_US + 10 * SLACK_US, last - copies[0].began);
}

/* A context with many threads has no more turns than one with a single thread. */
TEST_F(turns, threads_do_not_multiply_them)
{
	struct pending crowd[8];
	int64_t began;

	for (int i = 0; i < 8; i++) {
		ASSERT_EQ(0, begin_copy(self, 0, &crowd[i], 1));
	}
	pause_us(TRANSFER_US / 4);
	began = now();
	ASSERT_EQ(0, to_device(self->fds[1], &self->buffers[1], 0, 0, DEVICE_MEMORY));
	EXPECT_GE(3 * TRANSFER_US + SLACK_US, now() - began);
	for (int i = 0; i < 8; i++) {
		EXPECT_EQ(0, finish(&crowd[i]));
	}
}

/* First in, first out within a context. */
TEST_F(turns, in_order_within_a_context)
{
	struct pending pending[6];

	for (int i = 0; i < 6; i++) {
		ASSERT_EQ(0, begin(&pending[i], self->fds[0],
				   (struct rdma_request){ .operation = RDMA_OP_TO_DEVICE,
							  .source = self->buffers[0].handle,
							  .source_offset = i,
							  .length = 1 }));
		pause_us(1000);
	}
	for (int i = 0; i < 6; i++) {
		EXPECT_EQ(0, finish(&pending[i]));
		if (i) {
			EXPECT_LE(TRANSFER_US - SLACK_US, pending[i].ended - pending[i - 1].ended);
		}
	}
	ASSERT_EQ(0, from_device(self->fds[0], &self->buffers[0], DEVICE_MEMORY, 0, 1));
	EXPECT_EQ(self->buffers[0].bytes[5], self->buffers[0].bytes[DEVICE_MEMORY]);
}

/* The engine is not idle while requests wait: each starts from the interrupt of the previous one. */
TEST_F(turns, no_gaps)
{
	enum { COUNT = 12 };
	struct pending pending[COUNT];
	int64_t began = now(), ended = 0;

	for (int i = 0; i < COUNT; i++) {
		ASSERT_EQ(0, begin(&pending[i], self->fds[i % 3],
				   (struct rdma_request){ .operation = RDMA_OP_TO_DEVICE,
							  .source = self->buffers[i % 3].handle,
							  .length = DEVICE_MEMORY }));
	}
	for (int i = 0; i < COUNT; i++) {
		EXPECT_EQ(0, finish(&pending[i]));
		ended = pending[i].ended > ended ? pending[i].ended : ended;
	}
	TH_LOG("%d queued transfers: %lld us", COUNT, (long long)(ended - began));
	EXPECT_GE(COUNT * TRANSFER_US + SLACK_US, ended - began);
}

TEST_HARNESS_MAIN
