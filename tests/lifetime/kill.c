// SPDX-License-Identifier: GPL-2.0
/*
 * Promise 6: a waiting process can be killed during a transfer, in each call that waits, alone or behind requests of others. It ends at
 * once, the engine continues, and all memory is freed.
 */
#include "pace.h"
#include "teardown.h"

#include <sys/wait.h>

/* Maximum time from the kill to the end of waitpid(2), and the latest time of the kill after the start. */
enum { GONE_US = 250000, MOMENTS_US = 150000, PAGES = 16 };

enum kind { TRANSFER, COPY, WAIT, POLL, READ, WRITE, THREADS, KINDS };
static const char *const names[KINDS] = { "TRANSFER", "COPY", "WAIT", "poll", "read", "write", "threads" };

FIXTURE(kill)
{
	int fd;
	struct buffer buffer;
	volatile bool *ready;
	char hung[32]; /* state before */
};

#define HUNG_TASK "/proc/sys/kernel/hung_task_timeout_secs"

FIXTURE_SETUP(kill)
{
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, 2 * PAGE + window(self->fd), &self->buffer));
	ASSERT_EQ(0, settle(self->fd, &self->buffer));
	self->ready = shared_memory(PAGE);
	ASSERT_NE(MAP_FAILED, self->ready);
	/* The kernel logs a task that cannot be woken for longer than this, which fails the test. */
	if (!read_text(HUNG_TASK, self->hung, sizeof(self->hung))) {
		ASSERT_EQ(0, write_text(HUNG_TASK, virtual_time() ? "2" : "20"));
	}
}

FIXTURE_TEARDOWN(kill)
{
	write_text(HUNG_TASK, self->hung);
	hurry();
	close(self->fd);
}

struct doomed {
	int fd;
	struct buffer buffer;
	enum kind kind;
};

/* Waits in its call, for longer than the test takes. */
static void *wait_for_ever(void *argument)
{
	struct doomed *doomed = argument;
	struct buffer *buffer = &doomed->buffer;
	bool memory = has_memory(doomed->fd);
	uint64_t length = memory ? PAGES / 2 * DEVICE_MEMORY : 2 * WINDOW;
	struct rdma_request long_copy = copying(buffer, length, buffer, 0, length, 1);
	struct rdma_request request = memory ? reading(buffer, 0, 0, DEVICE_MEMORY, 1) : moving(doomed->fd, buffer, 1);
	struct rdma_completion completions[8];
	struct pollfd one = { .fd = doomed->fd, .events = POLLIN };
	unsigned char bytes[DEVICE_MEMORY] = { 0 };

	for (;;) {
		switch (doomed->kind) {
		case TRANSFER:
			call(doomed->fd, RDMA_IOC_TRANSFER, &request);
			break;
		case COPY:
			call(doomed->fd, RDMA_IOC_TRANSFER, &long_copy);
			break;
		case WAIT:
			submit_one(doomed->fd, long_copy);
			collect(doomed->fd, completions, 8, 8, FOREVER);
			break;
		case POLL:
			submit_one(doomed->fd, long_copy);
			poll(&one, 1, -1);
			break;
		case READ:
			if (!memory)
				pause();
			pread(doomed->fd, bytes, sizeof(bytes), 0);
			break;
		case WRITE:
			if (!memory)
				pause();
			pwrite(doomed->fd, bytes, sizeof(bytes), 0);
			break;
		default:
			pause();
		}
	}
	return NULL;
}

static void __attribute__((noreturn)) be_doomed(enum kind kind, volatile bool *ready)
{
	struct doomed doomed = { .fd = open_node(O_RDWR), .kind = kind }, each[THREADS];
	pthread_t thread;

	if (doomed.fd < 0 || allocate(doomed.fd, PAGES * PAGE + 2 * window(doomed.fd), &doomed.buffer))
		_exit(1);
	if (kind == THREADS) {
		for (int i = 0; i < THREADS; i++) {
			each[i] = doomed;
			each[i].kind = i;
			if (pthread_create(&thread, NULL, wait_for_ever, &each[i]))
				_exit(1);
		}
	}
	*ready = true;
	wait_for_ever(&doomed);
	_exit(1);
}

/* The time until the process had ended, or an error. */
static int64_t start_and_kill(FIXTURE_DATA(kill) *self, enum kind kind, int64_t moment_us)
{
	int64_t began;
	int status;
	pid_t doomed;

	*self->ready = false;
	doomed = fork();
	if (!doomed)
		be_doomed(kind, self->ready);
	while (!*self->ready && waitpid(doomed, &status, WNOHANG) == 0)
		pause_us(100);
	pause_us(moment_us);
	began = now();
	if (kill(doomed, SIGKILL) || waitpid(doomed, &status, 0) != doomed || !WIFSIGNALED(status))
		return -ECHILD;
	return now() - began;
}

/* Whether everything is free as before, after a moment if necessary: a kernel thread frees what the engine still had. */
static bool comes_back(const char *what, long before)
{
	int64_t began = now(), longest = virtual_time() ? limit_us() : PATIENCE_US;

	while (device_state(what) != before && now() - began < longest)
		pause_us(1000);
	return device_state(what) == before;
}

TEST_F(kill, in_every_wait)
{
	int rounds = virtual_time() ? scale(1000, 10000) : scale(105, 1400), late = 0, killed = 0;
	long buffers = device_state("buffers"), memory = device_state("memory"), contexts = device_state("contexts");
	int64_t limit = virtual_time() ? GONE_US : limit_us(), slowest = 0;
	enum kind slowest_kind = 0;

	srandom(6);
	ASSERT_LT(0, buffers);
	for (int round = 0; round < rounds; round++) {
		enum kind kind = round % KINDS;
		bool has = has_memory(self->fd), behind = random() % 2;
		int64_t took, began;

		/* Without device memory, no thread waits in read and write. */
		if (!has && (kind == READ || kind == WRITE))
			continue;
		killed++;
		/* Requests of others are first: the process is also killed before its own request has started. */
		if (behind) {
			ASSERT_EQ(2, submit_many(self->fd, &self->buffer, 2, 0));
		}
		took = start_and_kill(self, kind, random() % MOMENTS_US);
		ASSERT_LE(0, took) TH_LOG("round %d: %s", round, names[kind]);
		late += took > limit;
		if (took > slowest) {
			slowest = took;
			slowest_kind = kind;
		}
		if (behind) {
			ASSERT_EQ(0, drain(self->fd, 2));
		}
		/* The request that it has started must end first; nothing else of it delays others. */
		fill(self->buffer.bytes, DEVICE_MEMORY, round);
		began = now();
		ASSERT_EQ(0, transfer_some(self->fd, &self->buffer, DEVICE_MEMORY));
		EXPECT_GE(2 * transfer_us + limit / 5, now() - began);
		if (round % 10 == 0 || !has) {
			if (has)
				ASSERT_EQ(0, from_device(self->fd, &self->buffer, DEVICE_MEMORY, 0, DEVICE_MEMORY));
			ASSERT_EQ(0, memcmp(self->buffer.bytes, self->buffer.bytes + DEVICE_MEMORY, DEVICE_MEMORY));
		}
		ASSERT_TRUE(comes_back("buffers", buffers)) TH_LOG("round %d: %s", round, names[kind]);
		ASSERT_TRUE(comes_back("memory", memory));
		ASSERT_TRUE(comes_back("contexts", contexts));
	}
	EXPECT_EQ(0, late) TH_LOG("the slowest: %s, %lld us", names[slowest_kind], (long long)slowest);
	FIGURE("%d kills in mid-transfer", "gone in at most %lld us, their memory back, the engine works", killed,
	       (long long)slowest);
}

TEST_HARNESS_MAIN
