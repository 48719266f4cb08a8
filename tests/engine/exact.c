// SPDX-License-Identifier: GPL-2.0
/* Promise 12: data is exact to the byte, with random lengths and offsets in all directions, and nothing else changes. */
#include "requests.h"

enum {
	FENCES = 3,
	FENCE = 0xc3,
	SIZE = 64 * 1024,
	LONGEST_COPY = 3 * DEVICE_MEMORY,
};

FIXTURE(exact)
{
	int fd;
	struct buffer buffers[2];
	/* Pages before, between and behind the buffers, which no transfer uses. */
	struct buffer fences[FENCES];
	/* Expected contents of buffers and device memory. */
	unsigned char *expected[2];
	unsigned char device[DEVICE_MEMORY];
	uint64_t random;
	uint64_t transfers;
	bool has_device_memory;
};

/* xorshift64; RDMA_SEED= repeats the run. */
static uint64_t any(FIXTURE_DATA(exact) *self, uint64_t below)
{
	self->random ^= self->random << 13;
	self->random ^= self->random >> 7;
	self->random ^= self->random << 17;
	return self->random % below;
}

static void scribble(FIXTURE_DATA(exact) *self, int which, uint64_t offset, uint64_t length)
{
	for (uint64_t i = 0; i < length; i++)
		self->expected[which][offset + i] = any(self, 256);
	memcpy(self->buffers[which].bytes + offset, self->expected[which] + offset, length);
}

/* Half of the lengths are arbitrary, half are near the sizes at which behaviour changes. */
static uint64_t any_length(FIXTURE_DATA(exact) *self, uint64_t most)
{
	static const uint64_t special[] = { 1, 2, 3, 4, 7, 8, 9, 511, 512, 513, DEVICE_MEMORY - 1, DEVICE_MEMORY, DEVICE_MEMORY + 1, 2 * DEVICE_MEMORY };
	uint64_t length = special[any(self, ARRAY_SIZE(special))];

	return any(self, 2) || length > most ? 1 + any(self, most) : length;
}

FIXTURE_SETUP(exact)
{
	const char *seed = getenv("RDMA_SEED");

	self->random = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) << 20 | getpid();
	TH_LOG("RDMA_SEED=%llu", (unsigned long long)self->random);
	self->random = self->random * 2654435761 + 1;
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	for (int i = 0; i < FENCES; i++) {
		ASSERT_EQ(0, allocate(self->fd, PAGE, &self->fences[i]));
		memset(self->fences[i].bytes, FENCE, DEVICE_MEMORY);
		if (i == FENCES - 1)
			break;
		ASSERT_EQ(0, allocate(self->fd, SIZE, &self->buffers[i]));
		self->expected[i] = malloc(SIZE);
		ASSERT_NE(NULL, self->expected[i]);
		scribble(self, i, 0, SIZE);
	}
	self->has_device_memory = has_memory(self->fd);
	if (self->has_device_memory)
		ASSERT_EQ(0, to_device(self->fd, &self->buffers[0], 0, 0, DEVICE_MEMORY));
	memcpy(self->device, self->expected[0], DEVICE_MEMORY);
}

FIXTURE_TEARDOWN(exact)
{
	close(self->fd);
}

static int out(FIXTURE_DATA(exact) *self)
{
	int which = any(self, 2);
	uint64_t length = any_length(self, DEVICE_MEMORY), offset = any(self, SIZE - length + 1);
	uint64_t device_offset = any(self, DEVICE_MEMORY - length + 1);

	scribble(self, which, offset, length);
	memcpy(self->device + device_offset, self->expected[which] + offset, length);
	self->transfers++;
	return to_device(self->fd, &self->buffers[which], offset, device_offset, length);
}

static int in(FIXTURE_DATA(exact) *self)
{
	int which = any(self, 2);
	uint64_t length = any_length(self, DEVICE_MEMORY), offset = any(self, SIZE - length + 1);
	uint64_t device_offset = any(self, DEVICE_MEMORY - length + 1);

	memcpy(self->expected[which] + offset, self->device + device_offset, length);
	self->transfers++;
	return from_device(self->fd, &self->buffers[which], offset, device_offset, length);
}

static int across(FIXTURE_DATA(exact) *self)
{
	int from = any(self, 2), to = any(self, 2), error;
	uint64_t length = any_length(self, LONGEST_COPY);
	uint64_t source = any(self, SIZE - length + 1), destination = any(self, SIZE - length + 1);

	if (from == to && source < destination + length && destination < source + length)
		return 0;
	scribble(self, from, source, length);
	memcpy(self->expected[to] + destination, self->expected[from] + source, length);
	self->transfers += self->has_device_memory ? 2 * ((length + DEVICE_MEMORY - 1) / DEVICE_MEMORY) + 1 : 1;
	error = copy(self->fd, &self->buffers[to], destination, &self->buffers[from], source, length);
	if (error || !self->has_device_memory)
		return error;
	/* The contents of the device memory are now unknown; write them again. */
	memcpy(self->device, self->expected[to], DEVICE_MEMORY);
	return to_device(self->fd, &self->buffers[to], 0, 0, DEVICE_MEMORY);
}

/* Whether anything is wrong in the buffers, including everything around the transfer, or next to them. */
static int mismatches_now(FIXTURE_DATA(exact) *self)
{
	int count = 0;

	for (int i = 0; i < 2; i++)
		count += memcmp(self->buffers[i].bytes, self->expected[i], SIZE) != 0;
	for (int i = 0; i < FENCES; i++)
		count += differing(self->fences[i].bytes, FENCE, DEVICE_MEMORY) != 0;
	return count;
}

TEST_F(exact, random_transfers)
{
	uint64_t mismatches = 0, wanted = scale(2000, 50000), rounds[3] = { 0 };

	for (int round = 0; self->transfers < wanted; round++) {
		static int (*const operations[])(FIXTURE_DATA(exact) *) = { out, in, across };
		uint64_t which = self->has_device_memory ? any(self, ARRAY_SIZE(operations)) : 2;

		ASSERT_EQ(0, operations[which](self)) TH_LOG("round %d, operation %lu", round, which);
		rounds[which]++;
		mismatches += mismatches_now(self);
		ASSERT_EQ(0, mismatches) TH_LOG("round %d, operation %lu", round, which);
	}
	if (self->has_device_memory) {
		ASSERT_EQ(0, from_device(self->fd, &self->buffers[0], 0, 0, DEVICE_MEMORY));
		EXPECT_EQ(0, memcmp(self->buffers[0].bytes, self->device, DEVICE_MEMORY));
	}
	FIGURE("%" PRIu64 " transfers of random length: %" PRIu64 " requests to the device, %" PRIu64 " from it, %" PRIu64 " copies",
	       "%" PRIu64 " mismatches", self->transfers, rounds[0], rounds[1], rounds[2], mismatches);
}

TEST_F(exact, whole_buffer_copy)
{
	scribble(self, 0, 0, SIZE);
	ASSERT_EQ(0, copy(self->fd, &self->buffers[1], 0, &self->buffers[0], 0, SIZE));
	EXPECT_EQ(0, memcmp(self->buffers[1].bytes, self->expected[0], SIZE));
	EXPECT_EQ(0, memcmp(self->buffers[0].bytes, self->expected[0], SIZE));
}

/* Every bit of every byte is transferred. */
TEST_F(exact, every_value)
{
	for (int value = 0; value < 256; value += 51) {
		memset(self->buffers[0].bytes, value, DEVICE_MEMORY);
		memset(self->buffers[1].bytes, ~value, DEVICE_MEMORY);
		if (self->has_device_memory) {
			ASSERT_EQ(0, to_device(self->fd, &self->buffers[0], 0, 0, DEVICE_MEMORY));
			ASSERT_EQ(0, from_device(self->fd, &self->buffers[1], 0, 0, DEVICE_MEMORY));
		} else {
			ASSERT_EQ(0, copy(self->fd, &self->buffers[1], 0, &self->buffers[0], 0, DEVICE_MEMORY));
		}
		EXPECT_EQ(0, differing(self->buffers[1].bytes, value, DEVICE_MEMORY));
	}
}

TEST_HARNESS_MAIN
