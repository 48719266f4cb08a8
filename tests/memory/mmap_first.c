// SPDX-License-Identifier: GPL-2.0
/* The smallest program: mmap at offset 0 allocates the context's first buffer, once, with that length. */
#include "rdma_test.h"

#include <sched.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>

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

/* The length is rounded up, as in mmap(2). */
TEST_F(first, odd_length)
{
	ASSERT_NE(NULL, map(self->fd, 0, PAGE + 1, PROT_READ));
	EXPECT_NE(NULL, map(self->fd, 0, 2 * PAGE, PROT_READ));
	EXPECT_EQ(NULL, map(self->fd, 0, 3 * PAGE, PROT_READ));
}

/* A call that fails allocates nothing. */
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

/* ALLOC never uses its handle, before or after. */
TEST_F(first, beside_alloc)
{
	struct buffer one, two;
	unsigned char *bytes;

	ASSERT_EQ(0, allocate(self->fd, PAGE, &one));
	bytes = map(self->fd, 0, PAGE, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, bytes);
	ASSERT_EQ(0, allocate(self->fd, PAGE, &two));
	EXPECT_NE(RDMA_FIRST_BUFFER, one.handle);
	EXPECT_NE(RDMA_FIRST_BUFFER, two.handle);
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

/* The time that it takes at least to create the buffer of tests in which another process waits for that. */
enum { LONG_US = 20000 };

/* Shared data of two processes in the tests below. */
struct shared {
	int ready;
	volatile int64_t began, ended; /* time at which one of them maps; 0 until then */
	volatile bool mapped;
};

/* Both have started. */
static void meet(struct shared *shared)
{
	int64_t until = now() + 5000000;

	__atomic_add_fetch(&shared->ready, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&shared->ready, __ATOMIC_SEQ_CST) < 2 && now() < until)
		sched_yield();
}

/* Two processes that share the file map its first buffer at once: there is one buffer, and both see it. */
TEST_F(first, two_at_once)
{
	enum { ROUNDS = 60, PAGES = 64 };
	struct shared *shared = shared_memory(sizeof(*shared));

	for (int round = 0; round < ROUNDS; round++) {
		struct rdma_buffer_info buffer = { .handle = RDMA_FIRST_BUFFER };
		int fd = open_node(O_RDWR), status;
		unsigned char *bytes;
		pid_t child;

		ASSERT_LE(0, fd);
		memset(shared, 0, sizeof(*shared));
		child = fork();
		meet(shared);
		bytes = map(fd, 0, PAGES * PAGE, PROT_READ | PROT_WRITE);
		if (!child) {
			if (bytes)
				bytes[round] = 0x55;
			_exit(!bytes);
		}
		ASSERT_EQ(child, waitpid(child, &status, 0));
		ASSERT_EQ(0, status);
		ASSERT_NE(NULL, bytes);
		ASSERT_EQ(0x55, bytes[round]);
		ASSERT_EQ(0, call(fd, RDMA_IOC_BUFFER_INFO, &buffer));
		ASSERT_EQ(1, buffer.mappings);
		close(fd);
		munmap(bytes, PAGES * PAGE);
	}
}

/* Maps the largest first buffer for which there is memory, in a child. */
static void map_the_largest(int fd, struct shared *shared)
{
	for (uint64_t size = RDMA_MAX_BUFFER_SIZE / 2; size >= PAGE && !shared->mapped; size /= 2) {
		shared->ended = 0;
		shared->began = now();
		shared->mapped = map(fd, 0, size, PROT_READ) != NULL;
		shared->ended = now();
	}
	_exit(0);
}

/* Waits until a child that maps the largest buffer has begun. */
static void wait_for_begin(const struct shared *shared)
{
	while (!shared->began)
		pause_us(100);
	pause_us(1000);
}

/* A process that waits for another one to create the buffer can be killed. */
TEST_F(first, a_waiting_process_can_be_killed)
{
	struct shared *shared = shared_memory(sizeof(*shared));
	pid_t creates = fork(), waits;
	int64_t killed, created;
	int status;

	if (!creates)
		map_the_largest(self->fd, shared);
	wait_for_begin(shared);
	waits = fork();
	if (!waits) {
		map(self->fd, 0, PAGE, PROT_READ);
		_exit(0);
	}
	pause_us(2000);
	ASSERT_EQ(0, kill(waits, SIGKILL));
	ASSERT_EQ(waits, waitpid(waits, &status, 0));
	killed = now();
	ASSERT_EQ(creates, waitpid(creates, NULL, 0));
	created = shared->ended;
	TH_LOG("mapped in %" PRId64 " us, the other one ended %" PRId64 " us before that", created - shared->began, created - killed);
	if (created - shared->began < LONG_US)
		SKIP(return, "this guest has no memory for a buffer that takes long to make");
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_LT(LONG_US / 2, created - killed);
}

static volatile int alarms;

static void count_alarm(int number)
{
	(void)number;
	alarms++;
}

/* A signal handler runs while a process waits, and the call is restarted. */
TEST_F(first, a_waiting_process_handles_signals)
{
	struct shared *shared = shared_memory(sizeof(*shared));
	struct itimerval timer = { .it_interval = { .tv_usec = 2000 }, .it_value = { .tv_usec = 2000 } };
	int64_t created, handled = 0;
	pid_t creates = fork();
	unsigned char *bytes;

	if (!creates)
		map_the_largest(self->fd, shared);
	signal(SIGALRM, count_alarm);
	wait_for_begin(shared);
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &timer, NULL));
	bytes = map(self->fd, 0, PAGE, PROT_READ);
	handled = alarms;
	timer = (struct itimerval){ 0 };
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &timer, NULL));
	ASSERT_NE(NULL, bytes) TH_LOG("errno %d", errno);
	ASSERT_EQ(creates, waitpid(creates, NULL, 0));
	created = shared->ended;
	if (created - shared->began < LONG_US)
		SKIP(return, "this guest has no memory for a buffer that takes long to make");
	EXPECT_LT(2, handled);
}

/* Reading fdinfo while a large buffer is allocated does not wait for it. */
TEST_F(first, does_not_keep_fdinfo_waiting)
{
	struct shared *shared = shared_memory(sizeof(*shared));
	int64_t longest = 0, began = 0;
	char path[64], text[4096];
	int answers = 0;
	pid_t child;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", self->fd);
	child = fork();
	if (!child)
		map_the_largest(self->fd, shared);
	while (!shared->mapped && !waitpid(child, NULL, WNOHANG)) {
		int64_t asked = now(), took;

		if (began != shared->began)
			answers = 0;
		began = shared->began;
		ASSERT_EQ(0, read_text(path, text, sizeof(text)));
		took = now() - asked;
		longest = took > longest ? took : longest;
		answers += began && asked >= began && !shared->ended;
	}
	while (waitpid(child, NULL, 0) >= 0)
		;
	TH_LOG("mapped in %" PRId64 " us, with %d answers, the latest after %" PRId64 " us", shared->ended - shared->began, answers,
	       longest);
	if (shared->ended - shared->began < LONG_US)
		SKIP(return, "this guest has no memory for a buffer that takes long to make");
	EXPECT_LT(2, answers);
	EXPECT_GT((shared->ended - shared->began) / 2, longest);
}

TEST_HARNESS_MAIN
