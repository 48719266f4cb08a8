// SPDX-License-Identifier: GPL-2.0
/* Buffers larger than any block of contiguous memory work like any other, up to the last byte. large MIB */
#include "rdma_test.h"

static uint64_t size;

FIXTURE(large)
{
	int fd;
	struct buffer buffer;
};

FIXTURE_SETUP(large)
{
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, size, &self->buffer));
	ASSERT_EQ(size, self->buffer.size);
}

FIXTURE_TEARDOWN(large)
{
	close(self->fd);
}

/* An access loads the pages around it, but not all. */
TEST_F(large, loads_little)
{
	static unsigned char resident[65536];
	size_t count;

	ASSERT_GE(sizeof(resident), size / DEVICE_MEMORY);
	self->buffer.bytes[size / 2 + 5 * DEVICE_MEMORY] = 1;
	ASSERT_EQ(0, mincore(self->buffer.bytes, size, resident));
	count = differing(resident, 0, size / DEVICE_MEMORY);
	TH_LOG("%zu pages of %lu", count, size / PAGE);
	EXPECT_LT(0, count);
	EXPECT_GE(1024, count);
}

TEST_F(large, every_page_is_its_own)
{
	for (uint64_t at = 0; at < size; at += DEVICE_MEMORY) {
		uint64_t *words = (uint64_t *)(self->buffer.bytes + at);

		if (words[0] || words[511])
			ASSERT_TRUE(false) TH_LOG("not zeroed at %#lx", at);
		words[0] = at + 1;
		words[511] = ~at;
	}
	for (uint64_t at = 0; at < size; at += DEVICE_MEMORY) {
		uint64_t *words = (uint64_t *)(self->buffer.bytes + at);

		if (words[0] != at + 1 || words[511] != ~at)
			ASSERT_TRUE(false) TH_LOG("wrong at %#lx", at);
	}
}

/* Through the device and back, across the boundaries of pieces of any size, and at the end. */
TEST_F(large, transfers)
{
	unsigned char *bytes = self->buffer.bytes, sent[DEVICE_MEMORY];
	uint64_t most = 4 << 20, step = size / 16 > most ? size / 16 & -most : most;

	for (uint64_t at = step; at <= size; at += step) {
		uint64_t begin = at == size ? size - DEVICE_MEMORY : at - DEVICE_MEMORY / 2 + 5;

		fill(sent, sizeof(sent), at >> 20);
		memcpy(bytes + begin, sent, sizeof(sent));
		ASSERT_EQ(0, to_device(self->fd, &self->buffer, begin, 0, DEVICE_MEMORY));
		memset(bytes + begin, 0, sizeof(sent));
		ASSERT_EQ(0, from_device(self->fd, &self->buffer, begin, 0, DEVICE_MEMORY));
		ASSERT_EQ(0, memcmp(bytes + begin, sent, sizeof(sent))) TH_LOG("at %#lx", begin);
		EXPECT_EQ(-EINVAL, to_device(self->fd, &self->buffer, size - DEVICE_MEMORY + 1, 0, DEVICE_MEMORY));
	}
	/* From the last page to the first, without changes around them. */
	memset(bytes, 0x11, 3 * DEVICE_MEMORY);
	fill(bytes + size - 3 * DEVICE_MEMORY, 3 * DEVICE_MEMORY, 9);
	ASSERT_EQ(0, copy(self->fd, &self->buffer, 100, &self->buffer, size - 2 * DEVICE_MEMORY, 2 * DEVICE_MEMORY));
	EXPECT_EQ(0, memcmp(bytes + 100, bytes + size - 2 * DEVICE_MEMORY, 2 * DEVICE_MEMORY));
	EXPECT_EQ(0, differing(bytes, 0x11, 100));
	EXPECT_EQ(0, differing(bytes + 100 + 2 * DEVICE_MEMORY, 0x11, DEVICE_MEMORY - 100));
}

/* Memory that was allocated for a buffer that then failed is freed. */
TEST_F(large, too_large)
{
	struct rdma_alloc alloc = {};
	int log = open_log();
	struct buffer again;

	if (sysconf(_SC_PHYS_PAGES) * (uint64_t)DEVICE_MEMORY > RDMA_MAX_BUFFER_SIZE)
		SKIP(return, "this guest has more memory than the largest buffer");
	for (int i = 0; i < 3; i++) {
		alloc.size = size << i;
		while (!call(self->fd, RDMA_IOC_ALLOC, &alloc))
			;
		EXPECT_EQ(ENOMEM, errno);
	}
	EXPECT_GE(1, log_lines(log, "rdma 0000:"));
	ASSERT_EQ(0, munmap(self->buffer.bytes, size));
	close(self->fd);
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, size, &again));
}

int main(int argc, char **argv)
{
	size = argc > 1 ? strtoull(argv[1], NULL, 0) << 20 : 0;
	if (!size)
		return 2;
	argv[1] = argv[0];
	return test_harness_run(argc - 1, argv + 1);
}
