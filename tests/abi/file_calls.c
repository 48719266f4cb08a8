// SPDX-License-Identifier: GPL-2.0
/* Calls on files other than read and write: fsync, fdatasync, msync, sendfile and splice, with their errors. */
#include "teardown.h"

#include <sys/sendfile.h>
#include <sys/wait.h>

FIXTURE(file_calls)
{
	int fd;
	int other; /* an ordinary file, empty */
	int pipe[2];
	char address[32]; /* of the device, after its removal */
	unsigned char content[DEVICE_MEMORY]; /* of the device memory */
	unsigned char bytes[2 * DEVICE_MEMORY];
};

FIXTURE_SETUP(file_calls)
{
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	fill(self->content, DEVICE_MEMORY, now());
	ASSERT_EQ(DEVICE_MEMORY, pwrite(self->fd, self->content, DEVICE_MEMORY, 0));
	self->other = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	ASSERT_LE(0, self->other);
	ASSERT_EQ(0, pipe2(self->pipe, O_CLOEXEC));
}

FIXTURE_TEARDOWN(file_calls)
{
	close(self->fd);
	close(self->other);
	close(self->pipe[0]);
	close(self->pipe[1]);
	if (self->address[0])
		come_back(self->address, UNBIND);
}

/* --- Written data is on the device. */

TEST_F(file_calls, sync)
{
	int64_t began = now();

	EXPECT_EQ(0, result(fsync(self->fd)));
	EXPECT_EQ(0, result(fdatasync(self->fd)));
	/* It does not start a transfer. */
	EXPECT_GT(TRANSFER_US / 2, now() - began);
}

/* With each mode of open: sync(1) opens its files for reading, and non-blocking. */
TEST_F(file_calls, sync_however_opened)
{
	static const int ways[] = { O_RDONLY, O_WRONLY, O_RDWR, O_RDONLY | O_NONBLOCK, O_RDWR | O_SYNC };

	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		int fd = open_node(ways[i]);

		ASSERT_LE(0, fd);
		EXPECT_EQ(0, result(fsync(fd))) TH_LOG("opened with %#o", ways[i]);
		close(fd);
	}
}

TEST_F(file_calls, sync_of_a_mapping)
{
	struct buffer buffer;

	ASSERT_EQ(0, allocate(self->fd, 4 * PAGE, &buffer));
	memset(buffer.bytes, 1, PAGE);
	EXPECT_EQ(0, result(msync(buffer.bytes, 4 * PAGE, MS_SYNC)));
	EXPECT_EQ(0, result(msync(buffer.bytes + PAGE, PAGE, MS_SYNC)));
	EXPECT_EQ(0, result(msync(buffer.bytes, 4 * PAGE, MS_ASYNC)));
	EXPECT_EQ(0, differing(buffer.bytes, 1, PAGE));
}

/* It does not wait: neither for a running transfer nor for submitted requests, which WAIT collects. */
TEST_F(file_calls, sync_waits_for_nothing)
{
	struct pending pending;
	struct buffer buffer;
	int64_t began;

	ASSERT_EQ(0, allocate(self->fd, PAGE, &buffer));
	ASSERT_EQ(0, begin(&pending, self->fd, (struct rdma_request){ .operation = RDMA_OP_TO_DEVICE, .source = buffer.handle, .length = DEVICE_MEMORY }));
	pause_us(TRANSFER_US / 10);
	began = now();
	EXPECT_EQ(0, result(fsync(self->fd)));
	EXPECT_GT(TRANSFER_US / 2, now() - began);
	EXPECT_EQ(0, finish(&pending));
}

TEST_F_TIMEOUT(file_calls, programs, 120)
{
	EXPECT_EQ(0, system("sync " NODE));
	EXPECT_EQ(0, system("dd if=/dev/zero of=" NODE " bs=4096 count=1 conv=fsync status=none"));
	EXPECT_EQ(0, system("dd if=/dev/zero of=" NODE " bs=4096 count=1 oflag=sync status=none"));
	EXPECT_EQ(0, system("python3 -c 'import mmap, os; mmap.mmap(os.open(\"" NODE "\", os.O_RDWR), 4096).flush()'"));
}

/* --- From the node into another file. */

TEST_F(file_calls, sendfile_from)
{
	EXPECT_EQ(DEVICE_MEMORY, sendfile(self->other, self->fd, NULL, 2 * DEVICE_MEMORY));
	EXPECT_EQ(DEVICE_MEMORY, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(DEVICE_MEMORY, pread(self->other, self->bytes, sizeof(self->bytes), 0));
	EXPECT_EQ(0, memcmp(self->bytes, self->content, DEVICE_MEMORY));
	/* At the end, it returns 0. */
	EXPECT_EQ(0, sendfile(self->other, self->fd, NULL, 1));
}

TEST_F(file_calls, sendfile_from_a_position)
{
	off_t position = 1000;

	EXPECT_EQ(500, sendfile(self->other, self->fd, &position, 500));
	EXPECT_EQ(1500, position);
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(500, pread(self->other, self->bytes, sizeof(self->bytes), 0));
	EXPECT_EQ(0, memcmp(self->bytes, self->content + 1000, 500));
}

TEST_F(file_calls, splice_from)
{
	loff_t position = DEVICE_MEMORY - 100;

	EXPECT_EQ(100, splice(self->fd, &position, self->pipe[1], NULL, PAGE, 0));
	EXPECT_EQ(DEVICE_MEMORY, position);
	EXPECT_EQ(100, read(self->pipe[0], self->bytes, sizeof(self->bytes)));
	EXPECT_EQ(0, memcmp(self->bytes, self->content + DEVICE_MEMORY - 100, 100));
	EXPECT_EQ(0, splice(self->fd, &position, self->pipe[1], NULL, PAGE, 0));
	/* At the file's own position, which advances. */
	EXPECT_EQ(64, splice(self->fd, NULL, self->pipe[1], NULL, 64, 0));
	EXPECT_EQ(64, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(64, read(self->pipe[0], self->bytes, sizeof(self->bytes)));
	EXPECT_EQ(0, memcmp(self->bytes, self->content, 64));
}

/* --- Into the node. */

TEST_F(file_calls, sendfile_to)
{
	fill(self->bytes, DEVICE_MEMORY, 7);
	ASSERT_EQ(DEVICE_MEMORY, pwrite(self->other, self->bytes, DEVICE_MEMORY, 0));
	ASSERT_EQ(96, lseek(self->fd, 96, SEEK_SET));
	EXPECT_EQ(1000, sendfile(self->fd, self->other, NULL, 1000));
	EXPECT_EQ(96 + 1000, lseek(self->fd, 0, SEEK_CUR));
	memcpy(self->content + 96, self->bytes, 1000);
	EXPECT_EQ(DEVICE_MEMORY, pread(self->fd, self->bytes, DEVICE_MEMORY, 0));
	EXPECT_EQ(0, memcmp(self->bytes, self->content, DEVICE_MEMORY));
}

/* Up to the end, and then ENOSPC, as with write(2); the rest stays in the pipe. */
TEST_F(file_calls, splice_to_the_end)
{
	loff_t position = DEVICE_MEMORY - 100;

	fill(self->bytes, 300, 9);
	ASSERT_EQ(300, write(self->pipe[1], self->bytes, 300));
	EXPECT_EQ(100, splice(self->pipe[0], NULL, self->fd, &position, 300, 0));
	EXPECT_EQ(DEVICE_MEMORY, position);
	EXPECT_EQ(-ENOSPC, result(splice(self->pipe[0], NULL, self->fd, &position, 300, 0)));
	EXPECT_EQ(DEVICE_MEMORY, position);
	EXPECT_EQ(200, read(self->pipe[0], self->bytes + 1000, 1000));
	EXPECT_EQ(0, memcmp(self->bytes + 1000, self->bytes + 100, 200));
	memcpy(self->content + DEVICE_MEMORY - 100, self->bytes, 100);
	EXPECT_EQ(DEVICE_MEMORY, pread(self->fd, self->bytes, DEVICE_MEMORY, 0));
	EXPECT_EQ(0, memcmp(self->bytes, self->content, DEVICE_MEMORY));
}

TEST_F(file_calls, sendfile_past_the_end)
{
	ASSERT_EQ(0, ftruncate(self->other, 3 * DEVICE_MEMORY));
	EXPECT_EQ(DEVICE_MEMORY, sendfile(self->fd, self->other, NULL, 3 * DEVICE_MEMORY));
	EXPECT_EQ(-ENOSPC, result(sendfile(self->fd, self->other, NULL, 1)));
	EXPECT_EQ(DEVICE_MEMORY, lseek(self->fd, 0, SEEK_CUR));
}

/* --- What is refused. */

/* A non-blocking file does not wait, and no data is lost. */
TEST_F(file_calls, nonblocking)
{
	int fd = open_node(O_RDWR | O_NONBLOCK);
	loff_t position = 0;

	ASSERT_LE(0, fd);
	EXPECT_EQ(-EAGAIN, result(splice(fd, &position, self->pipe[1], NULL, 16, 0)));
	EXPECT_EQ(-EAGAIN, result(sendfile(self->other, fd, &position, 16)));
	ASSERT_EQ(16, write(self->pipe[1], self->content, 16));
	EXPECT_EQ(-EAGAIN, result(splice(self->pipe[0], NULL, fd, &position, 16, 0)));
	EXPECT_EQ(0, position);
	EXPECT_EQ(16, read(self->pipe[0], self->bytes, 64));
	EXPECT_EQ(0, memcmp(self->bytes, self->content, 16));
	close(fd);
}

TEST_F(file_calls, needs_a_file_opened_for_it)
{
	int in = open_node(O_RDONLY), out = open_node(O_WRONLY);
	loff_t position = 0;

	EXPECT_EQ(-EBADF, result(splice(out, &position, self->pipe[1], NULL, 16, 0)));
	ASSERT_EQ(16, write(self->pipe[1], self->content, 16));
	EXPECT_EQ(-EBADF, result(splice(self->pipe[0], NULL, in, &position, 16, 0)));
	close(in);
	close(out);
}

/* The device is removed: like all other calls, and written data is lost. */
TEST_F(file_calls, gone)
{
	struct buffer buffer;
	loff_t position = 0;

	ASSERT_EQ(0, allocate(self->fd, PAGE, &buffer));
	ASSERT_EQ(16, write(self->pipe[1], self->content, 16));
	ASSERT_EQ(0, pci_address("rdma0", self->address));
	ASSERT_LE(0, go_away(self->address, UNBIND));
	EXPECT_EQ(-ENODEV, result(fsync(self->fd)));
	EXPECT_EQ(-ENODEV, result(fdatasync(self->fd)));
	EXPECT_EQ(-ENODEV, result(msync(buffer.bytes, PAGE, MS_SYNC)));
	EXPECT_EQ(-ENODEV, result(sendfile(self->other, self->fd, &position, 16)));
	EXPECT_EQ(-ENODEV, result(splice(self->fd, &position, self->pipe[1], NULL, 16, 0)));
	EXPECT_EQ(-ENODEV, result(splice(self->pipe[0], NULL, self->fd, &position, 16, 0)));
	EXPECT_EQ(16, read(self->pipe[0], self->bytes, 64));
}

TEST_HARNESS_MAIN
