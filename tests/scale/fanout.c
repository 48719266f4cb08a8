// SPDX-License-Identifier: GPL-2.0
/*
 * Promise 17: thousands of watchers of a context delay others no more than watchers of an eventfd do. A thread of the highest priority in
 * a guest with one CPU measures this: its maximum delay is the time for which interrupts or preemption were disabled.
 */
#include "requests.h"

#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { EPOLLS = 10000, THREADS = 1000, BATCH = 1000, PERIOD_US = 50, STACK = 64 << 10 };

/* Delay for other reasons: a timer interrupt, a context switch. A longer one happens by chance, but not each time. */
enum { SLACK_US = 100, TRIES = 4 };

static volatile bool urgent_ends;

/* Wakes up periodically, with the highest priority, and returns its maximum delay in microseconds. */
static void *urgent(void *unused)
{
	struct sched_param priority = { .sched_priority = 90 };
	struct timespec next;
	int64_t worst = 0;

	(void)unused;
	if (pthread_setschedparam(pthread_self(), SCHED_FIFO, &priority))
		return (void *)-1L;
	clock_gettime(CLOCK_MONOTONIC, &next);
	while (!urgent_ends) {
		int64_t late;

		next.tv_nsec += PERIOD_US * 1000;
		next.tv_sec += next.tv_nsec / 1000000000;
		next.tv_nsec %= 1000000000;
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
		late = now() - (next.tv_sec * 1000000LL + next.tv_nsec / 1000);
		worst = late > worst ? late : worst;
		if (late > PERIOD_US)
			clock_gettime(CLOCK_MONOTONIC, &next);
	}
	return (void *)worst;
}

/* The maximum delay of that thread during `deed`, in microseconds; or an error. */
static long late_during(int (*deed)(int), int fd)
{
	pthread_t thread;
	void *worst;
	int error;

	urgent_ends = false;
	if (pthread_create(&thread, NULL, urgent, NULL))
		return -1;
	pause_us(10 * PERIOD_US);
	error = deed(fd);
	urgent_ends = true;
	pthread_join(thread, &worst);
	return error ?: (long)worst;
}

/* Adds 1 to an eventfd repeatedly, and once more for those that wait for the first one. */
static int signal_eventfd(int fd)
{
	int error = 0;

	for (int i = 0; i < 5 && !error; i++)
		error = eventfd_write(fd, 1);
	return error;
}

static int submit_and_cancel(int fd)
{
	static struct rdma_request requests[BATCH];
	static struct rdma_completion completions[BATCH];
	struct rdma_cancel all = { .flags = RDMA_CANCEL_ALL };
	int submitted, cancelled;

	for (int i = 0; i < BATCH; i++)
		requests[i] = (struct rdma_request){ .operation = RDMA_OP_TO_DEVICE, .source = RDMA_FIRST_BUFFER, .length = 1, .cookie = i };
	/* Those of an earlier attempt take room. */
	while (collect(fd, completions, 1, BATCH, 0) > 0)
		;
	submitted = submit(fd, requests, BATCH);
	if (submitted != BATCH)
		return submitted < 0 ? submitted : -EPROTO;
	cancelled = call(fd, RDMA_IOC_CANCEL, &all);
	pause_us(2 * TRANSFER_US);
	return cancelled < 0 ? cancelled : 0;
}

FIXTURE(fanout)
{
	int fd, event;
	int *epolls;
};

FIXTURE_SETUP(fanout)
{
	struct rlimit many = { EPOLLS + THREADS + 100, EPOLLS + THREADS + 100 };

	if (!virtual_time())
		SKIP(return, "the lateness is that of a guest in virtual time");
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &many));
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, chmod(NODE, 0666));
	/* The first buffer, for the requests. */
	ASSERT_NE(NULL, map(self->fd, 0, PAGE, PROT_READ | PROT_WRITE));
	self->event = eventfd(0, EFD_NONBLOCK);
	self->epolls = calloc(EPOLLS, sizeof(*self->epolls));
}

FIXTURE_TEARDOWN(fanout)
{
	close(self->fd);
	chmod(NODE, 0600);
	close(self->event);
	free(self->epolls);
}

static int watch(int *epolls, int count, int fd)
{
	struct epoll_event wanted = { .events = EPOLLIN };
	int i;

	for (i = 0; i < count; i++) {
		epolls[i] = epoll_create1(EPOLL_CLOEXEC);
		if (epolls[i] < 0 || epoll_ctl(epolls[i], EPOLL_CTL_ADD, fd, &wanted))
			break;
	}
	return i;
}

static void unwatch(int *epolls, int count)
{
	for (int i = 0; i < count; i++)
		close(epolls[i]);
}

/* Each completion of a thousand, with ten thousand watchers. */
TEST_F(fanout, epoll_watchers)
{
	long usual, ours;

	ASSERT_EQ(EPOLLS, watch(self->epolls, EPOLLS, self->event));
	usual = late_during(signal_eventfd, self->event);
	unwatch(self->epolls, EPOLLS);
	ours = 0;
	for (int i = 0; i < TRIES && (!i || ours > usual + SLACK_US); i++) {
		ASSERT_EQ(EPOLLS, watch(self->epolls, EPOLLS, self->fd));
		ours = late_during(submit_and_cancel, self->fd);
		unwatch(self->epolls, EPOLLS);
	}
	ASSERT_LT(0, usual);
	ASSERT_LT(0, ours);
	EXPECT_GE(usual + SLACK_US, ours)
		TH_LOG("late by %ld us, %ld with an eventfd", ours, usual);
	FIGURE("%d epoll watchers", "late by %ld us at most, as %ld with an eventfd", EPOLLS, ours, usual);
}

struct sleeper {
	pthread_t thread;
	int fd;
	bool waits;
};

static void *sleeper(void *argument)
{
	struct sleeper *sleeper = argument;
	struct rdma_completion completion;
	struct pollfd file = { .fd = sleeper->fd, .events = POLLIN };

	if (sleeper->waits)
		return (void *)(long)collect(sleeper->fd, &completion, 1, 1, FOREVER);
	return (void *)(long)poll(&file, 1, -1);
}

/* The delay while a thousand threads are woken that sleep in poll(2) or in WAIT. */
static long with_threads(int fd, bool waits, int (*deed)(int))
{
	static struct sleeper sleepers[THREADS];
	pthread_attr_t small;
	long late;
	int i;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, STACK);
	for (i = 0; i < THREADS; i++) {
		sleepers[i] = (struct sleeper){ .fd = fd, .waits = waits };
		if (pthread_create(&sleepers[i].thread, &small, sleeper, &sleepers[i]))
			break;
	}
	pause_us(100000);
	late = i == THREADS ? late_during(deed, fd) : -1;
	while (i--) {
		/* Nothing wakes it. */
		if (late < 0)
			pthread_cancel(sleepers[i].thread);
		pthread_join(sleepers[i].thread, NULL);
	}
	return late;
}

TEST_F(fanout, polling_threads)
{
	long usual = with_threads(self->event, false, signal_eventfd);
	long ours = 0;

	for (int i = 0; i < TRIES && (!i || ours > usual + SLACK_US); i++)
		ours = with_threads(self->fd, false, submit_and_cancel);
	ASSERT_LT(0, usual);
	ASSERT_LT(0, ours);
	EXPECT_GE(usual + SLACK_US, ours)
		TH_LOG("late by %ld us, %ld with an eventfd", ours, usual);
	FIGURE("%d threads in poll(2)", "late by %ld us at most, as %ld with an eventfd", THREADS, ours, usual);
}

TEST_F(fanout, waiting_threads)
{
	long usual = with_threads(self->event, false, signal_eventfd);
	long ours = 0;

	for (int i = 0; i < TRIES && (!i || ours > usual + SLACK_US); i++)
		ours = with_threads(self->fd, true, submit_and_cancel);
	ASSERT_LT(0, usual);
	ASSERT_LT(0, ours);
	EXPECT_GE(usual + SLACK_US, ours)
		TH_LOG("late by %ld us, %ld with an eventfd", ours, usual);
	FIGURE("%d threads in WAIT", "late by %ld us at most, as %ld with an eventfd", THREADS, ours, usual);
}

/* A thread that waits for more than is completed stays asleep: a thousand threads that want all completions cause no wake-up. */
TEST_F(fanout, woken_with_enough_only)
{
	struct rusage before, after;
	struct rdma_completion completions[8];
	struct rdma_request request = { .operation = RDMA_OP_TO_DEVICE, .source = RDMA_FIRST_BUFFER, .length = 1 };
	int i;

	for (i = 0; i < 8; i++)
		ASSERT_EQ(1, submit_one(self->fd, request));
	getrusage(RUSAGE_THREAD, &before);
	EXPECT_EQ(8, collect(self->fd, completions, 8, 8, FOREVER));
	getrusage(RUSAGE_THREAD, &after);
	EXPECT_EQ(1, after.ru_nvcsw - before.ru_nvcsw);
}

enum { BUFFERS = 10000 };

static int close_it(int fd)
{
	return result(close(fd));
}

TEST_F(fanout, buffers_of_a_closed_file)
{
	long usual, ours = 0;

	ASSERT_EQ(EPOLLS, watch(self->epolls, EPOLLS, self->event));
	usual = late_during(signal_eventfd, self->event);
	unwatch(self->epolls, EPOLLS);
	for (int i = 0; i < TRIES && (!i || ours > usual + SLACK_US); i++) {
		int fd = open_node(O_RDWR);

		for (int n = 0; n < BUFFERS; n++) {
			struct rdma_alloc alloc = { .size = PAGE };

			ASSERT_EQ(0, call(fd, RDMA_IOC_ALLOC, &alloc));
		}
		ours = late_during(close_it, fd);
	}
	ASSERT_LE(0, ours);
	EXPECT_GE(usual + SLACK_US, ours);
	FIGURE("a closed file with %d buffers", "late by %ld us at most, as %ld with an eventfd", BUFFERS, ours, usual);
}

enum { COPIES = 8, HOG = 1000, NEIGHBOUR = 1001 };

/* A user opens many files, with copies in each, until it is killed. */
static pid_t hog(int files, int ready)
{
	pid_t child = fork();

	if (child)
		return child;
	if (setresuid(HOG, HOG, HOG))
		_exit(1);
	for (int i = 0; i < files; i++) {
		struct rdma_request requests[COPIES];
		struct buffer buffer;
		int fd = open_node(O_RDWR);

		if (fd < 0 || allocate(fd, 2 * PAGE, &buffer))
			_exit(1);
		for (int n = 0; n < COPIES; n++)
			requests[n] = (struct rdma_request){
				.operation = RDMA_OP_COPY,
				.source = buffer.handle,
				.destination = buffer.handle,
				.destination_offset = DEVICE_MEMORY,
				.length = DEVICE_MEMORY,
			};
		if (submit(fd, requests, COPIES) != COPIES)
			_exit(1);
	}
	if (write(ready, "x", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

/* Duration of another user's read of 64 bytes, in microseconds. */
static int64_t neighbours_read(int files)
{
	int64_t *took = shared_memory(sizeof(*took)), answer;
	int ready[2];
	char byte;
	pid_t child, hogging;

	if (pipe(ready))
		return -1;
	hogging = hog(files, ready[1]);
	close(ready[1]);
	*took = -1;
	if (read(ready[0], &byte, 1) == 1) {
		child = fork();
		if (!child) {
			char bytes[64];
			int64_t began = now();
			int fd;

			if (setresuid(NEIGHBOUR, NEIGHBOUR, NEIGHBOUR))
				_exit(1);
			fd = open_node(O_RDWR);
			if (pread(fd, bytes, sizeof(bytes), 0) == sizeof(bytes))
				*took = now() - began;
			_exit(0);
		}
		waitpid(child, NULL, 0);
	}
	close(ready[0]);
	kill(hogging, SIGKILL);
	waitpid(hogging, NULL, 0);
	/* What the hog has left to the engine. */
	pause_us(3 * TRANSFER_US);
	answer = *took;
	munmap(took, sizeof(*took));
	return answer;
}

/* A started turn of the hog, of two transfers and possibly a scrub, then the other user's, with a scrub. */
TEST_F(fanout, files_of_another_user)
{
	int files = scale(300, 10000);
	int64_t one = neighbours_read(1), many = neighbours_read(files);

	ASSERT_LT(0, one);
	ASSERT_LT(0, many);
	EXPECT_GE(5 * TRANSFER_US + SLACK_US, one);
	EXPECT_GE(5 * TRANSFER_US + SLACK_US, many);
	FIGURE("a user with %d files, and with 1", "a neighbour's read takes %ld ms, and %ld", files, (long)many / 1000,
	       (long)one / 1000);
}

TEST_HARNESS_MAIN
