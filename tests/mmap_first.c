// SPDX-License-Identifier: GPL-2.0
/* The smallest program: mmap at offset 0 makes the context's first buffer, once, of that length. */
#include "rdma_test.h"

FIXTURE(first)
{
	int fd;
	struct buffer buffer; /* to name handle 0 in transfers */
};

FIXTURE_SETUP(first)
{
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	self->buffer = (struct buffer){ .handle = RDMA_FIRST_BUFFER };
}

FIXTURE_TEARDOWN(first)
{
	close(self->fd);
}

TEST_F(first, round_trip)
{
	unsigned char sent[DEVICE_MEMORY], *bytes = map(self->fd, 0, DEVICE_MEMORY, PROT_READ | PROT_WRITE);

	ASSERT_NE(NULL, bytes);
	fill(sent, sizeof(sent), 1);
	memcpy(bytes, sent, sizeof(sent));
	ASSERT_EQ(0, to_device(self->fd, &self->buffer, 0, 0, DEVICE_MEMORY));
	memset(bytes, 0, DEVICE_MEMORY);
	ASSERT_EQ(0, from_device(self->fd, &self->buffer, 0, 0, DEVICE_MEMORY));
	EXPECT_EQ(0, memcmp(sent, bytes, sizeof(sent)));
}

TEST_F(first, none_before_mmap)
{
	EXPECT_EQ(-EINVAL, to_device(self->fd, &self->buffer, 0, 0, 1));
	EXPECT_EQ(-EINVAL, free_handle(self->fd, RDMA_FIRST_BUFFER));
	EXPECT_EQ(NULL, map(self->fd, PAGE, PAGE, PROT_READ));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(first, made_once)
{
	unsigned char *bytes = map(self->fd, 0, 3 * PAGE, PROT_READ | PROT_WRITE), *again, *rest;

	ASSERT_NE(NULL, bytes);
	fill(bytes, 3 * PAGE, 2);
	again = map(self->fd, 0, PAGE, PROT_READ);
	ASSERT_NE(NULL, again);
	EXPECT_EQ(0, memcmp(bytes, again, PAGE));
	rest = map(self->fd, PAGE, 2 * PAGE, PROT_READ);
	ASSERT_NE(NULL, rest);
	EXPECT_EQ(0, memcmp(bytes + PAGE, rest, 2 * PAGE));
	EXPECT_EQ(NULL, map(self->fd, 0, 4 * PAGE, PROT_READ));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(first, stays_without_mappings)
{
	unsigned char *bytes = map(self->fd, 0, 2 * PAGE, PROT_READ | PROT_WRITE);

	ASSERT_NE(NULL, bytes);
	bytes[PAGE] = 0x77;
	ASSERT_EQ(0, munmap(bytes, 2 * PAGE));
	bytes = map(self->fd, PAGE, PAGE, PROT_READ);
	ASSERT_NE(NULL, bytes);
	EXPECT_EQ(0x77, bytes[0]);
}

/* The length is rounded up, as mmap(2) does. */
TEST_F(first, odd_length)
{
	ASSERT_NE(NULL, map(self->fd, 0, PAGE + 1, PROT_READ));
	EXPECT_NE(NULL, map(self->fd, 0, 2 * PAGE, PROT_READ));
	EXPECT_EQ(NULL, map(self->fd, 0, 3 * PAGE, PROT_READ));
}

/* A call that is refused makes nothing. */
TEST_F(first, not_made_by_refused_calls)
{
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 2 * PAGE, PROT_READ, MAP_PRIVATE, self->fd, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(NULL, map(self->fd, 0, 2 * PAGE, PROT_READ | PROT_EXEC));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(NULL, map(self->fd, 0, RDMA_MAX_BUFFER_SIZE + PAGE, PROT_READ));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-EINVAL, free_handle(self->fd, RDMA_FIRST_BUFFER));

	ASSERT_NE(NULL, map(self->fd, 0, PAGE, PROT_READ));
	EXPECT_EQ(NULL, map(self->fd, 0, 2 * PAGE, PROT_READ));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(first, no_memory)
{
	int log = open_log();

	if (sysconf(_SC_PHYS_PAGES) * (uint64_t)PAGE > RDMA_MAX_BUFFER_SIZE)
		SKIP(return, "this guest has more memory than the largest buffer");
	EXPECT_EQ(NULL, map(self->fd, 0, RDMA_MAX_BUFFER_SIZE, PROT_READ));
	EXPECT_EQ(ENOMEM, errno);
	EXPECT_LT(0, log_lines(log, "rdma 0000:"));
	EXPECT_NE(NULL, map(self->fd, 0, PAGE, PROT_READ));
}

TEST_F(first, read_only_file)
{
	int fd = open_node(O_RDONLY);
	unsigned char *bytes;

	ASSERT_LE(0, fd);
	bytes = map(fd, 0, PAGE, PROT_READ);
	ASSERT_NE(NULL, bytes);
	EXPECT_EQ(0, differing(bytes, 0, PAGE));
	close(fd);
}

/* Contexts do not share it. */
TEST_F(first, each_context_has_its_own)
{
	int other = open_node(O_RDWR);
	unsigned char *mine, *theirs;

	ASSERT_LE(0, other);
	mine = map(self->fd, 0, PAGE, PROT_READ | PROT_WRITE);
	theirs = map(other, 0, PAGE, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, mine);
	ASSERT_NE(NULL, theirs);
	memset(mine, 0x11, PAGE);
	memset(theirs, 0x22, PAGE);
	EXPECT_EQ(0, differing(mine, 0x11, PAGE));
	close(other);
}

/* ALLOC never takes its handle, before or after. */
TEST_F(first, beside_alloc)
{
	struct buffer one, two;
	unsigned char *bytes;

	ASSERT_EQ(0, allocate(self->fd, PAGE, &one));
	bytes = map(self->fd, 0, PAGE, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, bytes);
	ASSERT_EQ(0, allocate(self->fd, PAGE, &two));
	EXPECT_NE(0, one.handle);
	EXPECT_NE(0, two.handle);
	memset(bytes, 0x33, PAGE);
	EXPECT_EQ(0, differing(one.bytes, 0, PAGE));
	EXPECT_EQ(0, differing(two.bytes, 0, PAGE));
}

TEST_F(first, free)
{
	unsigned char *bytes = map(self->fd, 0, PAGE, PROT_READ | PROT_WRITE);

	ASSERT_NE(NULL, bytes);
	bytes[0] = 0x44;
	EXPECT_EQ(0, free_handle(self->fd, RDMA_FIRST_BUFFER));
	EXPECT_EQ(-EINVAL, free_handle(self->fd, RDMA_FIRST_BUFFER));
	EXPECT_EQ(-EINVAL, to_device(self->fd, &self->buffer, 0, 0, 1));
	EXPECT_EQ(0x44, bytes[0]);
}

TEST_HARNESS_MAIN
