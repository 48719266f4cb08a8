// SPDX-License-Identifier: GPL-2.0
/* Promise 5: device memory belongs to the user who wrote it last; what another user left there reads as zeros. */
#include "requests.h"

#include <sys/stat.h>

enum { ALICE = 1001, BOB = 1002 };

FIXTURE(users)
{
	unsigned char *seen; /* shared with the children: what they read */
};

FIXTURE_SETUP(users)
{
	self->seen = shared_memory(DEVICE_MEMORY);
	ASSERT_NE(MAP_FAILED, self->seen);
	ASSERT_EQ(0, chmod(NODE, 0666));
}

FIXTURE_TEARDOWN(users)
{
	chmod(NODE, 0600);
}

/* What a user does, in a separate process, with a file that it opened; 0 for success. */
typedef int deed(int fd, struct buffer *buffer, unsigned char *seen);

static int as_user(uid_t user, deed *deed, unsigned char *seen)
{
	int status;

	if (!fork()) {
		struct buffer buffer;
		int fd;

		if (setresgid(user, user, user) || setresuid(user, user, user))
			_exit(101);
		fd = open_node(O_RDWR);
		if (fd < 0 || allocate(fd, 2 * PAGE, &buffer))
			_exit(102);
		_exit(deed(fd, &buffer, seen) ? 103 : 0);
	}
	if (wait(&status) < 0)
		return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int writes_all(int fd, struct buffer *buffer, unsigned char *seen)
{
	(void)seen;
	memset(buffer->bytes, 0x53, DEVICE_MEMORY);
	return to_device(fd, buffer, 0, 0, DEVICE_MEMORY);
}

static int writes_all_by_write(int fd, struct buffer *buffer, unsigned char *seen)
{
	(void)seen;
	memset(buffer->bytes, 0x53, DEVICE_MEMORY);
	return write(fd, buffer->bytes, DEVICE_MEMORY) != DEVICE_MEMORY;
}

static int reads_all(int fd, struct buffer *buffer, unsigned char *seen)
{
	int error = from_device(fd, buffer, 0, 0, DEVICE_MEMORY);

	memcpy(seen, buffer->bytes, DEVICE_MEMORY);
	return error;
}

static int reads_all_by_read(int fd, struct buffer *buffer, unsigned char *seen)
{
	(void)buffer;
	return read(fd, seen, DEVICE_MEMORY) != DEVICE_MEMORY;
}

static int writes_all_by_submitting(int fd, struct buffer *buffer, unsigned char *seen)
{
	(void)seen;
	memset(buffer->bytes, 0x53, DEVICE_MEMORY);
	return submit_one(fd, writing(buffer, 0, 0, DEVICE_MEMORY, 0)) != 1 || drain(fd, 1);
}

static int reads_all_by_submitting(int fd, struct buffer *buffer, unsigned char *seen)
{
	int error = submit_one(fd, reading(buffer, 0, 0, DEVICE_MEMORY, 0)) != 1 || drain(fd, 1);

	memcpy(seen, buffer->bytes, DEVICE_MEMORY);
	return error;
}

static int writes_a_bit_and_reads_all(int fd, struct buffer *buffer, unsigned char *seen)
{
	memset(buffer->bytes, 0x77, DEVICE_MEMORY);
	return to_device(fd, buffer, 0, 1000, 10) || reads_all(fd, buffer, seen);
}

static int copies_a_bit(int fd, struct buffer *buffer, unsigned char *seen)
{
	(void)seen;
	memset(buffer->bytes, 0x66, DEVICE_MEMORY);
	return copy(fd, buffer, DEVICE_MEMORY, buffer, 0, 100);
}

static int copies_a_bit_and_reads_all(int fd, struct buffer *buffer, unsigned char *seen)
{
	return copies_a_bit(fd, buffer, seen) || reads_all(fd, buffer, seen);
}

static int copies_a_page(int fd, struct buffer *buffer, unsigned char *seen)
{
	(void)seen;
	memset(buffer->bytes, 0x66, DEVICE_MEMORY);
	return copy(fd, buffer, DEVICE_MEMORY, buffer, 0, DEVICE_MEMORY);
}

/* The check itself: a user can read what it has written, also after closing the file. */
TEST_F(users, own_bytes_stay)
{
	ASSERT_EQ(0, as_user(ALICE, writes_all, self->seen));
	ASSERT_EQ(0, as_user(ALICE, reads_all, self->seen));
	EXPECT_EQ(0, differing(self->seen, 0x53, DEVICE_MEMORY));
	ASSERT_EQ(0, as_user(ALICE, reads_all_by_read, self->seen));
	EXPECT_EQ(0, differing(self->seen, 0x53, DEVICE_MEMORY));
}

TEST_F(users, others_see_zeros)
{
	deed *const writers[] = { writes_all, writes_all_by_write, writes_all_by_submitting };
	deed *const readers[] = { reads_all, reads_all_by_read, reads_all_by_submitting };

	for (size_t i = 0; i < ARRAY_SIZE(writers); i++)
		for (size_t j = 0; j < ARRAY_SIZE(readers); j++) {
			memset(self->seen, 0xff, DEVICE_MEMORY);
			ASSERT_EQ(0, as_user(ALICE, writers[i], self->seen));
			ASSERT_EQ(0, as_user(BOB, readers[j], self->seen));
			EXPECT_EQ(0, differing(self->seen, 0, DEVICE_MEMORY));
		}
}

/* Root is a user like any other: it cannot read the bytes of others, and they cannot read root's. */
TEST_F(users, root_is_no_exception)
{
	ASSERT_EQ(0, as_user(ALICE, writes_all, self->seen));
	ASSERT_EQ(0, as_user(0, reads_all, self->seen));
	EXPECT_EQ(0, differing(self->seen, 0, DEVICE_MEMORY));
	ASSERT_EQ(0, as_user(0, writes_all, self->seen));
	ASSERT_EQ(0, as_user(BOB, reads_all, self->seen));
	EXPECT_EQ(0, differing(self->seen, 0, DEVICE_MEMORY));
}

TEST_F(users, a_partial_write_reveals_nothing)
{
	ASSERT_EQ(0, as_user(ALICE, writes_all, self->seen));
	ASSERT_EQ(0, as_user(BOB, writes_a_bit_and_reads_all, self->seen));
	EXPECT_EQ(0, differing(self->seen, 0, 1000));
	EXPECT_EQ(0, differing(self->seen + 1000, 0x77, 10));
	EXPECT_EQ(0, differing(self->seen + 1010, 0, DEVICE_MEMORY - 1010));
	/* It belongs to Bob now. */
	ASSERT_EQ(0, as_user(ALICE, reads_all, self->seen));
	EXPECT_EQ(0, differing(self->seen, 0, DEVICE_MEMORY));
}

/* A copy goes through the device memory. */
TEST_F(users, a_copy_reveals_nothing)
{
	ASSERT_EQ(0, as_user(ALICE, writes_all, self->seen));
	ASSERT_EQ(0, as_user(BOB, copies_a_page, self->seen));
	ASSERT_EQ(0, as_user(ALICE, reads_all, self->seen));
	EXPECT_EQ(0, differing(self->seen, 0, DEVICE_MEMORY));

	ASSERT_EQ(0, as_user(ALICE, writes_all, self->seen));
	ASSERT_EQ(0, as_user(BOB, copies_a_bit, self->seen));
	ASSERT_EQ(0, as_user(ALICE, reads_all, self->seen));
	EXPECT_EQ(0, differing(self->seen, 0, 100)); /* Bob's */

	ASSERT_EQ(0, as_user(ALICE, writes_all, self->seen));
	ASSERT_EQ(0, as_user(BOB, copies_a_bit_and_reads_all, self->seen));
	EXPECT_EQ(0, differing(self->seen + 100, 0, DEVICE_MEMORY - 100)); /* Alice's */
}

/* During a copy of one user, another one reads between its pieces. */
TEST_F(users, a_copy_in_progress_reveals_nothing)
{
	enum { PAGES = 8 };
	struct pending copying;
	struct buffer buffer;
	int fd = open_node(O_RDWR);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, allocate(fd, 2 * PAGES * PAGE, &buffer));
	memset(buffer.bytes, 0x99, PAGES * DEVICE_MEMORY);
	ASSERT_EQ(0, begin(&copying, fd, (struct rdma_request){ .operation = RDMA_OP_COPY,
							       .source = buffer.handle,
							       .destination = buffer.handle,
							       .destination_offset = PAGES * DEVICE_MEMORY,
							       .length = PAGES * DEVICE_MEMORY }));
	for (int i = 0; i < 4; i++) {
		memset(self->seen, 0xff, DEVICE_MEMORY);
		ASSERT_EQ(0, as_user(BOB, reads_all, self->seen));
		EXPECT_EQ(0, differing(self->seen, 0, DEVICE_MEMORY));
	}
	EXPECT_EQ(0, finish(&copying));
	EXPECT_EQ(0, differing(buffer.bytes, 0x99, 2 * PAGES * DEVICE_MEMORY));
	close(fd);
}

/* A file that was opened by one user is used by another: the user of the call counts. */
TEST_F(users, inherited_files_are_no_way_round)
{
	struct buffer buffer;
	int fd = open_node(O_RDWR), status;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, allocate(fd, PAGE, &buffer));
	memset(buffer.bytes, 0x53, DEVICE_MEMORY);
	ASSERT_EQ(0, to_device(fd, &buffer, 0, 0, DEVICE_MEMORY));
	memset(self->seen, 0xff, DEVICE_MEMORY);
	if (!fork()) {
		if (setresuid(BOB, BOB, BOB))
			_exit(1);
		_exit(pread(fd, self->seen, DEVICE_MEMORY, 0) != DEVICE_MEMORY);
	}
	ASSERT_LT(0, wait(&status));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, differing(self->seen, 0, DEVICE_MEMORY));
	close(fd);
}

/* The submitter counts, not the user that waits or that opened the file. */
TEST_F(users, whoever_submits)
{
	struct buffer buffer;
	int fd = open_node(O_RDWR), status;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, allocate(fd, PAGE, &buffer));
	memset(buffer.bytes, 0x53, DEVICE_MEMORY);
	ASSERT_EQ(0, to_device(fd, &buffer, 0, 0, DEVICE_MEMORY));
	memset(buffer.bytes, 0xff, DEVICE_MEMORY);
	if (!fork()) {
		if (setresuid(BOB, BOB, BOB))
			_exit(1);
		_exit(submit_one(fd, reading(&buffer, 0, 0, DEVICE_MEMORY, 0)) != 1);
	}
	ASSERT_LT(0, wait(&status));
	ASSERT_EQ(0, status);
	ASSERT_EQ(0, drain(fd, 1));
	EXPECT_EQ(0, differing(buffer.bytes, 0, DEVICE_MEMORY));
	close(fd);
}

/* A write and a read of one user, with another user's between them: neither sees the other's bytes. */
TEST_F(users, in_turn)
{
	enum { COUNT = 40 };
	uid_t users[] = { ALICE, BOB };
	pid_t children[2];
	int status;

	for (int i = 0; i < 2; i++) {
		children[i] = fork();
		if (!children[i]) {
			struct rdma_request requests[2 * COUNT];
			struct buffer buffer;
			size_t foreign = 0;
			int fd;

			if (setresgid(users[i], users[i], users[i]) || setresuid(users[i], users[i], users[i]))
				_exit(1);
			fd = open_node(O_RDWR);
			if (fd < 0 || allocate(fd, (1 + COUNT) * PAGE, &buffer))
				_exit(2);
			memset(buffer.bytes, 0x10 + i, DEVICE_MEMORY);
			for (int j = 0; j < COUNT; j++) {
				requests[2 * j] = writing(&buffer, 0, 100 * i, 100, j);
				requests[2 * j + 1] = reading(&buffer, (1 + j) * DEVICE_MEMORY, 0, DEVICE_MEMORY, j);
			}
			if (submit(fd, requests, 2 * COUNT) != 2 * COUNT || drain(fd, 2 * COUNT))
				_exit(3);
			for (size_t j = DEVICE_MEMORY; j < buffer.size; j++)
				foreign += buffer.bytes[j] && buffer.bytes[j] != 0x10 + i;
			_exit(foreign ? 4 : 0);
		}
	}
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(children[i], waitpid(children[i], &status, 0));
		EXPECT_EQ(0, WEXITSTATUS(status));
	}
}

/* Two users in turn, many times. */
TEST_F(users, many_switches)
{
	int switches = scale(200, 2000);
	size_t foreign = 0;

	for (int i = 0; i < switches; i++) {
		uid_t writer = i % 2 ? ALICE : BOB, reader = i % 2 ? BOB : ALICE;

		ASSERT_EQ(0, as_user(writer, i % 3 ? writes_all : writes_all_by_write, self->seen));
		ASSERT_EQ(0, as_user(reader, i % 5 ? reads_all : reads_all_by_read, self->seen));
		foreign += differing(self->seen, 0, DEVICE_MEMORY);
	}
	EXPECT_EQ(0, foreign);
	FIGURE("%d times another user after one who has filled the device memory", "%zu bytes of the other's seen", switches, foreign);
}

TEST_HARNESS_MAIN
