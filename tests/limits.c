// SPDX-License-Identifier: GPL-2.0
/*
 * What a context, a device and a user may have in buffers: to the page, for all ways to make one, and given back with the last holder.
 * The module is loaded with context_mib=2 device_mib=3.
 */
#include "rdma_test.h"

#include <grp.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define MIB (1UL << 20)
#define USER 1000

FIXTURE(limits)
{
	int fd, other;
};

FIXTURE_SETUP(limits)
{
	self->fd = open_node(O_RDWR);
	self->other = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_LE(0, self->other);
}

FIXTURE_TEARDOWN(limits)
{
	close(self->fd);
	close(self->other);
}

/* A buffer that is not mapped; its handle or an error. */
static int make(int fd, uint64_t size)
{
	struct rdma_alloc alloc = { .size = size };
	int error = call(fd, RDMA_IOC_ALLOC, &alloc);

	return error ? error : (int)alloc.handle;
}

/* Becomes a user who may lock so many bytes. */
static void become_limited(rlim_t bytes)
{
	struct rlimit limit = { bytes, bytes };

	if (setrlimit(RLIMIT_MEMLOCK, &limit) || setgroups(0, NULL) || setgid(USER) || setuid(USER))
		_exit(99);
}

/* Does it in a child that is such a user; what it returned, at most 98. */
static int as_limited(rlim_t bytes, int (*deed)(int fd), int fd)
{
	int status;
	pid_t child = fork();

	if (!child) {
		become_limited(bytes);
		_exit(deed(fd));
	}
	if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

TEST_F(limits, of_a_context)
{
	int half = make(self->fd, MIB), page;

	ASSERT_LE(0, half);
	EXPECT_EQ(-EDQUOT, make(self->fd, MIB + 1));
	page = make(self->fd, MIB);
	ASSERT_LE(0, page);
	EXPECT_EQ(-EDQUOT, make(self->fd, 1));
	EXPECT_EQ(NULL, map(self->fd, 0, PAGE, PROT_READ));
	EXPECT_EQ(EDQUOT, errno);
	ASSERT_EQ(0, free_handle(self->fd, half));
	EXPECT_LE(0, make(self->fd, MIB));
}

TEST_F(limits, of_a_device)
{
	int rest;

	ASSERT_LE(0, make(self->fd, 2 * MIB));
	EXPECT_EQ(-EDQUOT, make(self->other, MIB + 1));
	rest = make(self->other, MIB);
	ASSERT_LE(0, rest);
	EXPECT_EQ(-EDQUOT, make(self->other, 1));
	close(self->fd);
	self->fd = -1;
	EXPECT_LE(0, make(self->other, MIB));
}

/* A mapping holds the buffer, and so does what it is charged with. */
TEST_F(limits, held_by_a_mapping)
{
	struct buffer buffer;

	ASSERT_EQ(0, allocate(self->fd, 2 * MIB, &buffer));
	ASSERT_EQ(0, free_handle(self->fd, buffer.handle));
	EXPECT_EQ(-EDQUOT, make(self->fd, 1));
	ASSERT_EQ(0, munmap(buffer.bytes, buffer.size));
	EXPECT_LE(0, make(self->fd, 2 * MIB));
}

/* What cannot be had is charged to nobody. */
TEST_F(limits, refused_again_and_again)
{
	for (int i = 0; i < 1000; i++)
		ASSERT_EQ(-EDQUOT, make(self->fd, 3 * MIB));
	EXPECT_LE(0, make(self->fd, 2 * MIB));
}

static int within_memlock(int fd)
{
	struct buffer buffer;

	if (allocate(fd, 16 * PAGE, &buffer))
		return 1;
	if (make(fd, PAGE) != -ENOMEM)
		return 2;
	if (map(fd, 0, PAGE, PROT_READ) || errno != ENOMEM)
		return 3;
	if (release(fd, &buffer))
		return 4;
	return make(fd, 16 * PAGE) < 0 ? 5 : 0;
}

TEST_F(limits, of_a_user)
{
	EXPECT_EQ(0, as_limited(16 * PAGE, within_memlock, self->fd));
}

static int takes_ten_pages(int fd)
{
	return make(fd, 10 * PAGE) < 0 ? 1 : 0;
}

static int takes_seven_pages(int fd)
{
	int handle = make(fd, 7 * PAGE);

	return handle < 0 ? -handle : 0;
}

/* One user, whatever the file and the process; the one who was charged, whoever gives back. */
TEST_F(limits, of_a_user_in_all)
{
	ASSERT_EQ(0, as_limited(16 * PAGE, takes_ten_pages, self->fd));
	EXPECT_EQ(ENOMEM, as_limited(16 * PAGE, takes_seven_pages, self->other));
	EXPECT_LE(0, make(self->fd, PAGE)); /* root has no limit */
	close(self->fd); /* as root */
	self->fd = -1;
	EXPECT_EQ(0, as_limited(16 * PAGE, takes_seven_pages, self->other));
}

static int may_lock_none(int fd)
{
	return make(fd, PAGE) == -ENOMEM ? 0 : 1;
}

TEST_F(limits, none_at_all)
{
	EXPECT_EQ(0, as_limited(0, may_lock_none, self->fd));
}

TEST_F(limits, infinite)
{
	EXPECT_EQ(0, as_limited(RLIM_INFINITY, takes_ten_pages, self->fd));
}

TEST_HARNESS_MAIN
