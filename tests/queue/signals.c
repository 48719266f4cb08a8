// SPDX-License-Identifier: GPL-2.0
/* Promise 6: a thread that waits for the engine returns at once on a signal; others are not affected, and the engine continues. */
#include "rdma_test.h"

/*
 * The time of the signal, in a transfer of 100 ms, and the time by which the call must return. Waiting for the end of the
 * transfer would be too late. These tests use the guest's virtual clock.
 */
enum { EARLY_US = 20000, AT_ONCE_US = 30000, SLACK_US = 10000, WORKERS = 3 };

/* A child with its own context that does one request; it stores what it observed in shared memory. */
struct worker {
	pid_t pid;
	volatile bool ready;
	volatile int64_t began, ended;
	volatile int answer;
	volatile bool exact;
	volatile int handled;
};

static struct worker *handling;

static void handler(int signal)
{
	(void)signal;
	handling->handled++;
}

enum handlers { NO_HANDLER, HANDLER, RESTARTING_HANDLER };
enum work { TRANSFER, COPY, READ, WRITE };

static int do_work(int fd, enum work work, struct buffer *buffer)
{
	switch (work) {
	case TRANSFER:
		return to_device(fd, buffer, 0, 0, DEVICE_MEMORY);
	case COPY:
		return copy(fd, buffer, 4 * DEVICE_MEMORY, buffer, 0, 4 * DEVICE_MEMORY);
	case READ:
		return result(read(fd, buffer->bytes, 100));
	case WRITE:
		return result(write(fd, buffer->bytes, 100));
	}
	return -EINVAL;
}

static void __attribute__((noreturn)) be_worker(struct worker *worker, enum work work, enum handlers handlers)
{
	struct sigaction action = {
		.sa_handler = handler,
		.sa_flags = handlers == RESTARTING_HANDLER ? SA_RESTART : 0,
	};
	int fd = open_node(O_RDWR);
	struct buffer buffer = { 0 };

	handling = worker;
	if (handlers != NO_HANDLER)
		sigaction(SIGUSR1, &action, NULL);
	worker->answer = allocate(fd, 10 * PAGE, &buffer);
	if (worker->answer)
		_exit(1);
	fill(buffer.bytes, 4 * DEVICE_MEMORY, getpid());
	memset(buffer.bytes + 8 * DEVICE_MEMORY, 0x5a, 2 * DEVICE_MEMORY);
	worker->ready = true;
	worker->began = now();
	worker->answer = do_work(fd, work, &buffer);
	worker->ended = now();
	if (work == TRANSFER && !worker->answer) {
		/* The transfer that was interrupted and repeated is correct. */
		worker->exact = !from_device(fd, &buffer, 4 * DEVICE_MEMORY, 0, DEVICE_MEMORY) &&
				!memcmp(buffer.bytes, buffer.bytes + 4 * DEVICE_MEMORY, DEVICE_MEMORY);
	}
	if (work == COPY)
		worker->exact = !differing(buffer.bytes + 8 * DEVICE_MEMORY, 0x5a, 2 * DEVICE_MEMORY);
	_exit(0);
}

FIXTURE(signals)
{
	int fd;
	struct buffer buffer;
	struct worker *workers;
};

static void start(FIXTURE_DATA(signals) *self, int which, enum work work, enum handlers handlers)
{
	struct worker *worker = &self->workers[which];
	pid_t pid = fork();

	if (!pid)
		be_worker(worker, work, handlers);
	worker->pid = pid;
	while (!worker->ready)
		pause_us(100);
}

/* Waits for the end of a worker; returns how long that took, its status is in *status. */
static int64_t reap(FIXTURE_DATA(signals) *self, int which, int *status)
{
	int64_t began = now();

	waitpid(self->workers[which].pid, status, 0);
	return now() - began;
}

FIXTURE_SETUP(signals)
{
	self->workers = shared_memory(WORKERS * sizeof(*self->workers));
	ASSERT_NE(MAP_FAILED, self->workers);
	self->fd = open_node(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate(self->fd, 2 * PAGE, &self->buffer));
}

/* In any case, the engine works correctly, delayed by at most the running transfer. */
FIXTURE_TEARDOWN(signals)
{
	int64_t began = now();

	fill(self->buffer.bytes, DEVICE_MEMORY, 8);
	EXPECT_EQ(0, to_device(self->fd, &self->buffer, 0, 0, DEVICE_MEMORY));
	EXPECT_EQ(0, from_device(self->fd, &self->buffer, DEVICE_MEMORY, 0, DEVICE_MEMORY));
	EXPECT_EQ(0, memcmp(self->buffer.bytes, self->buffer.bytes + DEVICE_MEMORY, DEVICE_MEMORY));
	EXPECT_GE(3 * TRANSFER_US + SLACK_US, now() - began);
	close(self->fd);
}

TEST_F(signals, kill)
{
	int status;

	start(self, 0, TRANSFER, NO_HANDLER);
	pause_us(EARLY_US);
	kill(self->workers[0].pid, SIGKILL);
	EXPECT_GE(AT_ONCE_US, reap(self, 0, &status));
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

TEST_F(signals, interrupt_key)
{
	int status;

	start(self, 0, TRANSFER, NO_HANDLER);
	pause_us(EARLY_US);
	kill(self->workers[0].pid, SIGINT);
	EXPECT_GE(AT_ONCE_US, reap(self, 0, &status));
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
}

TEST_F(signals, kill_in_a_long_copy)
{
	int status;

	start(self, 0, COPY, NO_HANDLER);
	pause_us(3 * TRANSFER_US + EARLY_US);
	kill(self->workers[0].pid, SIGKILL);
	EXPECT_GE(AT_ONCE_US, reap(self, 0, &status));
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

TEST_F(signals, handler_interrupts)
{
	struct worker *worker = &self->workers[0];
	int status;

	start(self, 0, TRANSFER, HANDLER);
	pause_us(EARLY_US);
	kill(worker->pid, SIGUSR1);
	reap(self, 0, &status);
	EXPECT_EQ(0, status);
	EXPECT_EQ(-EINTR, worker->answer);
	EXPECT_EQ(1, worker->handled);
	EXPECT_GE(EARLY_US + AT_ONCE_US, worker->ended - worker->began);
}

/* The engine may have moved a part: SA_RESTART must not repeat the transfer without the caller's knowledge. */
TEST_F(signals, restarting_handler_interrupts_too)
{
	struct worker *worker = &self->workers[0];
	int status;

	start(self, 0, TRANSFER, RESTARTING_HANDLER);
	pause_us(EARLY_US);
	kill(worker->pid, SIGUSR1);
	reap(self, 0, &status);
	EXPECT_EQ(0, status);
	EXPECT_EQ(-EINTR, worker->answer);
	EXPECT_EQ(1, worker->handled);
	EXPECT_GE(EARLY_US + AT_ONCE_US, worker->ended - worker->began);
}

TEST_F(signals, handler_interrupts_a_copy)
{
	struct worker *worker = &self->workers[0];
	int status;

	start(self, 0, COPY, HANDLER);
	pause_us(2 * TRANSFER_US + EARLY_US);
	kill(worker->pid, SIGUSR1);
	reap(self, 0, &status);
	EXPECT_EQ(0, status);
	EXPECT_EQ(-EINTR, worker->answer);
	EXPECT_TRUE(worker->exact); /* memory outside of the destination */
	EXPECT_GE(2 * TRANSFER_US + EARLY_US + AT_ONCE_US, worker->ended - worker->began);
}

TEST_F(signals, handler_interrupts_read_and_write)
{
	for (enum work work = READ; work <= WRITE; work++) {
		struct worker *worker = &self->workers[work == WRITE];
		int status;

		start(self, work == WRITE, work, HANDLER);
		pause_us(EARLY_US);
		kill(worker->pid, SIGUSR1);
		reap(self, work == WRITE, &status);
		EXPECT_EQ(0, status);
		EXPECT_EQ(-EINTR, worker->answer);
		/* The second one waits for the first one's transfer, and may be waiting still. */
		EXPECT_GE(EARLY_US + AT_ONCE_US, worker->ended - worker->began);
		pause_us(TRANSFER_US);
	}
}

/* Stopped at once, and continued without an effect. */
TEST_F(signals, stop_and_continue)
{
	struct worker *worker = &self->workers[0];
	int64_t began;
	int status;

	start(self, 0, TRANSFER, NO_HANDLER);
	pause_us(EARLY_US);
	began = now();
	kill(worker->pid, SIGSTOP);
	ASSERT_EQ(worker->pid, waitpid(worker->pid, &status, WUNTRACED));
	EXPECT_TRUE(WIFSTOPPED(status));
	EXPECT_GE(AT_ONCE_US, now() - began);
	pause_us(3 * TRANSFER_US);
	kill(worker->pid, SIGCONT);
	reap(self, 0, &status);
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, worker->answer);
	EXPECT_TRUE(worker->exact);
}

TEST_F(signals, stop_and_continue_many_times)
{
	struct worker *worker = &self->workers[0];
	int status;

	start(self, 0, TRANSFER, NO_HANDLER);
	for (int i = 0; i < 10; i++) {
		pause_us(15000);
		kill(worker->pid, SIGSTOP);
		pause_us(5000);
		kill(worker->pid, SIGCONT);
	}
	reap(self, 0, &status);
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, worker->answer);
	EXPECT_TRUE(worker->exact);
}

/* A signal with a handler that arrives while the process is stopped. */
TEST_F(signals, handler_after_stop)
{
	struct worker *worker = &self->workers[0];
	int status;

	start(self, 0, TRANSFER, HANDLER);
	pause_us(EARLY_US);
	kill(worker->pid, SIGSTOP);
	pause_us(EARLY_US);
	kill(worker->pid, SIGUSR1);
	kill(worker->pid, SIGCONT);
	reap(self, 0, &status);
	EXPECT_EQ(0, status);
	EXPECT_EQ(1, worker->handled);
	EXPECT_EQ(-EINTR, worker->answer);
}

/* In the queue: one worker has the engine, the next one waits behind it. */
static void start_two(FIXTURE_DATA(signals) *self, enum handlers handlers)
{
	start(self, 0, TRANSFER, NO_HANDLER);
	pause_us(EARLY_US / 2);
	start(self, 1, TRANSFER, handlers);
	pause_us(EARLY_US / 2);
}

TEST_F(signals, queued_kill)
{
	int status;

	start_two(self, NO_HANDLER);
	kill(self->workers[1].pid, SIGKILL);
	EXPECT_GE(AT_ONCE_US, reap(self, 1, &status));
	EXPECT_TRUE(WIFSIGNALED(status));
	reap(self, 0, &status);
	EXPECT_EQ(0, self->workers[0].answer);
	EXPECT_TRUE(self->workers[0].exact);
	EXPECT_GE(TRANSFER_US + SLACK_US, self->workers[0].ended - self->workers[0].began);
}

TEST_F(signals, queued_handler)
{
	struct worker *worker = &self->workers[1];
	int status;

	start_two(self, HANDLER);
	kill(worker->pid, SIGUSR1);
	reap(self, 1, &status);
	EXPECT_EQ(-EINTR, worker->answer);
	EXPECT_GE(EARLY_US + AT_ONCE_US, worker->ended - worker->began);
	reap(self, 0, &status);
	EXPECT_EQ(0, self->workers[0].answer);
}

/* Nothing has been moved yet, so that SA_RESTART applies, and the caller does not notice. */
TEST_F(signals, queued_restarting_handler)
{
	struct worker *worker = &self->workers[1];
	int status;

	start_two(self, RESTARTING_HANDLER);
	kill(worker->pid, SIGUSR1);
	pause_us(EARLY_US);
	EXPECT_EQ(1, worker->handled);
	reap(self, 1, &status);
	EXPECT_EQ(0, worker->answer);
	EXPECT_TRUE(worker->exact);
	reap(self, 0, &status);
	EXPECT_EQ(0, self->workers[0].answer);
}

TEST_F(signals, queued_stop_and_continue)
{
	struct worker *worker = &self->workers[1];
	int status;

	start_two(self, NO_HANDLER);
	kill(worker->pid, SIGSTOP);
	ASSERT_EQ(worker->pid, waitpid(worker->pid, &status, WUNTRACED));
	pause_us(EARLY_US);
	kill(worker->pid, SIGCONT);
	reap(self, 1, &status);
	EXPECT_EQ(0, worker->answer);
	EXPECT_TRUE(worker->exact);
	reap(self, 0, &status);
	EXPECT_EQ(0, self->workers[0].answer);
}

/* The process that has the engine is killed: the others get their turn as soon as the transfer has ended. */
TEST_F(signals, others_go_on)
{
	int status;

	start_two(self, NO_HANDLER);
	start(self, 2, TRANSFER, NO_HANDLER); /* its bytes stay in the device memory */
	kill(self->workers[0].pid, SIGKILL);
	reap(self, 0, &status);
	for (int i = 1; i < 3; i++) {
		struct worker *worker = &self->workers[i];

		reap(self, i, &status);
		EXPECT_EQ(0, status);
		EXPECT_EQ(0, worker->answer);
		EXPECT_GE((i + 1) * TRANSFER_US + SLACK_US, worker->ended - worker->began);
	}
	EXPECT_TRUE(self->workers[2].exact);
}

/* close(2) by another thread: the call holds the file, and finishes. */
TEST_F(signals, close_in_mid_transfer)
{
	struct pending pending;
	struct buffer buffer;
	int fd = open_node(O_RDWR);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, allocate(fd, PAGE, &buffer));
	ASSERT_EQ(0, begin(&pending, fd, (struct rdma_request){ .operation = RDMA_OP_TO_DEVICE,
							       .source = buffer.handle,
							       .length = DEVICE_MEMORY }));
	pause_us(EARLY_US);
	close(fd);
	munmap(buffer.bytes, PAGE);
	EXPECT_EQ(0, finish(&pending));
	EXPECT_LE(TRANSFER_US - SLACK_US, pending.ended - pending.began);
}

/* So does FREE: the buffer stays until the transfer has ended. */
TEST_F(signals, free_in_mid_transfer)
{
	struct pending pending;
	struct buffer buffer;

	ASSERT_EQ(0, allocate(self->fd, PAGE, &buffer));
	ASSERT_EQ(0, begin(&pending, self->fd, (struct rdma_request){ .operation = RDMA_OP_TO_DEVICE,
								     .source = buffer.handle,
								     .length = DEVICE_MEMORY }));
	pause_us(EARLY_US);
	EXPECT_EQ(0, release(self->fd, &buffer));
	EXPECT_EQ(0, finish(&pending));
}

/* exit(2) with a thread in a transfer. */
TEST_F(signals, exit_in_mid_transfer)
{
	int64_t began = now();
	pid_t child = fork();
	int status;

	if (!child) {
		struct pending pending;

		begin(&pending, self->fd, (struct rdma_request){ .operation = RDMA_OP_TO_DEVICE,
								 .source = self->buffer.handle,
								 .length = DEVICE_MEMORY });
		pause_us(EARLY_US);
		_exit(7);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	EXPECT_GE(EARLY_US + AT_ONCE_US, now() - began);
}

/* execve(2) with a thread in a transfer. */
TEST_F(signals, exec_in_mid_transfer)
{
	pid_t child = fork();
	int status;

	if (!child) {
		struct pending pending;

		begin(&pending, self->fd, (struct rdma_request){ .operation = RDMA_OP_TO_DEVICE,
								 .source = self->buffer.handle,
								 .length = DEVICE_MEMORY });
		pause_us(EARLY_US);
		execl("/bin/true", "true", NULL);
		_exit(1);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
}

/* Killed at any moment, repeatedly, with the next one starting right behind. */
TEST_F(signals, kill_at_any_moment)
{
	enum { COUNT = 1000 };
	int64_t slowest = 0;
	int status;

	srandom(1);
	for (int i = 0; i < COUNT; i++) {
		int64_t took;

		self->workers[0].ready = false;
		start(self, 0, i % 2 ? TRANSFER : COPY, NO_HANDLER);
		pause_us(random() % 110000);
		kill(self->workers[0].pid, SIGKILL);
		took = reap(self, 0, &status);
		slowest = took > slowest ? took : slowest;
	}
	TH_LOG("%d kills, the slowest took %lld us", COUNT, (long long)slowest);
	EXPECT_GE(AT_ONCE_US, slowest);
}

TEST_HARNESS_MAIN
