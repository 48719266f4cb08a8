// SPDX-License-Identifier: GPL-2.0
/* WAIT: minimum, maximum, timeout, signals; several collectors; and no completion is lost or returned twice. */
#include "pace.h"

#include <sched.h>
#include <sys/time.h>
#include <sys/wait.h>

enum { EARLY_US = 20000 };
#define SLACK_US slack_us(2000)
#define AT_ONCE_US slack_us(10000)

FIXTURE(wait)
{
	int fd;
	struct buffer buffer;
	struct rdma_completion completions[DEPTH + 1];
};

FIXTURE_SETUP(wait)
{
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, PAGE + window(self->fd), &self->buffer));
	ASSERT_EQ(0, settle(self->fd, &self->buffer));
	memset(self->completions, 0xa5, sizeof(self->completions));
}

FIXTURE_TEARDOWN(wait)
{
	hurry();
	close(self->fd);
}

TEST_F(wait, nothing_there)
{
	int64_t began = now();

	EXPECT_EQ(0, collect(self->fd, self->completions, 0, 1, 0));
	EXPECT_EQ(0, collect(self->fd, self->completions, 0, DEPTH, FOREVER));
	EXPECT_EQ(0, collect(self->fd, self->completions, 0, 1, 500 * MS));
	EXPECT_EQ(0, collect(self->fd, self->completions, 1, 1, 0));
	EXPECT_EQ(0, collect(self->fd, self->completions, DEPTH, DEPTH, 0));
	EXPECT_GE(AT_ONCE_US, now() - began);
	EXPECT_EQ(0, differing(self->completions, 0xa5, sizeof(self->completions)));
}

/* In a time namespace, the deadline is a time of the program's clock. */
TEST_F(wait, time_namespace)
{
	static const char *const offsets[] = { "monotonic 86400 0\n", "monotonic -1 0\n" };

	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
		int status, children = open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
		pid_t child;

		ASSERT_LE(0, children);
		ASSERT_EQ(0, unshare(CLONE_NEWTIME));
		ASSERT_EQ(0, write_text("/proc/self/timens_offsets", offsets[i]));
		child = fork();
		if (!child) {
			int64_t began = now();
			int answer = collect(self->fd, self->completions, 1, 1, 100 * MS);

			_exit(answer ? 1 : now() - began < 100000 ? 2 : now() - began > 100000 + SLACK_US ? 3 : 0);
		}
		ASSERT_EQ(0, setns(children, CLONE_NEWTIME));
		close(children);
		ASSERT_EQ(child, waitpid(child, &status, 0));
		EXPECT_EQ(0, status) TH_LOG("%s: %#x", offsets[i], status);
	}
}

#define WAIT_FOR_ONE(array) .completions = (uintptr_t)(array), .max = 1, .completion_size = sizeof(struct rdma_completion)

TEST_F(wait, bad_arguments)
{
	static const struct {
		uint32_t min, max;
	} bad[] = { { 0, 0 }, { 1, 0 }, { 2, 1 }, { DEPTH, DEPTH - 1 }, { DEPTH + 1, DEPTH + 1 },
		    { DEPTH + 1, UINT32_MAX }, { UINT32_MAX, UINT32_MAX }, { UINT32_MAX, 1 } };

	ASSERT_EQ(2, submit_many(self->fd, &self->buffer, 2, 0));
	pause_until_completed(self->fd, 2);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EINVAL, collect(self->fd, self->completions, bad[i].min, bad[i].max, 0))
			TH_LOG("min %u, max %u", bad[i].min, bad[i].max);
	}
	for (int bit = 0; bit < 32; bit++) {
		struct rdma_wait argument[] = {
			{ WAIT_FOR_ONE(self->completions), .flags = 1U << bit },
			{ WAIT_FOR_ONE(self->completions), .reserved = 1ULL << bit },
			{ WAIT_FOR_ONE(self->completions), .reserved = 1ULL << 32 << bit },
		};

		for (size_t i = 0; i < ARRAY_SIZE(argument); i++) {
			EXPECT_EQ(-EINVAL, call(self->fd, RDMA_IOC_WAIT, &argument[i])) TH_LOG("bit %d", bit);
		}
	}
	EXPECT_EQ(0, differing(self->completions, 0xa5, sizeof(self->completions)));
	EXPECT_EQ(2, take(self->fd, self->completions, UINT32_MAX));
}

/* Timeouts, in virtual time: neither too early nor much too late. */
TEST_F(wait, timeouts)
{
	static const int64_t timeouts_us[] = { 1, 1000, 10000, 30000, 2500000 };
	int64_t latest = 0;

	for (size_t i = 0; i < ARRAY_SIZE(timeouts_us); i++) {
		int64_t began = now(), took;

		EXPECT_EQ(0, collect(self->fd, self->completions, 1, 1, timeouts_us[i] * 1000));
		took = now() - began;
		EXPECT_LE(timeouts_us[i], took);
		EXPECT_GE(timeouts_us[i] + SLACK_US, took);
		latest = took - timeouts_us[i] > latest ? took - timeouts_us[i] : latest;
	}
	TH_LOG("at most %lld us late", (long long)latest);
}

/* At the timeout, existing completions are returned. */
TEST_F(wait, timeout_with_some_there)
{
	int64_t timeout_us = transfer_us * 5 / 2, began;

	ASSERT_EQ(4, submit_many(self->fd, &self->buffer, 4, 0));
	began = now();
	EXPECT_EQ(2, collect(self->fd, self->completions, 4, 4, timeout_us * 1000));
	EXPECT_LE(timeout_us, now() - began);
	EXPECT_GE(timeout_us + SLACK_US, now() - began);
	EXPECT_EQ(2, collect(self->fd, self->completions, 2, 4, timeout_us * 1000));
	EXPECT_GE(4 * transfer_us + 2 * SLACK_US, now() - began);
}

TEST_F(wait, no_end_of_time)
{
	static const int64_t deadlines[] = { RDMA_WAIT_FOREVER, RDMA_WAIT_FOREVER - 1, 1LL << 62 };

	for (size_t i = 0; i < ARRAY_SIZE(deadlines); i++) {
		int64_t began = now();

		ASSERT_EQ(1, submit_many(self->fd, &self->buffer, 1, i));
		EXPECT_EQ(1, collect_until(self->fd, self->completions, 1, 1, deadlines[i]));
		EXPECT_EQ(i, self->completions[0].cookie);
		EXPECT_GE(transfer_us + SLACK_US, now() - began);
	}
}

/* Nothing waits for a time that is over, and what is there is collected. */
TEST_F(wait, deadlines_in_the_past)
{
	const int64_t past[] = { INT64_MIN, -1, 0, 1, deadline(-1) };
	int64_t began = now();

	for (size_t i = 0; i < ARRAY_SIZE(past); i++) {
		EXPECT_EQ(0, collect_until(self->fd, self->completions, 1, 1, past[i]));
	}
	EXPECT_GE(AT_ONCE_US, now() - began);
	ASSERT_EQ(1, submit_many(self->fd, &self->buffer, 1, 0));
	pause_us(2 * transfer_us);
	EXPECT_EQ(1, collect_until(self->fd, self->completions, 2, 2, deadline(-1)));
}

TEST_F(wait, minimum)
{
	int64_t began;

	ASSERT_EQ(10, submit_many(self->fd, &self->buffer, 10, 0));
	began = now();
	for (int i = 1, done = 0; i <= 4; i++) {
		EXPECT_EQ(i, collect(self->fd, self->completions, i, DEPTH, FOREVER));
		for (int j = 0; j < i; j++) {
			EXPECT_EQ(done++, self->completions[j].cookie);
		}
		EXPECT_GE(done * transfer_us + SLACK_US, now() - began);
		EXPECT_LE(done * (transfer_us - 1000) - SLACK_US, now() - began);
	}
}

TEST_F(wait, maximum)
{
	ASSERT_EQ(10, submit_many(self->fd, &self->buffer, 10, 0));
	pause_until_completed(self->fd, 10);
	EXPECT_EQ(3, collect(self->fd, self->completions, 0, 3, 0));
	EXPECT_EQ(3, collect(self->fd, self->completions + 3, 3, 3, FOREVER));
	EXPECT_EQ(4, collect(self->fd, self->completions + 6, 2, UINT32_MAX, FOREVER));
	for (int i = 0; i < 10; i++) {
		EXPECT_EQ(i, self->completions[i].cookie);
	}
	EXPECT_EQ(0xa5, *(unsigned char *)&self->completions[10]);
}

/* The minimum may exceed the number of submitted requests: another thread submits the rest. */
TEST_F(wait, for_what_others_submit)
{
	pid_t child;

	ASSERT_EQ(1, submit_many(self->fd, &self->buffer, 1, 0));
	child = fork();
	if (!child) {
		pause_us(5 * transfer_us);
		_exit(submit_many(self->fd, &self->buffer, 2, 1) != 2);
	}
	EXPECT_EQ(3, collect(self->fd, self->completions, 3, 3, FOREVER));
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(i, self->completions[i].cookie);
	}
	ASSERT_EQ(child, waitpid(child, NULL, 0));
}

/* Requests of other contexts do not count. */
TEST_F(wait, of_others)
{
	int other = open_node(O_RDWR);
	struct buffer buffer;

	ASSERT_LE(0, other);
	ASSERT_EQ(0, allocate(other, PAGE + window(other), &buffer));
	ASSERT_EQ(2, submit_many(other, &buffer, 2, 100));
	EXPECT_EQ(0, collect(self->fd, self->completions, 1, 1, 500 * MS));
	EXPECT_EQ(0, drain(other, 2));
	close(other);
}

/* A blocking call has no completion. */
TEST_F(wait, blocking_transfers_are_no_completions)
{
	ASSERT_EQ(0, transfer_some(self->fd, &self->buffer, 1));
	if (has_memory(self->fd)) {
		ASSERT_EQ(1, pwrite(self->fd, "x", 1, 0));
	}
	EXPECT_EQ(0, take(self->fd, self->completions, 1));
}

/* --- Signals. */

static volatile int handled;

static void handler(int signal)
{
	(void)signal;
	handled++;
}

static void alarm_after(int64_t microseconds, int flags)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = flags };
	struct itimerval timer = { .it_value = { microseconds / 1000000, microseconds % 1000000 } };

	handled = 0;
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
}

/* The harness has its own alarm in another process. */
TEST_F(wait, interrupted_with_nothing_there)
{
	static const int64_t timeouts[] = { FOREVER, 5000 * MS };

	for (size_t i = 0; i < ARRAY_SIZE(timeouts); i++) {
		int64_t began = now();

		alarm_after(EARLY_US, 0);
		EXPECT_EQ(-EINTR, collect(self->fd, self->completions, 1, 1, timeouts[i]));
		EXPECT_EQ(1, handled);
		EXPECT_GE(EARLY_US + AT_ONCE_US, now() - began);
	}
}

/* SA_RESTART restarts the call, which keeps its deadline, however often a handler runs. */
TEST_F(wait, restarted_with_nothing_there)
{
	const struct itimerval often = { { 0, EARLY_US }, { 0, EARLY_US } }, never = { 0 };
	int64_t began = now();

	alarm_after(EARLY_US, SA_RESTART);
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &often, NULL));
	EXPECT_EQ(0, collect(self->fd, self->completions, 1, 1, 500 * MS));
	EXPECT_LE(500000, now() - began);
	EXPECT_GE(500000 + SLACK_US, now() - began);
	EXPECT_LE(20, handled);

	/* And collects what comes. */
	ASSERT_EQ(1, submit_many(self->fd, &self->buffer, 1, 7));
	handled = 0;
	EXPECT_EQ(1, collect(self->fd, self->completions, 1, 1, FOREVER));
	EXPECT_EQ(7, self->completions[0].cookie);
	EXPECT_LT(0, handled);
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &never, NULL));
}

TEST_F(wait, interrupted_with_some_there)
{
	int64_t began = now();

	ASSERT_EQ(3, submit_many(self->fd, &self->buffer, 3, 0));
	alarm_after(transfer_us + EARLY_US, SA_RESTART);
	EXPECT_EQ(1, collect(self->fd, self->completions, 3, 3, FOREVER));
	EXPECT_EQ(1, handled);
	EXPECT_GE(transfer_us + EARLY_US + AT_ONCE_US, now() - began);
	/* The requests continue. */
	EXPECT_EQ(2, collect(self->fd, self->completions + 1, 2, 3, FOREVER));
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(i, self->completions[i].cookie);
		EXPECT_EQ(0, self->completions[i].status);
	}
}

TEST_F(wait, killed)
{
	int64_t began;
	int status;
	pid_t child = fork();

	if (!child)
		_exit(collect(self->fd, self->completions, 1, 1, FOREVER));
	pause_us(EARLY_US);
	began = now();
	ASSERT_EQ(0, kill(child, SIGKILL));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_GE(AT_ONCE_US, now() - began);
	/* Its death does not affect others. */
	ASSERT_EQ(1, submit_many(self->fd, &self->buffer, 1, 5));
	EXPECT_EQ(1, collect(self->fd, self->completions, 1, 1, FOREVER));
}

/* --- The array of completions */

TEST_F(wait, bad_arrays)
{
	static const uint64_t bad[] = { 0, 1, 0x7fffffffffff, 0x800000000000, 0xffff888000000000, UINT64_MAX - 23, UINT64_MAX };
	const struct rdma_completion *constant = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_EQ(3, submit_many(self->fd, &self->buffer, 3, 10));
	pause_until_completed(self->fd, 3);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		for (uint32_t max = 1; max <= 3; max++) {
			struct rdma_wait argument = {
				.completions = bad[i], .max = max, .completion_size = sizeof(struct rdma_completion),
			};

			EXPECT_EQ(-EFAULT, call(self->fd, RDMA_IOC_WAIT, &argument)) TH_LOG("%#" PRIx64, bad[i]);
		}
	}
	EXPECT_EQ(-EFAULT, take(self->fd, (struct rdma_completion *)constant, 3));
	ASSERT_EQ(3, take(self->fd, self->completions, 3));
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(10 + i, self->completions[i].cookie);
	}
}

/* The array extends into an unmapped page: each completion is returned once, and in order. */
TEST_F(wait, arrays_that_end_early)
{
	char *page = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const size_t size = sizeof(struct rdma_completion);

	ASSERT_NE(MAP_FAILED, page);
	ASSERT_EQ(0, munmap(page + PAGE, PAGE));
	for (uint32_t whole = 0; whole <= 8; whole += rounds(1, 4))
		for (uint32_t part = 0; part < size; part += 4) {
			struct rdma_completion *array = (void *)(page + PAGE - part - whole * size);
			uint32_t got = 0;
			int answer;

			ASSERT_EQ(8, submit_many(self->fd, &self->buffer, 8, 0));
			ASSERT_EQ(0, collect(self->fd, self->completions, 8, 8, 1));
			pause_until_completed(self->fd, 8);
			answer = take(self->fd, array, 12);
			if (!whole) {
				EXPECT_EQ(-EFAULT, answer);
			} else {
				EXPECT_LT(0, answer);
				EXPECT_GE(whole, answer);
				for (int i = 0; i < answer; i++, got++) {
					EXPECT_EQ(got, array[i].cookie);
				}
			}
			ASSERT_EQ(8 - got, take(self->fd, self->completions, DEPTH));
			for (int i = 0; got < 8; i++, got++) {
				EXPECT_EQ(got, self->completions[i].cookie);
			}
		}
}

/* Only returned completions are written. */
TEST_F(wait, writes_no_more_than_it_says)
{
	ASSERT_EQ(2, submit_many(self->fd, &self->buffer, 2, 0));
	ASSERT_EQ(2, collect(self->fd, self->completions + 1, 2, DEPTH, FOREVER));
	EXPECT_EQ(0, differing(self->completions, 0xa5, sizeof(self->completions[0])));
	EXPECT_EQ(0, differing(self->completions + 3, 0xa5, (DEPTH - 2) * sizeof(self->completions[0])));
}

/* --- Several collectors */

struct collector {
	pthread_t thread;
	int fd;
	uint32_t min, max;
	unsigned char *told; /* by cookie: how often */
	volatile long *left; /* completions that have not been collected */
	long got, calls, wrong;
};

static void *collector(void *argument)
{
	struct collector *self = argument;
	struct rdma_completion completions[16];

	while (__atomic_load_n(self->left, __ATOMIC_SEQ_CST) > 0) {
		int got = collect(self->fd, completions, self->min, self->max, 300 * MS);

		self->calls++;
		self->wrong += got < 0;
		/* Fewer than the minimum are returned only at the timeout. */
		for (int i = 0; i < got; i++)
			__atomic_add_fetch(&self->told[completions[i].cookie], 1, __ATOMIC_SEQ_CST);
		if (got > 0) {
			self->got += got;
			__atomic_sub_fetch(self->left, got, __ATOMIC_SEQ_CST);
		}
	}
	return NULL;
}

TEST_F(wait, by_many_threads)
{
	enum { THREADS = 8, COUNT = 600 };
	static unsigned char told[COUNT];
	struct collector collectors[THREADS];
	volatile long left = COUNT;
	long wrong = 0;

	memset(told, 0, sizeof(told));
	for (int i = 0; i < THREADS; i++) {
		collectors[i] = (struct collector){
			.fd = self->fd, .min = 1 + i % 3, .max = 3 + i, .told = told, .left = &left
		};
		ASSERT_EQ(0, pthread_create(&collectors[i].thread, NULL, collector, &collectors[i]));
	}
	for (int i = 0; i < COUNT; i += 60) {
		ASSERT_EQ(60, submit_many(self->fd, &self->buffer, 60, i));
		/* Some are cancelled, so that several completions come at once. */
		for (int j = 10; j < 60; j += 2)
			wrong += cancel(self->fd, i + j) != 1;
		pause_us(10 * transfer_us);
	}
	for (int i = 0; i < THREADS; i++) {
		ASSERT_EQ(0, pthread_join(collectors[i].thread, NULL));
		TH_LOG("thread %d: %ld completions in %ld calls", i, collectors[i].got, collectors[i].calls);
		EXPECT_EQ(0, collectors[i].wrong);
	}
	for (int i = 0; i < COUNT; i++)
		wrong += told[i] != 1;
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(0, left);
}

/* A thread that waits without a timeout does not return without its minimum because another thread was faster. */
static void *patient(void *argument)
{
	struct collector *self = argument;
	struct rdma_completion completions[1];

	self->got = collect(self->fd, completions, 1, 1, FOREVER);
	return NULL;
}

TEST_F(wait, as_many_as_there_are_completions)
{
	enum { THREADS = 16, ROUNDS = 10 };
	struct collector collectors[THREADS];

	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < THREADS; i++) {
			collectors[i] = (struct collector){ .fd = self->fd };
			ASSERT_EQ(0, pthread_create(&collectors[i].thread, NULL, patient, &collectors[i]));
		}
		pause_us(1000);
		ASSERT_EQ(THREADS, submit_many(self->fd, &self->buffer, THREADS, 0));
		if (round % 2) {
			EXPECT_LE(THREADS - 1, cancel_all(self->fd));
		}
		for (int i = 0; i < THREADS; i++) {
			ASSERT_EQ(0, pthread_join(collectors[i].thread, NULL));
			EXPECT_EQ(1, collectors[i].got);
		}
	}
}

/* The same in a storm, in which each completion wakes all threads: run with two CPUs. */
static void *greedy(void *argument)
{
	struct collector *self = argument;
	struct rdma_completion completions[4];

	while (__atomic_load_n(self->left, __ATOMIC_SEQ_CST) > 0) {
		int got = collect(self->fd, completions, 2, 4, FOREVER);

		self->calls++;
		self->wrong += got < 2;
		self->got += got > 0 ? got : 0;
		__atomic_sub_fetch(self->left, got > 0 ? got : 0, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

TEST_F(wait, minimum_of_each_in_a_storm)
{
	enum { THREADS = 4, COUNT = 8000 };
	struct collector collectors[THREADS];
	volatile long left = COUNT;
	long calls = 0, submitted = 0;

	for (int i = 0; i < THREADS; i++) {
		collectors[i] = (struct collector){ .fd = self->fd, .left = &left };
		ASSERT_EQ(0, pthread_create(&collectors[i].thread, NULL, greedy, &collectors[i]));
	}
	/* Until the collectors are done; and some more, so that the last ones return. */
	while (left > 0) {
		int accepted = submit_many(self->fd, &self->buffer, 4, 0);

		ASSERT_TRUE(accepted > 0 || accepted == -EAGAIN);
		submitted += accepted > 0 ? accepted : 0;
		ASSERT_LE(0, cancel_all(self->fd));
	}
	while (submit_many(self->fd, &self->buffer, 4 * THREADS, 0) < 0)
		;
	ASSERT_LE(0, cancel_all(self->fd));
	for (int i = 0; i < THREADS; i++) {
		ASSERT_EQ(0, pthread_join(collectors[i].thread, NULL));
		EXPECT_EQ(0, collectors[i].wrong);
		calls += collectors[i].calls;
	}
	TH_LOG("%ld submitted, %d collected in %ld calls", submitted, COUNT, calls);
}

TEST_HARNESS_MAIN
