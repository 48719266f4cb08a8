// SPDX-License-Identifier: GPL-2.0
/* The device memory as a file of 4096 bytes: read, write, pread, pwrite, lseek, their limits and their errors. */
#include "rdma_test.h"

#include <sys/stat.h>
#include <sys/uio.h>

FIXTURE(file)
{
	int fd;
	unsigned char content[DEVICE_MEMORY]; /* of the device memory */
	unsigned char bytes[DEVICE_MEMORY + 64];
};

FIXTURE_SETUP(file)
{
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	fill(self->content, DEVICE_MEMORY, now());
	ASSERT_EQ(DEVICE_MEMORY, pwrite(self->fd, self->content, DEVICE_MEMORY, 0));
	memset(self->bytes, 0xa5, sizeof(self->bytes));
}

FIXTURE_TEARDOWN(file)
{
	close(self->fd);
}

TEST_F(file, read)
{
	EXPECT_EQ(DEVICE_MEMORY, read(self->fd, self->bytes, DEVICE_MEMORY));
	EXPECT_EQ(0, memcmp(self->bytes, self->content, DEVICE_MEMORY));
	EXPECT_EQ(DEVICE_MEMORY, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(0, read(self->fd, self->bytes, 1));
	EXPECT_EQ(DEVICE_MEMORY, lseek(self->fd, 0, SEEK_CUR));
}

/* Each byte once, in order, for any sizes of reads. */
TEST_F(file, read_in_pieces)
{
	size_t at = 0, sizes[] = { 1, 999, 1, 64, 4000 };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t wanted = sizes[i] < DEVICE_MEMORY - at ? sizes[i] : DEVICE_MEMORY - at;

		EXPECT_EQ(wanted, read(self->fd, self->bytes + at, sizes[i]));
		at += wanted;
		EXPECT_EQ(at, lseek(self->fd, 0, SEEK_CUR));
	}
	EXPECT_EQ(DEVICE_MEMORY, at);
	EXPECT_EQ(0, memcmp(self->bytes, self->content, DEVICE_MEMORY));
}

TEST_F(file, write_in_pieces)
{
	size_t at = 0, sizes[] = { 1, 999, 1, 64, 4000 };

	fill(self->bytes, DEVICE_MEMORY, 77);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t wanted = sizes[i] < DEVICE_MEMORY - at ? sizes[i] : DEVICE_MEMORY - at;

		EXPECT_EQ(wanted, write(self->fd, self->bytes + at, sizes[i]));
		at += wanted;
	}
	EXPECT_EQ(DEVICE_MEMORY, pread(self->fd, self->content, DEVICE_MEMORY, 0));
	EXPECT_EQ(0, memcmp(self->bytes, self->content, DEVICE_MEMORY));
}

/* A short read at the end changes nothing behind it. */
TEST_F(file, short_at_the_end)
{
	EXPECT_EQ(10, pread(self->fd, self->bytes, 64, DEVICE_MEMORY - 10));
	EXPECT_EQ(0, memcmp(self->bytes, self->content + DEVICE_MEMORY - 10, 10));
	EXPECT_EQ(0, differing(self->bytes + 10, 0xa5, sizeof(self->bytes) - 10));
	EXPECT_EQ(10, pwrite(self->fd, self->bytes, 64, DEVICE_MEMORY - 10));
	EXPECT_EQ(1, pread(self->fd, self->bytes, sizeof(self->bytes), DEVICE_MEMORY - 1));
	EXPECT_EQ(DEVICE_MEMORY, pread(self->fd, self->bytes, sizeof(self->bytes), 0));
	EXPECT_EQ(0, differing(self->bytes + DEVICE_MEMORY, 0xa5, 64));
}

TEST_F(file, at_and_after_the_end)
{
	static const off_t offsets[] = { DEVICE_MEMORY, DEVICE_MEMORY + 1, 1LL << 32, INT64_MAX - DEVICE_MEMORY };

	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
		EXPECT_EQ(0, pread(self->fd, self->bytes, 16, offsets[i])) TH_LOG("offset %#" PRIx64, (uint64_t)offsets[i]);
		EXPECT_EQ(-ENOSPC, result(pwrite(self->fd, self->bytes, 16, offsets[i])))
			TH_LOG("offset %#" PRIx64, (uint64_t)offsets[i]);
	}
	EXPECT_EQ(-EINVAL, result(pread(self->fd, self->bytes, 16, -1)));
	EXPECT_EQ(-EINVAL, result(pwrite(self->fd, self->bytes, 16, -1)));
	EXPECT_EQ(0, differing(self->bytes, 0xa5, sizeof(self->bytes)));
}

/* Empty calls do nothing, and return at once. */
TEST_F(file, nothing)
{
	int64_t began = now();

	EXPECT_EQ(0, read(self->fd, self->bytes, 0));
	EXPECT_EQ(0, write(self->fd, self->bytes, 0));
	EXPECT_EQ(0, pread(self->fd, self->bytes, 0, 100));
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_GT(TRANSFER_US / 2, now() - began);
}

TEST_F(file, positions_are_left_alone_by_pread_and_pwrite)
{
	ASSERT_EQ(100, lseek(self->fd, 100, SEEK_SET));
	EXPECT_EQ(16, pread(self->fd, self->bytes, 16, 2000));
	EXPECT_EQ(0, memcmp(self->bytes, self->content + 2000, 16));
	EXPECT_EQ(16, pwrite(self->fd, self->bytes, 16, 3000));
	EXPECT_EQ(100, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(16, read(self->fd, self->bytes, 16));
	EXPECT_EQ(0, memcmp(self->bytes, self->content + 100, 16));
}

TEST_F(file, lseek)
{
	EXPECT_EQ(10, lseek(self->fd, 10, SEEK_SET));
	EXPECT_EQ(15, lseek(self->fd, 5, SEEK_CUR));
	EXPECT_EQ(5, lseek(self->fd, -10, SEEK_CUR));
	EXPECT_EQ(DEVICE_MEMORY, lseek(self->fd, 0, SEEK_END));
	EXPECT_EQ(DEVICE_MEMORY - 4, lseek(self->fd, -4, SEEK_END));
	EXPECT_EQ(4, read(self->fd, self->bytes, 16));
	EXPECT_EQ(0, memcmp(self->bytes, self->content + DEVICE_MEMORY - 4, 4));

	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_SET));
	EXPECT_EQ(-EINVAL, result(lseek(self->fd, -1, SEEK_SET)));
	EXPECT_EQ(-EINVAL, result(lseek(self->fd, -1, SEEK_CUR)));
	EXPECT_EQ(-EINVAL, result(lseek(self->fd, -(off_t)DEVICE_MEMORY - 1, SEEK_END)));
	EXPECT_EQ(-EINVAL, result(lseek(self->fd, INT64_MIN, SEEK_SET)));
	EXPECT_EQ(-EINVAL, result(lseek(self->fd, 0, 99)));
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_CUR));
}

/* The position belongs to the open file, and two of them access the same memory. */
TEST_F(file, two_files)
{
	int other = open_node(O_RDWR);

	ASSERT_LE(0, other);
	EXPECT_EQ(100, read(self->fd, self->bytes, 100));
	EXPECT_EQ(0, lseek(other, 0, SEEK_CUR));
	EXPECT_EQ(4, pwrite(other, "edu!", 4, 200));
	EXPECT_EQ(4, pread(self->fd, self->bytes, 4, 200));
	EXPECT_EQ(0, memcmp(self->bytes, "edu!", 4));
	close(other);
}

TEST_F(file, vectors)
{
	unsigned char one[100], two[50];
	struct iovec parts[] = { { one, sizeof(one) }, { two, sizeof(two) } };

	EXPECT_EQ(150, readv(self->fd, parts, 2));
	EXPECT_EQ(0, memcmp(one, self->content, 100));
	EXPECT_EQ(0, memcmp(two, self->content + 100, 50));
	fill(one, 100, 5);
	fill(two, 50, 6);
	EXPECT_EQ(150, pwritev(self->fd, parts, 2, 1000));
	EXPECT_EQ(150, pread(self->fd, self->bytes, 150, 1000));
	EXPECT_EQ(0, memcmp(self->bytes, one, 100));
	EXPECT_EQ(0, memcmp(self->bytes + 100, two, 50));
}

/* A bad pointer is EFAULT, or, if the first part was valid, the number of bytes of it that were copied; never 0. */
TEST_F(file, bad_pointers)
{
	unsigned char *page = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *bad[] = { NULL, page + PAGE, (void *)(uintptr_t)0xffff888000000000, (void *)(uintptr_t)0x00007ffffffff000, (void *)-64UL };
	long answer;

	ASSERT_EQ(0, munmap(page + PAGE, PAGE));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EFAULT, result(pread(self->fd, bad[i], 16, 0))) TH_LOG("%p", bad[i]);
		EXPECT_EQ(-EFAULT, result(pwrite(self->fd, bad[i], 16, 0))) TH_LOG("%p", bad[i]);
	}
	answer = result(pread(self->fd, page + PAGE - 8, 16, 0));
	EXPECT_TRUE(answer == -EFAULT || (answer > 0 && answer <= 8)) TH_LOG("%ld", answer);
	answer = result(pwrite(self->fd, page + PAGE - 8, 16, DEVICE_MEMORY - 16));
	EXPECT_TRUE(answer == -EFAULT || (answer > 0 && answer <= 8)) TH_LOG("%ld", answer);

	ASSERT_EQ(0, mprotect(page, PAGE, PROT_READ));
	EXPECT_EQ(-EFAULT, result(pread(self->fd, page, 16, 0)));
	EXPECT_EQ(16, pwrite(self->fd, page, 16, DEVICE_MEMORY - 16));

	EXPECT_EQ(DEVICE_MEMORY - 16, pread(self->fd, self->bytes, DEVICE_MEMORY - 16, 0));
	EXPECT_EQ(0, memcmp(self->bytes, self->content, DEVICE_MEMORY - 16));
}

/* A call that failed does not change the position. */
TEST_F(file, failures_leave_the_position)
{
	void *volatile nowhere = NULL;

	ASSERT_EQ(50, lseek(self->fd, 50, SEEK_SET));
	EXPECT_EQ(-EFAULT, result(read(self->fd, nowhere, 16)));
	EXPECT_EQ(-EFAULT, result(write(self->fd, nowhere, 16)));
	EXPECT_EQ(50, lseek(self->fd, 0, SEEK_CUR));
}

TEST_F(file, needs_a_file_opened_for_it)
{
	int read_only = open_node(O_RDONLY), write_only = open_node(O_WRONLY);

	ASSERT_LE(0, read_only);
	ASSERT_LE(0, write_only);
	EXPECT_EQ(-EBADF, result(write(read_only, "x", 1)));
	EXPECT_EQ(-EBADF, result(read(write_only, self->bytes, 1)));
	EXPECT_EQ(16, read(read_only, self->bytes, 16));
	EXPECT_EQ(0, memcmp(self->bytes, self->content, 16));
	EXPECT_EQ(1, write(write_only, "x", 1));
}

/* Huge lengths are limited. */
TEST_F(file, huge_counts)
{
	unsigned char *large = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	EXPECT_EQ(DEVICE_MEMORY, pread(self->fd, large, 1 << 20, 0));
	EXPECT_EQ(0, memcmp(large, self->content, DEVICE_MEMORY));
	EXPECT_EQ(0, differing(large + DEVICE_MEMORY, 0, (1 << 20) - DEVICE_MEMORY));
	EXPECT_EQ(DEVICE_MEMORY, pwrite(self->fd, large, 1 << 20, 0));
}

/* read and write access the same memory as transfers. */
TEST_F(file, same_memory_as_transfers)
{
	struct buffer buffer;

	ASSERT_EQ(0, allocate(self->fd, PAGE, &buffer));
	ASSERT_EQ(0, from_device(self->fd, &buffer, 0, 0, DEVICE_MEMORY));
	EXPECT_EQ(0, memcmp(buffer.bytes, self->content, DEVICE_MEMORY));
	fill(buffer.bytes, DEVICE_MEMORY, 9);
	ASSERT_EQ(0, to_device(self->fd, &buffer, 0, 0, DEVICE_MEMORY));
	EXPECT_EQ(DEVICE_MEMORY, read(self->fd, self->bytes, DEVICE_MEMORY));
	EXPECT_EQ(0, memcmp(self->bytes, buffer.bytes, DEVICE_MEMORY));
}

/* Each call is one transfer. */
TEST_F(file, costs_one_transfer)
{
	long before = interrupts("rdma");
	int64_t began = now();

	ASSERT_EQ(DEVICE_MEMORY, pread(self->fd, self->bytes, DEVICE_MEMORY, 0));
	ASSERT_EQ(17, pwrite(self->fd, self->bytes, 17, 0));
	EXPECT_EQ(2, interrupts("rdma") - before);
	EXPECT_GE(2 * TRANSFER_US + 5000, now() - began);
}

TEST_F(file, is_a_character_device)
{
	struct stat stat;

	ASSERT_EQ(0, fstat(self->fd, &stat));
	EXPECT_TRUE(S_ISCHR(stat.st_mode));
	EXPECT_EQ(-EINVAL, result(ftruncate(self->fd, 0)));
	EXPECT_NE(0, fallocate(self->fd, 0, 0, 1));
}

TEST_HARNESS_MAIN
