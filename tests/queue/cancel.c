// SPDX-License-Identifier: GPL-2.0
/* CANCEL: waiting requests complete at once, started ones continue. LINK: a request that is linked to a failed one does not start. */
#include "pace.h"

enum { EARLY_US = 20000 };
#define AT_ONCE_US slack_us(10000)
#define SLACK_US slack_us(10000)

FIXTURE(cancel)
{
	int fd;
	struct buffer buffer;
	uint64_t bytes; /* that each request moves */
	struct rdma_completion completions[DEPTH];
};

FIXTURE_SETUP(cancel)
{
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, 16 * PAGE + window(self->fd), &self->buffer));
	ASSERT_EQ(0, settle(self->fd, &self->buffer));
	self->bytes = moved(self->fd, &self->buffer);
}

FIXTURE_TEARDOWN(cancel)
{
	hurry();
	close(self->fd);
}

/* Expects this to be the next completion. */
#define EXPECT_COMPLETION(index, cookie_, status_, bytes_)                    \
	do {                                                                  \
		EXPECT_EQ(cookie_, self->completions[index].cookie);          \
		EXPECT_EQ(status_, self->completions[index].status);          \
		EXPECT_EQ(bytes_, self->completions[index].bytes);            \
	} while (0)

TEST_F(cancel, what_waits)
{
	int64_t began = now();

	ASSERT_EQ(4, submit_many(self->fd, &self->buffer, 4, 10));
	EXPECT_EQ(1, cancel(self->fd, 12));
	/* It completes before the request that is running. */
	ASSERT_EQ(1, take(self->fd, self->completions, DEPTH));
	EXPECT_COMPLETION(0, 12, -ECANCELED, 0);
	EXPECT_GE(AT_ONCE_US, now() - began);
	ASSERT_EQ(3, collect(self->fd, self->completions, 3, DEPTH, FOREVER));
	EXPECT_COMPLETION(0, 10, 0, self->bytes);
	EXPECT_COMPLETION(1, 11, 0, self->bytes);
	EXPECT_COMPLETION(2, 13, 0, self->bytes);
	/* And it has used no time of the engine. */
	EXPECT_GE(3 * transfer_us + SLACK_US, now() - began);
}

TEST_F(cancel, what_has_begun)
{
	ASSERT_EQ(2, submit_many(self->fd, &self->buffer, 2, 0));
	EXPECT_EQ(-EALREADY, cancel(self->fd, 0));
	pause_us(EARLY_US);
	EXPECT_EQ(-EALREADY, cancel(self->fd, 0));
	ASSERT_EQ(2, collect(self->fd, self->completions, 2, 2, FOREVER));
	EXPECT_COMPLETION(0, 0, 0, self->bytes);
	EXPECT_COMPLETION(1, 1, 0, self->bytes);
}

/* A copy of several pieces has started with its first piece, also while another context has its turn. */
TEST_F(cancel, a_copy_that_has_begun)
{
	int other = open_node(O_RDWR);
	struct buffer buffer;

	if (!has_memory(self->fd))
		SKIP(return, "this engine can stop a copy: see ioat_copies.c");
	ASSERT_LE(0, other);
	ASSERT_EQ(0, allocate(other, PAGE, &buffer));
	fill(self->buffer.bytes, 8 * DEVICE_MEMORY, 3);
	ASSERT_EQ(1, submit_one(self->fd, copying(&self->buffer, 8 * DEVICE_MEMORY, &self->buffer, 0, 8 * DEVICE_MEMORY, 7)));
	ASSERT_EQ(20, submit_many(other, &buffer, 20, 0));
	for (int i = 0; i < 20; i++) {
		pause_us(transfer_us);
		EXPECT_EQ(-EALREADY, cancel(self->fd, 7));
		EXPECT_EQ(0, cancel_all(self->fd));
	}
	ASSERT_EQ(1, collect(self->fd, self->completions, 1, 1, FOREVER));
	EXPECT_COMPLETION(0, 7, 0, 8 * DEVICE_MEMORY);
	EXPECT_EQ(0, memcmp(self->buffer.bytes, self->buffer.bytes + 8 * DEVICE_MEMORY, 8 * DEVICE_MEMORY));
	EXPECT_EQ(0, drain(other, 20));
	close(other);
}

TEST_F(cancel, what_is_not_there)
{
	EXPECT_EQ(-ENOENT, cancel(self->fd, 0));
	ASSERT_EQ(2, submit_many(self->fd, &self->buffer, 2, 0));
	EXPECT_EQ(-ENOENT, cancel(self->fd, 2));
	EXPECT_EQ(-ENOENT, cancel(self->fd, UINT64_MAX));
	EXPECT_EQ(1, cancel(self->fd, 1));
	EXPECT_EQ(-ENOENT, cancel(self->fd, 1));
	pause_us(2 * transfer_us);
	/* Completed, and not yet collected. */
	EXPECT_EQ(-ENOENT, cancel(self->fd, 0));
	ASSERT_EQ(2, take(self->fd, self->completions, 2));
	EXPECT_EQ(-ENOENT, cancel(self->fd, 0));
	EXPECT_COMPLETION(0, 1, -ECANCELED, 0);
	EXPECT_COMPLETION(1, 0, 0, self->bytes);
}

TEST_F(cancel, of_the_same_name)
{
	struct rdma_request requests[6];

	for (int i = 0; i < 6; i++) {
		requests[i] = moving(self->fd, &self->buffer, i % 2 ? 9 : 8);
		requests[i].length += has_memory(self->fd) ? i : -i;
	}
	ASSERT_EQ(6, submit(self->fd, requests, 6));
	/* The running request and a waiting one have the same cookie. */
	EXPECT_EQ(2, cancel(self->fd, 8));
	EXPECT_EQ(-EALREADY, cancel(self->fd, 8));
	EXPECT_EQ(3, cancel(self->fd, 9));
	EXPECT_EQ(-ENOENT, cancel(self->fd, 9));
	ASSERT_EQ(6, collect(self->fd, self->completions, 6, 6, FOREVER));
	for (int i = 0; i < 5; i++) {
		EXPECT_COMPLETION(i, i < 2 ? 8 : 9, -ECANCELED, 0);
	}
	EXPECT_COMPLETION(5, 8, 0, self->bytes);
}

TEST_F(cancel, everything)
{
	int64_t began = now();

	EXPECT_EQ(0, cancel_all(self->fd));
	ASSERT_EQ(DEPTH, submit_many(self->fd, &self->buffer, DEPTH, 0));
	EXPECT_EQ(DEPTH - 1, cancel_all(self->fd));
	EXPECT_GE(AT_ONCE_US, now() - began);
	EXPECT_EQ(0, cancel_all(self->fd));
	ASSERT_EQ(DEPTH - 1, take(self->fd, self->completions, DEPTH));
	for (int i = 0; i < DEPTH - 1; i++) {
		EXPECT_COMPLETION(i, 1 + i, -ECANCELED, 0);
	}
	ASSERT_EQ(1, collect(self->fd, self->completions, 1, 1, FOREVER));
	EXPECT_COMPLETION(0, 0, 0, self->bytes);
	EXPECT_GE(transfer_us + SLACK_US, now() - began);
	/* The queue still works. */
	ASSERT_EQ(3, submit_many(self->fd, &self->buffer, 3, 0));
	EXPECT_EQ(0, drain(self->fd, 3));
}

/* A cancelled request moves no data. */
TEST_F(cancel, leaves_the_bytes_alone)
{
	struct rdma_request request = storing(self->fd, &self->buffer, 0, DEVICE_MEMORY, 0);

	fill(self->buffer.bytes, DEVICE_MEMORY, 1);
	memset(self->buffer.bytes + DEVICE_MEMORY, 0x77, DEVICE_MEMORY);
	ASSERT_EQ(0, call(self->fd, RDMA_IOC_TRANSFER, &request));
	ASSERT_EQ(1, submit_many(self->fd, &self->buffer, 1, 0));
	ASSERT_EQ(1, submit_one(self->fd, fetching(self->fd, &self->buffer, DEVICE_MEMORY, DEVICE_MEMORY, 1)));
	ASSERT_EQ(1, cancel(self->fd, 1));
	EXPECT_EQ(1, drain(self->fd, 2));
	pause_us(2 * transfer_us);
	EXPECT_EQ(0, differing(self->buffer.bytes + DEVICE_MEMORY, 0x77, DEVICE_MEMORY));
}

TEST_F(cancel, not_of_others)
{
	int other = open_node(O_RDWR);

	ASSERT_LE(0, other);
	ASSERT_EQ(4, submit_many(self->fd, &self->buffer, 4, 0));
	EXPECT_EQ(-ENOENT, cancel(other, 2));
	EXPECT_EQ(0, cancel_all(other));
	EXPECT_EQ(0, drain(self->fd, 4));
	close(other);
}

/* A blocking transfer has no cookie, and is not included in "all". */
TEST_F(cancel, not_blocking_transfers)
{
	struct pending pending[2];

	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, begin(&pending[i], self->fd, moving(self->fd, &self->buffer, 0)));
	}
	pause_us(EARLY_US);
	EXPECT_EQ(-ENOENT, cancel(self->fd, 0));
	EXPECT_EQ(0, cancel_all(self->fd));
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(0, finish(&pending[i]));
	}
}

TEST_F(cancel, bad_arguments)
{
	ASSERT_EQ(3, submit_many(self->fd, &self->buffer, 3, 0));
	for (int bit = 0; bit < 64; bit++) {
		struct rdma_cancel argument[] = {
			{ .cookie = 1, .flags = bit ? 1U << bit % 32 : 2 },
			{ .cookie = 1, .reserved = 1U << bit % 32 },
			{ .cookie = 1ULL << bit, .flags = RDMA_CANCEL_ALL },
			{ .flags = RDMA_CANCEL_ALL, .reserved = 1U << bit % 32 },
		};

		for (size_t i = 0; i < ARRAY_SIZE(argument); i++) {
			EXPECT_EQ(-EINVAL, call(self->fd, RDMA_IOC_CANCEL, &argument[i])) TH_LOG("bit %d", bit);
		}
	}
	EXPECT_EQ(0, drain(self->fd, 3));
}

/* A cancelled request wakes threads that wait for completions. */
struct canceller {
	int fd;
	uint64_t cookie;
};

static void *cancels_later(void *argument)
{
	struct canceller *self = argument;

	pause_us(EARLY_US);
	cancel(self->fd, self->cookie);
	return NULL;
}

TEST_F(cancel, wakes_who_waits)
{
	struct canceller canceller = { self->fd, 5 };
	pthread_t thread;
	int64_t began = now();

	ASSERT_EQ(8, submit_many(self->fd, &self->buffer, 8, 0));
	ASSERT_EQ(0, pthread_create(&thread, NULL, cancels_later, &canceller));
	ASSERT_EQ(1, collect(self->fd, self->completions, 1, DEPTH, FOREVER));
	EXPECT_COMPLETION(0, 5, -ECANCELED, 0);
	EXPECT_GE(EARLY_US + AT_ONCE_US, now() - began);
	pthread_join(thread, NULL);
}

/* Frees the buffer's handle and cancels the requests that use it: nothing of either is left. */
TEST_F(cancel, again_and_again)
{
	int count = rounds(200, 20);

	for (int i = 0; i < count; i++) {
		struct buffer buffer;

		ASSERT_EQ(0, allocate(self->fd, 64 * PAGE + window(self->fd), &buffer));
		ASSERT_EQ(DEPTH, submit_many(self->fd, &buffer, DEPTH, 0));
		ASSERT_EQ(0, release(self->fd, &buffer));
		ASSERT_LE(DEPTH - 1, cancel_all(self->fd));
		ASSERT_EQ(DEPTH, collect(self->fd, self->completions, DEPTH, DEPTH, FOREVER));
	}
}

/* --- LINK. */

TEST_F(cancel, a_chain_that_succeeds)
{
	struct rdma_request requests[] = {
		linked(storing(self->fd, &self->buffer, 0, DEVICE_MEMORY, 1)),
		linked(fetching(self->fd, &self->buffer, DEVICE_MEMORY, DEVICE_MEMORY, 2)),
		copying(&self->buffer, 2 * DEVICE_MEMORY, &self->buffer, DEVICE_MEMORY, DEVICE_MEMORY, 3),
		moving(self->fd, &self->buffer, 4),
	};

	fill(self->buffer.bytes, DEVICE_MEMORY, 5);
	ASSERT_EQ(4, submit(self->fd, requests, 4));
	ASSERT_EQ(4, collect(self->fd, self->completions, 4, 4, FOREVER));
	for (int i = 0; i < 4; i++) {
		EXPECT_COMPLETION(i, 1 + i, 0, i < 3 ? DEVICE_MEMORY : self->bytes);
	}
	EXPECT_EQ(0, memcmp(self->buffer.bytes, self->buffer.bytes + 2 * DEVICE_MEMORY, DEVICE_MEMORY));
}

/* Cancels each request of a chain of five in turn: the requests after it are cancelled with it, those before it succeed. */
TEST_F(cancel, a_chain_that_is_cut)
{
	for (int cut = 1; cut < 5; cut++) {
		struct rdma_request requests[7];
		int64_t began = now();

		for (int i = 0; i < 7; i++) {
			requests[i] = moving(self->fd, &self->buffer, i);
			requests[i].flags = i < 4 ? RDMA_REQUEST_LINK : 0;
		}
		ASSERT_EQ(7, submit(self->fd, requests, 7));
		EXPECT_EQ(5 - cut, cancel(self->fd, cut));
		ASSERT_EQ(5 - cut, take(self->fd, self->completions, 7));
		for (int i = 0; i < 5 - cut; i++) {
			EXPECT_COMPLETION(i, cut + i, -ECANCELED, 0);
		}
		ASSERT_EQ(cut + 2, collect(self->fd, self->completions, cut + 2, 7, FOREVER));
		for (int i = 0; i < cut + 2; i++) {
			EXPECT_COMPLETION(i, i < cut ? i : 5 + i - cut, 0, self->bytes);
		}
		EXPECT_GE((cut + 2) * transfer_us + SLACK_US, now() - began);
	}
}

/* Two parallel chains do not affect each other. */
TEST_F(cancel, two_chains)
{
	struct rdma_request requests[] = {
		linked(moving(self->fd, &self->buffer, 0)), linked(moving(self->fd, &self->buffer, 1)),
		moving(self->fd, &self->buffer, 2),	    linked(moving(self->fd, &self->buffer, 3)),
		linked(moving(self->fd, &self->buffer, 4)), moving(self->fd, &self->buffer, 5),
	};

	ASSERT_EQ(6, submit(self->fd, requests, 6));
	EXPECT_EQ(2, cancel(self->fd, 1));
	ASSERT_EQ(6, collect(self->fd, self->completions, 6, 6, FOREVER));
	EXPECT_COMPLETION(0, 1, -ECANCELED, 0);
	EXPECT_COMPLETION(1, 2, -ECANCELED, 0);
	EXPECT_COMPLETION(2, 0, 0, self->bytes);
	EXPECT_COMPLETION(3, 3, 0, self->bytes);
	EXPECT_COMPLETION(4, 4, 0, self->bytes);
	EXPECT_COMPLETION(5, 5, 0, self->bytes);
}

/* A chain ends with its array: later requests are not linked to it. */
TEST_F(cancel, no_chain_over_two_arrays)
{
	struct rdma_request open[] = {
		moving(self->fd, &self->buffer, 1),
		linked(moving(self->fd, &self->buffer, 2)),
		linked(moving(self->fd, &self->buffer, 3)),
	};

	EXPECT_EQ(-EINVAL, submit(self->fd, open + 2, 1));
	EXPECT_EQ(-EINVAL, submit(self->fd, open + 1, 2));
	EXPECT_EQ(1, submit(self->fd, open, 3));
	EXPECT_EQ(0, drain(self->fd, 1));
	EXPECT_EQ(0, take(self->fd, self->completions, 1));
}

/* A chain is accepted as a whole or not at all: with an invalid request in it, and without room for all of it. */
TEST_F(cancel, whole_chains_only)
{
	for (int bad = 0; bad < 4; bad++) {
		struct rdma_request requests[6];

		for (int i = 0; i < 6; i++)
			requests[i] = moving(self->fd, &self->buffer, i);
		for (int i = 1; i < 4; i++)
			requests[i].flags = RDMA_REQUEST_LINK;
		requests[1 + bad].length = 0;
		EXPECT_EQ(1, submit(self->fd, requests, 6));
		EXPECT_EQ(-EINVAL, submit(self->fd, requests + 1, 5));
		EXPECT_EQ(0, drain(self->fd, 1));
	}
	EXPECT_EQ(0, take(self->fd, self->completions, 1));
}

TEST_F(cancel, chains_that_do_not_fit)
{
	struct rdma_request chain[4];

	for (int i = 0; i < 4; i++)
		chain[i] = moving(self->fd, &self->buffer, 5000 + i);
	chain[0].flags = chain[1].flags = RDMA_REQUEST_LINK;
	ASSERT_EQ(DEPTH - 2, submit_many(self->fd, &self->buffer, DEPTH - 2, 0));
	EXPECT_EQ(-EAGAIN, submit(self->fd, chain, 4));
	EXPECT_EQ(-EAGAIN, submit(self->fd, chain, 3));
	/* Requests that are not linked are accepted. */
	EXPECT_EQ(1, submit_one(self->fd, chain[3]));
	EXPECT_LE(DEPTH - 2, cancel_all(self->fd));
	ASSERT_EQ(DEPTH - 1, collect(self->fd, self->completions, DEPTH - 1, DEPTH, FOREVER));
	EXPECT_EQ(4, submit(self->fd, chain, 4));
	EXPECT_EQ(0, drain(self->fd, 4));
}

TEST_F(cancel, the_longest_chain)
{
	static struct rdma_request chain[DEPTH];

	for (int i = 0; i < DEPTH; i++) {
		chain[i] = moving(self->fd, &self->buffer, i);
		chain[i].flags = RDMA_REQUEST_LINK;
	}
	EXPECT_EQ(-EINVAL, submit(self->fd, chain, DEPTH));
	chain[DEPTH - 1].flags = 0;
	ASSERT_EQ(DEPTH, submit(self->fd, chain, DEPTH));
	EXPECT_EQ(DEPTH - 1, cancel(self->fd, 1));
	ASSERT_EQ(DEPTH, collect(self->fd, self->completions, DEPTH, DEPTH, FOREVER));
	for (int i = 0; i < DEPTH - 1; i++) {
		EXPECT_COMPLETION(i, 1 + i, -ECANCELED, 0);
	}
	EXPECT_COMPLETION(DEPTH - 1, 0, 0, self->bytes);
}

/* The flag is invalid for a blocking transfer. */
TEST_F(cancel, no_links_of_blocking_transfers)
{
	struct rdma_request request = linked(moving(self->fd, &self->buffer, 0));

	EXPECT_EQ(-EINVAL, call(self->fd, RDMA_IOC_TRANSFER, &request));
}

/* Contexts with chains take turns: other requests run in between, but not between a failed request and those linked to it. */
TEST_F(cancel, chains_of_two_contexts)
{
	int other = open_node(O_RDWR);
	struct buffer buffer;
	struct rdma_request mine[5], theirs[5];

	ASSERT_LE(0, other);
	ASSERT_EQ(0, allocate(other, PAGE + window(other), &buffer));
	for (int i = 0; i < 5; i++) {
		mine[i] = moving(self->fd, &self->buffer, i);
		theirs[i] = moving(other, &buffer, i);
		mine[i].flags = theirs[i].flags = i < 4 ? RDMA_REQUEST_LINK : 0;
	}
	ASSERT_EQ(5, submit(self->fd, mine, 5));
	ASSERT_EQ(5, submit(other, theirs, 5));
	EXPECT_EQ(2, cancel(self->fd, 3));
	EXPECT_EQ(0, drain(other, 5));
	ASSERT_EQ(5, collect(self->fd, self->completions, 5, 5, FOREVER));
	EXPECT_COMPLETION(0, 3, -ECANCELED, 0);
	EXPECT_COMPLETION(1, 4, -ECANCELED, 0);
	close(other);
}

TEST_HARNESS_MAIN
