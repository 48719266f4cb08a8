// SPDX-License-Identifier: GPL-2.0
/*
 * Promise 13: limits of buffers per context, device and user; and all charges end, for each way of freeing. Loaded with
 * a limit of a device (device_mib) that is one and a half times that of a context (context_mib).
 */
#include "debugfs.h"
#include "pace.h"

#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum { ALICE = 1001, BOB = 1002, PAGES = 16 };

/* Half of the limit of a context. */
static size_t half;
#define CONTEXT (2 * half)
#define DEVICE (3 * half)

FIXTURE(limits)
{
	int fd;
	char address[32];
	bool away;
};

FIXTURE_SETUP(limits)
{
	struct buffer buffer;

	ASSERT_EQ(0, pci_address("rdma0", self->address));
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, chmod(NODE, 0666));
	ASSERT_EQ(0, chmod("/dev/rdma1", 0666));
	ASSERT_EQ(1, sscanf(getenv("RDMA_PARAMETERS"), "context_mib=%zu", &half));
	half <<= 19;
	/* Transfers of an earlier test hold a buffer. */
	while (allocate(self->fd, 2 * PAGE, &buffer))
		pause_us(transfer_us);
	ASSERT_EQ(0, settle(self->fd, &buffer));
	ASSERT_EQ(0, release(self->fd, &buffer));
}

FIXTURE_TEARDOWN(limits)
{
	hurry();
	close(self->fd);
	if (self->away)
		write_text("/sys/bus/pci/drivers/rdma/bind", self->address);
}

static int go_away(FIXTURE_DATA(limits) *self)
{
	self->away = true;
	return write_text("/sys/bus/pci/drivers/rdma/unbind", self->address);
}

/* A number from fdinfo. */
static long told(int fd, const char *name)
{
	char path[64], text[4096], *line;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	if (read_text(path, text, sizeof(text)) || !(line = strstr(text, name)) || line[strlen(name)] != ':')
		return -1;
	return atol(line + strlen(name) + 1);
}

static int make(int fd, uint64_t size, uint32_t *handle)
{
	struct rdma_alloc alloc = { .size = size };
	int error = call(fd, RDMA_IOC_ALLOC, &alloc);

	if (handle)
		*handle = alloc.handle;
	return error;
}

/* How many single pages can be allocated, and the error of the next one. */
static int make_all(int fd, int *error)
{
	int count = 0;

	while (!(*error = make(fd, PAGE, NULL)))
		count++;
	return count;
}

/* --- The context. */

TEST_F(limits, told)
{
	uint32_t handle;

	EXPECT_EQ(CONTEXT, told(self->fd, "rdma-memory-limit"));
	EXPECT_EQ(0, told(self->fd, "rdma-memory"));
	ASSERT_EQ(0, make(self->fd, 5 * PAGE - 1, &handle));
	EXPECT_EQ(5 * PAGE, told(self->fd, "rdma-memory"));
	EXPECT_EQ(1, told(self->fd, "rdma-buffers"));
	EXPECT_EQ(0, told(self->fd, "rdma-memlock")); /* does not apply with CAP_IPC_LOCK */
	ASSERT_NE(NULL, map(self->fd, 0, 3 * PAGE, PROT_READ));
	EXPECT_EQ(8 * PAGE, told(self->fd, "rdma-memory"));
	ASSERT_EQ(0, free_handle(self->fd, handle));
	EXPECT_EQ(3 * PAGE, told(self->fd, "rdma-memory"));
}

TEST_F(limits, of_a_context)
{
	uint32_t handles[2];

	EXPECT_EQ(-EDQUOT, make(self->fd, CONTEXT + 1, NULL));
	EXPECT_EQ(-EDQUOT, make(self->fd, RDMA_MAX_BUFFER_SIZE, NULL));
	ASSERT_EQ(0, make(self->fd, half, &handles[0]));
	ASSERT_EQ(0, make(self->fd, half, &handles[1]));
	EXPECT_EQ(CONTEXT, told(self->fd, "rdma-memory"));
	EXPECT_EQ(-EDQUOT, make(self->fd, 1, NULL));
	EXPECT_EQ(NULL, map(self->fd, 0, PAGE, PROT_READ));
	EXPECT_EQ(EDQUOT, errno);
	ASSERT_EQ(0, free_handle(self->fd, handles[0]));
	EXPECT_EQ(-EDQUOT, make(self->fd, half + 1, NULL));
	EXPECT_NE(NULL, map(self->fd, 0, half, PROT_READ));
	EXPECT_EQ(-EDQUOT, make(self->fd, 1, NULL));
}

TEST_F(limits, page_by_page)
{
	int error;

	EXPECT_EQ(CONTEXT / PAGE, make_all(self->fd, &error));
	EXPECT_EQ(-EDQUOT, error);
	EXPECT_EQ(CONTEXT, told(self->fd, "rdma-memory"));
}

/* A refused buffer is not charged. */
TEST_F(limits, refusals_cost_nothing)
{
	void *volatile nowhere = NULL;
	int error;

	for (int i = 0; i < 1000; i++) {
		ASSERT_EQ(-EDQUOT, make(self->fd, CONTEXT + PAGE, NULL));
		ASSERT_EQ(-EINVAL, make(self->fd, 0, NULL));
		ASSERT_EQ(-EFAULT, call(self->fd, RDMA_IOC_ALLOC, nowhere));
		ASSERT_EQ(NULL, map(self->fd, 0, CONTEXT + PAGE, PROT_READ));
	}
	EXPECT_EQ(0, told(self->fd, "rdma-memory"));
	EXPECT_EQ(CONTEXT / PAGE, make_all(self->fd, &error));
}

/* --- The device */

TEST_F(limits, of_a_device)
{
	int others[2] = { open_node(O_RDWR), open("/dev/rdma1", O_RDWR | O_CLOEXEC) };
	uint32_t handle;
	int error;

	ASSERT_EQ(0, make(self->fd, half, &handle));
	ASSERT_EQ(0, make(self->fd, half, NULL));
	EXPECT_EQ((DEVICE - CONTEXT) / PAGE, make_all(others[0], &error));
	EXPECT_EQ(-EDQUOT, error);
	ASSERT_EQ(0, free_handle(self->fd, handle));
	EXPECT_EQ(half / PAGE, make_all(others[0], &error));
	EXPECT_EQ(-EDQUOT, make(self->fd, 1, NULL));
	/* The other device has its own limit. */
	EXPECT_EQ(CONTEXT / PAGE, make_all(others[1], &error));
	close(others[0]);
	close(others[1]);
	/* After that, the limit is available again. */
	EXPECT_EQ(half / PAGE, make_all(self->fd, &error));
}

/* Whether the whole limit of the device is available to two new files. */
static bool all_is_back(void)
{
	int fds[2] = { open_node(O_RDWR), open_node(O_RDWR) }, errors[2];
	int counts[2] = { make_all(fds[0], &errors[0]), make_all(fds[1], &errors[1]) };

	close(fds[0]);
	close(fds[1]);
	return (counts[0] + counts[1]) * PAGE == DEVICE && errors[0] == -EDQUOT && errors[1] == -EDQUOT;
}

TEST_F(limits, back_after_close)
{
	int error;

	for (int i = 0; i < 20; i++) {
		int fd = open_node(O_RDWR);

		ASSERT_EQ(CONTEXT / PAGE, make_all(fd, &error));
		close(fd);
	}
	EXPECT_TRUE(all_is_back());
}

/* A mapping holds the memory, and thus the charge, also when handle and file are closed. */
TEST_F(limits, back_after_the_last_mapping)
{
	int fd = open_node(O_RDWR);
	struct buffer buffer;
	unsigned char *second;

	ASSERT_EQ(0, allocate(fd, CONTEXT, &buffer));
	second = map(fd, buffer.offset, PAGE, PROT_READ);
	ASSERT_NE(NULL, second);
	ASSERT_EQ(0, free_handle(fd, buffer.handle));
	EXPECT_EQ(CONTEXT, told(fd, "rdma-memory"));
	EXPECT_EQ(-EDQUOT, make(fd, 1, NULL));
	close(fd);
	EXPECT_FALSE(all_is_back());
	ASSERT_EQ(0, munmap(buffer.bytes, CONTEXT));
	EXPECT_FALSE(all_is_back());
	ASSERT_EQ(0, munmap(second, PAGE));
	EXPECT_TRUE(all_is_back());
}

/* So does a request, until the engine is done with it. */
TEST_F(limits, back_after_the_last_request)
{
	struct rdma_completion completion;
	struct buffer buffer;
	int64_t ended;

	ASSERT_EQ(0, allocate(self->fd, CONTEXT, &buffer));
	ASSERT_EQ(2, submit_many(self->fd, &buffer, 2, 0));
	ASSERT_EQ(0, release(self->fd, &buffer));
	EXPECT_EQ(CONTEXT, told(self->fd, "rdma-memory"));
	EXPECT_EQ(2, told(self->fd, "rdma-queued") + told(self->fd, "rdma-in-flight"));
	ASSERT_EQ(1, collect(self->fd, &completion, 1, 1, FOREVER));
	EXPECT_EQ(CONTEXT, told(self->fd, "rdma-memory"));
	ASSERT_EQ(1, collect(self->fd, &completion, 1, 1, FOREVER));
	ended = now();
	/* A kernel thread frees it. In real time, this may run on the other CPU. */
	while (told(self->fd, "rdma-memory") && now() - ended < slack_us(10000))
		pause_us(1000);
	EXPECT_EQ(0, told(self->fd, "rdma-memory"));
	EXPECT_EQ(0, told(self->fd, "rdma-queued") + told(self->fd, "rdma-in-flight") + told(self->fd, "rdma-completed"));
	EXPECT_TRUE(all_is_back());
}

/* A program that frees a buffer with a request on it can allocate the next one as soon as it knows that the request has ended. */
TEST_F(limits, back_at_once)
{
	struct rdma_completion completion;

	for (int i = 0; i < 20; i++) {
		struct buffer buffer = { .size = CONTEXT };

		ASSERT_EQ(0, make(self->fd, CONTEXT, &buffer.handle)) TH_LOG("round %d", i);
		ASSERT_EQ(2, submit_many(self->fd, &buffer, 2, 1));
		ASSERT_EQ(0, free_handle(self->fd, buffer.handle));
		if (i % 2)
			ASSERT_EQ(1, cancel(self->fd, 2));
		ASSERT_EQ(2, collect(self->fd, (struct rdma_completion[2]){}, 2, 2, FOREVER));
		ASSERT_EQ(0, collect(self->fd, &completion, 0, 1, 0));
	}
}

/* Killed with buffers that are mapped, queued and in flight. */
TEST_F(limits, back_after_a_kill)
{
	for (int i = 0; i < 10; i++) {
		int64_t began;
		int ready[2];
		pid_t child;
		char byte;

		ASSERT_EQ(0, pipe(ready));
		child = fork();
		if (!child) {
			struct buffer buffer;
			int fd = open_node(O_RDWR), error;

			if (allocate(fd, half, &buffer) || submit_many(fd, &buffer, DEPTH, 0) != DEPTH)
				_exit(1);
			memset(buffer.bytes, 1, half);
			make_all(fd, &error);
			if (write(ready[1], "", 1) != 1)
				_exit(2);
			pause();
		}
		ASSERT_EQ(1, read(ready[0], &byte, 1));
		EXPECT_FALSE(all_is_back());
		pause_us(i * 10000);
		ASSERT_EQ(0, kill(child, SIGKILL));
		ASSERT_EQ(child, waitpid(child, NULL, 0));
		/* Everything is free at once, except for the buffer of the running transfer. */
		began = now();
		while (!all_is_back() && now() - began < 2 * transfer_us)
			pause_us(1000);
		EXPECT_TRUE(all_is_back());
		close(ready[0]);
		close(ready[1]);
	}
}

TEST_F(limits, back_after_unbind)
{
	struct buffer buffer;
	int error;

	ASSERT_EQ(0, allocate(self->fd, half, &buffer));
	ASSERT_EQ(half / PAGE, make_all(self->fd, &error));
	ASSERT_EQ(DEPTH, submit_many(self->fd, &buffer, DEPTH, 0));
	ASSERT_EQ(0, go_away(self));
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/rdma/bind", self->address));
	self->away = false;
	EXPECT_TRUE(all_is_back());
	close(self->fd);
	munmap(buffer.bytes, half);
	EXPECT_TRUE(all_is_back());
	self->fd = open_node(O_RDWR);
}

/* --- The user */

/* Becomes a user with a limit of this many pages. */
static int become(uid_t user, rlim_t pages)
{
	struct rlimit limit = { pages == RLIM_INFINITY ? pages : pages * PAGE, pages == RLIM_INFINITY ? pages : pages * PAGE };

	if (setrlimit(RLIMIT_MEMLOCK, &limit) || setresgid(user, user, user) || setresuid(user, user, user))
		return -errno;
	return 0;
}

/* Calls a function as a user; the result is the child's exit status: 0 for success. */
#define AS(user, pages, deed)                                                            \
	({                                                                               \
		pid_t child_ = fork();                                                   \
		int status_ = -1;                                                        \
                                                                                         \
		if (!child_)                                                             \
			_exit(become(user, pages) ? 100 : (deed));                       \
		waitpid(child_, &status_, 0);                                            \
		WIFEXITED(status_) ? WEXITSTATUS(status_) : -1;                          \
	})

/* 0 if exactly this many pages can be allocated, and then ENOMEM. */
static int exactly(int pages)
{
	int fd = open_node(O_RDWR), error;

	if (fd < 0)
		return 1;
	if (make_all(fd, &error) != pages)
		return 2;
	return error == -ENOMEM ? told(fd, "rdma-memlock") == (long)(pages * PAGE) ? 0 : 3 : 4;
}

TEST_F(limits, of_a_user)
{
	EXPECT_EQ(0, AS(ALICE, PAGES, exactly(PAGES)));
	EXPECT_EQ(0, AS(ALICE, PAGES, exactly(PAGES)));
	EXPECT_EQ(0, AS(ALICE, 1, exactly(1)));
	EXPECT_EQ(0, AS(ALICE, 0, exactly(0)));
}

static int first_too_large(void)
{
	int fd = open_node(O_RDWR);

	if (map(fd, 0, (PAGES + 1) * PAGE, PROT_READ) || errno != ENOMEM)
		return 1;
	if (!map(fd, 0, PAGES * PAGE, PROT_READ))
		return 2;
	return make(fd, 1, NULL) == -ENOMEM ? 0 : 3;
}

TEST_F(limits, of_a_user_s_first_buffer)
{
	EXPECT_EQ(0, AS(ALICE, PAGES, first_too_large()));
}

/* Without this limit, the two others apply. */
static int no_limit(void)
{
	int fd = open_node(O_RDWR), error;

	return make_all(fd, &error) == CONTEXT / PAGE && error == -EDQUOT ? 0 : 1;
}

TEST_F(limits, of_a_user_without_one)
{
	EXPECT_EQ(0, AS(ALICE, RLIM_INFINITY, no_limit()));
}

/* Root has CAP_IPC_LOCK. */
TEST_F(limits, not_of_root)
{
	EXPECT_EQ(0, AS(0, 0, no_limit()));
}

/* The limit applies to the user, for all processes, files and devices together. */
static int together(void)
{
	int first = open_node(O_RDWR), second = open_node(O_RDWR), third = open("/dev/rdma1", O_RDWR | O_CLOEXEC), status;
	uint32_t handle;
	pid_t child;

	if (make(first, 5 * PAGE, &handle) || make(second, 5 * PAGE, NULL) || make(third, 4 * PAGE, NULL))
		return 1;
	child = fork();
	if (!child)
		_exit(exactly(PAGES - 14));
	if (waitpid(child, &status, 0) < 0 || status)
		return 2;
	if (make(third, 3 * PAGE, NULL) != -ENOMEM || make(third, 2 * PAGE, NULL))
		return 3;
	if (make(first, 1, NULL) != -ENOMEM || free_handle(first, handle) || make(second, 5 * PAGE, NULL))
		return 4;
	return make(second, 1, NULL) == -ENOMEM ? 0 : 5;
}

TEST_F(limits, of_all_that_a_user_has)
{
	EXPECT_EQ(0, AS(ALICE, PAGES, together()));
}

static int another_one(void)
{
	int status;
	pid_t child;

	if (exactly(PAGES))
		return 1;
	child = fork();
	if (!child)
		_exit(exactly(0));
	return waitpid(child, &status, 0) < 0 ? 2 : status;
}

/* Other users are not affected. */
TEST_F(limits, of_each_user)
{
	int ready[2];
	pid_t child;
	char byte;

	EXPECT_EQ(0, AS(ALICE, PAGES, another_one()));
	ASSERT_EQ(0, pipe(ready));
	child = fork();
	if (!child) {
		byte = become(BOB, PAGES) || exactly(PAGES);
		if (write(ready[1], &byte, 1) != 1)
			_exit(1);
		pause();
	}
	ASSERT_EQ(1, read(ready[0], &byte, 1));
	EXPECT_EQ(0, byte);
	EXPECT_EQ(0, AS(ALICE, PAGES, exactly(PAGES)));
	EXPECT_EQ(0, AS(BOB, PAGES, exactly(0)));
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	EXPECT_EQ(0, AS(BOB, PAGES, exactly(PAGES)));
}

/* The process that allocates is charged, not the one that opened the file; the charge ends when the last user of the file closes it. */
static int by_inheritance(int fd)
{
	int error;

	return make_all(fd, &error) == PAGES && error == -ENOMEM ? 0 : 1;
}

TEST_F(limits, whoever_asks)
{
	int fd = open_node(O_RDWR);

	EXPECT_EQ(0, AS(ALICE, PAGES, by_inheritance(fd)));
	EXPECT_EQ(PAGES * PAGE, told(fd, "rdma-memlock"));
	EXPECT_EQ(0, AS(ALICE, PAGES, exactly(0)));
	close(fd);
	EXPECT_EQ(0, AS(ALICE, PAGES, exactly(PAGES)));
}

/* A lowered limit refuses new buffers and keeps existing ones. */
static int lowered(void)
{
	struct rlimit limit = { 4 * PAGE, 4 * PAGE };
	int fd = open_node(O_RDWR);
	uint32_t handles[2];
	struct buffer buffer;

	if (make(fd, 4 * PAGE, &handles[0]) || make(fd, 4 * PAGE, &handles[1]) || allocate(fd, PAGE, &buffer))
		return 1;
	if (setrlimit(RLIMIT_MEMLOCK, &limit) || make(fd, 1, NULL) != -ENOMEM)
		return 2;
	memset(buffer.bytes, 1, PAGE);
	if (free_handle(fd, handles[0]) || make(fd, 1, NULL) != -ENOMEM)
		return 3;
	return free_handle(fd, handles[1]) || make(fd, 3 * PAGE, NULL) ? 4 : 0;
}

TEST_F(limits, that_comes_down)
{
	EXPECT_EQ(0, AS(ALICE, PAGES, lowered()));
}

/* mlock(2) has another count. This one is visible, and is zero again after each way of freeing. */
static int maps_and_frees(void)
{
	int fd = open_node(O_RDWR);
	struct buffer buffer;

	if (allocate(fd, PAGES * PAGE, &buffer) || free_handle(fd, buffer.handle))
		return 1;
	if (make(fd, 1, NULL) != -ENOMEM)
		return 2;
	munmap(buffer.bytes, PAGE);
	if (make(fd, 1, NULL) != -ENOMEM)
		return 3;
	munmap(buffer.bytes + PAGE, buffer.size - PAGE);
	return make(fd, PAGES * PAGE, NULL) ? 4 : 0;
}

static int is_killed(void)
{
	int fd = open_node(O_RDWR);
	struct buffer buffer;

	if (allocate(fd, PAGES * PAGE, &buffer) || submit_many(fd, &buffer, DEPTH, 0) != DEPTH)
		return 1;
	kill(getpid(), SIGKILL);
	return 2;
}

TEST_F(limits, of_a_user_come_back)
{
	int64_t began;

	EXPECT_EQ(0, AS(ALICE, PAGES, maps_and_frees()));
	EXPECT_EQ(0, AS(ALICE, PAGES, exactly(PAGES)));
	EXPECT_EQ(-1, AS(ALICE, PAGES, is_killed()));
	began = now();
	while (AS(ALICE, PAGES, exactly(PAGES)) && now() - began < 2 * transfer_us)
		pause_us(1000);
	EXPECT_EQ(0, AS(ALICE, PAGES, exactly(PAGES)));
}

/* Also when the device is removed: file and mapping stay, the memory and its charge do not. */
static int on_the_other_device(void)
{
	int fd = open("/dev/rdma1", O_RDWR | O_CLOEXEC), error;

	return make_all(fd, &error) == PAGES && error == -ENOMEM ? 0 : 1;
}

TEST_F(limits, of_a_user_come_back_after_unbind)
{
	int ready[2];
	pid_t child;
	char byte;

	ASSERT_EQ(0, pipe(ready));
	child = fork();
	if (!child) {
		struct buffer buffer;
		int fd;

		byte = become(ALICE, PAGES) || (fd = open_node(O_RDWR)) < 0 || allocate(fd, PAGES * PAGE, &buffer);
		if (write(ready[1], &byte, 1) != 1)
			_exit(1);
		pause();
	}
	ASSERT_EQ(1, read(ready[0], &byte, 1));
	ASSERT_EQ(0, byte);
	EXPECT_NE(0, AS(ALICE, PAGES, on_the_other_device()));
	ASSERT_EQ(0, go_away(self));
	EXPECT_EQ(0, AS(ALICE, PAGES, on_the_other_device()));
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	EXPECT_EQ(0, AS(ALICE, PAGES, on_the_other_device()));
}

/* Concurrently, with two users: neither exceeds its limit, and all charges end. */
TEST_F_TIMEOUT(limits, in_a_crowd, 60)
{
	enum { CROWD = 8 };
	/* The pages of each user: counted after they are allocated, and until before they are freed. */
	atomic_long *of_user = shared_memory(2 * sizeof(*of_user));
	pid_t children[CROWD];
	int status;

	for (int i = 0; i < CROWD; i++) {
		children[i] = fork();
		if (!children[i]) {
			int fd, held = 0, most = 0;
			uint32_t handles[PAGES + 1];

			if (become(i % 2 ? ALICE : BOB, PAGES) || (fd = open_node(O_RDWR)) < 0)
				_exit(1);
			srandom(i);
			for (int j = 0; j < 3000; j++) {
				if (held && random() % 2) {
					atomic_fetch_sub(&of_user[i % 2], 1);
					if (free_handle(fd, handles[--held]))
						_exit(2);
				} else {
					int error = make(fd, PAGE, &handles[held]);

					if (error && error != -ENOMEM)
						_exit(3);
					held += !error;
					most = held > most ? held : most;
					if (!error && atomic_fetch_add(&of_user[i % 2], 1) >= PAGES)
						_exit(4);
				}
			}
			/* Those that are left are freed with the process. */
			atomic_fetch_sub(&of_user[i % 2], held);
			_exit(most ? 0 : 5);
		}
	}
	for (int i = 0; i < CROWD; i++) {
		ASSERT_EQ(children[i], waitpid(children[i], &status, 0));
		EXPECT_EQ(0, status);
	}
	EXPECT_EQ(0, AS(ALICE, PAGES, exactly(PAGES)));
	EXPECT_EQ(0, AS(BOB, PAGES, exactly(PAGES)));
	EXPECT_TRUE(all_is_back());
	EXPECT_EQ(0, device_state("memory"));
	FIGURE("%d processes of 2 users at their limits, 3000 times each", "none over its limit, %ld bytes charged afterwards", CROWD,
	       device_state("memory"));
}

TEST_HARNESS_MAIN
