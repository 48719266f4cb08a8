// SPDX-License-Identifier: GPL-2.0
/* O_NONBLOCK: no call waits, whether it was set by open(2) or fcntl(2); calls that need not wait succeed. */
#include "requests.h"

enum { AT_ONCE_US = 10000 };

FIXTURE(nonblock)
{
	int fd;
	struct buffer buffer;
	struct rdma_completion completions[8];
};

FIXTURE_VARIANT(nonblock)
{
	bool by_fcntl;
};

FIXTURE_VARIANT_ADD(nonblock, open) { .by_fcntl = false };
FIXTURE_VARIANT_ADD(nonblock, fcntl) { .by_fcntl = true };

FIXTURE_SETUP(nonblock)
{
	self->fd = open_node(O_RDWR | (variant->by_fcntl ? 0 : O_NONBLOCK));
	ASSERT_LE(0, self->fd);
	if (variant->by_fcntl) {
		ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_RDWR | O_NONBLOCK));
	}
	ASSERT_EQ(0, allocate(self->fd, PAGE, &self->buffer));
}

FIXTURE_TEARDOWN(nonblock)
{
	close(self->fd);
}

TEST_F(nonblock, what_takes_a_transfer)
{
	int64_t began = now();
	char bytes[16] = "";

	EXPECT_EQ(-EAGAIN, to_device(self->fd, &self->buffer, 0, 0, 1));
	EXPECT_EQ(-EAGAIN, from_device(self->fd, &self->buffer, 0, 0, 1));
	EXPECT_EQ(-EAGAIN, copy(self->fd, &self->buffer, 0, &self->buffer, 1, 1));
	EXPECT_EQ(-EAGAIN, result(read(self->fd, bytes, sizeof(bytes))));
	EXPECT_EQ(-EAGAIN, result(write(self->fd, bytes, sizeof(bytes))));
	EXPECT_EQ(-EAGAIN, result(pread(self->fd, bytes, sizeof(bytes), 99)));
	EXPECT_EQ(-EAGAIN, result(pwrite(self->fd, bytes, sizeof(bytes), 99)));
	EXPECT_GE(AT_ONCE_US, now() - began);
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_CUR));
}

/* Invalid arguments are refused, and empty requests succeed. */
TEST_F(nonblock, what_takes_none)
{
	char bytes[16] = "";
	struct rdma_device_info info;

	EXPECT_EQ(0, call(self->fd, RDMA_IOC_DEVICE_INFO, &info));
	EXPECT_EQ(-EINVAL, to_device(self->fd, &self->buffer, 0, 0, 0));
	EXPECT_EQ(-EINVAL, to_device(self->fd, &self->buffer, 0, 1, DEVICE_MEMORY));
	EXPECT_EQ(0, read(self->fd, bytes, 0));
	EXPECT_EQ(0, write(self->fd, bytes, 0));
	EXPECT_EQ(0, pread(self->fd, bytes, sizeof(bytes), DEVICE_MEMORY));
	EXPECT_EQ(-ENOSPC, result(pwrite(self->fd, bytes, sizeof(bytes), DEVICE_MEMORY)));
	EXPECT_EQ(10, lseek(self->fd, 10, SEEK_SET));
}

TEST_F(nonblock, waiting)
{
	int64_t began = now();

	EXPECT_EQ(-EAGAIN, take(self->fd, self->completions, 1));
	EXPECT_EQ(-EAGAIN, collect(self->fd, self->completions, 1, 1, FOREVER));
	EXPECT_EQ(-EAGAIN, collect(self->fd, self->completions, 8, 8, 500 * MS));
	EXPECT_EQ(-EINVAL, collect(self->fd, self->completions, 2, 1, FOREVER));
	EXPECT_EQ(-EINVAL, collect(self->fd, self->completions, 0, 0, FOREVER));
	ASSERT_EQ(4, submit_many(self->fd, &self->buffer, 4, 0));
	EXPECT_EQ(-EAGAIN, collect(self->fd, self->completions, 1, 1, FOREVER));
	EXPECT_GE(AT_ONCE_US, now() - began);

	pause_us(2 * TRANSFER_US + TRANSFER_US / 2);
	began = now();
	EXPECT_LT(0, collect(self->fd, self->completions, 4, 8, FOREVER));
	EXPECT_EQ(-EAGAIN, collect(self->fd, self->completions, 1, 8, FOREVER));
	EXPECT_GE(AT_ONCE_US, now() - began);
}

/* The usual sequence: submit, poll, collect. */
TEST_F(nonblock, with_poll)
{
	struct pollfd one = { .fd = self->fd, .events = POLLIN };

	for (int i = 0; i < 5; i++) {
		ASSERT_EQ(1, submit_many(self->fd, &self->buffer, 1, i));
		ASSERT_EQ(1, poll(&one, 1, 5000));
		EXPECT_EQ(POLLIN, one.revents);
		ASSERT_EQ(1, take(self->fd, self->completions, 8));
		EXPECT_EQ(i, self->completions[0].cookie);
		EXPECT_EQ(-EAGAIN, take(self->fd, self->completions, 8));
	}
}

/* It belongs to the open file: a duplicate of the descriptor and a child have it, another open(2) has not. */
TEST_F(nonblock, belongs_to_the_open_file)
{
	int copied = dup(self->fd), other = open_node(O_RDWR), status;
	struct buffer buffer;
	pid_t child;

	EXPECT_EQ(-EAGAIN, to_device(copied, &self->buffer, 0, 0, 1));
	child = fork();
	if (!child)
		_exit(to_device(self->fd, &self->buffer, 0, 0, 1) != -EAGAIN);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	ASSERT_EQ(0, allocate(other, PAGE, &buffer));
	EXPECT_EQ(0, to_device(other, &buffer, 0, 0, 1));
	close(other);
	close(copied);
}

TEST_F(nonblock, taken_away)
{
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_RDWR));
	EXPECT_EQ(0, to_device(self->fd, &self->buffer, 0, 0, 1));
	EXPECT_EQ(1, pwrite(self->fd, "x", 1, 0));
	EXPECT_EQ(0, take(self->fd, self->completions, 1));
	ASSERT_EQ(1, submit_many(self->fd, &self->buffer, 1, 0));
	EXPECT_EQ(1, collect(self->fd, self->completions, 1, 1, FOREVER));
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_RDWR | O_NONBLOCK));
	EXPECT_EQ(-EAGAIN, to_device(self->fd, &self->buffer, 0, 0, 1));
}

/* A full queue: EAGAIN in both modes. */
TEST_F(nonblock, no_room)
{
	ASSERT_EQ(DEPTH, submit_many(self->fd, &self->buffer, DEPTH, 0));
	EXPECT_EQ(-EAGAIN, submit_many(self->fd, &self->buffer, 1, 0));
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_RDWR));
	EXPECT_EQ(-EAGAIN, submit_many(self->fd, &self->buffer, 1, 0));
}

TEST_HARNESS_MAIN
