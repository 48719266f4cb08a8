// SPDX-License-Identifier: GPL-2.0
/*
 * Promise 18: no call ends, starts again or loses its deadline without a signal to the program: by its own io_uring, a frozen
 * control group, a tracer that attaches and detaches.
 */
#include "debugfs.h"
#include "pace.h"
#include "uring.h"

#include <poll.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

enum { PERIOD_US = 15000 };

/* How often a program is disturbed. */
static int disturbances(void)
{
	return virtual_time() ? 1000 : scale(50, 1000);
}

/* The device has memory. Otherwise the program copies. */
static bool device_memory = true;

/* Maximum delay of a call after its timeout. */
enum { SLACK_US = 20000 };

/* A WAIT or a poll(2) without a completion. */
enum { DEADLINE_US = 300000 };

enum work { TRANSFER, READ, WRITE, WAIT_FOR_ALL, WAIT_IN_VAIN, POLL, WORKS };

static const char *const work_names[] = { "TRANSFER", "read", "write", "WAIT for 3", "WAIT without one", "poll" };

/* Results of a child that continues to work. */
struct worker {
	volatile bool ready, ends;
	volatile int calls, transfers, wrong;
	volatile int first_wrong;
	volatile int64_t latest, earliest;
	volatile unsigned int expired; /* timeouts of its io_uring */
};

/* The io_uring of the worker, if it has one. */
static struct uring ring;

/* The expected result of the call, and its time in microseconds. */
static int expected(enum work work, int64_t *time)
{
	*time = work == WAIT_FOR_ALL ? 3 * TRANSFER_US : work >= WAIT_IN_VAIN ? DEADLINE_US : TRANSFER_US;
	switch (work) {
	case READ:
	case WRITE:
		return 64;
	case WAIT_FOR_ALL:
		return 3;
	default:
		return 0;
	}
}

static int do_work(int fd, enum work work, struct buffer *buffer)
{
	struct rdma_completion completions[3];
	struct rdma_request request = device_memory ? writing(buffer, 0, 0, 64, 0) : copying(buffer, 64, buffer, 0, 64, 0);
	struct rdma_request three[] = { request, request, request };
	struct pollfd file = { .fd = fd, .events = POLLIN };

	switch (work) {
	case TRANSFER:
		return call(fd, RDMA_IOC_TRANSFER, &request);
	case READ:
		return result(pread(fd, buffer->bytes, 64, 0));
	case WRITE:
		return result(pwrite(fd, buffer->bytes, 64, 0));
	case WAIT_FOR_ALL:
		if (submit(fd, three, 3) != 3)
			return -EPROTO;
		return collect(fd, completions, 3, 3, FOREVER);
	case WAIT_IN_VAIN:
		return collect(fd, completions, 1, 1, DEADLINE_US * 1000LL);
	case POLL:
		return result(poll(&file, 1, DEADLINE_US / 1000));
	default:
		return -EINVAL;
	}
}

static void work_on(struct worker *worker, enum work work)
{
	static const int transfers[WORKS] = { 1, 1, 1, 3, 0, 0 };
	int fd = open_node(O_RDWR);
	struct buffer buffer;
	int64_t time;
	int right = expected(work, &time);

	if (fd < 0 || allocate(fd, PAGE, &buffer))
		_exit(1);
	worker->earliest = INT64_MAX;
	worker->ready = true;
	while (!worker->ends) {
		int64_t began = now(), took;
		int answer = do_work(fd, work, &buffer);

		took = now() - began;
		worker->calls++;
		worker->transfers += transfers[work];
		if (answer != right && !worker->wrong++)
			worker->first_wrong = answer;
		/* A delay by a stop or a frozen group is noticed after this time: a millisecond. */
		worker->latest = took - time > worker->latest ? took - time : worker->latest;
		worker->earliest = took - time < worker->earliest ? took - time : worker->earliest;
		if (ring.queue)
			worker->expired = *uring_word(&ring, ring.params.cq_off.tail);
	}
	close(fd);
}

/* An io_uring of the caller with a repeating timeout: each expiry is task work of the thread. */
static bool ring_with_timer(int period_us)
{
	struct __kernel_timespec period = { .tv_nsec = period_us * 1000LL };
	struct io_uring_sqe *entry;

	/* There is room for the completions of all expiries. */
	if (uring_open(&ring, 8192, 0))
		return false;
	entry = uring_next(&ring);
	entry->opcode = IORING_OP_TIMEOUT;
	entry->addr = (uintptr_t)&period;
	entry->len = 1;
	entry->timeout_flags = IORING_TIMEOUT_MULTISHOT;
	return uring_submit(&ring, 0) == 1;
}

FIXTURE(uninterrupted)
{
	struct worker *worker;
	pid_t pid;
	char group[64];
};

FIXTURE_VARIANT(uninterrupted)
{
	enum work work;
};

FIXTURE_VARIANT_ADD(uninterrupted, transfer) { .work = TRANSFER };
FIXTURE_VARIANT_ADD(uninterrupted, read) { .work = READ };
FIXTURE_VARIANT_ADD(uninterrupted, write) { .work = WRITE };
FIXTURE_VARIANT_ADD(uninterrupted, wait_for_all) { .work = WAIT_FOR_ALL };
FIXTURE_VARIANT_ADD(uninterrupted, wait_in_vain) { .work = WAIT_IN_VAIN };
FIXTURE_VARIANT_ADD(uninterrupted, poll) { .work = POLL };

FIXTURE_SETUP(uninterrupted)
{
	int fd = open_node(O_RDWR);

	ASSERT_LE(0, fd);
	device_memory = has_memory(fd);
	close(fd);
	if (device_memory && !virtual_time())
		SKIP(return, "a thousand transfers take so long in real time");
	measure_host();
	if (!device_memory)
		ASSERT_EQ(0, ioat_copies_take(TRANSFER_US));
	self->worker = shared_memory(sizeof(*self->worker));
	ASSERT_NE(MAP_FAILED, self->worker);
}

FIXTURE_TEARDOWN(uninterrupted)
{
	if (self->pid > 0) {
		kill(self->pid, SIGKILL);
		waitpid(self->pid, NULL, __WALL);
	}
	if (!device_memory)
		ioat_copies_take(0);
	if (*self->group)
		rmdir(self->group);
	munmap(self->worker, sizeof(*self->worker));
}

static void start(FIXTURE_DATA(uninterrupted) *self, enum work work, void (*prepare)(void))
{
	self->pid = fork();
	if (!self->pid) {
		if (prepare)
			prepare();
		work_on(self->worker, work);
		_exit(0);
	}
	while (!self->worker->ready)
		pause_us(1000);
}

/* The worker exits by itself, and has not noticed anything. */
static void judge(struct __test_metadata *_metadata, FIXTURE_DATA(uninterrupted) *self, enum work work, long before,
		  const char *disturbance)
{
	struct worker *worker = self->worker;
	int status;

	worker->ends = true;
	ASSERT_EQ(self->pid, waitpid(self->pid, &status, 0));
	self->pid = 0;
	EXPECT_EQ(0, status);
	EXPECT_LT(0, worker->calls);
	EXPECT_EQ(0, worker->wrong)
		TH_LOG("%d of %d calls, the first one with %d", worker->wrong, worker->calls, worker->first_wrong);
	EXPECT_EQ(worker->transfers, counter("transfers") - before);
	EXPECT_LE(-1000, worker->earliest);
	EXPECT_GE(slack_us(SLACK_US), worker->latest);
	/* The timer of an io_uring is started again when the thread returns to the program. */
	FIGURE("%s interrupted by %s %d times", "%d of %d calls ended by it, %ld transfers too many, deadlines kept to %ld us",
	       work_names[work], disturbance, worker->expired ? (int)worker->expired : disturbances(), worker->wrong, worker->calls,
	       counter("transfers") - before - worker->transfers, (long)worker->latest);
}

TEST_F(uninterrupted, by_a_tracer_that_seizes)
{
	long before = counter("transfers");
	int times = disturbances();

	start(self, variant->work, NULL);
	for (int i = 0; i < times; i++) {
		int status;

		pause_us(PERIOD_US);
		ASSERT_EQ(0, ptrace(PTRACE_SEIZE, self->pid, NULL, NULL));
		ASSERT_EQ(0, ptrace(PTRACE_INTERRUPT, self->pid, NULL, NULL));
		ASSERT_EQ(self->pid, waitpid(self->pid, &status, __WALL));
		ASSERT_TRUE(WIFSTOPPED(status));
		ASSERT_EQ(0, ptrace(PTRACE_DETACH, self->pid, NULL, NULL));
	}
	judge(_metadata, self, variant->work, before, "strace -p");
}

TEST_F(uninterrupted, by_a_tracer_that_attaches)
{
	long before = counter("transfers");
	int times = disturbances();

	start(self, variant->work, NULL);
	for (int i = 0; i < times; i++) {
		int status;

		pause_us(PERIOD_US);
		ASSERT_EQ(0, ptrace(PTRACE_ATTACH, self->pid, NULL, NULL));
		ASSERT_EQ(self->pid, waitpid(self->pid, &status, __WALL));
		ASSERT_TRUE(WIFSTOPPED(status));
		ASSERT_EQ(0, ptrace(PTRACE_DETACH, self->pid, NULL, NULL));
	}
	judge(_metadata, self, variant->work, before, "gdb -p");
}

/* Writes to a file of the control group. */
static int set(const char *group, const char *file, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", group, file);
	return write_text(path, text);
}

static bool is_frozen(const char *group)
{
	char path[128], text[256];

	snprintf(path, sizeof(path), "%s/cgroup.events", group);
	return !read_text(path, text, sizeof(text)) && strstr(text, "frozen 1");
}

TEST_F(uninterrupted, by_a_frozen_group)
{
	char root[] = "/tmp/cgroup.XXXXXX", pid[16];
	long before = counter("transfers");
	int times = disturbances();

	ASSERT_NE(NULL, mkdtemp(root));
	ASSERT_EQ(0, mount("none", root, "cgroup2", 0, NULL));
	snprintf(self->group, sizeof(self->group), "%s/frozen", root);
	ASSERT_EQ(0, mkdir(self->group, 0755));
	start(self, variant->work, NULL);
	snprintf(pid, sizeof(pid), "%d", self->pid);
	ASSERT_EQ(0, set(self->group, "cgroup.procs", pid));
	for (int i = 0; i < times; i++) {
		pause_us(PERIOD_US);
		ASSERT_EQ(0, set(self->group, "cgroup.freeze", "1"));
		while (!is_frozen(self->group))
			pause_us(1000);
		ASSERT_EQ(0, set(self->group, "cgroup.freeze", "0"));
	}
	judge(_metadata, self, variant->work, before, "a frozen group");
	rmdir(self->group);
	*self->group = '\0';
	umount(root);
	rmdir(root);
}

static void with_ring(void)
{
	if (!ring_with_timer(PERIOD_US))
		_exit(2);
}

TEST_F(uninterrupted, by_its_own_io_uring)
{
	long before = counter("transfers");

	start(self, variant->work, with_ring);
	pause_us(disturbances() * PERIOD_US);
	judge(_metadata, self, variant->work, before, "its own io_uring");
	EXPECT_LE(self->worker->calls - 1, (int)self->worker->expired);
}

TEST_HARNESS_MAIN
