// SPDX-License-Identifier: GPL-2.0
/* 16 devices: 16 nodes with consecutive numbers, and 16 engines that work in parallel. */
#include "requests.h"

enum { DEVICES = 16, TRANSFERS = 64 };

FIXTURE(many)
{
	char addresses[DEVICES][32];
	int fds[DEVICES];
	struct buffer buffers[DEVICES];
};

FIXTURE_SETUP(many)
{
	for (int i = 0; i < DEVICES; i++) {
		char name[16];

		snprintf(name, sizeof(name), "rdma%d", i);
		ASSERT_EQ(0, pci_address(name, self->addresses[i]));
		self->fds[i] = open_number(i);
		ASSERT_LE(0, self->fds[i]);
		ASSERT_EQ(0, allocate(self->fds[i], 2 * PAGE, &self->buffers[i]));
		fill(self->buffers[i].bytes, DEVICE_MEMORY, i);
	}
}

FIXTURE_TEARDOWN(many)
{
	for (int i = 0; i < DEVICES; i++)
		close(self->fds[i]);
}

TEST_F(many, numbers_in_a_row)
{
	EXPECT_EQ(-ENOENT, open_number(DEVICES));
	for (int i = 0; i < DEVICES; i++)
		for (int j = 0; j < i; j++) {
			EXPECT_STRNE(self->addresses[i], self->addresses[j]);
		}
}

TEST_F(many, have_memories_of_their_own)
{
	for (int i = 0; i < DEVICES; i++) {
		ASSERT_EQ(1, submit_one(self->fds[i], writing(&self->buffers[i], 0, 0, DEVICE_MEMORY, i)));
	}
	for (int i = 0; i < DEVICES; i++) {
		ASSERT_EQ(1, submit_one(self->fds[i], reading(&self->buffers[i], DEVICE_MEMORY, 0, DEVICE_MEMORY, i)));
	}
	for (int i = 0; i < DEVICES; i++) {
		ASSERT_EQ(0, drain(self->fds[i], 2));
		EXPECT_EQ(0, memcmp(self->buffers[i].bytes, self->buffers[i].bytes + DEVICE_MEMORY, DEVICE_MEMORY));
	}
}

/* The time of this many transfers on each of the first `devices` in parallel. */
static int64_t work(struct __test_metadata *_metadata, FIXTURE_DATA(many) *self, int devices)
{
	static struct rdma_request requests[TRANSFERS];
	int64_t began = now();

	for (int i = 0; i < devices; i++) {
		for (int j = 0; j < TRANSFERS; j++)
			requests[j] = writing(&self->buffers[i], 0, 0, DEVICE_MEMORY, j);
		ASSERT_EQ(TRANSFERS, submit(self->fds[i], requests, TRANSFERS));
	}
	for (int i = 0; i < devices; i++) {
		ASSERT_EQ(0, drain(self->fds[i], TRANSFERS));
	}
	return now() - began;
}

TEST_F(many, work_at_the_same_time)
{
	int64_t one = work(_metadata, self, 1), all = work(_metadata, self, DEVICES);
	double ratio = (double)DEVICES * one / all;

	TH_LOG("%d transfers on 1 device: %lld us; on each of %d at once: %lld us; throughput %.3f times as high", TRANSFERS,
	       (long long)one, DEVICES, (long long)all, ratio);
	EXPECT_LE(15.9, ratio);
	EXPECT_GE(16.1, ratio);
}

/* The same with programs that wait for each transfer. */
TEST_F(many, work_at_the_same_time_for_threads)
{
	struct pending pending[DEVICES];
	int64_t began = now(), took;

	for (int i = 0; i < DEVICES; i++) {
		ASSERT_EQ(0, begin(&pending[i], self->fds[i], writing(&self->buffers[i], 0, 0, DEVICE_MEMORY, 0)));
	}
	for (int i = 0; i < DEVICES; i++) {
		EXPECT_EQ(0, finish(&pending[i]));
	}
	took = now() - began;
	TH_LOG("%d threads, a transfer each: %lld us", DEVICES, (long long)took);
	EXPECT_GE(TRANSFER_US + TRANSFER_US / 10, took);
}

/* One poll(2) for all. */
TEST_F(many, are_waited_for_in_one_place)
{
	struct pollfd polls[DEVICES];
	int ready = 0;

	for (int i = 0; i < DEVICES; i++) {
		polls[i] = (struct pollfd){ .fd = self->fds[i], .events = POLLIN };
		ASSERT_EQ(1, submit_one(self->fds[i], writing(&self->buffers[i], 0, 0, DEVICE_MEMORY, i)));
	}
	while (ready < DEVICES) {
		struct rdma_completion completion;

		ASSERT_LT(0, poll(polls, DEVICES, 5000));
		for (int i = 0; i < DEVICES; i++)
			if (polls[i].revents) {
				EXPECT_EQ(POLLIN, polls[i].revents);
				ASSERT_EQ(1, take(self->fds[i], &completion, 1));
				EXPECT_EQ(i, completion.cookie);
				ready++;
			}
	}
}

static int unbind(const char *address)
{
	return write_text("/sys/bus/pci/drivers/rdma/unbind", address);
}

static int bind(const char *address)
{
	return write_text("/sys/bus/pci/drivers/rdma/bind", address);
}

/* Free numbers are reused, the lowest first. */
TEST_F(many, lowest_number_first)
{
	static const int gone[] = { 11, 3, 14, 7 }, lowest_first[] = { 3, 7, 11, 14 };
	char name[16], address[32];

	for (size_t i = 0; i < ARRAY_SIZE(gone); i++) {
		ASSERT_EQ(0, unbind(self->addresses[gone[i]]));
		EXPECT_EQ(-ENOENT, open_number(gone[i]));
	}
	for (size_t i = 0; i < ARRAY_SIZE(gone); i++) {
		ASSERT_EQ(0, bind(self->addresses[gone[i]]));
		snprintf(name, sizeof(name), "rdma%d", lowest_first[i]);
		ASSERT_EQ(0, pci_address(name, address));
		EXPECT_STREQ(self->addresses[gone[i]], address);
	}
	EXPECT_EQ(-ENOENT, open_number(DEVICES));
}

TEST_HARNESS_MAIN
