// SPDX-License-Identifier: GPL-2.0
/*
 * Promise 14: an argument is read once. One CPU toggles a field between two valid values as fast as it can, while the other
 * one submits: the request uses one of the two, never a mixture. (hostile.c changes all fields, to all kinds of values.)
 */
#include "pace.h"

enum { ROUNDS = 14, FAST_ROUNDS = 3000, FILL = 0xa5, SENT = 0x11 };

FIXTURE(flips)
{
	int fd;
	struct buffer from, to;
	bool memory;
	int rounds;
	struct rdma_request *request;
	pthread_t thread;
	volatile bool over;
	volatile uint64_t flips;
	volatile uint64_t *field;
	uint64_t values[2];
};

static void *flipper(void *argument)
{
	FIXTURE_DATA(flips) *self = argument;

	while (!self->over) {
		*self->field = self->values[self->flips % 2];
		self->flips++;
	}
	return NULL;
}

FIXTURE_SETUP(flips)
{
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "one CPU has no races to show");
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, 2 * PAGE, &self->from));
	ASSERT_EQ(0, allocate(self->fd, 2 * PAGE, &self->to));
	ASSERT_EQ(0, settle(self->fd, &self->from));
	self->memory = has_memory(self->fd);
	self->rounds = self->memory ? scale(ROUNDS, 20 * ROUNDS) : scale(FAST_ROUNDS, 20 * FAST_ROUNDS);
	memset(self->from.bytes, SENT, 2 * PAGE);
	self->request = shared_memory(PAGE);
	ASSERT_NE(MAP_FAILED, self->request);
}

FIXTURE_TEARDOWN(flips)
{
	hurry();
	close(self->fd);
}

/* A request whose length changes between two values: one of the two is moved, and its completion reports the same. */
static void try_length(struct __test_metadata *_metadata, FIXTURE_DATA(flips) *self, struct rdma_request request)
{
	int seen[2] = { 0 };

	*self->request = request;
	self->field = (volatile uint64_t *)&self->request->length;
	self->over = false;
	ASSERT_EQ(0, pthread_create(&self->thread, NULL, flipper, self));
	for (int i = 0; i < self->rounds; i++) {
		struct rdma_completion completion;

		memset(self->to.bytes, FILL, 2 * PAGE);
		ASSERT_EQ(1, submit(self->fd, self->request, 1));
		ASSERT_EQ(1, collect(self->fd, &completion, 1, 1, 5000 * MS)) TH_LOG("round %d never ends", i);
		EXPECT_EQ(0, completion.status);
		EXPECT_TRUE(completion.bytes == self->values[0] || completion.bytes == self->values[1]);
		if (request.operation != RDMA_OP_TO_DEVICE) {
			EXPECT_EQ(completion.bytes, differing(self->to.bytes, FILL, 2 * PAGE));
		}
		seen[completion.bytes == self->values[1]]++;
	}
	self->over = true;
	pthread_join(self->thread, NULL);
	EXPECT_LT(0, seen[0]);
	EXPECT_LT(0, seen[1]);
}

TEST_F(flips, length)
{
	self->values[0] = 1;
	self->values[1] = PAGE;
	try_length(_metadata, self, copying(&self->to, 0, &self->from, 0, 1, 1));
	if (self->memory) {
		ASSERT_EQ(0, to_device(self->fd, &self->from, 0, 0, DEVICE_MEMORY));
		try_length(_metadata, self, reading(&self->to, 0, 0, 1, 1));
		try_length(_metadata, self, writing(&self->from, 0, 0, 1, 1));
	}
	EXPECT_LE(1000000, self->flips);
	FIGURE("%lld flips of a length during %d requests", "each done as it was at one moment", (long long)self->flips,
	       (self->memory ? 3 : 1) * self->rounds);
}

TEST_HARNESS_MAIN
